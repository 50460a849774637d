"""Prepare records for MedM-PLM: the tables of a source become visits, a code vocabulary and a report.

python run_preparation.py --source mimic3 --input MIMIC_FOLDER --output OUT
python run_preparation.py --source table --input FOLDER --output OUT
python run_preparation.py --source synthetic --num_patients 2000 --output OUT
python run_preparation.py --check OUT
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from medm_plm.command_line import parse_arguments, print_table, run_main
from medm_plm.data import mimic3
from medm_plm.data.checking import check_folder
from medm_plm.data.cohort import REQUIREMENTS, CohortRules
from medm_plm.data.meds_events import MedsCodes
from medm_plm.data.preparation import Preparation
from medm_plm.data.report.entries import Report
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import DIAGNOSIS_CODES, MEDICATION_CODES, SPLITS
from medm_plm.data.synthetic import DRUG_MAP_FILE, TRUTH_FOLDER, write_synthetic_tables
from medm_plm.errors import InputError


@dataclass
class PreparationArguments:
    """Options of the preparation."""

    source: Literal["mimic3", "mimic4", "eicu", "meds", "table", "synthetic"] | None = field(
        default=None, metadata={"help": "where the records come from"}
    )
    input: str | None = field(
        default=None,
        metadata={
            "help": "folder of the tables; for synthetic, where to write them (default: a temporary folder)"
        },
    )
    output: str | None = field(
        default=None, metadata={"help": "folder to write visits, vocabulary and report to"}
    )
    drug_map: str | None = field(
        default=None,
        metadata={"help": "file of medication classes (ATC); default: the table that comes with the package"},
    )
    notes: str | None = field(
        default=None,
        metadata={"help": "for mimic4: folder of MIMIC-IV-Note, if it is not note/ inside the input folder"},
    )
    readmission_policy: Literal["paper", "clinicalbert", "cms"] = field(
        default="paper", metadata={"help": "what counts as a readmission within 30 days"}
    )
    minimum_age: float = field(default=16.0, metadata={"help": "years at admission; 0 keeps every age"})
    require: list[str] = field(
        default_factory=lambda: ["diagnoses_or_note"],
        metadata={
            "help": "what a visit must have: "
            + ", ".join(REQUIREMENTS)
            + "; the paper: note diagnoses medications"
        },
    )
    diagnosis_system: Literal["ICD9CM", "ICD10CM"] = field(
        default="ICD9CM", metadata={"help": "for eicu, which writes each diagnosis in both"}
    )
    meds_admission: list[str] = field(
        default_factory=lambda: list(MedsCodes().admission),
        metadata={"help": "for meds: what the codes of admissions begin with"},
    )
    meds_discharge: list[str] = field(
        default_factory=lambda: list(MedsCodes().discharge),
        metadata={"help": "for meds: what the codes of discharges begin with"},
    )
    meds_diagnosis: list[str] = field(
        default_factory=lambda: list(MedsCodes().diagnosis),
        metadata={"help": "for meds: what the codes of diagnoses begin with, as PREFIX=ICD9CM or =ICD10CM"},
    )
    meds_medication: list[str] = field(
        default_factory=lambda: list(MedsCodes().medication),
        metadata={"help": "for meds: what the codes of medications begin with, as PREFIX=drug, =ndc or =atc"},
    )
    meds_note: list[str] = field(
        default_factory=lambda: list(MedsCodes().note),
        metadata={"help": "for meds: what the codes of discharge summaries begin with"},
    )
    split_ids: str | None = field(
        default=None,
        metadata={
            "help": "folder of published admission ids that give the splits, as CAML's train_50_hadm_ids.csv"
        },
    )
    seed: int = field(default=0, metadata={"help": "chooses the split, and the synthetic patients"})
    num_patients: int = field(default=1000, metadata={"help": "size of a synthetic cohort"})
    num_shards: int | None = field(
        default=None,
        metadata={
            "help": "into how many parts the patients are cut, more need less memory; default: by size"
        },
    )
    num_processes: int = field(
        default_factory=lambda: max(1, (os.cpu_count() or 1) // 2),
        metadata={"help": "how many parts are worked on at the same time; default: one for two cores"},
    )
    stage: Literal["all", "plan", "cut", "prepare", "finish"] = field(
        default="all", metadata={"help": "do this stage alone, to spread the work over many processes"}
    )
    only: list[str] = field(
        default_factory=list,
        metadata={"help": "with --stage cut: these tables; with --stage prepare: these shards"},
    )
    check: str | None = field(
        default=None, metadata={"help": "check this prepared folder against leakage, and do nothing else"}
    )

    def __post_init__(self) -> None:
        if self.check is None:
            missing = [f"--{name}" for name in ("source", "output") if getattr(self, name) is None]
            if self.source not in (None, "synthetic") and self.input is None:
                missing.append("--input")
            if missing:
                raise InputError(f"{' and '.join(missing)} must be given, or --check FOLDER alone")
        if self.only and self.stage not in ("cut", "prepare"):
            raise InputError(
                "--only goes with --stage cut or --stage prepare", received=f"--stage {self.stage}"
            )
        self.rules = PreparationRules(
            cohort=CohortRules(
                minimum_age=self.minimum_age,
                require=tuple(name for word in self.require for name in word.split(",") if name),
            ),
            readmission_policy=self.readmission_policy,
            diagnosis_system=self.diagnosis_system,
            meds_codes=self.meds_codes() if self.source == "meds" else None,
            seed=self.seed,
        )

    def meds_codes(self) -> MedsCodes:
        """Gather the options about the codes of a MEDS dataset."""
        return MedsCodes(
            **{kind.name: tuple(getattr(self, f"meds_{kind.name}")) for kind in fields(MedsCodes)}
        )


def main() -> None:
    """Prepare a folder, or check one."""
    (options,) = parse_arguments(PreparationArguments, description=__doc__)
    if options.check is not None:
        show_checks(options.check)
        return
    with input_folder(options) as folder:
        report = run_stages(preparation_of(options, folder), options)
    if report is None:
        return
    print_table(f"prepared {options.output}", ("quantity", "value"), summary_rows(report))
    for warning in report["warnings"]:
        print(f"warning: {warning}")


def run_stages(preparation: Preparation, options: PreparationArguments) -> Report | None:
    """Do one stage or all, with a progress bar.

    Args:
        preparation (`Preparation`): what to prepare.
        options (`PreparationArguments`): which stage, and of which tables or shards.

    Returns:
        The report, if the stage makes one.
    """
    if options.stage == "plan":
        print(f"{preparation.plan().num_shards} shards; tables: {' '.join(preparation.table_names)}")
    elif options.stage == "cut":
        for name in chosen_tables(options.only, preparation.table_names):
            preparation.cut(name)
    elif options.stage == "prepare":
        for shard in chosen_shards(options.only, preparation.planned_shards()):
            preparation.prepare(shard)
    elif options.stage == "finish":
        report = preparation.finished_report() or preparation.finish()  # so that a job may be started again
        shutil.rmtree(preparation.work, ignore_errors=True)  # it holds notes
        return report
    else:
        with tqdm(total=preparation.num_steps, unit="step") as progress:

            def on_step(name: str) -> None:
                progress.set_description(name)
                progress.update()

            report = preparation.run(on_step, num_processes=options.num_processes)
        if not progress.n:
            print(f"{options.output} is up to date: nothing has changed since it was prepared")
        return report
    return None


def chosen_tables(names: Sequence[str], tables: Sequence[str]) -> Sequence[str]:
    """Check the names of tables that were asked for; none means all."""
    for name in names:
        if name not in tables:
            raise InputError("there is no such table", received=name, expected=" ".join(tables))
    return names or tables


def chosen_shards(numbers: Sequence[str], num_shards: int) -> Sequence[int]:
    """Check the numbers of shards that were asked for; none means all."""
    for number in numbers:
        if not number.isdecimal() or int(number) >= num_shards:
            raise InputError("there is no such shard", received=number, expected=f"0 to {num_shards - 1}")
    return [int(number) for number in numbers] or range(num_shards)


@contextmanager
def input_folder(options: PreparationArguments) -> Iterator[Path]:
    """Give the folder of the tables; those of a synthetic cohort are written first."""
    if options.source != "synthetic":
        yield Path(options.input)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.input or temporary)
        refuse_foreign_tables(folder)
        write_synthetic_tables(folder, num_patients=options.num_patients, seed=options.seed)
        yield folder


def refuse_foreign_tables(folder: Path) -> None:
    """Stop before a synthetic cohort replaces tables that are none, for example those of MIMIC-III."""
    names = {path.name.upper().split(".")[0] for path in folder.glob("*.csv*")}
    if names & set(mimic3.TABLES) and not (folder / TRUTH_FOLDER).is_dir():
        raise InputError(
            "folder holds tables that are not synthetic",
            file=folder,
            remedy="give an empty folder as --input, or none; to read these tables, use --source mimic3",
        )


def preparation_of(options: PreparationArguments, folder: Path) -> Preparation:
    """Gather what the options say; a synthetic cohort brings its mapping file along."""
    drug_map = options.drug_map
    if drug_map is None and options.source == "synthetic":
        drug_map = str(folder / DRUG_MAP_FILE)
    paths = {"drug_map": drug_map, "notes": options.notes, "split_ids": options.split_ids}
    return Preparation(
        source=options.source,
        input=folder,
        output=Path(options.output),
        rules=options.rules,
        num_shards=options.num_shards,
        **{name: None if path is None else Path(path) for name, path in paths.items()},
    )


def show_checks(folder: str) -> None:
    """Print the leakage checks of a prepared folder, all of which hold."""
    rows = check_folder(folder).rows()
    print_table(f"leakage checks of {folder}", ("check", "examined", "violations"), rows)


def summary_rows(report: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Choose the lines of the closing table.

    Args:
        report (`Mapping`): a finished report.

    Returns:
        Pairs of a quantity and its value.
    """
    visits, medications = report["visits"], report["medications"]
    readmission = visits["readmission"]
    lengths = report["lengths"]
    rows: list[tuple[str, object]] = [
        ("visits read", visits["visits_read"]),
        ("visits prepared", visits["visits_prepared"]),
        ("patients prepared", visits["patients_prepared"]),
        ("patients with several visits", visits["patients_with_several_visits"]),
        (f"readmissions ({readmission['policy']})", _positive(readmission["visits_read"])),
        ("visits with a note", visits["visits_with_note"]),
        ("words of a note (median)", lengths["words_of_note"]["median"]),
        ("diagnoses of a visit (median)", lengths[DIAGNOSIS_CODES]["median"]),
        ("medications of a visit (median)", lengths[MEDICATION_CODES]["median"]),
        ("prescription rows mapped", _share(medications["rows_mapped"], medications["rows"])),
    ]
    for system, placement in report["codes"].items():
        rows.append((f"{system} codes placed in the tree", f"{placement['placed']} of {placement['codes']}"))
    rows += [(f"{split} patients / visits", _split_sizes(report["splits"][split])) for split in SPLITS]
    return rows


def _positive(counts: Mapping[str, int]) -> int | None:
    return counts["positive"] if counts["positive"] + counts["negative"] else None


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({part / whole:.1%})" if whole else "")


def _split_sizes(entry: Mapping[str, Any]) -> str:
    return f"{entry['patients']} / {entry['visits']}"


if __name__ == "__main__":
    run_main(main)
