"""MIMIC-IV, versions 2.2 and 3.1 and the demo: the only module that knows its tables and columns.

Tables lie in `hosp/`. Each diagnosis says by `icd_version` whether it is ICD-9-CM or ICD-10-CM. There is no
date of birth; a patient is `anchor_age` years old in `anchor_year`. Discharge summaries are a data set of
their own, MIMIC-IV-Note, and the demo comes without any.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from medm_plm.data.layout import SourceLayout, TableReader, read_whole
from medm_plm.data.mimic import DIED, KEYS, MimicRecords, table
from medm_plm.data.reading import age_of, joined_notes, with_planned_types
from medm_plm.data.schema import ADMISSION_TIME, ADMISSION_TYPE, HADM_ID, SOURCE_NOTE_SCHEMA, SourceTables
from medm_plm.data.tables import SUFFIXES, find_table, keep_known, whole_number
from medm_plm.errors import InputError

TABLES = {
    "patients": ("subject_id", "anchor_age", "anchor_year"),
    "admissions": (
        "subject_id",
        "hadm_id",
        "admittime",
        "dischtime",
        "admission_type",
        "hospital_expire_flag",
    ),
    "diagnoses_icd": ("subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"),
    "prescriptions": ("subject_id", "hadm_id", "starttime", "drug", "ndc", "route"),
}
NOTE_TABLE = "discharge"
NOTE_COLUMNS = ("subject_id", "hadm_id", "note_type", "note_seq", "charttime", "text")

_SYSTEM_OF_VERSION = {"9": "ICD9CM", "10": "ICD10CM"}
_ADDENDUM = "AD"
_NOTE_FILES = {NOTE_TABLE + suffix for suffix in SUFFIXES}


def layout(folder: str | Path, notes: str | Path | None = None) -> SourceLayout:
    """Say where the tables lie.

    Args:
        folder (`str` or `Path`): folder with `hosp/` in it, or that folder itself; tables as `.csv` or
            `.csv.gz`.
        notes (`str` or `Path`, *optional*): folder of MIMIC-IV-Note, with `note/` in it or not, or the file
            `discharge.csv.gz`; without it `note/` beside `hosp/` is read if it holds that file, else no note.

    Returns:
        The tables and how to read them.

    Raises:
        InputError: if a table is missing, or `notes` leads to no discharge summaries.
    """
    folder = Path(folder)
    hosp = folder / "hosp" if (folder / "hosp").is_dir() else folder
    tables = {name: table(find_table(hosp, name), columns) for name, columns in TABLES.items()}
    note_folder = _note_folder(hosp, notes)
    if note_folder is not None:
        tables[NOTE_TABLE] = table(find_table(note_folder, NOTE_TABLE), NOTE_COLUMNS)
    return SourceLayout(tables, "admissions", records)


def read(folder: str | Path, notes: str | Path | None = None) -> SourceTables:
    """Read a whole folder at once, see `layout` and `records`."""
    return read_whole(layout(folder, notes))


def records(reader: TableReader) -> SourceTables:
    """Make records of admissions with their diagnoses, prescriptions and discharge summaries.

    Section 7 of the method. Rows that cannot be used are dropped and counted, as with MIMIC-III. A death is
    taken from the flag of the admission alone: the time of death may lie hours behind the discharge. A same
    day admission for surgery is written as `ELECTIVE`, since the readmission policies skip planned
    admissions by that name.

    Args:
        reader (`TableReader`): hands over the rows of whole patients.

    Returns:
        The records under common names.
    """
    mimic = MimicRecords(reader)
    patients = mimic.patients("patients")
    since_anchor = pl.col(ADMISSION_TIME).dt.year() - whole_number("anchor_year")
    age = age_of(whole_number("anchor_age") + since_anchor)
    visits = mimic.admissions("admissions", patients, age, DIED, "patients")
    visits = visits.with_columns(with_planned_types(pl.col(ADMISSION_TYPE)))
    diagnoses = _diagnoses(mimic, visits)
    prescriptions = mimic.prescriptions("prescriptions", visits, "starttime")
    return SourceTables(
        visits=visits,
        diagnoses=diagnoses,
        prescriptions=prescriptions,
        notes=_notes(reader, visits),
        ledgers=reader.ledgers,
        visit_table="admissions",
        diagnosis_table="diagnoses_icd",
        prescription_table="prescriptions",
        patient_table="patients",
    )


def _diagnoses(mimic: MimicRecords, visits: pl.DataFrame) -> pl.DataFrame:
    frame, ledger = mimic.reader.table("diagnoses_icd")
    system = pl.col("icd_version").replace_strict(_SYSTEM_OF_VERSION, default=None, return_dtype=pl.String)
    frame = ledger.keep(frame, system.is_not_null(), "icd_version is neither 9 nor 10")
    return mimic.coded("diagnoses_icd", frame, "icd_code", system, visits)


def _note_folder(hosp: Path, notes: str | Path | None) -> Path | None:
    """Find the folder of the discharge summaries; None if there are none and none were asked for."""
    root = Path(notes) if notes is not None else hosp.parent if hosp.name == "hosp" else hosp
    places = [root / "note"]
    if notes is not None:
        places.append(root.parent if root.name.lower() in _NOTE_FILES else root)
    for place in places:
        if place.is_dir() and {path.name.lower() for path in place.iterdir()} & _NOTE_FILES:
            return place
    if notes is None:
        return None
    raise InputError(
        "there are no discharge summaries",
        file=root,
        expected=" or ".join(sorted(_NOTE_FILES)),
        remedy="give the folder of MIMIC-IV-Note as --notes, or leave it out to prepare without notes",
    )


def _notes(reader: TableReader, visits: pl.DataFrame) -> pl.DataFrame:
    """Join each admission's discharge summary and its addenda, in the order they were written."""
    if NOTE_TABLE not in reader:
        return pl.DataFrame(schema=SOURCE_NOTE_SCHEMA)
    frame, ledger = reader.table(NOTE_TABLE)
    frame = ledger.keep(frame, pl.col("text").is_not_null(), "note has no text")
    frame = keep_known(frame, ledger, visits, KEYS)
    is_addendum = (pl.col("note_type") == _ADDENDUM).fill_null(False)
    order = (HADM_ID, is_addendum, "charttime", whole_number("note_seq"))
    in_order = frame.sort(order, nulls_last=True, maintain_order=True)
    return joined_notes(in_order, NOTE_TABLE, is_addendum=is_addendum)
