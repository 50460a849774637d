"""MIMIC-III, version 1.4 and its demo: the only module that knows its tables and columns.

Headers are in upper case in the full release and in lower case in the demo; dates are shifted for each
patient, so that intervals are true and years are not. The demo comes without any note.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from medm_plm.data.csv_check import TableFile
from medm_plm.data.notes import cleaned
from medm_plm.data.schema import (
    ADMISSION_TIME,
    ADMISSION_TYPE,
    AGE,
    DIED_IN_HOSPITAL,
    DISCHARGE_TIME,
    HADM_ID,
    MAXIMUM_AGE,
    NDC,
    NOTE,
    NUM_ROWS,
    POSITION,
    SOURCE_DIAGNOSIS_SCHEMA,
    SOURCE_NOTE_SCHEMA,
    SOURCE_ORDER,
    SOURCE_PRESCRIPTION_SCHEMA,
    SOURCE_VISIT_SCHEMA,
    SUBJECT_ID,
    TABLE,
    RowLedger,
    SourceTables,
)
from medm_plm.data.tables import keep_known, qualify_codes, read_table, whole_number

TABLES = {
    "PATIENTS": ("subject_id", "dob"),
    "ADMISSIONS": (
        "subject_id",
        "hadm_id",
        "admittime",
        "dischtime",
        "deathtime",
        "admission_type",
        "hospital_expire_flag",
    ),
    "DIAGNOSES_ICD": ("subject_id", "hadm_id", "seq_num", "icd9_code"),
    "PRESCRIPTIONS": ("subject_id", "hadm_id", "startdate", "drug", "ndc", "route"),
    "NOTEEVENTS": (
        "row_id",
        "subject_id",
        "hadm_id",
        "chartdate",
        "charttime",
        "category",
        "description",
        "iserror",
        "text",
    ),
}
NOTE_CATEGORY = "discharge summary"
DIAGNOSIS_SYSTEM = "ICD9CM"

_DAYS_PER_YEAR = 365.25
_NEWBORN_TOLERANCE = 0.02  # years; a newborn may be admitted, by the clock, shortly before it is born
_UNKNOWN_NDC = "0"
_TIME_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
_KEYS = (SUBJECT_ID, HADM_ID)


def read(folder: str | Path, on_table: Callable[[str], None] = lambda name: None) -> SourceTables:
    """Read the admissions of MIMIC-III with their diagnoses, prescriptions and discharge summaries.

    Section 7 of the method. Rows that cannot be used are dropped and counted: admissions without readable
    times, with a discharge before the admission, or repeated; rows of other tables that belong to no
    admission read (the patient and the admission must both agree).

    Args:
        folder (`str` or `Path`): folder with the five tables of `TABLES` as `.csv` or `.csv.gz`.
        on_table (`Callable`, *optional*): told the name of each table before it is read, for a progress bar.

    Returns:
        The records under common names.

    Raises:
        InputError: if a table is missing or damaged.
    """
    reader = _Reader(Path(folder), on_table)
    patients = reader.patients()
    visits = reader.admissions(patients)
    reader.ledgers["PATIENTS"].drop(
        patients.join(visits, on=SUBJECT_ID, how="anti").height, "patient without an admission that was read"
    )
    return SourceTables(
        visits=visits,
        diagnoses=reader.diagnoses(visits),
        prescriptions=reader.prescriptions(visits),
        notes=reader.notes(visits),
        ledgers=reader.ledgers,
        visit_table="ADMISSIONS",
        diagnosis_table="DIAGNOSES_ICD",
        prescription_table="PRESCRIPTIONS",
        patient_table="PATIENTS",
        files=reader.files,
    )


class _Reader:
    """Reads one table after the other and keeps the account."""

    def __init__(self, folder: Path, on_table: Callable[[str], None]) -> None:
        self.folder = folder
        self.on_table = on_table
        self.ledgers: dict[str, RowLedger] = {}
        self.files: list[TableFile] = []

    def patients(self) -> pl.DataFrame:
        frame, ledger = self._table("PATIENTS")
        return ledger.keep(frame, pl.col(SUBJECT_ID).is_first_distinct(), "patient is listed again")

    def admissions(self, patients: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self._table("ADMISSIONS")
        frame = ledger.keep(
            frame, pl.all_horizontal(pl.col(_KEYS).is_not_null()), "no patient or admission number"
        )
        frame = ledger.keep(frame, pl.col(HADM_ID).is_first_distinct(), "admission is listed again")
        known = pl.col(SUBJECT_ID).is_in(patients[SUBJECT_ID].implode())
        frame = ledger.keep(frame, known, "patient is not listed")
        frame = frame.with_columns(
            _time("admittime").alias(ADMISSION_TIME), _time("dischtime").alias(DISCHARGE_TIME)
        )
        has_times = pl.col(ADMISSION_TIME).is_not_null() & pl.col(DISCHARGE_TIME).is_not_null()
        frame = ledger.keep(frame, has_times, "admission or discharge time cannot be read")
        in_order = pl.col(DISCHARGE_TIME) >= pl.col(ADMISSION_TIME)
        frame = ledger.keep(frame, in_order, "discharge before admission")
        died = (pl.col("hospital_expire_flag") == "1").fill_null(False) | pl.col("deathtime").is_not_null()
        born = patients.select(SUBJECT_ID, _time("dob").alias("born"))
        return (
            frame.join(born, on=SUBJECT_ID, how="left", maintain_order="left")
            .with_columns(
                pl.col(ADMISSION_TIME).dt.timestamp("us").alias(SOURCE_ORDER),
                _age().alias(AGE),
                pl.col(ADMISSION_TYPE).str.to_uppercase(),
                died.alias(DIED_IN_HOSPITAL),
            )
            .select(SOURCE_VISIT_SCHEMA.names())
        )

    def diagnoses(self, visits: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self._table("DIAGNOSES_ICD")
        frame = qualify_codes(frame, ledger, "icd9_code", DIAGNOSIS_SYSTEM)
        frame = keep_known(frame, ledger, visits, _KEYS)
        frame = frame.with_columns(whole_number("seq_num").alias(POSITION), _one_row())
        return frame.select(SOURCE_DIAGNOSIS_SCHEMA.names())

    def prescriptions(self, visits: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self._table("PRESCRIPTIONS")
        frame = keep_known(frame, ledger, visits, _KEYS)
        return frame.with_columns(
            _time("startdate").dt.timestamp("us").alias(POSITION),
            pl.col(NDC).replace(_UNKNOWN_NDC, None),
            _one_row(),
        ).select(SOURCE_PRESCRIPTION_SCHEMA.names())

    def notes(self, visits: pl.DataFrame) -> pl.DataFrame:
        """Join each admission's discharge summary and its addenda, in the order they were written."""
        is_summary = pl.col("category").str.to_lowercase() == NOTE_CATEGORY
        frame, ledger = self._table("NOTEEVENTS", is_summary, f"category is not {NOTE_CATEGORY}")
        is_error = pl.col("iserror").is_in(["1", "1.0"]).fill_null(False)
        frame = ledger.keep(frame, ~is_error, "marked as an error by a physician")
        frame = ledger.keep(frame, pl.col("text").is_not_null(), "note has no text")
        frame = keep_known(frame, ledger, visits, _KEYS)
        is_addendum = (pl.col("description").str.to_lowercase() == "addendum").fill_null(False)
        in_order = frame.sort(
            HADM_ID,
            "chartdate",
            is_addendum,
            "charttime",
            whole_number("row_id"),
            nulls_last=True,
            maintain_order=True,
        )
        joined = in_order.group_by(HADM_ID, maintain_order=True).agg("text", pl.len().alias(NUM_ROWS))
        return joined.select(
            HADM_ID,
            pl.lit("NOTEEVENTS").alias(TABLE),
            pl.lit(0, pl.Int64).alias(POSITION),
            cleaned(pl.col("text").list.join("\n")).alias(NOTE),
            pl.col(NUM_ROWS).cast(pl.Int64),
        ).select(SOURCE_NOTE_SCHEMA.names())

    def _table(
        self, name: str, keep: pl.Expr | None = None, reason: str = ""
    ) -> tuple[pl.DataFrame, RowLedger]:
        self.on_table(name)
        frame, self.ledgers[name], file = read_table(self.folder, name, TABLES[name], keep, reason)
        self.files.append(file)
        return frame, self.ledgers[name]


def _time(column: str) -> pl.Expr:
    """Read a time, or a date as its midnight; what is neither becomes null."""
    times = [pl.col(column).str.to_datetime(form, time_unit="us", strict=False) for form in _TIME_FORMATS]
    return pl.coalesce(times)


def _one_row() -> pl.Expr:
    return pl.lit(1, pl.Int64).alias(NUM_ROWS)


def _age() -> pl.Expr:
    """Age in years at admission: null if the birth is unknown or lies after it, at most `MAXIMUM_AGE`.

    MIMIC moves the birth of patients over 89 to 300 years before their first admission.
    """
    years = (pl.col(ADMISSION_TIME) - pl.col("born")).dt.total_seconds() / (_DAYS_PER_YEAR * 24 * 60 * 60)
    return pl.when(years >= -_NEWBORN_TOLERANCE).then(years.clip(0.0, MAXIMUM_AGE))
