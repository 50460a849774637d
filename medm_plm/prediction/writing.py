"""Predictions into a file, some at a time: parquet, or CSV that no spreadsheet runs.

A cell of text that begins with one of `= + - @`, a tab or a line break would be taken for a formula by a
spreadsheet, some also after blanks or with the wide forms of these signs; such a cell gets an apostrophe in
front. The same holds for what follows a semicolon or a tab, at which many spreadsheets divide a line whatever
the quotes say. Numbers stay numbers.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

FORMULA_STARTS = ("=", "+", "-", "@")
LINE_STARTS = ("\t", "\r", "\n")
_OTHER_SEPARATORS = re.compile(r"(?<=[;\t])")
OUTPUT_SUFFIXES = (".parquet", ".csv")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_SEEN = {"Cc", "Cf", "Zl", "Zp", "Zs"}  # control and format characters, separators
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


class RowWriter(Protocol):
    """Takes rows, some at a time."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows, each with all columns."""


def neutralized(cell: Any) -> Any:
    """Keep a spreadsheet from running a cell.

    Args:
        cell: any value.

    Returns:
        The value; text that would be taken for a formula with an apostrophe in front. Text that is a number,
        such as `-5`, is no formula.

    Example:
        >>> neutralized("=1+1"), neutralized("a;=1+1"), neutralized("-5"), neutralized(-0.5)
        ("'=1+1", "a;'=1+1", '-5', -0.5)
    """
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell):
        return cell
    return "".join(f"'{part}" if _is_formula(part) else part for part in _OTHER_SEPARATORS.split(cell))


def _is_formula(text: str) -> bool:
    return text.startswith(LINE_STARTS) or _first_seen(text).startswith(FORMULA_STARTS)


def _first_seen(cell: str) -> str:
    """The first character that can be seen, in its plain form."""
    seen = (character for character in cell if unicodedata.category(character) not in _NOT_SEEN)
    return unicodedata.normalize("NFKC", next(seen, ""))


@contextmanager
def open_writer(path: Path, kind: str, columns: Mapping[str, type]) -> Iterator[RowWriter]:
    """Open a file for rows.

    Args:
        path (`Path`): the file, replaced.
        kind (`str`): a name of `OUTPUT_SUFFIXES`.
        columns (`Mapping[str, type]`): name and type of each column; every cell may be None.
    """
    if kind == ".parquet":
        schema = pa.schema([(name, _TYPES[of_type]) for name, of_type in columns.items()])
        with pq.ParquetWriter(path, schema) as table:
            yield _ParquetRows(table, schema)
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield _CsvRows(stream, list(columns))


class _ParquetRows:
    def __init__(self, table: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._table, self._schema = table, schema

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._table.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))


class _CsvRows:
    def __init__(self, stream: Any, columns: list[str]) -> None:
        self._writer, self._columns = csv.writer(stream), columns
        self._writer.writerow(columns)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self._writer.writerow([neutralized(row[name]) for name in self._columns])
