"""eICU Collaborative Research Database: the only module that knows its tables and columns.

A visit is one stay in an intensive care unit. There are no calendar dates, so there is no readmission label;
within a hospital stay `unitvisitnumber` orders the visits, between hospital stays the year of discharge and
the age do, and what those leave open is ordered by the number of the hospital stay, which says nothing about
time.

The text of a visit is composed from what was clicked together in pick-lists: admission diagnosis, past
history, allergies, progress notes and physical examination, never from the tables of diagnoses and
medications, which hold the answers of the tasks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polars as pl

from medm_plm.data.eicu_codes import codes_of_system, count_names, name_by_code
from medm_plm.data.eicu_notes import (
    SECTIONS,
    admission_phrases,
    allergy_phrases,
    apache_phrases,
    pick_list_phrases,
)
from medm_plm.data.layout import SourceLayout, SourceTable, TableReader, read_whole
from medm_plm.data.notes import compose
from medm_plm.data.reading import age_of, hours_of, one_row
from medm_plm.data.schema import (
    ADMISSION_TIME,
    ADMISSION_TYPE,
    AGE,
    DIED_IN_HOSPITAL,
    DISCHARGE_TIME,
    DRUG,
    HADM_ID,
    HOURS_SINCE_ADMISSION,
    MAXIMUM_AGE,
    NDC,
    NUM_ROWS,
    POSITION,
    ROUTE,
    SOURCE_DIAGNOSIS_SCHEMA,
    SOURCE_ORDER,
    SOURCE_PRESCRIPTION_SCHEMA,
    SOURCE_VISIT_SCHEMA,
    STAY_HOURS,
    SUBJECT_ID,
    WRITTEN_DRUG,
    RowLedger,
    SourceTables,
)
from medm_plm.data.tables import csv_batches, find_table, keep_known, qualify_codes, whole_number

STAY = "patientunitstayid"
TABLES = {
    "patient": (
        STAY,
        "uniquepid",
        "patienthealthsystemstayid",
        "unitvisitnumber",
        "hospitaldischargeyear",
        "age",
        "unitadmitsource",
        "hospitaldischargestatus",
        "apacheadmissiondx",
        "unitdischargeoffset",
    ),
    "diagnosis": (STAY, "diagnosispriority", "diagnosisoffset", "icd9code"),
    "medication": (STAY, "drugordercancelled", "drugstartoffset", "drugname", "drughiclseqno", "routeadmin"),
    "admissionDx": (STAY, "admitdxenteredoffset", "admitdxpath", "admitdxname"),
    "pastHistory": (STAY, "pasthistoryoffset", "pasthistorypath", "pasthistoryvalue", "pasthistoryvaluetext"),
    "allergy": (STAY, "allergyoffset", "allergyname"),
    "note": (STAY, "noteoffset", "notepath", "notevalue", "notetext"),
    "physicalExam": (STAY, "physicalexamoffset", "physicalexampath", "physicalexamvalue", "physicalexamtext"),
}

_PRIORITIES = {"primary": 0, "major": 1, "other": 2}
_OLDEST = re.compile(r">\s*89")


def layout(folder: str | Path, diagnosis_system: str = "ICD9CM") -> SourceLayout:
    """Say where the tables lie.

    Args:
        folder (`str` or `Path`): folder with the eight tables of `TABLES` as `.csv` or `.csv.gz`.
        diagnosis_system (`str`, *optional*, defaults to "ICD9CM"): which of the two codes of a diagnosis to
            take.

    Returns:
        The tables and how to read them.

    Raises:
        InputError: if a table is missing.
    """
    tables = {name: _table(find_table(folder, name), columns) for name, columns in TABLES.items()}
    return SourceLayout(tables, "patient", partial(records, diagnosis_system=diagnosis_system))


def read(folder: str | Path, diagnosis_system: str = "ICD9CM") -> SourceTables:
    """Read a whole folder at once, see `layout` and `records`."""
    return read_whole(layout(folder, diagnosis_system))


def records(reader: TableReader, diagnosis_system: str) -> SourceTables:
    """Make records of intensive care stays with their text, diagnoses and medications.

    Args:
        reader (`TableReader`): hands over the rows of whole patients.
        diagnosis_system (`str`): which of the two codes of a diagnosis to take.

    Returns:
        The records under common names; `subject_id` is `uniquepid`, `hadm_id` is `patientunitstayid`.
    """
    eicu = _Records(reader)
    stays = eicu.stays()
    visits = stays.select(SOURCE_VISIT_SCHEMA.names())
    diagnoses = eicu.diagnoses(visits, diagnosis_system)
    prescriptions = eicu.prescriptions(visits)
    return SourceTables(
        visits=visits,
        diagnoses=diagnoses,
        prescriptions=prescriptions,
        notes=eicu.notes(stays),
        ledgers=reader.ledgers,
        visit_table="patient",
        diagnosis_table="diagnosis",
        prescription_table="medication",
        remarks=reader.remarks,
    )


def _table(path: Path, columns: Sequence[str]) -> SourceTable:
    subject = "uniquepid" if "uniquepid" in columns else None
    learn = count_names if "drughiclseqno" in columns else None
    return SourceTable(path, lambda: csv_batches(path, columns), subject, STAY, learn=learn)


class _Records:
    """Makes records of one table after the other and keeps the account."""

    def __init__(self, reader: TableReader) -> None:
        self.reader = reader

    def stays(self) -> pl.DataFrame:
        frame, ledger = self._table("patient")
        frame = frame.rename({"uniquepid": SUBJECT_ID})
        frame = ledger.keep(
            frame,
            pl.col(SUBJECT_ID).is_not_null() & pl.col(HADM_ID).is_not_null(),
            "no patient or stay number",
        )
        frame = ledger.keep(frame, pl.col(HADM_ID).is_first_distinct(), "stay is listed again")
        order = ["hospitaldischargeyear", "years", "patienthealthsystemstayid", "unitvisitnumber"]
        numbers = [whole_number(column).alias(column) for column in order if column != "years"]
        is_oldest = pl.col("age").str.contains(_OLDEST.pattern)
        years = pl.when(is_oldest).then(MAXIMUM_AGE).otherwise(pl.col("age").cast(pl.Float64, strict=False))
        status = pl.col("hospitaldischargestatus").str.to_lowercase()
        no_time = pl.lit(None, pl.Datetime("us"))
        return (
            frame.with_columns(*numbers, years.clip(upper_bound=MAXIMUM_AGE).alias("years"))
            .sort(SUBJECT_ID, *order, HADM_ID)
            .with_columns(
                pl.int_range(pl.len(), dtype=pl.Int64).alias(SOURCE_ORDER),
                no_time.alias(ADMISSION_TIME),
                no_time.alias(DISCHARGE_TIME),
                age_of(pl.col("years")).alias(AGE),
                pl.col("unitadmitsource").str.to_uppercase().alias(ADMISSION_TYPE),
                hours_of(whole_number("unitdischargeoffset")).alias(STAY_HOURS),
                status.replace_strict(
                    {"expired": True, "alive": False}, default=None, return_dtype=pl.Boolean
                ).alias(DIED_IN_HOSPITAL),
            )
        )

    def diagnoses(self, visits: pl.DataFrame, system: str) -> pl.DataFrame:
        """Take the codes of one system from each row, most important row first."""
        frame, ledger = self._table("diagnosis")
        frame = keep_known(frame, ledger, visits)
        distinct = frame["icd9code"].drop_nulls().unique().to_list()
        of_system = {cell: codes_of_system(cell, system) for cell in distinct}
        codes = pl.col("icd9code").replace_strict(
            list(of_system), list(of_system.values()), default=None, return_dtype=pl.List(pl.String)
        )
        frame = frame.with_columns(codes.alias("codes"), pl.int_range(pl.len(), dtype=pl.Int64).alias("row"))
        frame = ledger.keep(frame, pl.col("codes").list.len() > 0, f"no {system} code")
        priority = pl.col("diagnosispriority").str.to_lowercase()
        ranks = priority.replace_strict(_PRIORITIES, default=len(_PRIORITIES), return_dtype=pl.Int64)
        in_order = frame.sort(HADM_ID, ranks, whole_number("diagnosisoffset"), "icd9code", nulls_last=True)
        single = in_order.explode("codes")
        # A row with several codes is still one row of the account.
        num_rows = pl.col("row").is_first_distinct().cast(pl.Int64)
        single = single.with_columns(
            num_rows.alias(NUM_ROWS), pl.int_range(pl.len(), dtype=pl.Int64).over(HADM_ID).alias(POSITION)
        )
        return qualify_codes(single, RowLedger(single.height), "codes", system).select(
            SOURCE_DIAGNOSIS_SCHEMA.names()
        )

    def prescriptions(self, visits: pl.DataFrame) -> pl.DataFrame:
        frame, ledger = self._table("medication")
        cancelled = (pl.col("drugordercancelled").str.to_lowercase() == "yes").fill_null(False)
        frame = ledger.keep(frame, ~cancelled, "order cancelled")
        frame = keep_known(frame, ledger, visits)
        frame = frame.rename({"drugname": DRUG, "routeadmin": ROUTE})
        frame = frame.with_columns(pl.col(DRUG).alias(WRITTEN_DRUG))
        named = name_by_code(frame, self.reader.learned("medication"))
        num_named = frame[DRUG].null_count() - named[DRUG].null_count()
        self.reader.remarks["medication rows named by their HICL code"] = num_named
        named = ledger.keep(named, pl.col(DRUG).is_not_null(), "no drug name and no HICL code that names one")
        return named.with_columns(
            whole_number("drugstartoffset").alias(POSITION),
            hours_of(whole_number("drugstartoffset")).alias(HOURS_SINCE_ADMISSION),
            pl.lit(None, pl.String).alias(NDC),
            one_row(),
        ).select(*SOURCE_PRESCRIPTION_SCHEMA.names(), WRITTEN_DRUG)

    def notes(self, stays: pl.DataFrame) -> pl.DataFrame:
        makers = {
            "admissionDx": admission_phrases,
            "pastHistory": pick_list_phrases,
            "allergy": allergy_phrases,
            "note": pick_list_phrases,
            "physicalExam": pick_list_phrases,
        }
        phrases = [apache_phrases(stays)]
        for table, make in makers.items():
            frame, ledger = self._table(table)
            frame = keep_known(frame, ledger, stays)
            # Behind the stay the columns of the five tables have the same order: time, path, value, text.
            frame = frame.rename(
                dict(zip(TABLES[table][1:], ("offset", "path", "value", "text"), strict=False))
            )
            phrases.append(make(frame, table, ledger))
        return compose(pl.concat(phrases), SECTIONS)

    def _table(self, name: str) -> tuple[pl.DataFrame, RowLedger]:
        frame, ledger = self.reader.table(name)
        return frame.rename({STAY: HADM_ID}), ledger
