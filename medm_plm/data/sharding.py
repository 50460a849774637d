"""Tables cut into shards of whole patients, in one pass over each file and in bounded memory.

A shard holds the patients between two in the order of their numbers, so that shards one behind the other are
sorted as a whole, and about as many visits as every other shard.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from medm_plm.data.layout import SourceLayout, SourceTable, TableAccount, TableReader, wanted_rows
from medm_plm.data.parquet import RowGroupWriter
from medm_plm.data.schema import RowLedger, SourceFile
from medm_plm.errors import InputError

_SHARD, _OWNER, _VISIT = "shard", "owner", "visit"
_NO_OWNERS = pl.DataFrame(schema={_OWNER: pl.String(), _VISIT: pl.String()})
ACCOUNT_FILE, LEARNED_FILE = "account.json", "learned.parquet"
_OWNERS_FILE, _PLAN_FILE = "owners.parquet", "plan.json"
MOST_ROWS = 12_000_000  # of a table in one shard: what fits into some gigabytes of memory
_ROWS_OF_GROUP = 20_000  # rows of a shard that are gathered before they are written
_BYTES_OF_GROUP = 4 << 20


@dataclass(frozen=True)
class ShardPlan:
    """Which shard a patient belongs to.

    Args:
        first_patients (`tuple[str, ...]`): number of the first patient of each shard but the first.
        owners (`polars.DataFrame`): columns `visit` and `owner`: whose visit it is; empty where a source
            names the patient in every row.
    """

    first_patients: tuple[str, ...]
    owners: pl.DataFrame

    @property
    def num_shards(self) -> int:
        """How many shards there are."""
        return len(self.first_patients) + 1

    def shards_of(self, rows: pl.DataFrame, table: SourceTable) -> pl.Series:
        """Tell the shard of each row; a row that names no known visit and no patient goes to the first.

        Args:
            rows (`polars.DataFrame`): rows of a table.
            table (`SourceTable`): which of its columns name the visit and the patient.

        Returns:
            Numbers from 0 on.
        """
        if not self.first_patients:
            return pl.repeat(0, rows.height, dtype=pl.UInt32, eager=True)
        patient = self._patients_of(rows, table).alias(_OWNER)
        # The last cut at or before the patient, looked for once for each patient.
        known = patient.unique().drop_nulls()
        cuts = pl.Series(self.first_patients, dtype=pl.String)
        shards = cuts.search_sorted(known, side="right").cast(pl.UInt32) if len(known) else None
        by_patient = pl.DataFrame({_OWNER: known, _SHARD: shards}, {_OWNER: pl.String, _SHARD: pl.UInt32})
        asked = patient.to_frame()
        return asked.join(by_patient, on=_OWNER, how="left", maintain_order="left")[_SHARD].fill_null(0)

    def _patients_of(self, rows: pl.DataFrame, table: SourceTable) -> pl.Series:
        named = pl.Series([None], dtype=pl.String).new_from_index(0, rows.height)
        if table.subject is not None:
            named = rows[table.subject]
        if table.visit is None:
            return named
        visits = rows.select(pl.col(table.visit).alias(_VISIT))
        owner = visits.join(self.owners, on=_VISIT, how="left", maintain_order="left")[_OWNER]
        return owner.zip_with(owner.is_not_null(), named)

    def save(self, folder: Path) -> None:
        """Write the plan to a folder."""
        self.owners.write_parquet(folder / _OWNERS_FILE)
        (folder / _PLAN_FILE).write_text(json.dumps(self.first_patients))

    @classmethod
    def load(cls, folder: Path) -> ShardPlan:
        """Read a plan that was saved."""
        owners = pl.read_parquet(folder / _OWNERS_FILE, glob=False)
        return cls(tuple(json.loads((folder / _PLAN_FILE).read_text())), owners)


def make_plan(layout: SourceLayout, num_shards: int) -> ShardPlan:
    """Cut the patients of a source into shards of about equal size.

    Args:
        layout (`SourceLayout`): tables of the source.
        num_shards (`int`): how many shards are wanted; there are fewer if there are fewer patients.

    Returns:
        The plan.
    """
    table = layout.tables[layout.visit_table]
    columns = {_OWNER: table.subject, _VISIT: table.visit}
    keys = [pl.col(name).alias(role) for role, name in columns.items() if name is not None]
    batches, _ = wanted_rows(layout.visit_table, table)
    counted, owners = [], [_NO_OWNERS]
    for batch in batches:
        named = batch.select(keys).drop_nulls()
        counted.append(named.group_by(_OWNER).len())
        if table.visit is not None:
            owners.append(named)
    sizes = pl.concat(counted).group_by(_OWNER).agg(pl.sum("len")).sort(_OWNER)
    before = sizes["len"].cum_sum() - sizes["len"]
    shard = before * num_shards // max(1, int(sizes["len"].sum()))
    first = sizes.filter(shard.is_first_distinct())[_OWNER].to_list()[1:]
    # Of a visit under two patients the first row counts, as for the readers.
    return ShardPlan(tuple(first), pl.concat(owners).unique(_VISIT, keep="first", maintain_order=True))


def cut_table(name: str, table: SourceTable, plan: ShardPlan, folder: Path) -> None:
    """Write each shard's rows of a table to a file of its own, in the order of the source.

    Args:
        name (`str`): name of the table.
        table (`SourceTable`): where its rows come from.
        plan (`ShardPlan`): which row belongs to which shard.
        folder (`Path`): where the files go, beside an account of the rows that were left out.

    Raises:
        InputError: if the file is missing or damaged.
    """
    batches, account = wanted_rows(name, table)
    shards = _ShardWriters(folder, plan.num_shards)
    for batch in batches:
        shards.add(batch, plan.shards_of(batch, table))
    shards.close()
    account.learned.sort(pl.all()).write_parquet(folder / LEARNED_FILE)
    facts = asdict(replace(account, learned=None))
    (folder / ACCOUNT_FILE).write_text(json.dumps(facts, sort_keys=True))


def read_account(folder: Path) -> TableAccount:
    """Read the account of a table that was cut.

    Args:
        folder (`Path`): what `cut_table` filled.

    Returns:
        The account.
    """
    facts = json.loads((folder / ACCOUNT_FILE).read_text())
    return TableAccount(
        file=SourceFile(**facts["file"]),
        ledger_name=facts["ledger_name"],
        ledger=RowLedger(**facts["ledger"]),
        num_values=facts["num_values"],
        learned=pl.read_parquet(folder / LEARNED_FILE, glob=False),
    )


def shard_reader(folders: dict[str, Path], shard: int) -> TableReader:
    """Read the tables of one shard.

    Args:
        folders (`dict[str, Path]`): by table, what `cut_table` filled.
        shard (`int`): number of the shard.

    Returns:
        A reader of its rows.
    """
    accounts = {name: read_account(folder) for name, folder in folders.items()}
    return TableReader(lambda name: _read_rows(folders[name] / shard_file(shard), name), accounts)


def _read_rows(path: Path, table: str) -> pl.DataFrame:
    num_rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    if num_rows > MOST_ROWS:
        raise InputError(
            f"table {table} has {num_rows} rows for the patients of one shard",
            expected=f"at most {MOST_ROWS}",
            remedy="cut the patients into more shards by --num_shards, and look for rows that are repeated",
        )
    return pl.read_parquet(path, glob=False)


def shard_file(shard: int) -> str:
    """Name the file of a shard."""
    return f"shard-{shard:04d}.parquet"


class _ShardWriters:
    """Gathers the rows of each shard until there are enough for a group."""

    def __init__(self, folder: Path, num_shards: int) -> None:
        self._writers = [RowGroupWriter(folder / shard_file(shard), "lz4") for shard in range(num_shards)]
        self._waiting: list[list[pl.DataFrame]] = [[] for _ in range(num_shards)]
        self._empty = pl.DataFrame()

    def add(self, rows: pl.DataFrame, shards: pl.Series) -> None:
        self._empty = rows.clear()
        parts = rows.with_columns(shards.alias(_SHARD)).partition_by(
            _SHARD, as_dict=True, include_key=False, maintain_order=True
        )
        for (shard,), part in parts.items():
            waiting = self._waiting[shard]
            waiting.append(part)
            num_rows = sum(frame.height for frame in waiting)
            num_bytes = sum(frame.estimated_size() for frame in waiting)
            if num_rows >= _ROWS_OF_GROUP or num_bytes >= _BYTES_OF_GROUP:
                self._write(shard)

    def close(self) -> None:
        for shard, writer in enumerate(self._writers):
            self._write(shard)
            writer.close()

    def _write(self, shard: int) -> None:
        self._writers[shard].write(pl.concat([self._empty, *self._waiting[shard]]))
        self._waiting[shard] = []
