"""From the tables of a source to the prepared folder, in stages that can be killed, resumed and spread out.

1. `plan` reads the table of visits and cuts the patients into shards.
2. `cut` reads one table and writes the rows of each shard: once for each table.
3. `prepare` makes the visits of one shard: once for each shard.
4. `finish` makes the prepared folder of all shards.

Each stage reads what earlier ones have finished and leaves one finished folder (`medm_plm.data.stages`), so
one process may do all (`run`), or any number of them each a part (docs/large_scale.md).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl

from medm_plm.data import eicu, meds, mimic3, mimic4, table_format
from medm_plm.data.files import fingerprint, make_private_folder, stored_bytes
from medm_plm.data.finishing import finish
from medm_plm.data.layout import SourceLayout, read_whole
from medm_plm.data.published_ids import read_published_ids
from medm_plm.data.report import entries as reporting
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import REPORT_FILE, SourceTables
from medm_plm.data.sharding import (
    ACCOUNT_FILE,
    LEARNED_FILE,
    ShardPlan,
    cut_table,
    make_plan,
    read_account,
    shard_file,
    shard_reader,
)
from medm_plm.data.stages import finished_stage, remove_abandoned, run_stage, stage_inputs
from medm_plm.data.visit_shards import merge_shards, prepare_shard
from medm_plm.errors import InputError
from medm_plm.ontologies.mappings import MedicationMapper

SOURCES = ("mimic3", "mimic4", "eicu", "meds", "table", "synthetic")
WORK_FOLDER = "work"  # of the output folder, where the stages keep what they make
_BYTES_OF_SHARD = 128 << 20

OnStep = Callable[[str], None]


def source_layout(
    source: str, folder: str | Path, rules: PreparationRules, notes: str | Path | None = None
) -> SourceLayout:
    """Describe the tables of a source.

    Args:
        source (`str`): a name of `SOURCES`; a synthetic cohort has the tables of MIMIC-III.
        folder (`str` or `Path`): where the tables lie.
        rules (`PreparationRules`): choices that a reader needs.
        notes (`str` or `Path`, *optional*): where the discharge summaries of MIMIC-IV lie, if elsewhere.

    Returns:
        The tables and how to read them.

    Raises:
        InputError: if the source cannot give what the rules ask for, or a table is missing.
    """
    if notes is not None and source != "mimic4":
        raise InputError(f"notes is an option of mimic4, not of {source}", remedy="leave it out")
    if source != "eicu" and rules.diagnosis_system != PreparationRules.diagnosis_system:
        raise InputError(
            f"diagnosis_system does not exist in {source}",
            received=rules.diagnosis_system,
            remedy="leave it out; it chooses between the two codes of each diagnosis of eicu",
        )
    layouts: dict[str, Callable[[], SourceLayout]] = {
        "eicu": lambda: eicu.layout(folder, rules.diagnosis_system),
        "mimic4": lambda: mimic4.layout(folder, notes),
        "meds": lambda: meds.layout(folder, rules.meds_codes),
        "table": lambda: table_format.layout(folder),
    }
    return layouts.get(source, lambda: mimic3.layout(folder))()


def read_source(
    source: str, folder: str | Path, rules: PreparationRules, notes: str | Path | None = None
) -> SourceTables:
    """Read a whole source at once; takes the arguments of `source_layout`."""
    return read_whole(source_layout(source, folder, rules, notes))


@dataclass(frozen=True)
class Preparation:
    """One preparation: what it reads, by which rules, and where it writes. Small, and travels to any process.

    Args:
        source (`str`): a name of `SOURCES`.
        input (`Path`): where the tables lie.
        output (`Path`): the prepared folder.
        rules (`PreparationRules`, *optional*): the choices.
        drug_map (`Path`, *optional*): file of medication classes; the packaged table without it.
        notes (`Path`, *optional*): where the discharge summaries of MIMIC-IV lie, if elsewhere.
        split_ids (`Path`, *optional*): folder of published admission ids that give the splits.
        num_shards (`int`, *optional*): into how many shards the patients are cut; by default one for each
            128 MiB of tables as they are stored. Changes the need of memory, and not one byte of the visits.
    """

    source: str
    input: Path
    output: Path
    rules: PreparationRules = field(default_factory=PreparationRules)
    drug_map: Path | None = None
    notes: Path | None = None
    split_ids: Path | None = None
    num_shards: int | None = None

    def __post_init__(self) -> None:
        if self.num_shards is not None and self.num_shards < 1:
            raise InputError("num_shards is impossible", received=self.num_shards, expected="1 or more")

    def __reduce__(self) -> tuple[object, ...]:
        """Travel as the choices alone; what was made of them is made again."""
        return type(self), tuple(getattr(self, choice.name) for choice in fields(self))

    @cached_property
    def layout(self) -> SourceLayout:
        """The tables of the source."""
        return source_layout(self.source, self.input, self.rules, self.notes)

    @property
    def table_names(self) -> list[str]:
        """The tables that `cut` has to read, one after the other or at the same time."""
        return list(self.layout.tables)

    @property
    def num_steps(self) -> int:
        """How often `run` tells of a step."""
        return 1 + len(self.table_names) + self._num_shards + 1

    @property
    def work(self) -> Path:
        """Where the stages keep what they make; `run` deletes it at the end."""
        return self.output / WORK_FOLDER

    @cached_property
    def inputs(self) -> dict[str, object]:
        """Everything that the prepared visits depend on; files by their fingerprints."""
        tables = {name: fingerprint(table.path) for name, table in self.layout.tables.items()}
        return {**self._choices, "tables": tables}

    def run(self, on_step: OnStep = lambda name: None, num_processes: int = 1) -> reporting.Report:
        """Do every stage that is not done yet.

        Args:
            on_step (`Callable`, *optional*): told the name of each step when it is done.
            num_processes (`int`, *optional*, defaults to 1): how many tables are cut, and then shards
                prepared, at the same time. One shard is not worth another process.

        Returns:
            The report.

        Raises:
            InputError: if a table is missing or damaged, no visit is left, or the result would leak.
        """
        if num_processes < 1:
            raise InputError("num_processes is impossible", received=num_processes, expected="1 or more")
        if (report := self.finished_report()) is not None:
            shutil.rmtree(self.work, ignore_errors=True)  # of a run that was killed between report and end
            return report
        remove_abandoned(self.output)
        num_shards = self.plan().num_shards
        on_step("plan")
        tables = self.layout.tables
        largest_first = sorted(tables, key=lambda name: stored_bytes(tables[name].path), reverse=True)
        with _workers(num_processes if num_shards > 1 else 1) as each:
            for name, _ in zip(largest_first, each(self.cut, largest_first), strict=True):
                on_step(name)
            for shard, _ in enumerate(each(self.prepare, range(num_shards))):
                on_step(f"shard {shard + 1} of {num_shards}")
        report = self.finish()
        on_step("all shards")
        shutil.rmtree(self.work, ignore_errors=True)
        return report

    def plan(self) -> ShardPlan:
        """Cut the patients into shards."""
        folder = self.work / "plan"
        inputs = {"inputs": self.inputs, "num_shards": self._num_shards}
        make_private_folder(self.output)
        run_stage(folder, inputs, lambda staging: make_plan(self.layout, self._num_shards).save(staging))
        return ShardPlan.load(folder)

    def planned_shards(self) -> int:
        """How many shards the plan has; fewer than were asked for if there are fewer patients."""
        self._planned()
        return ShardPlan.load(self.work / "plan").num_shards

    def cut(self, table: str) -> None:
        """Write the rows of each shard of one table.

        Args:
            table (`str`): a name of `table_names`.
        """
        run_stage(
            self._table_folder(table),
            {"plan": self._planned(), "table": table},
            lambda staging: cut_table(
                table, self.layout.tables[table], ShardPlan.load(self.work / "plan"), staging
            ),
        )

    def prepare(self, shard: int) -> None:
        """Make the visits of one shard.

        Args:
            shard (`int`): its number, from 0 on.
        """
        read = (shard_file(shard), ACCOUNT_FILE, LEARNED_FILE)
        tables = self._cut_tables(read)
        folders = {name: self._table_folder(name) for name in self.table_names}

        def make(staging: Path) -> None:
            records = self.layout.records(shard_reader(folders, shard))
            prepare_shard(records, self._mapper, self.rules, self._published_ids).save(staging)

        run_stage(self._shard_folder(shard), {"tables": tables, "shard": shard}, make)

    def finish(self) -> reporting.Report:
        """Make the prepared folder of all shards."""
        folders = [self._shard_folder(shard) for shard in range(self.planned_shards())]
        tables = self._cut_tables((ACCOUNT_FILE, LEARNED_FILE))
        for shard in range(len(folders)):
            self._finished(f"shards/{shard:04d}", {"tables": tables, "shard": shard})
        accounts = [read_account(self._table_folder(name)) for name in self.table_names]
        named = zip(self.table_names, accounts, strict=True)
        self._refuse_changed({name: account.file.sha256 for name, account in named})
        ids = self._published_ids
        facts = {
            "source": self.source,
            "mapping": self._mapper.source,
            "mapping_sha256": None if self.drug_map is None else fingerprint(self.drug_map),
            "fingerprint": self._fingerprint,
        }
        return finish(
            merge_shards(folders),
            folders,
            accounts,
            self.rules,
            self.output,
            facts,
            ids,
        )

    def finished_report(self) -> reporting.Report | None:
        """Read the report of an earlier run with the same inputs whose files are undamaged.

        Returns:
            The report, or `None` if there is something to do.
        """
        try:
            report = json.loads((self.output / REPORT_FILE).read_text(encoding="utf-8"))
            unchanged = report["fingerprint"] == self._fingerprint and all(
                fingerprint(self.output / name) == sha256 for name, sha256 in report["output"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return report if unchanged else None

    @cached_property
    def _num_shards(self) -> int:
        if self.num_shards is not None:
            return self.num_shards
        return 1 + sum(stored_bytes(table.path) for table in self.layout.tables.values()) // _BYTES_OF_SHARD

    @cached_property
    def _choices(self) -> dict[str, object]:
        """What the prepared visits depend on, but for the tables: quick to tell."""
        others = {"drug_map": self.drug_map, "split_ids": self.split_ids}
        return {
            "code": _code_fingerprint(),
            "polars": pl.__version__,
            "source": self.source,
            "rules": asdict(self.rules),
            **{name: None if path is None else fingerprint(path) for name, path in others.items()},
        }

    @cached_property
    def _fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.inputs, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _mapper(self) -> MedicationMapper:
        if self.drug_map is None:
            return MedicationMapper.default()
        return MedicationMapper.from_file(self.drug_map)

    @cached_property
    def _published_ids(self) -> dict[str, frozenset[str]] | None:
        return None if self.split_ids is None else read_published_ids(self.split_ids)

    def _table_folder(self, table: str) -> Path:
        return self.work / "tables" / table

    def _shard_folder(self, shard: int) -> Path:
        return self.work / "shards" / f"{shard:04d}"

    def _refuse_changed(self, read: Mapping[str, str]) -> None:
        """Stop if a table was another one when it was cut than when it was planned, or than it is now.

        Args:
            read (`Mapping[str, str]`): by table, the fingerprint of the file that was cut.
        """
        planned = stage_inputs(self.work / "plan")["inputs"]["tables"]
        current: Any = self.inputs["tables"]
        for name, found in read.items():
            if not found == planned[name] == current[name]:
                raise InputError(
                    "file has changed since the preparation began",
                    file=self.layout.tables[name].path,
                    remedy="run all stages again when it is complete",
                )

    def _planned(self) -> str:
        """Fingerprint of the plan, which must have been made by the same choices; mixed ones would pass."""
        plan = self._finished("plan")
        planned = {**stage_inputs(self.work / "plan")["inputs"], "tables": None}
        if planned != json.loads(json.dumps({**self._choices, "tables": None})):
            remedy = "give every stage the same options, or run all of them again"
            raise InputError("stage plan was run with other options", file=self.work, remedy=remedy)
        return plan

    def _cut_tables(self, files: Collection[str]) -> dict[str, str]:
        """Fingerprints of the tables, which must have been cut by the plan that is there."""
        plan = self._planned()
        return {
            name: self._finished(f"tables/{name}", {"plan": plan, "table": name}, files)
            for name in self.table_names
        }

    def _finished(
        self, stage: str, inputs: Mapping[str, object] | None = None, files: Collection[str] | None = None
    ) -> str:
        """Fingerprint of a stage that must be done before this one; only the files to be read are checked."""
        found = finished_stage(self.work / stage, inputs, files)
        if found is None:
            raise InputError(
                f"stage {stage} is not finished, or an earlier one was run anew",
                file=self.work,
                remedy="run it first; plan, then cut each table, then prepare each shard, then finish",
            )
        return found


@cache
def _code_fingerprint() -> str:
    """Fingerprint of everything of the package that prepares, the tables of codes and drugs among it."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "data", package / "ontologies"):
        for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.csv")]):
            digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _workers(num_processes: int) -> Iterator[Callable[..., Iterator[None]]]:
    """Give what calls a function for each of some values: `map`, or that of other processes."""
    if num_processes == 1:
        yield map
        return
    # Forking a process that has threads, as that of the engine, may never end.
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        yield pool.map
