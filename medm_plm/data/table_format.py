"""Plain tables in the format of `docs/table_format.md`: the only module that knows their columns.

Four tables, each as `.csv`, `.csv.gz` or `.parquet`, by which any hospital can bring its own records. Every
column must be there, so that a misspelt one is not taken for one that is not known; where nothing is known
its cells stay empty, and a table without rows is its header alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from medm_plm.data.batches import Batch
from medm_plm.data.layout import SourceLayout, SourceTable, TableReader, read_whole
from medm_plm.data.parquet import SUFFIX, text_batches
from medm_plm.data.reading import (
    age_of,
    joined_notes,
    keep_identified,
    keep_timed,
    one_row,
    stay_hours,
    third_level,
    with_hours_since_admission,
)
from medm_plm.data.schema import (
    ADMISSION_TIME,
    ADMISSION_TYPE,
    AGE,
    ATC,
    DIED_IN_HOSPITAL,
    DISCHARGE_TIME,
    HADM_ID,
    POSITION,
    SOURCE_DIAGNOSIS_SCHEMA,
    SOURCE_ORDER,
    SOURCE_PRESCRIPTION_SCHEMA,
    SOURCE_VISIT_SCHEMA,
    SUBJECT_ID,
    SourceTables,
)
from medm_plm.data.tables import (
    SUFFIXES,
    csv_batches,
    find_table,
    keep_known,
    qualify_codes,
    time_of,
    whole_number,
)
from medm_plm.errors import InputError

TABLES = {
    "visits": (
        "subject_id",
        "hadm_id",
        "admission_time",
        "discharge_time",
        "age",
        "admission_type",
        "died_in_hospital",
    ),
    "diagnoses": ("hadm_id", "position", "system", "code"),
    "prescriptions": ("hadm_id", "start_time", "drug", "route", "ndc", "atc"),
    "notes": ("hadm_id", "note_time", "text"),
}
SYSTEMS = ("ICD9CM", "ICD10CM")

_TEXT_COLUMNS = {"system", "code", "drug", "route", "atc", "text", "admission_type"}
_TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
)
_TIME_ZONE = r"(:\d\d(?:\.\d+)?)\s*(?:Z|[+-]\d\d:?\d\d)$"  # the clock on the wall is what counts
_YES = ("1", "true", "yes")
_NO = ("0", "false", "no")
_REMEDY = "docs/table_format.md lists the columns; leave the cells empty where nothing is known"


def layout(folder: str | Path) -> SourceLayout:
    """Say where the tables lie.

    Args:
        folder (`str` or `Path`): folder with the four tables of `TABLES`.

    Returns:
        The tables and how to read them.

    Raises:
        InputError: if a table is missing.
    """
    tables = {name: _table(find_table(folder, name, (*SUFFIXES, SUFFIX)), name) for name in TABLES}
    return SourceLayout(tables, "visits", records)


def read(folder: str | Path) -> SourceTables:
    """Read a whole folder at once, see `layout` and `records`."""
    return read_whole(layout(folder))


def records(reader: TableReader) -> SourceTables:
    """Make records of visits with their diagnoses, prescriptions and notes.

    Args:
        reader (`TableReader`): hands over the rows of whole patients.

    Returns:
        The records under common names.

    Raises:
        InputError: if a code system is unknown.
    """
    plain = _Records(reader)
    visits = plain.visits()
    return SourceTables(
        visits=visits,
        diagnoses=plain.diagnoses(visits),
        prescriptions=plain.prescriptions(visits),
        notes=plain.notes(visits),
        ledgers=reader.ledgers,
        visit_table="visits",
        diagnosis_table="diagnoses",
        prescription_table="prescriptions",
        remarks=reader.remarks,
        readable=reader.readable,
    )


def _table(path: Path, name: str) -> SourceTable:
    columns = TABLES[name]

    def batches() -> Iterator[Batch]:
        if path.suffix.lower() == SUFFIX:
            return text_batches(path, columns, _TEXT_COLUMNS, _REMEDY)
        return csv_batches(path, columns)

    return SourceTable(path, batches, SUBJECT_ID if SUBJECT_ID in columns else None, HADM_ID)


class _Records:
    """Makes records of one table after the other and keeps the account."""

    def __init__(self, reader: TableReader) -> None:
        self.reader = reader

    def visits(self) -> pl.DataFrame:
        frame, ledger = self.reader.table("visits")
        frame = keep_identified(frame, ledger)
        order = pl.int_range(pl.len(), dtype=pl.Int64)  # without dates the file is in order
        has_dates = any(self.reader.has_values("visits", name) for name in (ADMISSION_TIME, DISCHARGE_TIME))
        frame = self._with_times(frame, "visits", ADMISSION_TIME, DISCHARGE_TIME)
        if has_dates:
            frame = keep_timed(frame, ledger)
            order = pl.col(ADMISSION_TIME).dt.timestamp("us")
        flag = pl.col(DIED_IN_HOSPITAL).str.to_lowercase()
        meaning = {**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}
        died = flag.replace_strict(meaning, default=None, return_dtype=pl.Boolean)
        unclear = frame.filter(flag.is_not_null() & died.is_null()).height
        if unclear:
            self.reader.remarks["visits whose died_in_hospital is neither yes nor no"] = unclear
        return frame.with_columns(
            order.alias(SOURCE_ORDER),
            age_of(pl.col(AGE).cast(pl.Float64, strict=False)).alias(AGE),
            pl.col(ADMISSION_TYPE).str.to_uppercase(),
            died.alias(DIED_IN_HOSPITAL),
            stay_hours(),
        ).select(SOURCE_VISIT_SCHEMA.names())

    def diagnoses(self, visits: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self.reader.table("diagnoses")
        frame = ledger.keep(frame, pl.col("system").is_not_null(), "no code system")
        frame = frame.with_columns(pl.col("system").str.to_uppercase().str.replace_all(r"[-\s]", ""))
        if unknown := frame.filter(~pl.col("system").is_in(SYSTEMS)).height:
            raise InputError(
                f"column system is unknown in {unknown} rows",
                expected=" or ".join(SYSTEMS),
                remedy="other code systems must be translated first",
            )
        frame = qualify_codes(frame, ledger, "code", pl.col("system"))
        frame = keep_known(frame, ledger, visits)
        position = self._or_file_order("diagnoses", "position", whole_number("position"))
        return frame.with_columns(position.alias(POSITION), one_row()).select(SOURCE_DIAGNOSIS_SCHEMA.names())

    def prescriptions(self, visits: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self.reader.table("prescriptions")
        frame = keep_known(frame, ledger, visits)
        frame = self._with_times(frame, "prescriptions", "start_time")
        frame = with_hours_since_admission(frame, visits, pl.col("start_time"))
        position = self._or_file_order("prescriptions", "start_time", pl.col("start_time").dt.timestamp("us"))
        return frame.with_columns(
            position.alias(POSITION), third_level(pl.col(ATC)).alias(ATC), one_row()
        ).select(*SOURCE_PRESCRIPTION_SCHEMA.names(), ATC)

    def notes(self, visits: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self.reader.table("notes")
        frame = ledger.keep(frame, pl.col("text").is_not_null(), "note has no text")
        frame = keep_known(frame, ledger, visits)
        frame = self._with_times(frame, "notes", "note_time")
        return joined_notes(frame.sort(HADM_ID, "note_time", nulls_last=True, maintain_order=True), "notes")

    def _with_times(self, frame: pl.DataFrame, name: str, *columns: str) -> pl.DataFrame:
        """Read text columns as times; values of which not one is a time are a mistake of the whole table."""
        local = frame.with_columns(pl.col(columns).str.replace(_TIME_ZONE, "$1"))
        read = local.with_columns(time_of(column, _TIME_FORMATS).alias(column) for column in columns)
        for column in columns:
            self.reader.expect_readable(
                f"column {column} of table {name} as a time such as 2031-05-17 08:30:00 or 2031-05-17",
                frame[column].count(),
                read[column].count(),
            )
        return read

    def _or_file_order(self, name: str, column: str, position: pl.Expr) -> pl.Expr:
        """Order by a column, or by the place in the file where that column is empty throughout."""
        return position if self.reader.has_values(name, column) else pl.int_range(pl.len(), dtype=pl.Int64)
