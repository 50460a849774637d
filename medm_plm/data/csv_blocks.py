"""CSV files as blocks of whole rows: read once, from start to end, in bounded memory, every row checked.

CSV engines disagree about damaged files, and the fast ones fill short rows or swallow rows behind an open
quote without a word. So every block is looked at before an engine gets it: each row must have as many commas
outside quotes as the header, and each quote must open, close or be doubled. This pass is vectorised; only if
it finds something odd does a slow one read the file again from its start, to decide and to name the row.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
from isal import igzip, isal_zlib

from medm_plm.data.prefetching import prefetched
from medm_plm.errors import InputError

_CHUNK_BYTES = 8 << 20
_BYTES_AT_A_TIME = 128 << 10  # looked at together, so that they stay in the cache
LONGEST_ROW = 32 << 20  # bytes, where long notes have 60,000: what is longer is an open quote or a bomb
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_COMMA, _NEWLINE, _QUOTE, _RETURN = b',\n"\r'
# Which bytes may stand before a quote that opens a field, and behind one that closes it.
_BEFORE_OPENING, _AFTER_CLOSING = np.zeros((2, 256), dtype=bool)
_BEFORE_OPENING[list(b',\n"')] = True
_AFTER_CLOSING[list(b',\r\n"')] = True


@dataclass(frozen=True)
class Header:
    """The first row of a CSV file.

    Args:
        names (`tuple[str, ...]`): names of the columns in lower case, made unique.
        num_lines (`int`): lines that it takes in the file.
    """

    names: tuple[str, ...]
    num_lines: int


@dataclass(frozen=True)
class Block:
    """Some rows of a CSV file, whole and regular.

    Args:
        content (`bytes`): the rows as they stand in the file, without the header.
        num_rows (`int`): how many, blank lines included.
    """

    content: bytes
    num_rows: int


def read_header(path: Path, columns: Sequence[str]) -> Header:
    """Read the names of the columns.

    Args:
        path (`Path`): a `.csv` or `.csv.gz` file.
        columns (`Sequence[str]`): columns that the header must hold, in lower case.

    Returns:
        The header.

    Raises:
        InputError: if there is none, or a column is missing or there twice.
    """
    reader = _reader(path)
    try:
        first = next(reader, None)
    except csv.Error:  # other separators, or line ends of another system
        remedy = "separate columns by commas and end each line with a line feed"
        _refuse(path, 1, "header is not that of a CSV file", remedy=remedy)
    if first is None or not any(name.strip() for name in first):
        expected = "a header with the names of the columns"
        raise InputError("file is empty or begins with a blank line", file=path, expected=expected)
    if not all(map(_is_utf8, first)):
        _refuse(path, 1, "text is not UTF-8", remedy=_UTF8_REMEDY)
    header = [name.strip().lower() for name in first]
    for column in columns:
        if (count := header.count(column)) != 1:
            _refuse(
                path,
                1,
                f"column {column.upper()} is {'missing' if count == 0 else 'there more than once'}",
                received=f"{len(header)} columns",
                expected=", ".join(name.upper() for name in columns),
                remedy="check that this is the table of that name and that commas separate its columns",
            )
    # Engines refuse equal names, even of columns that nobody wants.
    first_place = {name: place for place, name in reversed(list(enumerate(header)))}
    names = (name if first_place[name] == place else f"{name}#{place}" for place, name in enumerate(header))
    return Header(tuple(names), reader.line_num)  # type: ignore[attr-defined]


def read_blocks(path: Path, header: Header) -> Iterator[Block]:
    """Read the rows of a file in blocks, decompressing ahead of the caller.

    Args:
        path (`Path`): a `.csv` or `.csv.gz` file.
        header (`Header`): what `read_header` gave.

    Yields:
        The rows in order, in blocks of some megabytes.

    Raises:
        InputError: at the first row that is not as it must be, or if the file is damaged.
    """
    num_columns = len(header.names)
    structure = _Structure(num_columns - 1, header.num_lines)
    is_checked = False
    open_row = b""
    for chunk in prefetched(_chunks(path, header.num_lines)):
        end, num_rows = structure.feed(np.frombuffer(chunk, dtype=np.uint8))
        if structure.bare_quote_row is not None:
            _refuse(path, structure.bare_quote_row, "quote in the middle of a field", remedy=_QUOTE_REMEDY)
        if not (structure.is_regular or is_checked):
            is_checked = check_rows(path, num_columns) > 0
        if num_rows:
            yield Block(open_row + chunk[:end], num_rows)
            open_row = b""
        open_row += chunk[end:]
        if len(open_row) > LONGEST_ROW:
            _refuse_long_row(path, structure.first_line_of_open_row)
    if not (structure.ends_regularly or is_checked):
        check_rows(path, num_columns)
    if open_row:
        yield Block(open_row, 1)


def check_rows(path: Path, num_columns: int) -> int:
    """Read a file row by row and count its records, or name the first row that is wrong.

    Args:
        path (`Path`): a `.csv` or `.csv.gz` file.
        num_columns (`int`): fields that each row must have; blank lines are let through.

    Returns:
        Number of records, the header and blank lines included.

    Raises:
        InputError: at the first row that is wrong.
    """
    reader = _reader(path)
    num_records = 0
    row = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return num_records
        except csv.Error:
            _refuse(path, row, "quotes are not closed or not doubled", remedy=_QUOTE_REMEDY)
        if not all(map(_is_utf8, fields)):
            _refuse(path, row, "text is not UTF-8", remedy=_UTF8_REMEDY)
        if fields and len(fields) != num_columns:
            _refuse(
                path,
                row,
                "row has another number of fields than the header",
                received=len(fields),
                expected=num_columns,
                remedy="mend or remove the row; a field that holds a comma needs quotes",
            )
        num_records += 1
        row = reader.line_num + 1  # type: ignore[attr-defined]


_QUOTE_REMEDY = 'put the field in quotes and write a quote inside it as ""'
_UTF8_REMEDY = "convert the file, e.g. iconv -f latin1 -t utf-8"


class _Structure:
    """Watches commas, quotes and ends of rows in a stream of bytes."""

    def __init__(self, num_commas: int, num_lines: int) -> None:
        self.num_commas = num_commas
        self.is_regular = True
        self.bare_quote_row: int | None = None
        self.first_line_of_open_row = num_lines + 1
        self._num_lines = num_lines
        self._commas_of_open_row = self._bytes_of_open_row = 0
        self._inside = False
        self._last = _NEWLINE
        self._last_closed = False  # the byte before this chunk was a quote that closed a field

    def feed(self, values: np.ndarray) -> tuple[int, int]:
        """Look at the next bytes; return where the last row in them ends, and how many rows end in them."""
        end, num_rows = 0, 0
        for start in range(0, values.size, _BYTES_AT_A_TIME):
            last, count = self._feed_piece(values[start : start + _BYTES_AT_A_TIME])
            end = start + last if count else end
            num_rows += count
        return end, num_rows

    def _feed_piece(self, values: np.ndarray) -> tuple[int, int]:
        # Few bytes mean anything here; all further work is on their places alone.
        places = np.flatnonzero((values == _COMMA) | (values == _NEWLINE) | (values == _QUOTE))
        kinds = values[places]
        is_quote = kinds == _QUOTE
        # Wraps around at 256, which leaves the parity right.
        inside = ((np.cumsum(is_quote, dtype=np.uint8) + np.uint8(self._inside)) & 1).astype(bool)
        self._watch_quotes(values, places[is_quote], inside[is_quote])
        is_newline = kinds == _NEWLINE
        ends = np.flatnonzero(is_newline & ~inside)
        odd = self._rows_with_other_counts(np.cumsum((kinds == _COMMA) & ~inside, dtype=np.int32), ends)
        self.is_regular &= odd.size == 0 or self._are_blank(odd, values, places[ends])
        self._bytes_of_open_row += values.size
        if ends.size:
            self._bytes_of_open_row = values.size - int(places[ends[-1]]) - 1
        if ends.size:
            lines = int(np.count_nonzero(is_newline[: ends[-1] + 1]))
            self.first_line_of_open_row = self._num_lines + lines + 1
        self._num_lines += int(np.count_nonzero(is_newline))
        self._last_closed = bool(values[-1] == _QUOTE and not inside[-1])
        self._inside = bool(inside[-1]) if inside.size else self._inside
        self._last = int(values[-1])
        return (int(places[ends[-1]]) + 1 if ends.size else 0), int(ends.size)

    @property
    def ends_regularly(self) -> bool:
        """Whether the bytes seen so far end behind a whole and regular row."""
        is_row = self._last == _NEWLINE or self._commas_of_open_row == self.num_commas
        return self.is_regular and is_row and not self._inside

    def _rows_with_other_counts(self, commas: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Which of the rows that end here have more or fewer commas than the header."""
        before = commas[ends]
        total = int(commas[-1]) if commas.size else 0
        if not before.size:
            self._commas_of_open_row += total
            return before
        counts = np.diff(before, prepend=0)
        counts[0] += self._commas_of_open_row
        self._commas_of_open_row = total - int(before[-1])
        return np.flatnonzero(counts != self.num_commas)

    def _are_blank(self, rows: np.ndarray, values: np.ndarray, ends: np.ndarray) -> bool:
        """Whether rows are nothing but their line end; a file may be full of such lines."""
        lengths = np.diff(ends, prepend=-1 - self._bytes_of_open_row)[rows]
        last = ends[rows]
        before = np.where(last > 0, values[last - 1], self._last)
        return bool(((lengths == 1) | ((lengths == 2) & (before == _RETURN))).all())

    def _watch_quotes(self, values: np.ndarray, quotes: np.ndarray, inside: np.ndarray) -> None:
        if self.bare_quote_row is not None or not (quotes.size or self._last_closed):
            return
        opening, closing = quotes[inside], quotes[~inside]
        before = np.where(opening > 0, values[opening - 1], self._last)
        wrong = opening[~_BEFORE_OPENING[before]].tolist()
        after = closing[closing < values.size - 1] + 1
        wrong += after[~_AFTER_CLOSING[values[after]]].tolist()
        if self._last_closed and not _AFTER_CLOSING[values[0]]:
            wrong.append(0)
        if wrong:
            self.bare_quote_row = (
                1 + self._num_lines + int(np.count_nonzero(values[: min(wrong)] == _NEWLINE))
            )


