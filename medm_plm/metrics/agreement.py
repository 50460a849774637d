"""Measures of agreement between a predicted set and the true one, after a threshold.

Division by zero has one rule for each axis. A visit for which nothing is true and nothing predicted is in
full agreement and counts 1. A label that never occurs and is never predicted tells nothing about the model
and counts 0, as in scikit-learn; counted as 1, rare labels would fill the mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medm_plm.errors import InputError
from medm_plm.metrics.checks import BoolArray


class Counts(NamedTuple):
    """Right, superfluous and missed predictions, along any axis."""

    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray


def count(predicted: BoolArray, true: BoolArray, axis: int | None) -> Counts:
    """Count right, superfluous and missed predictions.

    Args:
        predicted (`np.ndarray` of shape `(visits, labels)`): True where the label is predicted.
        true (`np.ndarray` of shape `(visits, labels)`): True where it applies.
        axis (`int`, *optional*): axis to sum over: 0 for a count of each label, 1 of each visit, None of all.

    Returns:
        The three counts.
    """
    return Counts(
        (predicted & true).sum(axis=axis),
        (predicted & ~true).sum(axis=axis),
        (~predicted & true).sum(axis=axis),
    )


def f1(counts: Counts, empty: float) -> np.ndarray:
    """Harmonic mean of precision and recall, `2 TP / (2 TP + FP + FN)`.

    Args:
        counts (`Counts`): counts of any shape.
        empty (`float`): value where nothing is true and nothing predicted.

    Returns:
        F1 in the shape of the counts.
    """
    right = 2 * counts.true_positives
    return _ratio(right, right + counts.false_positives + counts.false_negatives, empty)


def jaccard(counts: Counts, empty: float) -> np.ndarray:
    """Size of the intersection over size of the union, `TP / (TP + FP + FN)`.

    Args:
        counts (`Counts`): counts of any shape.
        empty (`float`): value where nothing is true and nothing predicted.

    Returns:
        Jaccard index in the shape of the counts; `F / (2 - F)` with the F1 of the same counts.
    """
    union = counts.true_positives + counts.false_positives + counts.false_negatives
    return _ratio(counts.true_positives, union, empty)


def f1_of_mean_precision_and_recall(counts: Counts) -> np.ndarray:
    """F1 computed from precision and recall that were averaged over labels first.

    The macro F1 of CAML (Mullenbach et al., 2018), which differs from the mean of the F1 of each label.

    Args:
        counts (`Counts` of shape `(..., labels)`): counts of each label; an undefined precision or recall
            counts 0.

    Returns:
        The F1 in the shape of the counts without their last axis; 0 if nothing was right.
    """
    found = counts.true_positives
    precision = _ratio(found, found + counts.false_positives, 0.0).mean(axis=-1)
    recall = _ratio(found, found + counts.false_negatives, 0.0).mean(axis=-1)
    return _ratio(2 * precision * recall, precision + recall, 0.0)


def interaction_rate(predicted: BoolArray, interacting: BoolArray) -> float:
    """Share of the pairs of medications predicted together that are known to interact.

    The DDI rate of the medication-recommendation literature (Yang et al., SafeDrug, 2021): pairs of all
    visits are counted together.

    Args:
        predicted (`np.ndarray` of shape `(visits, labels)`): True where the medication is predicted.
        interacting (`np.ndarray` of shape `(labels, labels)`): True where the pair interacts; symmetric.

    Returns:
        The rate; 0 if no visit has two predicted medications.

    Raises:
        InputError: if the table has another shape or is not symmetric.
    """
    labels = predicted.shape[1]
    table = np.asarray(interacting)
    if table.shape != (labels, labels) or not np.array_equal(table, table.T):
        raise InputError(
            "table of interactions does not fit",
            received=f"shape {table.shape}",
            expected=f"a symmetric table of shape ({labels}, {labels})",
        )
    together = predicted.T.astype(np.float64) @ predicted.astype(np.float64)
    pairs = np.triu(together, k=1)
    return float(_ratio((pairs * table.astype(np.bool_)).sum(), pairs.sum(), 0.0))


def _ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    result = np.full(numerator.shape, empty)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
