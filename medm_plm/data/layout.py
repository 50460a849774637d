"""What a source has to say of its tables: where the rows come from, and how they belong to patients.

A source module describes its tables by a `SourceLayout` and turns their rows into records by a function of a
`TableReader`. Between the two stands the engine: it may read the whole source at once (`read_whole`), or cut
every table into shards of patients first (`medm_plm.data.sharding`), which gives the same records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from medm_plm.data.batches import Batch
from medm_plm.data.files import fingerprint
from medm_plm.data.schema import NUM_ROWS, RowLedger, SourceFile, SourceTables
from medm_plm.errors import InputError

NO_VALUE = "row has no value in the columns read"


@dataclass(frozen=True)
class SourceTable:
    """One table of a source.

    Args:
        path (`Path`): its file, or a folder of files.
        batches (`Callable`): gives its rows in order, in batches of the columns wanted; cells are text
            without blanks around it, and null where there is no value.
        subject (`str`, *optional*): column that names the patient.
        visit (`str`, *optional*): column that names the visit; goes before `subject` in telling whose row it
            is.
        keep (`polars.Expr`, *optional*): which rows are wanted.
        reason (`str`, *optional*): why the others go, for the ledger; goes with `keep`.
        ledger (`str`, *optional*): which ledger counts the rows that go, if not that of the table.
        learn (`Callable`, *optional*): counts something in a batch that the records of every patient need
            from the whole table; a column `num_rows` beside the columns that tell what was counted.
    """

    path: Path
    batches: Callable[[], Iterator[Batch]]
    subject: str | None = None
    visit: str | None = None
    keep: pl.Expr | None = None
    reason: str = ""
    ledger: str | None = None
    learn: Callable[[pl.DataFrame], pl.DataFrame] | None = None


@dataclass(frozen=True)
class SourceLayout:
    """The tables of a source.

    Args:
        tables (`Mapping[str, SourceTable]`): by name, in the order in which they are read.
        visit_table (`str`): the one that lists the visits, or whose rows tell the size of a patient's record.
        records (`Callable`): turns the rows of some patients into their records.
    """

    tables: Mapping[str, SourceTable]
    visit_table: str
    records: Callable[[TableReader], SourceTables]


@dataclass
class TableAccount:
    """What became of the rows of a table before they were sorted out by patient.

    Args:
        file (`SourceFile`): name, rows and fingerprint of the file.
        ledger_name (`str`): which ledger the rows that went belong to.
        ledger (`RowLedger`): the rows that went.
        num_values (`dict[str, int]`): rows that have a value, by column.
        learned (`polars.DataFrame`): what `SourceTable.learn` has counted in all batches.
    """

    file: SourceFile
    ledger_name: str
    ledger: RowLedger = field(default_factory=lambda: RowLedger(0))
    num_values: dict[str, int] = field(default_factory=dict)
    learned: pl.DataFrame = field(default_factory=pl.DataFrame)

    def learn(self, counts: pl.DataFrame) -> None:
        """Add what was counted in a batch."""
        both = pl.concat([self.learned, counts]) if self.learned.width else counts
        keys = [name for name in both.columns if name != NUM_ROWS]
        self.learned = both.group_by(keys).agg(pl.sum(NUM_ROWS))


def wanted_rows(name: str, table: SourceTable) -> tuple[Iterator[pl.DataFrame], TableAccount]:
    """Read the rows of a table that are wanted.

    Args:
        name (`str`): name of the table.
        table (`SourceTable`): where its rows come from.

    Returns:
        The rows, batch by batch, and the account, which is complete when the last batch was taken.

    Raises:
        InputError: if the file is missing or damaged.
    """
    account = TableAccount(SourceFile(table.path.name, 0, fingerprint(table.path)), table.ledger or name)

    def batches() -> Iterator[pl.DataFrame]:
        for batch in table.batches():
            num_rows = batch.rows.height
            account.file.num_rows += num_rows
            wanted = batch.wanted(table.keep)
            kept = wanted.filter(~pl.all_horizontal(pl.all().is_null()))
            account.ledger.rows_in += num_rows - kept.height
            account.ledger.drop(num_rows - wanted.height, table.reason)
            account.ledger.drop(wanted.height - kept.height, NO_VALUE)
            for column, count in zip(kept.columns, kept.count().row(0), strict=True):
                account.num_values[column] = account.num_values.get(column, 0) + count
            if table.learn is not None:
                account.learn(table.learn(kept))
            yield kept

    return batches(), account


class TableReader:
    """Hands the rows of some patients to a source module, and keeps the account.

    Args:
        frames (`Callable`): gives the rows of a table.
        accounts (`Mapping[str, TableAccount]`): of the whole tables; those that the source does not have are
            missing.
    """

    def __init__(self, frames: Callable[[str], pl.DataFrame], accounts: Mapping[str, TableAccount]) -> None:
        self._frames = frames
        self._accounts = accounts
        self.ledgers: dict[str, RowLedger] = {}
        self.remarks: dict[str, int] = {}
        self.readable: dict[str, tuple[int, int]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._accounts

    def frame(self, name: str) -> pl.DataFrame:
        """Give the rows of a table in the order of the file, without an account."""
        return self._frames(name)

    def table(self, name: str) -> tuple[pl.DataFrame, RowLedger]:
        """Give the rows of a table in the order of the file, and the ledger to account for them."""
        frame = self._frames(name)
        self.ledgers[name] = RowLedger(frame.height)
        return frame, self.ledgers[name]

    def has_values(self, name: str, column: str) -> bool:
        """Tell whether any row of the whole table, not only of these patients, has a value in a column."""
        return self._accounts[name].num_values.get(column, 0) > 0

    def learned(self, name: str) -> pl.DataFrame:
        """Give what was counted in the whole table."""
        return self._accounts[name].learned

    def expect_readable(self, what: str, num_values: int, num_read: int) -> None:
        """Note how many of some values could be read; if it is none of all patients', the table is wrong."""
        self.readable[what] = (num_values, num_read)


def refuse_unreadable(readable: Mapping[str, tuple[int, int]]) -> None:
    """Stop if of some kind of values not one could be read, which is a mistake of the whole table.

    Args:
        readable (`Mapping`): by kind of values, how many there are and how many could be read.

    Raises:
        InputError: at the first such kind.
    """
    for what, (num_values, num_read) in readable.items():
        if num_values and not num_read:
            raise InputError(f"no value can be read of {what}", received=f"{num_values} values")


def read_whole(layout: SourceLayout) -> SourceTables:
    """Read a source at once, without shards.

    Args:
        layout (`SourceLayout`): its tables.

    Returns:
        The records of all patients.

    Raises:
        InputError: if a table is missing or damaged.
    """
    frames, accounts = {}, {}
    for name, table in layout.tables.items():
        batches, accounts[name] = wanted_rows(name, table)
        frames[name] = pl.concat(batches, rechunk=True)
    reader = TableReader(frames.__getitem__, accounts)
    tables = layout.records(reader)
    refuse_unreadable(tables.readable)
    for account in accounts.values():
        tables.ledgers.setdefault(account.ledger_name, RowLedger(0)).add(account.ledger)
    tables.files = [account.file for account in accounts.values()]
    return tables
