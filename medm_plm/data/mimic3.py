"""MIMIC-III, version 1.4 and its demo: the only module that knows its tables and columns.

Headers are in upper case in the full release and in lower case in the demo; dates are shifted for each
patient, so that intervals are true and years are not. The demo comes without any note.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from medm_plm.data.layout import SourceLayout, TableReader, read_whole
from medm_plm.data.mimic import DIED, KEYS, MimicRecords, table
from medm_plm.data.reading import age_since, joined_notes
from medm_plm.data.schema import HADM_ID, SourceTables
from medm_plm.data.tables import find_table, keep_known, time_of, whole_number

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


_REST_OF_DAY = timedelta(hours=23, minutes=59)  # STARTDATE has no time of day
_IS_SUMMARY = pl.col("category").str.to_lowercase() == NOTE_CATEGORY


def layout(folder: str | Path) -> SourceLayout:
    """Say where the tables lie.

    Args:
        folder (`str` or `Path`): folder with the five tables of `TABLES` as `.csv` or `.csv.gz`.

    Returns:
        The tables and how to read them.

    Raises:
        InputError: if a table is missing.
    """
    wanted = {"NOTEEVENTS": (_IS_SUMMARY, f"category is not {NOTE_CATEGORY}")}
    tables = {
        name: table(find_table(folder, name), columns, *wanted.get(name, ()))
        for name, columns in TABLES.items()
    }
    return SourceLayout(tables, "ADMISSIONS", records)


def read(folder: str | Path) -> SourceTables:
    """Read a whole folder at once, see `layout` and `records`."""
    return read_whole(layout(folder))


def records(reader: TableReader) -> SourceTables:
    """Make records of admissions with their diagnoses, prescriptions and discharge summaries.

    Section 7 of the method. Rows that cannot be used are dropped and counted: admissions without readable
    times, with a discharge before the admission, or repeated; rows of other tables that belong to no
    admission read (the patient and the admission must both agree).

    Args:
        reader (`TableReader`): hands over the rows of whole patients.

    Returns:
        The records under common names.
    """
    mimic = MimicRecords(reader)
    patients = mimic.patients("PATIENTS")
    died = DIED | pl.col("deathtime").is_not_null()
    # The birth of patients over 89 is moved to 300 years before their first admission.
    visits = mimic.admissions("ADMISSIONS", patients, age_since(time_of("dob")), died, "PATIENTS")
    diagnoses, _ = reader.table("DIAGNOSES_ICD")
    return SourceTables(
        visits=visits,
        diagnoses=mimic.coded("DIAGNOSES_ICD", diagnoses, "icd9_code", DIAGNOSIS_SYSTEM, visits),
        prescriptions=mimic.prescriptions("PRESCRIPTIONS", visits, "startdate", _REST_OF_DAY),
        notes=_notes(reader, visits),
        ledgers=reader.ledgers,
        visit_table="ADMISSIONS",
        diagnosis_table="DIAGNOSES_ICD",
        prescription_table="PRESCRIPTIONS",
        patient_table="PATIENTS",
    )


def _notes(reader: TableReader, visits: pl.DataFrame) -> pl.DataFrame:
    """Join each admission's discharge summary and its addenda, in the order they were written."""
    frame, ledger = reader.table("NOTEEVENTS")
    is_error = pl.col("iserror").is_in(["1", "1.0"]).fill_null(False)
    frame = ledger.keep(frame, ~is_error, "marked as an error by a physician")
    frame = ledger.keep(frame, pl.col("text").is_not_null(), "note has no text")
    frame = keep_known(frame, ledger, visits, KEYS)
    is_addendum = (pl.col("description").str.to_lowercase() == "addendum").fill_null(False)
    order = (HADM_ID, "chartdate", is_addendum, "charttime", whole_number("row_id"))
    in_order = frame.sort(order, nulls_last=True, maintain_order=True)
    return joined_notes(in_order, "NOTEEVENTS", is_addendum=is_addendum)
