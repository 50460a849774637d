"""The steps from the tables of a source to its visits, each a pure function of records of whole patients."""

from __future__ import annotations

import polars as pl

from medm_plm.data.schema import (
    ATC,
    CODE,
    DIAGNOSIS_CODES,
    DRUG,
    HADM_ID,
    MEDICATION_CODES,
    NDC,
    NOTE,
    NUM_ROWS,
    POSITION,
    ROUTE,
    SUBJECT_ID,
    TABLE,
    RowLedger,
    SourceTables,
)
from medm_plm.ontologies.codes import qualify
from medm_plm.ontologies.mappings import MedicationMapper

LEFT_OUT = "visit left out by the cohort rules"
_MEDICATION_SYSTEM = "ATC"


def map_medications(
    prescriptions: pl.DataFrame, mapper: MedicationMapper, ledger: RowLedger
) -> tuple[pl.DataFrame, dict[str, object]]:
    """Give each prescription its medication class; nothing is filled in from another row.

    Args:
        prescriptions (`polars.DataFrame`): `schema.SOURCE_PRESCRIPTION_SCHEMA`; a class in a column `atc` of
            the source wins over the mapper's.
        mapper (`MedicationMapper`): knows the classes.
        ledger (`RowLedger`): where rows without a class are counted.

    Returns:
        The rows that have a class, with a column `code`, and the counts for the report.
    """
    keys = [DRUG, ROUTE, NDC]
    classes = mapper.map_table(prescriptions)
    if ATC in prescriptions.columns:
        keys.append(ATC)
        classes = prescriptions[ATC].zip_with(prescriptions[ATC].is_not_null(), classes)
    qualified = {name: qualify(_MEDICATION_SYSTEM, name) for name in classes.drop_nulls().unique()}
    code = classes.replace_strict(qualified, default=None, return_dtype=pl.String).alias(CODE)
    rows = prescriptions.with_columns(code)
    mapped = ledger.keep(rows, pl.col(CODE).is_not_null(), "drug has no known medication class")
    counts: dict[str, object] = {
        "mapping": mapper.source,
        "rows": rows.height,
        "rows_mapped": mapped.height,
        "share_of_rows": round(mapped.height / rows.height, 4) if rows.height else None,
        "distinct_prescriptions": rows.select(keys).n_unique(),
        "distinct_prescriptions_mapped": mapped.select(keys).n_unique(),
        "distinct_drug_names": rows[DRUG].drop_nulls().n_unique(),
        "distinct_drug_names_mapped": mapped[DRUG].drop_nulls().n_unique(),
        "medication_classes": mapped[CODE].n_unique(),
    }
    if ATC in prescriptions.columns:
        counts["rows_with_a_class_of_the_source"] = prescriptions[ATC].count()
    return mapped, counts


def join_records(
    visits: pl.DataFrame, diagnoses: pl.DataFrame, medications: pl.DataFrame, notes: pl.DataFrame
) -> pl.DataFrame:
    """Put the note and the codes of each visit beside it.

    Args:
        visits (`polars.DataFrame`): one row for each visit.
        diagnoses (`polars.DataFrame`): columns `hadm_id`, `position`, `code`.
        medications (`polars.DataFrame`): the same.
        notes (`polars.DataFrame`): `schema.SOURCE_NOTE_SCHEMA`.

    Returns:
        The visits in their order with `note`, `diagnosis_codes` and `medication_codes`; empty where there is
        none.
    """
    texts = (
        notes.sort(HADM_ID, POSITION).group_by(HADM_ID, maintain_order=True).agg(pl.col(NOTE).str.join(" "))
    )
    parts = (texts, code_lists(diagnoses, DIAGNOSIS_CODES), code_lists(medications, MEDICATION_CODES))
    for part in parts:
        visits = visits.join(part, on=HADM_ID, how="left", maintain_order="left")
    empty = pl.lit([], dtype=pl.List(pl.String))
    return visits.with_columns(
        pl.col(NOTE).fill_null(""), pl.col(DIAGNOSIS_CODES, MEDICATION_CODES).fill_null(empty)
    )


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
    records = {tables.diagnosis_table: tables.diagnoses, tables.prescription_table: medications}
    records |= {str(name): rows for (name,), rows in tables.notes.group_by(TABLE)}
    used = {tables.visit_table: kept.height}
    for name, rows in records.items():
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
