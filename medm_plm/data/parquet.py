"""Parquet files from outside: their columns, their types and their damage.

As with CSV, names of columns match in any letter case, and no message holds the content of a cell.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

import polars as pl

from medm_plm.data.csv_check import TableFile
from medm_plm.data.files import fingerprint
from medm_plm.data.schema import RowLedger
from medm_plm.data.tables import NO_VALUE
from medm_plm.errors import InputError

SUFFIX = ".parquet"

# The engine panics, which is no ordinary exception, over some damaged pages.
_DAMAGE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def read_schema(path: Path, columns: Sequence[str], remedy: str) -> dict[str, tuple[str, pl.DataType]]:
    """Read which columns a file has.

    Args:
        path (`Path`): a parquet file.
        columns (`Sequence[str]`): columns that it must have, in lower case.
        remedy (`str`): what to do if one is missing.

    Returns:
        By name in lower case, the name in the file and the type.

    Raises:
        InputError: if the file is damaged or a column is missing or there twice.
    """
    try:
        schema = pl.read_parquet_schema(path)
    except _DAMAGE:
        _refuse_damaged(path)
    names = [name.strip().lower() for name in schema]
    for column in columns:
        if (count := names.count(column)) != 1:
            raise InputError(
                f"column {column} is {'missing' if count == 0 else 'there more than once'}",
                file=path,
                received=f"{len(names)} columns",
                expected=", ".join(columns),
                remedy=remedy,
            )
    return dict(zip(names, schema.items(), strict=True))


def collect(rows: pl.LazyFrame, path: Path) -> pl.DataFrame:
    """Run a query over parquet files without passing on the engine's message, which may quote cells.

    Args:
        rows (`polars.LazyFrame`): the query.
        path (`Path`): file or folder to name in an error.

    Returns:
        Its result.

    Raises:
        InputError: if a file is damaged.
    """
    try:
        return rows.collect(engine="streaming")
    except _DAMAGE:
        _refuse_damaged(path)


def read_parquet_table(
    path: Path, columns: Sequence[str], text_columns: Collection[str], remedy: str
) -> tuple[pl.DataFrame, RowLedger, TableFile]:
    """Read the named columns of a table as text, the way `tables.read_table` reads a CSV file.

    Args:
        path (`Path`): a parquet file.
        columns (`Sequence[str]`): columns wanted, in lower case.
        text_columns (`Collection[str]`): those that must be text in the file, such as codes, which lose
            their leading zeros as numbers.
        remedy (`str`): what to do if a column is missing.

    Returns:
        The rows in file order (blanks around a value removed, missing values null), the ledger of the table,
        and the facts of the file.

    Raises:
        InputError: if the file is damaged, or a column is missing or of a type that is no value.
    """
    schema = read_schema(path, columns, remedy)
    cells = []
    for column in columns:
        if column in text_columns and schema[column][1].is_numeric():
            remedy = "write the column as text; a code that was read as a number has lost its leading zeros"
            raise InputError(f"column {column} holds numbers", file=path, expected="text", remedy=remedy)
        cells.append(as_text(column, schema[column], path).alias(column))
    frame = collect(pl.scan_parquet(path, glob=False).select(cells), path)
    file = TableFile(path, tuple(schema), frame.height, fingerprint(path))
    ledger = RowLedger(file.num_rows)
    return ledger.keep(frame, ~pl.all_horizontal(pl.all().is_null()), NO_VALUE), ledger, file


def as_text(column: str, item: tuple[str, pl.DataType], path: Path) -> pl.Expr:
    """Write the values of a column the way a CSV file holds them.

    Args:
        column (`str`): its name in lower case, for an error.
        item (`tuple[str, polars.DataType]`): its name in the file and its type.
        path (`Path`): the file, for an error.

    Returns:
        The values as text, without blanks around them; nothing but blanks becomes null.

    Raises:
        InputError: if the type is no text, number or time.
    """
    name, dtype = item
    cell = pl.col(name)
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Duration, pl.Time):
        raise InputError(
            f"column {column} has a wrong type", file=path, received=dtype, expected="text, numbers or times"
        )
    if isinstance(dtype, pl.Datetime):
        cell = cell.dt.replace_time_zone(None).dt.strftime("%Y-%m-%d %H:%M:%S")
    elif dtype.is_float():  # a column of whole numbers with gaps is often written as 11.0
        whole = cell.cast(pl.Int64, strict=False)
        cell = pl.when(whole == cell).then(whole.cast(pl.String)).otherwise(cell.cast(pl.String))
    return cell.cast(pl.String).str.strip_chars().replace("", None)


def _refuse_damaged(path: Path) -> NoReturn:
    remedy = "copy it again and compare its checksum"
    raise InputError("file cannot be read as parquet", file=path, remedy=remedy) from None
