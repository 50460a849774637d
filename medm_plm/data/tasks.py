"""From visits to the examples of each task: which visits, which inputs, which labels.

Every function is pure: visits in (`schema.VISIT_SCHEMA`), examples out, in the order of the visits. Where the
label is a part of the record (the diagnoses in ICD coding, the medications in medication prediction), that
part is emptied in the example, so that no model can see its own answer. Label lists come from the training
split alone. `PREDICTION_TIMES` says for each task when the answer is asked for and what may be read then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from medm_plm.data.schema import (
    ADMISSION_NOTE,
    DIAGNOSIS_CODES,
    DIED_IN_HOSPITAL,
    FIRST_DAY_HOURS,
    FIRST_DAY_MEDICATION_CODES,
    MEDICATION_CODES,
    NOTE,
    READMISSION,
    STAY_HOURS,
    SUBJECT_ID,
    VISIT_NUMBER,
)
from medm_plm.data.visit_selection import (
    NO_CODES,
    balanced_sample,
    frequent_codes,
    is_known,
    of_split,
    on_first_day,
)
from medm_plm.errors import InputError

LABELS = "labels"  # column of examples: the codes to predict, in the order of the label list
IS_TARGET = (
    "is_target"  # column of medication recommendation: the medications of this visit are to be predicted
)
CURRENT_NOTE = "current_note"  # column of medication recommendation: what is read of the visit's own note

MEDICATION_WINDOWS = ("whole_stay", "first_day")
CURRENT_NOTES = ("none", "admission_sections", "full")
OUTCOME_COLUMNS = {"readmission": READMISSION, "mortality": DIED_IN_HOSPITAL}
"""Column of the label of the tasks whose answer is yes or no."""

FIRST_DAY_PREDICTION = "medication_prediction, first day"


@dataclass(frozen=True)
class PredictionTime:
    """When an answer is asked for, and which fields of the visit itself may be read for it.

    Diagnoses are coded at the end of a stay. The tasks about medications read them all the same, as equation
    11 of Liu et al. (2022) does: they stand for what the physician knows of the patient.

    Args:
        moment (`str`): "admission", "first day" or "discharge".
        note (`str`): column from which the note comes; no note is always allowed.
        diagnoses (`bool`): whether the diagnosis codes may be read.
        medications (`str`, *optional*): column from which the medications come; without it there are none.
    """

    moment: str
    note: str
    diagnoses: bool
    medications: str | None = None


PREDICTION_TIMES = {
    # Of the visit whose medications are asked for; its earlier visits are known as a whole.
    "medication_recommendation": PredictionTime("admission", ADMISSION_NOTE, diagnoses=True),
    "readmission": PredictionTime("discharge", NOTE, diagnoses=True, medications=MEDICATION_CODES),
    "icd_coding": PredictionTime("discharge", NOTE, diagnoses=False, medications=MEDICATION_CODES),
    "medication_prediction": PredictionTime("discharge", NOTE, diagnoses=True),
    FIRST_DAY_PREDICTION: PredictionTime("admission", ADMISSION_NOTE, diagnoses=True),
    "mortality": PredictionTime(
        "first day", ADMISSION_NOTE, diagnoses=False, medications=FIRST_DAY_MEDICATION_CODES
    ),
}
"""By task, and apart for medication prediction of the first day."""


def pretraining_visits(visits: pl.DataFrame) -> pl.DataFrame:
    """Select the visits that may be learned from before any task: training patients, at least one code.

    Section 5 of the method: patients of any validation or test set stay out, whatever the task.

    Args:
        visits (`polars.DataFrame`): prepared visits.

    Returns:
        Visits of the training split with a diagnosis or a medication.
    """
    has_code = (pl.col(DIAGNOSIS_CODES).list.len() + pl.col(MEDICATION_CODES).list.len()) > 0
    return of_split(visits, "train").filter(has_code)


def medication_column(visits: pl.DataFrame, window: str = "whole_stay") -> str:
    """Name the column of the medications that are to be predicted.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        window (`str`, *optional*, defaults to "whole_stay"): "whole_stay" or "first_day".

    Returns:
        The name of the column.

    Raises:
        InputError: if the window is unknown, or no visit says what was prescribed on its first day.
    """
    if window not in MEDICATION_WINDOWS:
        raise InputError(
            "unknown medication window", received=repr(window), expected=" or ".join(MEDICATION_WINDOWS)
        )
    if window == "whole_stay":
        return MEDICATION_CODES
    if not is_known(visits, FIRST_DAY_MEDICATION_CODES):
        raise InputError(
            "the medications of the first day are not known: the source has no start times of prescriptions",
            remedy="use --medication_window whole_stay",
        )
    return FIRST_DAY_MEDICATION_CODES


def medication_recommendation_labels(
    visits: pl.DataFrame, top_k: int | None = None, window: str = "whole_stay"
) -> list[str]:
    """List the medications that a recommendation may name.

    Args:
        visits (`polars.DataFrame`): prepared visits; only the training split is counted.
        top_k (`int`, *optional*): keep the most frequent ones only.
        window (`str`, *optional*, defaults to "whole_stay"): see `medication_column`.

    Returns:
        Qualified codes, most frequent first, ties in the order of the code.
    """
    return frequent_codes(visits, medication_column(visits, window), top_k)


def medication_recommendation_patients(
    visits: pl.DataFrame, split: str, window: str = "whole_stay"
) -> pl.DataFrame:
    """Select patients whose earlier visits can inform the medications of a later one.

    Equations 11-13 of Liu et al. (2022): the target is every visit from the second on. A visit without any
    recorded medication is history but no target, because a missing record is not the absence of treatment.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test".
        window (`str`, *optional*, defaults to "whole_stay"): see `medication_column`. What is known of
            earlier visits is the whole stay in any case.

    Returns:
        All visits, in time order, of the patients with at least two visits and one target; `is_target` marks
        those.
    """
    column = medication_column(visits, window)
    chosen = of_split(visits, split).sort(SUBJECT_ID, VISIT_NUMBER)
    is_later = pl.int_range(pl.len()).over(SUBJECT_ID) > 0
    has_medication = (pl.col(column).list.len() > 0).fill_null(False)
    marked = chosen.with_columns((is_later & has_medication).alias(IS_TARGET))
    return marked.filter(pl.col(IS_TARGET).any().over(SUBJECT_ID))


def with_current_note(visits: pl.DataFrame, choice: str = "none") -> pl.DataFrame:
    """Add what is read of a visit's own note when its medications are asked for.

    Section 6 of the method: a discharge summary is written after the prescriptions and lists them. What it
    tells of the time before them is the honest way to use current text.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        choice (`str`, *optional*, defaults to "none"): "none", "admission_sections" (`admission_note`) or
            "full" (the whole note, which leaks the answer, as the published code does).

    Returns:
        The visits, with a column `current_note` unless nothing is read.

    Raises:
        InputError: if the choice is unknown, or no visit has a note known at admission.
    """
    if choice not in CURRENT_NOTES:
        raise InputError("unknown current note", received=repr(choice), expected=" or ".join(CURRENT_NOTES))
    if choice == "none":
        return visits
    if choice == "full":
        return visits.with_columns(pl.col(NOTE).alias(CURRENT_NOTE))
    if not is_known(visits, ADMISSION_NOTE):
        raise InputError(
            "no note says what was known at admission", remedy="use --current_note none for this source"
        )
    return visits.with_columns(pl.col(ADMISSION_NOTE).fill_null("").alias(CURRENT_NOTE))


def current_inputs(patients: pl.DataFrame) -> pl.DataFrame:
    """Reduce visits to what is known of each when its own medications are asked for.

    Args:
        patients (`polars.DataFrame`): visits, with `current_note` if that is read.

    Returns:
        The same visits without medications, their note `current_note` or empty.
    """
    note = pl.col(CURRENT_NOTE) if CURRENT_NOTE in patients.columns else pl.lit("")
    return patients.with_columns(note.alias(NOTE), NO_CODES.alias(MEDICATION_CODES))


def readmission_visits(
    visits: pl.DataFrame, split: str, balanced: bool = False, seed: int = 0
) -> pl.DataFrame:
    """Select the visits that have a readmission label.

    Section 7 of the method: natural prevalence, or as many visits of either kind (the paper's 1:1 sample).

    Args:
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test".
        balanced (`bool`, *optional*, defaults to `False`): sample the larger class down to the smaller one.
        seed (`int`, *optional*, defaults to 0): chooses the sample; the choice does not depend on the row
            order.

    Returns:
        Visits whose `readmission` is not null, in their order.
    """
    labelled = of_split(visits, split).filter(pl.col(READMISSION).is_not_null())
    return balanced_sample(labelled, READMISSION, seed) if balanced else labelled


def mortality_visits(visits: pl.DataFrame, split: str, balanced: bool = False, seed: int = 0) -> pl.DataFrame:
    """Make the examples of mortality: will the patient die in hospital, as far as the first day tells?

    Not a task of the paper; it needs no dates. The note is what was known at admission (a discharge summary
    tells the ending), the medications are those of the first day, and diagnoses, coded at the end, are no
    input. Visits without an outcome are left out, and so are those of which nothing is known and those that
    are over within the first day.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test".
        balanced (`bool`, *optional*, defaults to `False`): sample the larger class down to the smaller one.
        seed (`int`, *optional*, defaults to 0): chooses the sample, as in `readmission_visits`.

    Returns:
        Visits whose `died_in_hospital` is not null, in their order, as they were known on the first day.
    """
    known = on_first_day(of_split(visits, split)).with_columns(NO_CODES.alias(DIAGNOSIS_CODES))
    has_input = (pl.col(NOTE) != "") | (pl.col(MEDICATION_CODES).list.len() > 0)
    # Who has gone or died by then is not asked about any more.
    is_there = (pl.col(STAY_HOURS) >= FIRST_DAY_HOURS).fill_null(True)
    labelled = known.filter(has_input & is_there & pl.col(DIED_IN_HOSPITAL).is_not_null())
    return balanced_sample(labelled, DIED_IN_HOSPITAL, seed) if balanced else labelled


def icd_coding_labels(visits: pl.DataFrame, top_k: int | None = 50) -> list[str]:
    """List the diagnosis codes that ICD coding predicts.

    Args:
        visits (`polars.DataFrame`): prepared visits; only the training split is counted.
        top_k (`int`, *optional*, defaults to 50): how many; `None` keeps all.

    Returns:
        Qualified codes, most frequent first, ties in the order of the code.
    """
    return frequent_codes(visits, DIAGNOSIS_CODES, top_k)


def icd_coding_visits(
    visits: pl.DataFrame, split: str, labels: Sequence[str], only_labelled: bool = False
) -> pl.DataFrame:
    """Make the examples of ICD coding: a visit's codes from its note and medications.

    Equations 16-17 of Liu et al. (2022). Visits without a recorded diagnosis are left out (not coded is not
    healthy), and so are those without a note and medications, which leave nothing to predict from.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test".
        labels (`Sequence[str]`): qualified codes to predict, usually from `icd_coding_labels`.
        only_labelled (`bool`, *optional*, defaults to `False`): leave out visits with none of the labels, as
            the published top-50 lists of CAML do.

    Returns:
        Visits with a column `labels`; their `diagnosis_codes` are empty.
    """
    return _coding_examples(visits, split, labels, DIAGNOSIS_CODES, MEDICATION_CODES, only_labelled)


def medication_prediction_labels(
    visits: pl.DataFrame, top_k: int | None = None, window: str = "whole_stay"
) -> list[str]:
    """List the medications that medication prediction predicts.

    Args:
        visits (`polars.DataFrame`): prepared visits; only the training split is counted.
        top_k (`int`, *optional*): how many; `None` keeps all.
        window (`str`, *optional*, defaults to "whole_stay"): see `medication_column`.

    Returns:
        Qualified codes, most frequent first, ties in the order of the code.
    """
    return frequent_codes(visits, medication_column(visits, window), top_k)


def medication_prediction_visits(
    visits: pl.DataFrame,
    split: str,
    labels: Sequence[str],
    only_labelled: bool = False,
    window: str = "whole_stay",
) -> pl.DataFrame:
    """Make the examples of medication prediction: a visit's medications from its note and diagnoses.

    Single visits, for sources whose patients rarely come back. Not a task of the paper. Visits without a
    recorded medication are left out, and so are those without a note and diagnoses. A discharge summary lists
    the medications: use this task with text written at admission, as the `eicu` source composes it, or with
    the window "first_day", which reads `admission_note` alone.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test".
        labels (`Sequence[str]`): qualified codes to predict, usually from `medication_prediction_labels`.
        only_labelled (`bool`, *optional*, defaults to `False`): leave out visits with none of the labels.
        window (`str`, *optional*, defaults to "whole_stay"): see `medication_column`.

    Returns:
        Visits with a column `labels`; their `medication_codes` are empty.
    """
    if medication_column(visits, window) == FIRST_DAY_MEDICATION_CODES:
        visits = on_first_day(visits)
    return _coding_examples(visits, split, labels, MEDICATION_CODES, DIAGNOSIS_CODES, only_labelled)


def _coding_examples(
    visits: pl.DataFrame, split: str, labels: Sequence[str], target: str, other: str, only_labelled: bool
) -> pl.DataFrame:
    """Move the codes of one column into `labels` and empty the column."""
    has_input = (pl.col(NOTE) != "") | (pl.col(other).list.len() > 0)
    chosen = of_split(visits, split).filter(has_input & (pl.col(target).list.len() > 0))
    examples = chosen.with_columns(_labels_among(chosen[target], labels), NO_CODES.alias(target))
    if target == MEDICATION_CODES:  # a part of the answer
        unknown = pl.lit(None, dtype=pl.List(pl.String))
        examples = examples.with_columns(unknown.alias(FIRST_DAY_MEDICATION_CODES))
    return examples.filter(pl.col(LABELS).list.len() > 0) if only_labelled else examples


def _labels_among(codes: pl.Series, labels: Sequence[str]) -> pl.Series:
    """Pick the labels out of each list, in the order of the labels, each once."""
    ranks = pl.DataFrame({"code": labels, "rank": range(len(labels))}, {"code": pl.String, "rank": pl.Int64})
    row = pl.Series("row", range(len(codes)), dtype=pl.Int64)
    found = pl.DataFrame([row, codes.alias("code")]).explode("code").unique().join(ranks, on="code")
    lists = found.sort("row", "rank").group_by("row", maintain_order=True).agg(pl.col("code").alias(LABELS))
    return row.to_frame().join(lists, on="row", how="left", maintain_order="left")[LABELS].fill_null([])
