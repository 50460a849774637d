"""Which visits are learned from, and which of them were followed by a readmission.

Labels are made from all visits that were read, before any is left out: a readmission stays one even if the
later visit has no note. Visits are then numbered within each patient, counting those that are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from medm_plm.data.schema import (
    ADMISSION_TIME,
    ADMISSION_TYPE,
    AGE,
    DIAGNOSIS_CODES,
    DIED_IN_HOSPITAL,
    DISCHARGE_TIME,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    READMISSION,
    SOURCE_ORDER,
    SUBJECT_ID,
    VISIT_NUMBER,
    RowLedger,
)
from medm_plm.errors import InputError

READMISSION_WINDOW_DAYS = 30
PLANNED = "ELECTIVE"
NEWBORN = "NEWBORN"
IN_TIME_ORDER = (SUBJECT_ID, SOURCE_ORDER, DISCHARGE_TIME, HADM_ID)

_HAS_NOTE = pl.col(NOTE) != ""
_HAS_DIAGNOSES = pl.col(DIAGNOSIS_CODES).list.len() > 0
_HAS_MEDICATIONS = pl.col(MEDICATION_CODES).list.len() > 0
REQUIREMENTS = {
    "note": (_HAS_NOTE, "no note"),
    "diagnoses": (_HAS_DIAGNOSES, "no diagnosis"),
    "medications": (_HAS_MEDICATIONS, "no medication"),
    "diagnoses_or_note": (_HAS_DIAGNOSES | _HAS_NOTE, "neither diagnosis nor note"),
}


@dataclass(frozen=True)
class CohortRules:
    """What a visit must have to be kept.

    Section 7 of the method; the paper keeps adults with a note, diagnoses and medications.

    Args:
        minimum_age (`float`, *optional*, defaults to 16): years at admission. Visits of unknown age go as
            well, unless the minimum is 0.
        require (`tuple[str, ...]`, *optional*, defaults to `("diagnoses_or_note",)`): names of
            `REQUIREMENTS`, all of which must hold. The default keeps whatever one of the tasks can use, and
            so suits sources without notes; the paper's rule is `("note", "diagnoses", "medications")`.

    Raises:
        InputError: if a name is unknown or the age is no number from 0 on.
    """

    minimum_age: float = 16.0
    require: tuple[str, ...] = ("diagnoses_or_note",)

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_age < float("inf"):
            raise InputError(
                "minimum_age is impossible", received=self.minimum_age, expected="years from 0 on"
            )
        for name in self.require:
            if name not in REQUIREMENTS:
                raise InputError(
                    "unknown requirement", received=repr(name), expected="some of " + ", ".join(REQUIREMENTS)
                )


def with_readmissions(visits: pl.DataFrame, policy: str) -> pl.DataFrame:
    """Label each visit that was followed by a readmission within 30 days.

    Section 7 of the method, policies of `READMISSION_POLICIES`:

    - `paper`: the next admission comes less than 30 days after the discharge; all admissions count, and one
      that begins before the discharge does so, too.
    - `clinicalbert`: the same, but planned (elective) admissions are skipped in the search for the next one,
      and newborns and patients who died in the hospital get no label.
    - `cms`: the next admission is not planned and comes more than 0 and at most 30 days after the discharge;
      patients who died in the hospital get no label.

    Args:
        visits (`polars.DataFrame`): all visits that were read, in the columns of
            `schema.SOURCE_VISIT_SCHEMA`.
        policy (`str`): "paper", "clinicalbert" or "cms".

    Returns:
        The visits in time order with a column `readmission`; null where the policy gives no label or a time
        is missing.

    Raises:
        InputError: if the policy is unknown.
    """
    if policy not in READMISSION_POLICIES:
        raise InputError(
            "unknown readmission policy",
            received=repr(policy),
            expected="one of " + ", ".join(READMISSION_POLICIES),
        )
    ordered = visits.sort(*IN_TIME_ORDER, nulls_last=True)
    label = READMISSION_POLICIES[policy]()
    has_times = pl.col(ADMISSION_TIME).is_not_null() & pl.col(DISCHARGE_TIME).is_not_null()
    return ordered.with_columns(pl.when(has_times).then(label).alias(READMISSION))


def select_visits(visits: pl.DataFrame, rules: CohortRules, ledger: RowLedger) -> pl.DataFrame:
    """Keep the visits that the rules allow and number them within each patient.

    Args:
        visits (`polars.DataFrame`): visits in time order with note and codes.
        rules (`CohortRules`): what a visit must have.
        ledger (`RowLedger`): where the others are counted, by the first rule that they fail.

    Returns:
        The visits that stay, with a column `visit_number` from 1 on.
    """
    if rules.minimum_age > 0:
        visits = ledger.keep(visits, pl.col(AGE).is_not_null(), "age unknown")
        visits = ledger.keep(visits, pl.col(AGE) >= rules.minimum_age, "below the minimum age")
    for name in rules.require:
        condition, reason = REQUIREMENTS[name]
        visits = ledger.keep(visits, condition, reason)
    number = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over(SUBJECT_ID)
    return visits.with_columns(number.alias(VISIT_NUMBER))


def _days_until(admission: pl.Expr) -> pl.Expr:
    return (admission - pl.col(DISCHARGE_TIME)).dt.total_microseconds() / (24 * 60 * 60 * 1_000_000)


def _paper() -> pl.Expr:
    days = _days_until(pl.col(ADMISSION_TIME).shift(-1).over(SUBJECT_ID))
    return (days < READMISSION_WINDOW_DAYS).fill_null(False)


def _clinicalbert() -> pl.Expr:
    unplanned = pl.when(~_is(PLANNED)).then(pl.col(ADMISSION_TIME))
    days = _days_until(unplanned.shift(-1).backward_fill().over(SUBJECT_ID))
    return pl.when(~_is(NEWBORN) & ~_died()).then((days < READMISSION_WINDOW_DAYS).fill_null(False))


def _cms() -> pl.Expr:
    unplanned = pl.when(~_is(PLANNED)).then(pl.col(ADMISSION_TIME))
    days = _days_until(unplanned.shift(-1).over(SUBJECT_ID))
    within = (days > 0) & (days <= READMISSION_WINDOW_DAYS)
    return pl.when(~_died()).then(within.fill_null(False))


def _is(admission_type: str) -> pl.Expr:
    return (pl.col(ADMISSION_TYPE) == admission_type).fill_null(False)


def _died() -> pl.Expr:
    return pl.col(DIED_IN_HOSPITAL).fill_null(False)


READMISSION_POLICIES: dict[str, Callable[[], pl.Expr]] = {
    "paper": _paper,
    "clinicalbert": _clinicalbert,
    "cms": _cms,
}
