"""MEDS, the Medical Event Data Standard: visits from a stream of events.

An admission opens a visit and a discharge closes it. Events name their visit where the dataset has a column
`hadm_id` or `visit_id`; those that do not belong to the visit during which they happened. How the dataset is
cut into shards does not matter.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from medm_plm.data.layout import SourceLayout, SourceTable, TableReader, read_whole
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
    event_batches,
    event_folder,
)
from medm_plm.data.meds_visits import admission_numbers, visits_from, with_visits
from medm_plm.data.reading import joined_notes, one_row, third_level, with_hours_since_admission
from medm_plm.data.schema import (
    ATC,
    DRUG,
    HADM_ID,
    NDC,
    POSITION,
    SOURCE_DIAGNOSIS_SCHEMA,
    SOURCE_PRESCRIPTION_SCHEMA,
    SUBJECT_ID,
    RowLedger,
    SourceTables,
)
from medm_plm.data.tables import qualify_codes

EVENTS = "events"
OTHERS = "other events"
TABLES = (ADMISSION, DIAGNOSIS, MEDICATION, DISCHARGE_NOTE, OTHERS)  # kinds of events, each with its account


def layout(folder: str | Path, codes: MedsCodes | None = None) -> SourceLayout:
    """Say where the events lie.

    Args:
        folder (`str` or `Path`): root of the dataset, with `data/**/*.parquet` in it.
        codes (`MedsCodes`, *optional*): which codes mean what.

    Returns:
        The one table of events and how to read it.

    Raises:
        InputError: if the dataset has no shard.
    """
    root = event_folder(Path(folder))
    events = SourceTable(
        root,
        lambda: event_batches(root, codes or MedsCodes()),
        subject=SUBJECT_ID,
        keep=pl.col(KIND).is_not_null(),
        reason="code begins with none of the prefixes",
        ledger=OTHERS,
        learn=admission_numbers,
    )
    return SourceLayout({EVENTS: events}, EVENTS, records)


def read(folder: str | Path, codes: MedsCodes | None = None) -> SourceTables:
    """Read a whole dataset at once, see `layout` and `records`."""
    return read_whole(layout(folder, codes))


def records(reader: TableReader) -> SourceTables:
    """Make records of visits with their diagnoses, medications and discharge summaries.

    Args:
        reader (`TableReader`): hands over the events of whole patients.

    Returns:
        The records under common names. Diagnoses stand in the order of the dataset, medications in that of
        their times.
    """
    events = reader.frame(EVENTS)
    frames = {kind: events.filter(pl.col(KIND) == kind) for kind in TABLES[:-1]}
    ledgers = {kind: RowLedger(frame.height) for kind, frame in frames.items()}
    ledgers[OTHERS] = RowLedger(events.height - sum(frame.height for frame in frames.values()))
    no_record = "discharge, birth or death: gives a time or an age, is no record of its own"
    ledgers[OTHERS].drop(ledgers[OTHERS].rows_in, no_record)
    visits = visits_from(events, reader.learned(EVENTS), ledgers[ADMISSION])
    for kind in (DIAGNOSIS, MEDICATION, DISCHARGE_NOTE):
        frames[kind] = with_visits(frames[kind], visits, ledgers[kind])
    return SourceTables(
        visits=visits,
        diagnoses=_diagnoses(frames[DIAGNOSIS], ledgers[DIAGNOSIS]),
        prescriptions=_prescriptions(frames[MEDICATION], visits),
        notes=_notes(frames[DISCHARGE_NOTE], ledgers[DISCHARGE_NOTE]),
        ledgers=ledgers,
        visit_table=ADMISSION,
        diagnosis_table=DIAGNOSIS,
        prescription_table=MEDICATION,
    )


def _diagnoses(events: pl.DataFrame, ledger: RowLedger) -> pl.DataFrame:
    coded = qualify_codes(events, ledger, REST, pl.col(MEANING))
    return coded.with_columns(pl.col(ROW).cast(pl.Int64).alias(POSITION), one_row()).select(
        SOURCE_DIAGNOSIS_SCHEMA.names()
    )


def _prescriptions(events: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """Tell names, package numbers and classes apart by what the prefix of the code says."""
    name = pl.col(REST).str.split(SEPARATOR).list.first().replace("", None)
    values = {DRUG: name, NDC: pl.col(REST), ATC: third_level(pl.col(REST))}
    events = with_hours_since_admission(events, visits, pl.col(TIME))
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
