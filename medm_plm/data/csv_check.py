"""The structure of a CSV file: its header, its rows, and where the first mistake stands.

CSV engines disagree about damaged files, and the fast ones fill short rows or swallow rows behind an open
quote without a word. So each file is looked at once before it is read: every record must have as many commas
outside quotes as the header, and every quote must open, close or be doubled. The first pass is vectorised;
only if it finds something odd does a slow one look again, to decide and to name the row.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from medm_plm.errors import InputError

_CHUNK_BYTES = 4 << 20
_LONGEST_FIELD = 2**31 - 1  # characters; the csv module would stop at 131,072, which some notes exceed
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_COMMA, _NEWLINE, _QUOTE = b',\n"'
_BEFORE_OPENING = np.frombuffer(b',\n"', dtype=np.uint8)
_AFTER_CLOSING = np.frombuffer(b',\r\n"', dtype=np.uint8)


@dataclass(frozen=True)
class TableFile:
    """A CSV file whose structure has been checked.

    Args:
        path (`Path`): where it lies.
        columns (`tuple[str, ...]`): names of the header in lower case, made unique.
        num_rows (`int`): rows below the header, blank lines included.
        sha256 (`str`): of the decompressed content.
    """

    path: Path
    columns: tuple[str, ...]
    num_rows: int
    sha256: str


def check_csv(path: Path, columns: Sequence[str]) -> TableFile:
    """Check header and structure of a CSV file and take its fingerprint.

    Args:
        path (`Path`): a `.csv` or `.csv.gz` file.
        columns (`Sequence[str]`): columns that the header must hold, in lower case.

    Returns:
        The facts of the file.

    Raises:
        InputError: if the header or any row is not as it must be.
    """
    header = _read_header(path, columns)
    digest = hashlib.sha256()
    structure = _Structure(num_commas=len(header) - 1)
    for chunk in _chunks(path):
        digest.update(chunk)
        structure.feed(chunk)
    num_records = structure.finish()
    if structure.bare_quote_row is not None:
        _refuse(path, structure.bare_quote_row, "quote in the middle of a field", remedy=_QUOTE_REMEDY)
    if not structure.is_regular:
        num_records = check_rows(path, len(header))
    return TableFile(path, header, num_records - 1, digest.hexdigest())


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
            _refuse(path, row, "text is not UTF-8", remedy="convert the file, e.g. iconv -f latin1 -t utf-8")
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


class _Structure:
    """Counts records and watches commas and quotes in a stream of bytes."""

    def __init__(self, num_commas: int) -> None:
        self.num_commas = num_commas
        self.is_regular = True
        self.bare_quote_row: int | None = None
        self._num_records = 0
        self._num_lines = 0
        self._commas_of_open_record = 0
        self._inside = False
        self._last = _NEWLINE
        self._last_closed = False  # the byte before this chunk was a quote that closed a field

    def feed(self, chunk: bytes) -> None:
        values = np.frombuffer(chunk, dtype=np.uint8)
        is_quote = values == _QUOTE
        # Wraps around at 256, which leaves the parity right.
        inside = ((np.cumsum(is_quote, dtype=np.uint8) + np.uint8(self._inside)) & 1).astype(bool)
        self._watch_quotes(values, np.flatnonzero(is_quote), inside)
        ends = np.flatnonzero((values == _NEWLINE) & ~inside)
        commas = np.flatnonzero((values == _COMMA) & ~inside)
        before = np.searchsorted(commas, ends)
        if ends.size:
            counts = np.diff(before, prepend=0)
            counts[0] += self._commas_of_open_record
            self.is_regular &= bool((counts == self.num_commas).all())
            self._commas_of_open_record = commas.size - int(before[-1])
        else:
            self._commas_of_open_record += commas.size
        self._num_records += ends.size
        self._num_lines += int(np.count_nonzero(values == _NEWLINE))
        self._inside, self._last = bool(inside[-1]), int(values[-1])
        self._last_closed = bool(is_quote[-1] and not inside[-1])

    def finish(self) -> int:
        """Return the number of records, the header included."""
        if self._last != _NEWLINE or self._inside:
            self._num_records += 1
            self.is_regular &= self._commas_of_open_record == self.num_commas and not self._inside
        return self._num_records

    def _watch_quotes(self, values: np.ndarray, quotes: np.ndarray, inside: np.ndarray) -> None:
        if self.bare_quote_row is not None or not (quotes.size or self._last_closed):
            return
        opening, closing = quotes[inside[quotes]], quotes[~inside[quotes]]
        before = np.where(opening > 0, values[opening - 1], self._last)
        wrong = opening[~np.isin(before, _BEFORE_OPENING)].tolist()
        after = closing[closing < values.size - 1] + 1
        wrong += after[~np.isin(values[after], _AFTER_CLOSING)].tolist()
        if self._last_closed and values[0] not in _AFTER_CLOSING:
            wrong.append(0)
        if wrong:
            self.bare_quote_row = (
                1 + self._num_lines + int(np.count_nonzero(values[: min(wrong)] == _NEWLINE))
            )


def _read_header(path: Path, columns: Sequence[str]) -> tuple[str, ...]:
    try:
        first = next(_reader(path), None)
    except csv.Error:  # other separators, or line ends of another system
        remedy = "separate columns by commas and end each line with a line feed"
        _refuse(path, 1, "header is not that of a CSV file", remedy=remedy)
    if first is None or not any(name.strip() for name in first):
        expected = "a header with the names of the columns"
        raise InputError("file is empty or begins with a blank line", file=path, expected=expected)
    if not all(map(_is_utf8, first)):
        _refuse(path, 1, "text is not UTF-8", remedy="convert the file, e.g. iconv -f latin1 -t utf-8")
    header = tuple(name.strip().lower() for name in first)
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
    # The engine refuses equal names, even of columns that nobody wants.
    return tuple(
        name if header.index(name) == place else f"{name}#{place}" for place, name in enumerate(header)
    )


def _reader(path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(_LONGEST_FIELD)
    return csv.reader(_lines(path), strict=True)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines as text; bytes that are no UTF-8 become lone surrogates."""
    with _open(path) as stream:
        first = _guarded(path, stream.readline).removeprefix(_BYTE_ORDER_MARK)
        line = first
        while line:
            yield line.decode("utf-8", errors="surrogateescape")
            line = _guarded(path, stream.readline)


def _chunks(path: Path) -> Iterator[bytes]:
    with _open(path) as stream:
        chunk = _guarded(path, lambda: stream.read(_CHUNK_BYTES)).removeprefix(_BYTE_ORDER_MARK)
        while chunk:
            yield chunk
            chunk = _guarded(path, lambda: stream.read(_CHUNK_BYTES))


def _open(path: Path) -> BinaryIO:
    try:
        return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise InputError(f"file cannot be opened: {error.strerror}", file=path) from None


def _guarded(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (EOFError, zlib.error, gzip.BadGzipFile):
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


def _refuse(path: Path, row: int, message: str, **facts: object) -> NoReturn:
    raise InputError(message, file=path, row=row, **facts) from None  # type: ignore[arg-type]
