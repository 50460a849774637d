"""Visits from a file, a few at a time: a prepared folder, parquet, JSON lines or CSV.

A row is a visit with `note`, `diagnosis_codes`, `medication_codes` and, where a task reads them,
`admission_note` and `first_day_medication_codes`. `subject_id` and `hadm_id` are carried along; other columns
are passed over. In CSV the codes of a visit stand in one cell, with blanks, commas or semicolons between.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medm_plm.data.schema import (
    ADMISSION_NOTE,
    DIAGNOSIS_CODES,
    FIRST_DAY_MEDICATION_CODES,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    SPLIT,
    SUBJECT_ID,
    VISITS_FILE,
)
from medm_plm.errors import InputError

CODE_FIELDS = (DIAGNOSIS_CODES, MEDICATION_CODES, FIRST_DAY_MEDICATION_CODES)
VISIT_FIELDS = (NOTE, ADMISSION_NOTE, *CODE_FIELDS)
ID_FIELDS = (SUBJECT_ID, HADM_ID)
_ALL_FIELDS = (*ID_FIELDS, *VISIT_FIELDS, SPLIT)
_ROWS_AT_A_TIME = 256
_LONGEST_CELL = 1 << 27
_BETWEEN_CODES = re.compile(r"[\s,;]+")


@dataclass(frozen=True)
class _Row:
    """A visit: `number` counts the visits of the file from 1, `line` says where to look for it.

    Both differ where a header, blank lines or notes of several lines stand before it.
    """

    number: int
    line: int
    visit: dict[str, Any]


@dataclass(frozen=True)
class Example:
    """What one prediction is made from.

    Args:
        row (`int`): its number among the visits of the file, from 1, or that of the visit that is asked
            about; the same for the same visits in any kind of file.
        line (`int`): the last line of it in the file, for errors; in parquet as `row`.
        ids (`Mapping[str, str]`): `subject_id` and `hadm_id`, as far as the file has them.
        content (`dict` or `list[dict]`): a visit, or the visits of a patient.
    """

    row: int
    line: int
    ids: Mapping[str, str | None]
    content: Any


def read_examples(
    path: str | Path, by_patient: bool = False, split: str | None = None, max_visits: int = 10
) -> Iterator[Example]:
    """Read the examples of a file; memory does not grow with it.

    Args:
        path (`str` or `Path`): folder of `run_preparation.py`, or `.parquet`, `.jsonl`, `.csv`.
        by_patient (`bool`, defaults to False): put the visits of a patient, which follow each other in the
            order of time, into one example; patients with a single visit are left out.
        split (`str`, *optional*): rows of this split alone.
        max_visits (`int`, defaults to 10): of longer patients the most recent visits.

    Returns:
        The examples in the order of the file.

    Raises:
        InputError: if the file is missing, damaged or of no known kind, or a row cannot be read; it names the
        row and nothing that stands in it.
    """
    path = Path(path)
    rows = _rows_of(path)
    if split is not None:
        rows = (row for row in rows if _split_of(row, path) == split)
    if by_patient:
        return _patients(rows, path, max_visits)
    return (Example(row.number, row.line, _ids_of(row.visit), row.visit) for row in rows)


def _rows_of(path: Path) -> Iterator[_Row]:
    file = path / VISITS_FILE if path.is_dir() else path
    readers: dict[str, Callable[[Path], Iterator[_Row]]] = {
        ".parquet": _read_parquet,
        ".jsonl": _read_json_lines,
        ".csv": _read_csv,
    }
    if file.suffix not in readers:
        raise InputError(
            "unknown kind of file", file=file, expected=f"a prepared folder or {', '.join(readers)}"
        )
    if not file.is_file():
        raise InputError("no such file", file=file)
    return _checked(readers[file.suffix](file), file)


def _checked(rows: Iterable[_Row], file: Path) -> Iterator[_Row]:
    """Turn what goes wrong while reading into one line without content."""
    try:
        yield from rows
    except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        # The message of a reader may quote a cell, so it is not passed on.
        raise InputError(
            f"file cannot be read as {file.suffix[1:]}: {type(error).__name__}", file=file
        ) from None


def _read_parquet(file: Path) -> Iterator[_Row]:
    with pq.ParquetFile(file) as table:
        present = _fields_in(table.schema_arrow.names, file)
        number = 0
        for batch in table.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=present):
            for row in batch.to_pylist():
                number += 1
                yield _Row(number, number, row)


def _read_json_lines(file: Path) -> Iterator[_Row]:
    number = 0
    with file.open(encoding="utf-8") as stream:
        for place, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            number += 1
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise InputError("line is no JSON", file=file, row=place) from None
            if not isinstance(row, dict):
                raise InputError(
                    "line is no visit",
                    file=file,
                    row=place,
                    received=type(row).__name__,
                    expected="an object",
                )
            visit = {name: value for name, value in row.items() if name in _ALL_FIELDS}
            yield _Row(number, place, visit)


def _read_csv(file: Path) -> Iterator[_Row]:
    csv.field_size_limit(_LONGEST_CELL)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, strict=True)
        present = _fields_in(rows.fieldnames or (), file)
        for number, row in enumerate(rows, start=1):
            if None in row or None in row.values():
                raise InputError(
                    "row has another number of cells than the header", file=file, row=rows.line_num
                )
            visit: dict[str, Any] = {name: row[name] for name in present}
            for name in set(CODE_FIELDS) & visit.keys():
                visit[name] = [code for code in _BETWEEN_CODES.split(visit[name]) if code]
            yield _Row(number, rows.line_num, visit)


def _fields_in(names: Sequence[str], file: Path) -> list[str]:
    """Columns that are read, each of which must be there once."""
    present = [name for name in _ALL_FIELDS if name in names]
    if not set(present) & set(VISIT_FIELDS):
        raise InputError("no column of visits", file=file, expected=f"some of {', '.join(VISIT_FIELDS)}")
    for name in present:
        if names.count(name) > 1:
            raise InputError(f"column {name} is there more than once", file=file)
    return present


def _ids_of(row: Mapping[str, Any]) -> dict[str, str | None]:
    return {name: None if row[name] is None else str(row[name]) for name in ID_FIELDS if name in row}


def _split_of(row: _Row, path: Path) -> Any:
    if SPLIT not in row.visit:
        raise InputError(f"row has no {SPLIT}", file=path, row=row.line, remedy="leave --split out")
    return row.visit[SPLIT]


def _patients(rows: Iterable[_Row], path: Path, max_visits: int) -> Iterator[Example]:
    def patient_of(row: _Row) -> str:
        if row.visit.get(SUBJECT_ID) is None:
            raise InputError(
                f"row has no {SUBJECT_ID}, which visits are put together by", file=path, row=row.line
            )
        return str(row.visit[SUBJECT_ID])

    seen: set[int] = set()
    for patient, group in groupby(rows, key=patient_of):
        visits = list(group)
        if hash(patient) in seen:
            raise InputError(
                "the visits of a patient are not together",
                file=path,
                row=visits[0].line,
                remedy=f"sort the file by {SUBJECT_ID} and time",
            )
        seen.add(hash(patient))
        if len(visits) > 1:
            last = visits[-1]
            content = [row.visit for row in visits[-max_visits:]]
            yield Example(last.number, last.line, _ids_of(last.visit), content)
