"""From a stream of events to visits: which discharge ends an admission, and which events lie between them."""

from __future__ import annotations

import polars as pl

from medm_plm.data.meds_events import ADMISSION, BIRTH, DEATH, DISCHARGE, KIND, REST, ROW, SEPARATOR, TIME
from medm_plm.data.reading import age_since, keep_identified, keep_timed, stay_hours, with_planned_types
from medm_plm.data.schema import (
    ADMISSION_TIME,
    ADMISSION_TYPE,
    AGE,
    DIED_IN_HOSPITAL,
    DISCHARGE_TIME,
    HADM_ID,
    NUM_ROWS,
    SOURCE_ORDER,
    SOURCE_VISIT_SCHEMA,
    SUBJECT_ID,
    RowLedger,
)
from medm_plm.data.tables import keep_known

KEYS = (SUBJECT_ID, HADM_ID)

_IS_DEATH = r"(?i)\b(DIED|DEAD|EXPIRED)\b"
_UNKNOWN = "UNK"  # what conversions write where a part of a code is missing


def admission_numbers(events: pl.DataFrame) -> pl.DataFrame:
    """Count whose admissions have which number; a number counts for one patient alone.

    Args:
        events (`polars.DataFrame`): some of what `meds_events.event_batches` gave.

    Returns:
        Columns `subject_id`, `hadm_id` and `num_rows`; counts of parts of the dataset add up.
    """
    named = _of(events, ADMISSION).filter(pl.all_horizontal(pl.col(*KEYS, TIME).is_not_null()))
    return named.group_by(KEYS).agg(pl.len().cast(pl.Int64).alias(NUM_ROWS))


def visits_from(events: pl.DataFrame, numbers: pl.DataFrame, ledger: RowLedger) -> pl.DataFrame:
    """Make visits of admissions, discharges, births and deaths.

    A discharge belongs to the admission with the same number, or, without numbers, to the last admission
    before it. An admission without a number gets one from its patient and its place. A patient died in the
    hospital if the discharge says so or the death falls on a day of the visit.

    Args:
        events (`polars.DataFrame`): what `meds_events.event_batches` gave.
        numbers (`polars.DataFrame`): what `admission_numbers` counted in the whole dataset; of a number of
            several patients the first patient's admission counts.
        ledger (`RowLedger`): where admissions that cannot be used are counted.

    Returns:
        Visits in the columns of `schema.SOURCE_VISIT_SCHEMA`.
    """
    frame = ledger.keep(_of(events, ADMISSION), pl.col(TIME).is_not_null(), "admission has no time")
    once = pl.struct(SUBJECT_ID, HADM_ID, TIME).is_first_distinct()
    frame = ledger.keep(frame, once, "admission is listed again").sort(SUBJECT_ID, TIME, ROW)
    owners = numbers.group_by(HADM_ID).agg(pl.min(SUBJECT_ID).alias("owner"))
    frame = frame.join(owners, on=HADM_ID, how="left", maintain_order="left")
    is_own = pl.col(HADM_ID).is_null() | pl.col("owner").eq_missing(pl.col(SUBJECT_ID))
    frame = ledger.keep(frame, is_own, "number of another patient's admission").drop("owner")
    place = pl.int_range(1, pl.len() + 1).over(SUBJECT_ID)
    number = pl.concat_str(SUBJECT_ID, place.cast(pl.String), separator="-")
    frame = frame.with_columns(pl.coalesce(HADM_ID, number).alias(HADM_ID)).rename({TIME: ADMISSION_TIME})
    frame = keep_identified(_with_discharges(frame, _of(events, DISCHARGE)), ledger)
    frame = ledger.keep(frame, pl.col(DISCHARGE_TIME).is_not_null(), "admission without a discharge")
    frame = keep_timed(frame, ledger)
    for kind in (BIRTH, DEATH):
        first = _of(events, kind).group_by(SUBJECT_ID).agg(pl.min(TIME).alias(kind))
        frame = frame.join(first, on=SUBJECT_ID, how="left", maintain_order="left")
    day = pl.col(DEATH).dt.date()
    died = (day >= pl.col(ADMISSION_TIME).dt.date()) & (day <= pl.col(DISCHARGE_TIME).dt.date())
    died = died.fill_null(False) | pl.col("discharged_to").str.contains(_IS_DEATH).fill_null(False)
    first_part = pl.col(REST).str.split(SEPARATOR).list.first()
    return frame.with_columns(
        pl.col(ADMISSION_TIME).dt.timestamp("us").alias(SOURCE_ORDER),
        age_since(pl.col(BIRTH)).alias(AGE),
        with_planned_types(first_part.replace(["", _UNKNOWN], None)).alias(ADMISSION_TYPE),
        died.alias(DIED_IN_HOSPITAL),
        stay_hours(),
    ).select(SOURCE_VISIT_SCHEMA.names())


