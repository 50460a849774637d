"""From visits to the examples of each task: which visits, which inputs, which labels.

Every function is pure: visits in (`schema.VISIT_SCHEMA`), examples out, in the order of the visits. Where the
label is a part of the record (the diagnoses in ICD coding, the medications in medication prediction), that
part is emptied in the example, so that no model can see its own answer. Label lists come from the training
split alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

from medm_plm.data.schema import (
    DIAGNOSIS_CODES,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    READMISSION,
    SPLIT,
    SPLITS,
    SUBJECT_ID,
    VISIT_NUMBER,
)
from medm_plm.errors import InputError

LABELS = "labels"  # column of examples: the codes to predict, in the order of the label list
IS_TARGET = (
    "is_target"  # column of medication recommendation: the medications of this visit are to be predicted
)


def pretraining_visits(visits: pl.DataFrame) -> pl.DataFrame:
    """Select the visits that may be learned from before any task: training patients, at least one code.

    Section 5 of the method: patients of any validation or test set stay out, whatever the task.

    Args:
        visits (`polars.DataFrame`): prepared visits.

    Returns:
        Visits of the training split with a diagnosis or a medication.
    """
    has_code = (pl.col(DIAGNOSIS_CODES).list.len() + pl.col(MEDICATION_CODES).list.len()) > 0
    return _of_split(visits, "train").filter(has_code)


def medication_recommendation_labels(visits: pl.DataFrame, top_k: int | None = None) -> list[str]:
    """List the medications that a recommendation may name.

    Args:
        visits (`polars.DataFrame`): prepared visits; only the training split is counted.
        top_k (`int`, *optional*): keep the most frequent ones only.

    Returns:
        Qualified codes, most frequent first, ties in the order of the code.
    """
    return _frequent_codes(visits, MEDICATION_CODES, top_k)


def medication_recommendation_patients(visits: pl.DataFrame, split: str) -> pl.DataFrame:
    """Select patients whose earlier visits can inform the medications of a later one.

    Equations 11-13 of Liu et al. (2022): the target is every visit from the second on. A visit without any
    recorded medication is history but no target, because a missing record is not the absence of treatment.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test".

    Returns:
        All visits, in time order, of the patients with at least two visits and one target; `is_target` marks
        those.
    """
    chosen = _of_split(visits, split).sort(SUBJECT_ID, VISIT_NUMBER)
    is_later = pl.int_range(pl.len()).over(SUBJECT_ID) > 0
    has_medication = pl.col(MEDICATION_CODES).list.len() > 0
    marked = chosen.with_columns((is_later & has_medication).alias(IS_TARGET))
    return marked.filter(pl.col(IS_TARGET).any().over(SUBJECT_ID))


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
    labelled = _of_split(visits, split).filter(pl.col(READMISSION).is_not_null())
    if not balanced:
        return labelled
    num_positive = int(labelled[READMISSION].sum())
    num_each = min(num_positive, labelled.height - num_positive)
    draw = labelled[HADM_ID].map_elements(lambda hadm_id: _draw(hadm_id, seed), return_dtype=pl.String)
    rank = pl.col("draw").rank("ordinal").over(READMISSION)
    return labelled.with_columns(draw.alias("draw")).filter(rank <= num_each).drop("draw")


def icd_coding_labels(visits: pl.DataFrame, top_k: int | None = 50) -> list[str]:
    """List the diagnosis codes that ICD coding predicts.

    Args:
        visits (`polars.DataFrame`): prepared visits; only the training split is counted.
        top_k (`int`, *optional*, defaults to 50): how many; `None` keeps all.

    Returns:
        Qualified codes, most frequent first, ties in the order of the code.
    """
    return _frequent_codes(visits, DIAGNOSIS_CODES, top_k)


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


def medication_prediction_labels(visits: pl.DataFrame, top_k: int | None = None) -> list[str]:
    """List the medications that medication prediction predicts.

    Args:
        visits (`polars.DataFrame`): prepared visits; only the training split is counted.
        top_k (`int`, *optional*): how many; `None` keeps all.

    Returns:
        Qualified codes, most frequent first, ties in the order of the code.
    """
    return _frequent_codes(visits, MEDICATION_CODES, top_k)


def medication_prediction_visits(
    visits: pl.DataFrame, split: str, labels: Sequence[str], only_labelled: bool = False
) -> pl.DataFrame:
    """Make the examples of medication prediction: a visit's medications from its note and diagnoses.

    Single visits, for sources whose patients rarely come back. Not a task of the paper. Visits without a
    recorded medication are left out, and so are those without a note and diagnoses. A discharge summary lists
    the medications: use this task with text written at admission, as the `eicu` source composes it.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test".
        labels (`Sequence[str]`): qualified codes to predict, usually from `medication_prediction_labels`.
        only_labelled (`bool`, *optional*, defaults to `False`): leave out visits with none of the labels.

    Returns:
        Visits with a column `labels`; their `medication_codes` are empty.
    """
    return _coding_examples(visits, split, labels, MEDICATION_CODES, DIAGNOSIS_CODES, only_labelled)


def _of_split(visits: pl.DataFrame, split: str) -> pl.DataFrame:
    if split not in SPLITS:
        raise InputError("unknown split", received=repr(split), expected=" or ".join(SPLITS))
    return visits.filter(pl.col(SPLIT) == split)


def _frequent_codes(visits: pl.DataFrame, column: str, top_k: int | None) -> list[str]:
    if top_k is not None and top_k < 1:
        raise InputError("number of labels is impossible", received=f"top_k={top_k}", expected="1 or more")
    codes = _of_split(visits, "train").select(pl.col(column).list.explode().alias("code"))
    counts = codes.drop_nulls().group_by("code").len().sort(["len", "code"], descending=[True, False])
    return counts["code"].head(counts.height if top_k is None else top_k).to_list()


def _coding_examples(
    visits: pl.DataFrame, split: str, labels: Sequence[str], target: str, other: str, only_labelled: bool
) -> pl.DataFrame:
    """Move the codes of one column into `labels` and empty the column."""
    has_input = (pl.col(NOTE) != "") | (pl.col(other).list.len() > 0)
    chosen = _of_split(visits, split).filter(has_input & (pl.col(target).list.len() > 0))
    answers = [[label for label in labels if label in codes] for codes in map(set, chosen[target].to_list())]
    examples = chosen.with_columns(
        pl.Series(LABELS, answers, dtype=pl.List(pl.String)),
        pl.Series(target, [[]] * chosen.height, dtype=pl.List(pl.String)),
    )
    return examples.filter(pl.col(LABELS).list.len() > 0) if only_labelled else examples


def _draw(hadm_id: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{hadm_id}".encode()).hexdigest()
