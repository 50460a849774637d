"""The steps from the tables of a source to its visits, each a pure function of records of whole patients."""

from __future__ import annotations

import polars as pl

from medm_plm.data.reading import one_row
from medm_plm.data.schema import (
    ADMISSION_NOTE,
    ATC,
    CODE,
    DIAGNOSIS_CODES,
    FIRST_DAY_HOURS,
    FIRST_DAY_MEDICATION_CODES,
    HADM_ID,
    HOURS_SINCE_ADMISSION,
    MEDICATION_CODES,
    NOTE,
    NUM_ROWS,
    POSITION,
    SUBJECT_ID,
    TABLE,
    SourceTables,
)
from medm_plm.ontologies.codes import qualify
from medm_plm.ontologies.mappings import MedicationMapper

LEFT_OUT = "visit left out by the cohort rules"
_MEDICATION_SYSTEM = "ATC"


def map_medications(prescriptions: pl.DataFrame, mapper: MedicationMapper) -> pl.DataFrame:
    """Give each prescription its medication class; nothing is filled in from another row.

    Args:
        prescriptions (`polars.DataFrame`): `schema.SOURCE_PRESCRIPTION_SCHEMA`; a class in a column `atc` of
            the source wins over the mapper's.
        mapper (`MedicationMapper`): knows the classes.

    Returns:
        The rows with a column `code`, null where the class is not known.
    """
    classes = mapper.map_table(prescriptions)
    if ATC in prescriptions.columns:
        classes = prescriptions[ATC].zip_with(prescriptions[ATC].is_not_null(), classes)
    qualified = {name: qualify(_MEDICATION_SYSTEM, name) for name in classes.drop_nulls().unique()}
    code = classes.replace_strict(qualified, default=None, return_dtype=pl.String).alias(CODE)
    return prescriptions.with_columns(code)


def join_records(
    visits: pl.DataFrame, diagnoses: pl.DataFrame, medications: pl.DataFrame, notes: pl.DataFrame
) -> pl.DataFrame:
    """Put the note and the codes of each visit beside it.

    Args:
        visits (`polars.DataFrame`): one row for each visit.
        diagnoses (`polars.DataFrame`): columns `hadm_id`, `position`, `code`.
        medications (`polars.DataFrame`): the same, and `hours_since_admission`.
        notes (`polars.DataFrame`): `schema.SOURCE_NOTE_SCHEMA`.

    Returns:
        The visits in their order with `note`, `diagnosis_codes` and `medication_codes`, empty where there is
        none; with `admission_note`, null where the source cannot tell it from the rest; and with
        `first_day_medication_codes`, null where medications are known but none of their times is.
    """
    known = pl.col(ADMISSION_NOTE).drop_nulls()
    texts = (
        notes.sort(HADM_ID, POSITION)
        .group_by(HADM_ID, maintain_order=True)
        .agg(pl.col(NOTE).str.join(" "), pl.when(known.len() > 0).then(known.str.join(" ")))
    )
    # What is ordered in the emergency room comes shortly before; a start long before is a slip of the pen.
    is_early = pl.col(HOURS_SINCE_ADMISSION).is_between(-FIRST_DAY_HOURS, FIRST_DAY_HOURS, closed="left")
    early = medications.filter(is_early)
    timed = medications.filter(pl.col(HOURS_SINCE_ADMISSION).is_not_null())
    parts = (
        texts,
        code_lists(diagnoses, DIAGNOSIS_CODES),
        code_lists(medications, MEDICATION_CODES),
        code_lists(early, FIRST_DAY_MEDICATION_CODES),
        timed.select(HADM_ID, pl.lit(True).alias("is_timed")).unique(),
    )
    for part in parts:
        visits = visits.join(part, on=HADM_ID, how="left", maintain_order="left")
    empty = pl.lit([], dtype=pl.List(pl.String))
    visits = visits.with_columns(
        pl.col(NOTE).fill_null(""), pl.col(DIAGNOSIS_CODES, MEDICATION_CODES).fill_null(empty)
    )
    tells_times = pl.col("is_timed").fill_null(False) | (pl.col(MEDICATION_CODES).list.len() == 0)
    first_day = pl.when(tells_times).then(pl.col(FIRST_DAY_MEDICATION_CODES).fill_null(empty))
    return visits.with_columns(first_day.alias(FIRST_DAY_MEDICATION_CODES)).drop("is_timed")


def code_lists(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Gather the codes of each visit, every code once, at its first position.

    Args:
        rows (`polars.DataFrame`): columns `hadm_id`, `position` (null comes last), `code`.
        name (`str`): name of the list column.

    Returns:
        One row for each visit that has codes.
    """
    ordered = rows.sort(HADM_ID, POSITION, CODE, nulls_last=True)
    unique = ordered.unique([HADM_ID, CODE], keep="first", maintain_order=True)
    return unique.group_by(HADM_ID, maintain_order=True).agg(pl.col(CODE).alias(name))


def rows_of_visits(tables: SourceTables, medications: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Count the rows of each table that stand behind each visit.

    Args:
        tables (`SourceTables`): the records.
        medications (`polars.DataFrame`): prescriptions that have a class.
        kept (`polars.DataFrame`): the visits that stay.

    Returns:
        Columns `hadm_id`, `table` and `num_rows`; a visit is one row of its own table.
    """
    counted = [kept.select(HADM_ID, pl.lit(tables.visit_table).alias(TABLE), one_row())]
    for name, rows in _records_by_table(tables, medications).items():
        known = rows.join(kept, on=HADM_ID, how="semi").group_by(HADM_ID).agg(pl.sum(NUM_ROWS))
        counted.append(known.select(HADM_ID, pl.lit(name).alias(TABLE), NUM_ROWS))
    return pl.concat(counted).sort(HADM_ID, TABLE)


def _records_by_table(tables: SourceTables, medications: pl.DataFrame) -> dict[str, pl.DataFrame]:
    records = {tables.diagnosis_table: tables.diagnoses, tables.prescription_table: medications}
    return records | {str(name): rows for (name,), rows in tables.notes.group_by(TABLE)}


def close_ledgers(tables: SourceTables, medications: pl.DataFrame, kept: pl.DataFrame) -> None:
    """Count the rows that belong to visits left out, and verify that every row is accounted for.

    Args:
        tables (`SourceTables`): their ledgers are completed.
        medications (`polars.DataFrame`): prescriptions that have a class.
        kept (`polars.DataFrame`): the visits that stay.

    Raises:
        RuntimeError: if the rows behind the visits are not those that the ledgers leave, which would be our
        mistake.
    """
    used = {tables.visit_table: kept.height}
    for name, rows in _records_by_table(tables, medications).items():
        num_rows = int(rows[NUM_ROWS].sum())
        used[name] = int(rows.join(kept, on=HADM_ID, how="semi")[NUM_ROWS].sum())
        tables.ledgers[name].drop(num_rows - used[name], LEFT_OUT)
    if tables.patient_table is not None:
        used[tables.patient_table] = kept[SUBJECT_ID].n_unique()
        num_patients = tables.visits[SUBJECT_ID].n_unique()
        tables.ledgers[tables.patient_table].drop(num_patients - used[tables.patient_table], LEFT_OUT)
    for name, num_rows in used.items():
        ledger = tables.ledgers[name]
        if ledger.rows_out != num_rows:
            raise RuntimeError(
                f"table {name}: {num_rows} rows stand behind the visits, the account leaves {ledger.rows_out}"
            )