def _reader(path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST_ROW)  # the module would stop at 131,072 characters, which some notes exceed
    return csv.reader(_lines(path), strict=True)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines as text; bytes that are no UTF-8 become lone surrogates."""
    with _open(path) as stream:
        line = _guarded(path, lambda: stream.readline(LONGEST_ROW)).removeprefix(_BYTE_ORDER_MARK)
        row = 1
        while line:
            if len(line) >= LONGEST_ROW:
                _refuse_long_row(path, row)
            yield line.decode("utf-8", errors="surrogateescape")
            line = _guarded(path, lambda: stream.readline(LONGEST_ROW))
            row += 1


def _chunks(path: Path, num_header_lines: int) -> Iterator[bytes]:
    with _open(path) as stream:
        for _ in range(num_header_lines):
            _guarded(path, stream.readline)
        while chunk := _guarded(path, lambda: stream.read(_CHUNK_BYTES)):
            yield chunk


def _open(path: Path) -> BinaryIO:
    try:
        return igzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise InputError(f"file cannot be opened: {error.strerror}", file=path) from None


def _guarded(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (EOFError, isal_zlib.error, igzip.BadGzipFile):
        remedy = "copy it again and compare its checksum"
        raise InputError("compressed file is damaged or cut off", file=path, remedy=remedy) from None
    except OSError as error:
        raise InputError(f"file cannot be read: {error.strerror}", file=path) from None


def _is_utf8(field: str) -> bool:
    try:
        field.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate that `_lines` put in place of a wrong byte
        return False
    return True


def _refuse_long_row(path: Path, row: int) -> NoReturn:
    _refuse(
        path,
        row,
        f"row is longer than {LONGEST_ROW >> 20} MiB",
        remedy="look for a quote that is not closed; no record is that long",
    )


def _refuse(path: Path, row: int, message: str, **facts: object) -> NoReturn:
    raise InputError(message, file=path, row=row, **facts) from None  # type: ignore[arg-type]
