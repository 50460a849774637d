"""Plain tables in the format of `docs/table_format.md`: the only module that knows their columns.

Four tables, each as `.csv`, `.csv.gz` or `.parquet`, by which any hospital can bring its own records. Every
column must be there, so that a misspelt one is not taken for one that is not known; where nothing is known
its cells stay empty, and a table without rows is its header alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from medm_plm.data.parquet import SUFFIX, read_parquet_table
from medm_plm.data.reading import (
    TableReader,
    age_of,
    joined_notes,
    keep_identified,
    keep_timed,
    one_row,
    third_level,
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
    RowLedger,
    SourceTables,
)
from medm_plm.data.tables import SUFFIXES, find_table, keep_known, qualify_codes, time_of, whole_number
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
_TIME_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_YES = ("1", "true", "yes")
_NO = ("0", "false", "no")
_REMEDY = "docs/table_format.md lists the columns; leave the cells empty where nothing is known"


def read(folder: str | Path, on_table: Callable[[str], None] = lambda name: None) -> SourceTables:
    """Read visits with their diagnoses, prescriptions and notes from plain tables.

    Args:
        folder (`str` or `Path`): folder with the four tables of `TABLES`.
        on_table (`Callable`, *optional*): told the name of each table before it is read, for a progress bar.

    Returns:
        The records under common names.

    Raises:
        InputError: if a table or a column is missing, a file is damaged, no time of a column can be read, or
            a code system is unknown.
    """
    reader = _Reader(Path(folder), TABLES, on_table)
    visits = reader.visits()
    return SourceTables(
        visits=visits,
        diagnoses=reader.diagnoses(visits),
        prescriptions=reader.prescriptions(visits),
        notes=reader.notes(visits),
        ledgers=reader.ledgers,
        visit_table="visits",
        diagnosis_table="diagnoses",
        prescription_table="prescriptions",
        files=reader.files,
        remarks=reader.remarks,
    )


class _Reader(TableReader):
    """Reads one table after the other and keeps the account."""

    def visits(self) -> pl.DataFrame:
        frame, ledger = self._plain_table("visits")
        frame = keep_identified(frame, ledger)
        order = pl.int_range(pl.len(), dtype=pl.Int64)  # without dates the file is in order
        has_dates = frame[ADMISSION_TIME].count() + frame[DISCHARGE_TIME].count() > 0
        frame = self._with_times(frame, "visits", ADMISSION_TIME, DISCHARGE_TIME)
        if has_dates:
            frame = keep_timed(frame, ledger)
            order = pl.col(ADMISSION_TIME).dt.timestamp("us")
        flag = pl.col(DIED_IN_HOSPITAL).str.to_lowercase()
        meaning = {**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}
        died = flag.replace_strict(meaning, default=None, return_dtype=pl.Boolean)
        unclear = frame.filter(flag.is_not_null() & died.is_null()).height
        if unclear:
            self.remarks["visits whose died_in_hospital is neither yes nor no"] = unclear
        return frame.with_columns(
            order.alias(SOURCE_ORDER),
            age_of(pl.col(AGE).cast(pl.Float64, strict=False)).alias(AGE),
            pl.col(ADMISSION_TYPE).str.to_uppercase(),
            died.alias(DIED_IN_HOSPITAL),
        ).select(SOURCE_VISIT_SCHEMA.names())

    def diagnoses(self, visits: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self._plain_table("diagnoses")
        frame = ledger.keep(frame, pl.col("system").is_not_null(), "no code system")
        frame = frame.with_columns(pl.col("system").str.to_uppercase().str.replace_all(r"[-\s]", ""))
        if unknown := frame.filter(~pl.col("system").is_in(SYSTEMS)).height:
            raise InputError(
                f"column system is unknown in {unknown} rows",
                file=self.files[-1].path,
                expected=" or ".join(SYSTEMS),
                remedy="other code systems must be translated first",
            )
        frame = qualify_codes(frame, ledger, "code", pl.col("system"))
        frame = keep_known(frame, ledger, visits)
        position = _or_file_order(frame, whole_number("position"))
        return frame.with_columns(position.alias(POSITION), one_row()).select(SOURCE_DIAGNOSIS_SCHEMA.names())

    def prescriptions(self, visits: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self._plain_table("prescriptions")
        frame = keep_known(frame, ledger, visits)
        frame = self._with_times(frame, "prescriptions", "start_time")
        position = _or_file_order(frame, pl.col("start_time").dt.timestamp("us"))
        return frame.with_columns(
            position.alias(POSITION), third_level(pl.col(ATC)).alias(ATC), one_row()
        ).select(*SOURCE_PRESCRIPTION_SCHEMA.names(), ATC)

    def notes(self, visits: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self._plain_table("notes")
        frame = ledger.keep(frame, pl.col("text").is_not_null(), "note has no text")
        frame = keep_known(frame, ledger, visits)
        frame = self._with_times(frame, "notes", "note_time")
        return joined_notes(frame.sort(HADM_ID, "note_time", nulls_last=True, maintain_order=True), "notes")

    def _plain_table(self, name: str) -> tuple[pl.DataFrame, RowLedger]:
        path = find_table(self.folder, name, (*SUFFIXES, SUFFIX))
        if path.suffix.lower() != SUFFIX:
            return self.table(name)
        self.on_table(name)
        return self.account(name, *read_parquet_table(path, TABLES[name], _TEXT_COLUMNS, _REMEDY))

    def _with_times(self, frame: pl.DataFrame, name: str, *columns: str) -> pl.DataFrame:
        """Read text columns as times; values of which not one is a time are a mistake of the whole table."""
        read = frame.with_columns(time_of(column, _TIME_FORMATS).alias(column) for column in columns)
        for column in columns:
            if frame[column].count() and not read[column].count():
                raise InputError(
                    f"no value of column {column} can be read as a time",
                    file=self.files[-1].path,
                    expected="times such as 2031-05-17 08:30:00 or 2031-05-17",
                )
        return read


def _or_file_order(frame: pl.DataFrame, position: pl.Expr) -> pl.Expr:
    """Order by a column, or by the place in the file where that column is empty throughout."""
    if frame.select(position.count()).item():
        return position
    return pl.int_range(pl.len(), dtype=pl.Int64)
