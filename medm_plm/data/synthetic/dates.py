"""Dates and identifiers of invented visits, shifted into the future as in MIMIC-III."""

import math
from dataclasses import dataclass

import numpy as np

from medm_plm.data.synthetic.visit_block import MAX_VISITS, VisitBlock

_FIRST_YEAR = np.datetime64("2101-01-01T00:00", "m")
_YEARS_OF_ADMISSIONS = 80
_MINUTES_PER_YEAR = 365.25 * 24 * 60
_HIDDEN_AGE = 89  # MIMIC-III moves older patients' birth to 300 years before their first admission
_FIRST_SUBJECT = 11
_FIRST_ADMISSION = 100_001


@dataclass(frozen=True)
class VisitDates:
    """Identifiers and times of a block of visits, one row each.

    Args:
        subject_id, hadm_id (`np.ndarray` of shape `(visits,)`): numbers as MIMIC gives them.
        admitted, discharged (`np.ndarray` of shape `(visits,)`): `datetime64[m]`.
        born (`np.ndarray` of shape `(patients,)`): `datetime64[D]`.
        first_row (`np.ndarray` of shape `(patients,)`): each patient's first visit.
    """

    subject_id: np.ndarray
    hadm_id: np.ndarray
    admitted: np.ndarray
    discharged: np.ndarray
    born: np.ndarray
    first_row: np.ndarray


def place_in_time(
    block: VisitBlock, first_patient: int, first_visit: int, num_patients: int, rng: np.random.Generator
) -> VisitDates:
    """Give the visits of a block their identifiers and dates.

    Args:
        block (`VisitBlock`): visits ordered by patient and time.
        first_patient (`int`): patients of earlier blocks.
        first_visit (`int`): visits of earlier blocks.
        num_patients (`int`): patients of the whole cohort; sets the range of the admission numbers.
        rng (`np.random.Generator`): source of chance.

    Returns:
        Identifiers and times.
    """
    _, first_row = np.unique(block.patient, return_index=True)
    stay = np.round(block.stay_hours * 60.0).astype(np.int64)
    step = stay + np.round(np.nan_to_num(block.gap_hours) * 60.0).astype(np.int64)
    elapsed = np.cumsum(step) - step
    elapsed -= elapsed[first_row][block.patient]
    start = (rng.random(len(first_row)) * _YEARS_OF_ADMISSIONS * _MINUTES_PER_YEAR).astype(np.int64)
    first_admission = _FIRST_YEAR + start.astype("timedelta64[m]")
    admitted = first_admission[block.patient] + elapsed.astype("timedelta64[m]")
    return VisitDates(
        subject_id=_FIRST_SUBJECT + first_patient + block.patient,
        hadm_id=_admission_numbers(first_visit, len(block), num_patients),
        admitted=admitted,
        discharged=admitted + stay.astype("timedelta64[m]"),
        born=_births(first_admission, block.age[first_row]),
        first_row=first_row,
    )


def _births(first_admission: np.ndarray, age: np.ndarray) -> np.ndarray:
    shown_age = np.where(age > _HIDDEN_AGE, 300.0, age)
    lived = (shown_age * _MINUTES_PER_YEAR).astype(np.int64).astype("timedelta64[m]")
    return (first_admission - lived).astype("datetime64[D]")


def _admission_numbers(first_visit: int, count: int, num_patients: int) -> np.ndarray:
    """Numbers without repeats whose order says nothing about time, as in MIMIC."""
    size = max(99_991, num_patients * MAX_VISITS)
    stride = 7919
    while math.gcd(stride, size) != 1:
        size += 1
    return _FIRST_ADMISSION + (np.arange(first_visit, first_visit + count) * stride) % size


def timestamps(moments: np.ndarray) -> np.ndarray:
    """Write times as MIMIC does, `2151-07-16 14:29:00`; NaT becomes "".

    Args:
        moments (`np.ndarray`): `datetime64` of any unit down to minutes.

    Returns:
        Text of the same shape.
    """
    text = np.char.replace(np.datetime_as_string(moments.astype("datetime64[s]")), "T", " ")
    return np.where(np.isnat(moments), "", text)
