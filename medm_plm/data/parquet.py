"""Parquet files: columns, types and damage of those from outside, and writing group by group.

As with CSV, names of columns match in any letter case, and no message holds the content of a cell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import polars as pl
import pyarrow.parquet as pq

from medm_plm.data.batches import Batch
from medm_plm.errors import InputError

SUFFIX = ".parquet"
_ROWS_OF_BATCH = 250_000
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # the years 1 to 9999, as days since 1970

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
    if _name_is_no_text(path):
        raise InputError("name of the file is not UTF-8", file=path, remedy="rename it")
    try:
        schema = pl.scan_parquet(path, glob=False).collect_schema()  # a name may hold `*` or `[`
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


def row_frames(path: Path, columns: Sequence[pl.Expr]) -> Iterator[pl.DataFrame]:
    """Read a file some rows at a time.

    Args:
        path (`Path`): a parquet file.
        columns (`Sequence[polars.Expr]`): what to read.

    Yields:
        The rows in file order; a file without rows gives one empty frame.

    Raises:
        InputError: if the file is damaged.
    """
    rows = pl.scan_parquet(path, glob=False).select(columns)
    num_rows = collect(pl.scan_parquet(path, glob=False).select(pl.len()), path).item()
    for start in range(0, max(1, num_rows), _ROWS_OF_BATCH):
        yield collect(rows.slice(start, _ROWS_OF_BATCH), path)


def text_batches(
    path: Path, columns: Sequence[str], text_columns: Collection[str], remedy: str
) -> Iterator[Batch]:
    """Read the named columns of a table as text, the way `tables.csv_batches` reads a CSV file.

    Args:
        path (`Path`): a parquet file.
        columns (`Sequence[str]`): columns wanted, in lower case.
        text_columns (`Collection[str]`): those that must be text in the file, such as codes, which lose
            their leading zeros as numbers.
        remedy (`str`): what to do if a column is missing.

    Yields:
        The rows in file order (blanks around a value removed, missing values null).

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
    for rows in row_frames(path, cells):
        yield Batch(rows, [pl.all()])


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
        cell = as_time(cell, dtype).dt.strftime("%Y-%m-%d %H:%M:%S")
    elif dtype == pl.Date:
        cell = pl.when(cell.to_physical().is_between(_FIRST_DAY, _LAST_DAY)).then(cell)
    elif dtype.is_float():  # a column of whole numbers with gaps is often written as 11.0
        whole = cell.cast(pl.Int64, strict=False)
        cell = pl.when(whole == cell).then(whole.cast(pl.String)).otherwise(cell.cast(pl.String))
    return cell.cast(pl.String).str.strip_chars().replace("", None)


def as_time(cell: pl.Expr, dtype: pl.Datetime) -> pl.Expr:
    """Read times of any unit and zone as the clock showed them, in microseconds.

    The engine panics over times that no calendar holds, and units differ in what they can hold, so those
    outside the years 1 to 9999 become null.

    Args:
        cell (`polars.Expr`): the times.
        dtype (`polars.Datetime`): their type.

    Returns:
        The times.
    """
    units = {"ms": 10**3, "us": 10**6, "ns": 10**9}[dtype.time_unit]
    bounds = (day * 86_400 * units for day in (_FIRST_DAY, _LAST_DAY))
    first, last = (min(max(bound, -(2**63)), 2**63 - 1) for bound in bounds)
    known = pl.when(cell.to_physical().is_between(first, last)).then(cell)
    return known.dt.replace_time_zone(None).dt.cast_time_unit("us")


class RowGroupWriter:
    """Writes frames to one parquet file as they come; the same rows in the same groups give the same bytes.

    Args:
        path (`Path`): the file.
        compression (`str`): what the file is compressed by.
    """

    def __init__(self, path: Path, compression: str) -> None:
        self._path = path
        self._compression = compression
        self._writer: pq.ParquetWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        """Write a group of rows."""
        rows = frame.rechunk().to_arrow()  # pages end where chunks end
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, rows.schema, compression=self._compression)
        self._writer.write_table(rows)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


def _name_is_no_text(path: Path) -> bool:
    """Tell whether the engine cannot be told the name; bytes of it that are no UTF-8 are lone surrogates."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _refuse_damaged(path: Path) -> NoReturn:
    remedy = "copy it again and compare its checksum"
    raise InputError("file cannot be read as parquet", file=path, remedy=remedy) from None
