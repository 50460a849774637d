"""What the two generations of MIMIC have in common; the modules `mimic3` and `mimic4` know the rest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl

from medm_plm.data.layout import SourceTable, TableReader
from medm_plm.data.reading import keep_identified, keep_timed, one_row, stay_hours, with_hours_since_admission
from medm_plm.data.schema import (
    ADMISSION_TIME,
    ADMISSION_TYPE,
    AGE,
    DIED_IN_HOSPITAL,
    DISCHARGE_TIME,
    HADM_ID,
    NDC,
    POSITION,
    SOURCE_DIAGNOSIS_SCHEMA,
    SOURCE_ORDER,
    SOURCE_PRESCRIPTION_SCHEMA,
    SOURCE_VISIT_SCHEMA,
    SUBJECT_ID,
)
from medm_plm.data.tables import csv_batches, keep_known, qualify_codes, time_of, whole_number

KEYS = (SUBJECT_ID, HADM_ID)
DIED = pl.col("hospital_expire_flag").eq("1").fill_null(False)

_UNKNOWN_NDC = "0"


def table(path: Path, columns: Sequence[str], keep: pl.Expr | None = None, reason: str = "") -> SourceTable:
    """Describe a table: its rows belong to an admission, those of patients to a patient.

    Args:
        path (`Path`): its file.
        columns (`Sequence[str]`): columns wanted.
        keep (`polars.Expr`, *optional*): rows wanted.
        reason (`str`, *optional*): why the others go.

    Returns:
        The description.
    """
    visit = HADM_ID if HADM_ID in columns else None
    return SourceTable(path, lambda: csv_batches(path, columns), SUBJECT_ID, visit, keep, reason)


class MimicRecords:
    """Reads the tables that both generations have, under the name that each gives them.

    Args:
        reader (`TableReader`): hands over the rows.
    """

    def __init__(self, reader: TableReader) -> None:
        self.reader = reader

    def patients(self, name: str) -> pl.DataFrame:
        """Read the patients; of one that is listed twice, the first row counts."""
        frame, ledger = self.reader.table(name)
        return ledger.keep(frame, pl.col(SUBJECT_ID).is_first_distinct(), "patient is listed again")

    def admissions(
        self, name: str, patients: pl.DataFrame, age: pl.Expr, died: pl.Expr, patient_table: str
    ) -> pl.DataFrame:
        """Read the admissions of known patients.

        Args:
            name (`str`): name of the table.
            patients (`polars.DataFrame`): what `patients` gave.
            age (`polars.Expr`): years at admission, from the columns of patients and `admission_time`.
            died (`polars.Expr`): whether the patient died during the admission.
            patient_table (`str`): which ledger counts the patients without any admission.

        Returns:
            Visits in the columns of `schema.SOURCE_VISIT_SCHEMA`.
        """
        frame, ledger = self.reader.table(name)
        frame = keep_identified(frame, ledger)
        known = pl.col(SUBJECT_ID).is_in(patients[SUBJECT_ID].implode())
        frame = ledger.keep(frame, known, "patient is not listed")
        frame = frame.with_columns(
            time_of("admittime").alias(ADMISSION_TIME), time_of("dischtime").alias(DISCHARGE_TIME)
        )
        visits = (
            keep_timed(frame, ledger)
            .join(patients, on=SUBJECT_ID, how="left", maintain_order="left")
            .with_columns(
                pl.col(ADMISSION_TIME).dt.timestamp("us").alias(SOURCE_ORDER),
                age.alias(AGE),
                pl.col(ADMISSION_TYPE).str.to_uppercase(),
                died.alias(DIED_IN_HOSPITAL),
                stay_hours(),
            )
            .select(SOURCE_VISIT_SCHEMA.names())
        )
        without = patients.join(visits, on=SUBJECT_ID, how="anti").height
        self.reader.ledgers[patient_table].drop(without, "patient without an admission that was read")
        return visits

    def coded(
        self, name: str, frame: pl.DataFrame, column: str, system: str | pl.Expr, visits: pl.DataFrame
    ) -> pl.DataFrame:
        """Qualify the codes of a table of diagnoses that was read.

        Args:
            name (`str`): name of the table.
            frame (`polars.DataFrame`): its rows, with a column `seq_num`.
            column (`str`): column of the codes.
            system (`str` or `polars.Expr`): code system of all rows or of each.
            visits (`polars.DataFrame`): visits that were read.

        Returns:
            Diagnoses in the columns of `schema.SOURCE_DIAGNOSIS_SCHEMA`.
        """
        ledger = self.reader.ledgers[name]
        frame = qualify_codes(frame, ledger, column, system)
        frame = keep_known(frame, ledger, visits, KEYS)
        frame = frame.with_columns(whole_number("seq_num").alias(POSITION), one_row())
        return frame.select(SOURCE_DIAGNOSIS_SCHEMA.names())

    def prescriptions(
        self, name: str, visits: pl.DataFrame, started: str, delay: timedelta = timedelta()
    ) -> pl.DataFrame:
        """Read the prescriptions.

        Args:
            name (`str`): name of the table.
            visits (`polars.DataFrame`): visits that were read.
            started (`str`): column of the time from which the drug was to be given.
            delay (`timedelta`, *optional*): how much later than that time it may have been, where the source
                tells the day alone.

        Returns:
            Prescriptions in the columns of `schema.SOURCE_PRESCRIPTION_SCHEMA`.
        """
        frame, ledger = self.reader.table(name)
        frame = keep_known(frame, ledger, visits, KEYS).with_columns(time_of(started).alias(started))
        frame = with_hours_since_admission(frame, visits, pl.col(started) + delay)
        return frame.with_columns(
            pl.col(started).dt.timestamp("us").alias(POSITION),
            pl.col(NDC).replace(_UNKNOWN_NDC, None),
            one_row(),
        ).select(SOURCE_PRESCRIPTION_SCHEMA.names())