def with_visits(events: pl.DataFrame, visits: pl.DataFrame, ledger: RowLedger) -> pl.DataFrame:
    """Give each event its visit.

    An event without a number belongs to the last visit that began before it, up to the end of the day of
    discharge; else to a visit that began later on the same day, since many drugs are recorded with a date
    alone.

    Args:
        events (`polars.DataFrame`): events of one kind.
        visits (`polars.DataFrame`): what `visits_from` gave.
        ledger (`RowLedger`): where events of no visit are counted.

    Returns:
        The events of known visits, in the order of the dataset.
    """
    spans = visits.select(SUBJECT_ID, ADMISSION_TIME, DISCHARGE_TIME, pl.col(HADM_ID).alias("visit"))
    spans = spans.sort(ADMISSION_TIME)
    frame = events.filter(pl.col(HADM_ID).is_null() & pl.col(TIME).is_not_null()).sort(TIME)
    day = pl.col(TIME).dt.date()
    for strategy in ("backward", "forward"):
        frame = frame.join_asof(
            spans.rename({name: f"{strategy}_{name}" for name in spans.columns if name != SUBJECT_ID}),
            left_on=TIME,
            right_on=f"{strategy}_{ADMISSION_TIME}",
            by=SUBJECT_ID,
            strategy=strategy,
            check_sortedness=False,
        )
    during = day <= pl.col(f"backward_{DISCHARGE_TIME}").dt.date()
    shortly_before = day == pl.col(f"forward_{ADMISSION_TIME}").dt.date()
    visit = pl.when(during).then("backward_visit").when(shortly_before).then("forward_visit")
    placed = frame.select(ROW, visit.alias("visit"))
    events = events.join(placed, on=ROW, how="left", maintain_order="left")
    events = events.with_columns(pl.coalesce(HADM_ID, "visit").alias(HADM_ID)).drop("visit")
    return keep_known(events, ledger, visits, KEYS)


def _of(events: pl.DataFrame, kind: str) -> pl.DataFrame:
    return events.filter(pl.col(KIND) == kind)


def _with_discharges(admissions: pl.DataFrame, discharges: pl.DataFrame) -> pl.DataFrame:
    """Add `discharge_time` and `discharged_to`, null where no discharge fits."""
    ends = discharges.filter(pl.col(TIME).is_not_null()).sort(TIME, ROW)
    ends = ends.select(SUBJECT_ID, HADM_ID, pl.col(TIME).alias("end"), pl.col(REST).alias("to"))
    named = ends.filter(pl.col(HADM_ID).is_not_null()).unique(KEYS, keep="first", maintain_order=True)
    frame = admissions.join(named, on=KEYS, how="left").sort(ADMISSION_TIME, ROW)
    unnamed = ends.filter(pl.col(HADM_ID).is_null()).select(
        SUBJECT_ID, pl.col("end").alias("next_end"), pl.col("to").alias("next_to")
    )
    frame = frame.join_asof(
        unnamed,
        left_on=ADMISSION_TIME,
        right_on="next_end",
        by=SUBJECT_ID,
        strategy="forward",
        coalesce=False,
        check_sortedness=False,
    )
    following = pl.col(ADMISSION_TIME).shift(-1).over(SUBJECT_ID)
    is_own = pl.col("end").is_null() & (pl.col("next_end") <= following).fill_null(True)
    return frame.with_columns(
        pl.when(is_own).then("next_end").otherwise("end").alias(DISCHARGE_TIME),
        pl.when(is_own).then("next_to").otherwise("to").alias("discharged_to"),
    )
