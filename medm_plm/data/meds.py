"""MEDS, the Medical Event Data Standard: visits from a stream of events.

An admission opens a visit and a discharge closes it. Events name their visit where the dataset has a column
`hadm_id` or `visit_id`; those that do not belong to the visit during which they happened. How the dataset is
cut into shards does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from medm_plm.data.meds_events import (
    ADMISSION,
    DIAGNOSIS,
    DISCHARGE_NOTE,
    KIND,
    MEANING,
    MEDICATION,
    REST,
    ROW,
    SEPARATOR,
    TEXT,
    TIME,
    MedsCodes,
    read_events,
)
from medm_plm.data.meds_visits import visits_from, with_visits
from medm_plm.data.reading import joined_notes, one_row, third_level
from medm_plm.data.schema import (
    ATC,
    DRUG,
    HADM_ID,
    NDC,
    POSITION,
    SOURCE_DIAGNOSIS_SCHEMA,
    SOURCE_PRESCRIPTION_SCHEMA,
    RowLedger,
    SourceTables,
)
from medm_plm.data.tables import qualify_codes

OTHERS = "other events"
TABLES = (ADMISSION, DIAGNOSIS, MEDICATION, DISCHARGE_NOTE, OTHERS)  # kinds of events, each with its account


def read(
    folder: str | Path, on_table: Callable[[str], None] = lambda name: None, codes: MedsCodes | None = None
) -> SourceTables:
    """Read the visits of a MEDS dataset with their diagnoses, medications and discharge summaries.

    Args:
        folder (`str` or `Path`): root of the dataset, with `data/**/*.parquet` in it.
        on_table (`Callable`, *optional*): told the name of each kind of event, for a progress bar.
        codes (`MedsCodes`, *optional*): which codes mean what.

    Returns:
        The records under common names. Diagnoses stand in the order of the dataset, medications in that of
        their times.

    Raises:
        InputError: if the dataset has no shard, or one is damaged or lacks a column.
    """
    on_table(OTHERS)
    events, file = read_events(Path(folder), codes or MedsCodes())
    others = RowLedger(file.num_rows)
    ledgers = {OTHERS: others}
    frames = {}
    for kind in TABLES[:-1]:
        frames[kind] = events.filter(pl.col(KIND) == kind)
        ledgers[kind] = RowLedger(frames[kind].height)
        others.rows_in -= frames[kind].height
    num_times = events.filter(~pl.col(KIND).is_in(TABLES)).height
    others.drop(num_times, "discharge, birth or death: gives a time or an age, is no record of its own")
    others.drop(others.rows_out, "code begins with none of the prefixes")
    on_table(ADMISSION)
    visits = visits_from(events, ledgers[ADMISSION])
    for kind in (DIAGNOSIS, MEDICATION, DISCHARGE_NOTE):
        on_table(kind)
        frames[kind] = with_visits(frames[kind], visits, ledgers[kind])
    return SourceTables(
        visits=visits,
        diagnoses=_diagnoses(frames[DIAGNOSIS], ledgers[DIAGNOSIS]),
        prescriptions=_prescriptions(frames[MEDICATION]),
        notes=_notes(frames[DISCHARGE_NOTE], ledgers[DISCHARGE_NOTE]),
        ledgers=ledgers,
        visit_table=ADMISSION,
        diagnosis_table=DIAGNOSIS,
        prescription_table=MEDICATION,
        files=[file],
    )


def _diagnoses(events: pl.DataFrame, ledger: RowLedger) -> pl.DataFrame:
    coded = qualify_codes(events, ledger, REST, pl.col(MEANING))
    return coded.with_columns(pl.col(ROW).cast(pl.Int64).alias(POSITION), one_row()).select(
        SOURCE_DIAGNOSIS_SCHEMA.names()
    )


def _prescriptions(events: pl.DataFrame) -> pl.DataFrame:
    """Tell names, package numbers and classes apart by what the prefix of the code says."""
    name = pl.col(REST).str.split(SEPARATOR).list.first().replace("", None)
    values = {DRUG: name, NDC: pl.col(REST), ATC: third_level(pl.col(REST))}
    return events.with_columns(
        *(
            pl.when(pl.col(MEANING) == meaning).then(value).alias(meaning)
            for meaning, value in values.items()
        ),
        pl.col(TIME).dt.timestamp("us").alias(POSITION),
        one_row(),
    ).select(*SOURCE_PRESCRIPTION_SCHEMA.names(), ATC)


def _notes(events: pl.DataFrame, ledger: RowLedger) -> pl.DataFrame:
    written = ledger.keep(events, pl.col(TEXT).is_not_null(), "note has no text")
    in_order = written.sort(HADM_ID, TIME, ROW, nulls_last=True)
    return joined_notes(in_order, DISCHARGE_NOTE, TEXT)
