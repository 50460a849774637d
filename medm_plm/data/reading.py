"""What the readers of several sources have in common: rules for visits, notes and times."""

from __future__ import annotations

import polars as pl

from medm_plm.data.cohort import PLANNED
from medm_plm.data.notes import cleaned
from medm_plm.data.schema import (
    ADMISSION_NOTE,
    ADMISSION_TIME,
    DISCHARGE_TIME,
    HADM_ID,
    HOURS_SINCE_ADMISSION,
    MAXIMUM_AGE,
    NOTE,
    NUM_ROWS,
    POSITION,
    SOURCE_NOTE_SCHEMA,
    STAY_HOURS,
    SUBJECT_ID,
    TABLE,
    RowLedger,
)
from medm_plm.data.sections import admission_text

_PLANNED_TYPES = ("SURGICAL SAME DAY ADMISSION",)
_DAYS_PER_YEAR = 365.25
# The engine divides a column by a number in another way than a single row, which changes the last digit.
_YEARS_PER_SECOND = 1 / (_DAYS_PER_YEAR * 24 * 60 * 60)
_MINUTES_PER_HOUR = 60
_NEWBORN_TOLERANCE = 0.02  # years; a newborn may be admitted, by the clock, shortly before it is born


def keep_identified(frame: pl.DataFrame, ledger: RowLedger) -> pl.DataFrame:
    """Keep the visits that have both numbers; of one that is listed twice, the first row.

    Args:
        frame (`polars.DataFrame`): columns `subject_id` and `hadm_id`.
        ledger (`RowLedger`): where the others are counted.

    Returns:
        The visits that stay.
    """
    has_numbers = pl.col(SUBJECT_ID).is_not_null() & pl.col(HADM_ID).is_not_null()
    frame = ledger.keep(frame, has_numbers, "no patient or admission number")
    return ledger.keep(frame, pl.col(HADM_ID).is_first_distinct(), "admission is listed again")


def keep_timed(frame: pl.DataFrame, ledger: RowLedger) -> pl.DataFrame:
    """Keep the visits that have both times, in the right order.

    Args:
        frame (`polars.DataFrame`): columns `admission_time` and `discharge_time`.
        ledger (`RowLedger`): where the others are counted.

    Returns:
        The visits that stay.
    """
    has_times = pl.col(ADMISSION_TIME).is_not_null() & pl.col(DISCHARGE_TIME).is_not_null()
    frame = ledger.keep(frame, has_times, "admission or discharge time cannot be read")
    in_order = pl.col(DISCHARGE_TIME) >= pl.col(ADMISSION_TIME)
    return ledger.keep(frame, in_order, "discharge before admission")


def hours_of(minutes: pl.Expr) -> pl.Expr:
    """Minutes as hours, rounded: the engine divides a single row otherwise than many, by the last bit."""
    return (minutes / _MINUTES_PER_HOUR).round(2)


def stay_hours() -> pl.Expr:
    """Hours from admission to discharge; null where one of the two is unknown."""
    stay = pl.col(DISCHARGE_TIME) - pl.col(ADMISSION_TIME)
    return hours_of(stay.dt.total_minutes()).alias(STAY_HOURS)


def age_since(birth: pl.Expr) -> pl.Expr:
    """Age in years at admission: null if the birth is unknown or lies after it, at most `MAXIMUM_AGE`.

    Args:
        birth (`polars.Expr`): time of birth.

    Returns:
        The ages.
    """
    seconds = (pl.col(ADMISSION_TIME) - birth).dt.total_seconds()
    return age_of(seconds * _YEARS_PER_SECOND, _NEWBORN_TOLERANCE)


def age_of(years: pl.Expr, tolerance: float = 0.0) -> pl.Expr:
    """Age in years: null if it is negative or no number, at most `MAXIMUM_AGE`.

    Args:
        years (`polars.Expr`): years since birth.
        tolerance (`float`, *optional*, defaults to 0): years below zero that count as zero.

    Returns:
        The ages.
    """
    years = years.cast(pl.Float64)
    return pl.when((years >= -tolerance) & years.is_finite()).then(years.clip(0.0, MAXIMUM_AGE))


def with_hours_since_admission(frame: pl.DataFrame, visits: pl.DataFrame, time: pl.Expr) -> pl.DataFrame:
    """Add how long after the admission something happened.

    Args:
        frame (`polars.DataFrame`): rows of known visits.
        visits (`polars.DataFrame`): visits that were read.
        time (`polars.Expr`): when it happened; a date alone counts as its midnight.

    Returns:
        The rows with a column `hours_since_admission`, null where one of the two times is unknown.
    """
    admissions = visits.select(HADM_ID, pl.col(ADMISSION_TIME).alias("admission"))
    frame = frame.join(admissions, on=HADM_ID, how="left", maintain_order="left")
    hours = hours_of((time - pl.col("admission")).dt.total_minutes())
    return frame.with_columns(hours.alias(HOURS_SINCE_ADMISSION)).drop("admission")


def joined_notes(
    in_order: pl.DataFrame, table: str, text: str = "text", is_addendum: pl.Expr | None = None
) -> pl.DataFrame:
    """Join the texts of each visit and clean them; what they say of the time of admission stands apart, too.

    Only the first text is asked for what was known at admission: whatever comes later, an addendum above all,
    may tell the history anew with what the stay has taught.

    Args:
        in_order (`polars.DataFrame`): columns `hadm_id` and `text`, the texts of a visit in reading order.
        table (`str`): name of the table that they come from.
        text (`str`, *optional*, defaults to "text"): name of the column of texts.
        is_addendum (`polars.Expr`, *optional*): which texts are additions, even if one stands first.

    Returns:
        One row for each visit, in the columns of `schema.SOURCE_NOTE_SCHEMA`.
    """
    first = pl.col(text).first()
    if is_addendum is not None:
        first = pl.when(~is_addendum.first()).then(first)
    joined = in_order.group_by(HADM_ID, maintain_order=True).agg(
        pl.col(text).str.join("\n"), first.alias("first"), pl.len().alias(NUM_ROWS)
    )
    return joined.select(
        HADM_ID,
        pl.lit(table).alias(TABLE),
        pl.lit(0, pl.Int64).alias(POSITION),
        cleaned(pl.col(text)).alias(NOTE),
        cleaned(admission_text(pl.col("first"))).alias(ADMISSION_NOTE),
        pl.col(NUM_ROWS).cast(pl.Int64),
    ).select(SOURCE_NOTE_SCHEMA.names())


def with_planned_types(admission_type: pl.Expr) -> pl.Expr:
    """Write kinds of admission in upper case, and those that are planned by the name that policies know.

    MIMIC-IV and what is made from it name same-day admissions for surgery apart from `ELECTIVE` ones.

    Args:
        admission_type (`polars.Expr`): kinds of admission.

    Returns:
        The kinds.
    """
    return admission_type.str.to_uppercase().replace(dict.fromkeys(_PLANNED_TYPES, PLANNED))


def third_level(atc: pl.Expr) -> pl.Expr:
    """Cut ATC codes to their third level, such as `N02A`; what has none becomes null.

    Args:
        atc (`polars.Expr`): ATC codes of any level, in any letter case.

    Returns:
        The classes.
    """
    return atc.str.strip_chars().str.to_uppercase().str.extract(r"^([A-Z]\d\d[A-Z])(?:[A-Z]|$)")


def one_row() -> pl.Expr:
    """Say that one row of the source stands behind each row."""
    return pl.lit(1, pl.Int64).alias(NUM_ROWS)
