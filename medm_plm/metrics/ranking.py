"""Measures of order: does what happened get a higher score than what did not?

Each function ranks along the last axis and handles all rankings at once: a ranking is a label over all visits
or a visit over all labels. Equal scores share their rank, as in scikit-learn. A ranking is undefined, and
NaN, when it holds no positive or (for the AUROC) no negative; `mean_of_defined` leaves such rankings out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from medm_plm.metrics.checks import BoolArray, FloatArray

_BLOCK_SIZE = 2**21  # scores sorted at a time: bounds the memory at the size of full ICD coding


class _Sorted(NamedTuple):
    """Rankings in descending order of score."""

    relevant: BoolArray  # (rankings, items)
    first: np.ndarray  # (rankings, items) place of the first item with the same score
    last: np.ndarray  # (rankings, items) place of the last item with the same score


def rank_auroc(scores: FloatArray, relevant: BoolArray) -> FloatArray:
    """Chance that a positive scores higher than a negative: area under the ROC curve.

    Mann-Whitney statistic with mid-ranks; equals `sklearn.metrics.roc_auc_score`.

    Args:
        scores (`np.ndarray` of shape `(rankings, items)`): any scores, higher for more likely.
        relevant (`np.ndarray` of shape `(rankings, items)`): True at positives.

    Returns:
        Area `(rankings,)`, NaN where all items are positive or none is.
    """
    return _in_blocks(_auroc, scores, relevant)


def average_precision(scores: FloatArray, relevant: BoolArray) -> FloatArray:
    """Mean precision at the ranks of the positives: area under the precision-recall curve by steps.

    Equals `sklearn.metrics.average_precision_score`, which does not interpolate.

    Args:
        scores (`np.ndarray` of shape `(rankings, items)`): any scores, higher for more likely.
        relevant (`np.ndarray` of shape `(rankings, items)`): True at positives.

    Returns:
        Average precision `(rankings,)`, NaN where no item is positive.
    """
    return _in_blocks(_average_precision, scores, relevant)


def recall_at_precision(scores: FloatArray, relevant: BoolArray, precision: float = 0.8) -> float:
    """Share of positives that can be found while alarms stay right in at least `precision` of the cases.

    Args:
        scores (`np.ndarray` of shape `(items,)`): any scores, higher for more likely.
        relevant (`np.ndarray` of shape `(items,)`): True at positives.
        precision (`float`, defaults to 0.8): the least acceptable precision.

    Returns:
        The highest recall over all thresholds; 0 if none is precise enough, NaN without a positive.
    """
    if not relevant.any():
        return float("nan")
    ranking = _sort(scores[np.newaxis], relevant[np.newaxis])
    found = np.take_along_axis(np.cumsum(ranking.relevant, axis=-1), ranking.last, axis=-1)
    precise = found / (ranking.last + 1) >= precision
    return float(np.max(found * precise) / relevant.sum())


def precision_at_k(scores: FloatArray, relevant: BoolArray, k: int) -> float:
    """Share of the `k` highest-scored labels of a visit that are right, averaged over visits.

    As in CAML (Mullenbach et al., 2018). Of labels with equal scores the one with the lower index comes
    first.

    Args:
        scores (`np.ndarray` of shape `(visits, labels)`): any scores, higher for more likely.
        relevant (`np.ndarray` of shape `(visits, labels)`): True at the labels of the visit.
        k (`int`): labels taken from each visit; all of them if there are fewer.

    Returns:
        The mean precision.
    """
    return float(np.take_along_axis(relevant, highest(scores, k), axis=-1).mean())


def highest(scores: FloatArray, k: int) -> np.ndarray:
    """Find the `k` labels of each visit with the highest scores; of equal scores the lower index comes first.

    Args:
        scores (`np.ndarray` of shape `(visits, labels)`): any scores.
        k (`int`): labels taken from each visit; all of them if there are fewer.

    Returns:
        Indices `(visits, k)`, best first.
    """
    num_labels = scores.shape[1]
    if k >= num_labels:
        return np.argsort(-scores, axis=1, kind="stable")
    # The k highest scores are separated without sorting the others, then whoever shares the lowest of
    # them is served in the order of the labels.
    least = np.partition(scores, num_labels - k, axis=1)[:, [num_labels - k]]
    above, equal = scores > least, scores == least
    left = k - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= left))
    labels = np.nonzero(chosen)[1].reshape(-1, k)
    order = np.argsort(-np.take_along_axis(scores, labels, axis=1), axis=1, kind="stable")
    return np.take_along_axis(labels, order, axis=1)


def auroc_of_all(scores: FloatArray, relevant: BoolArray) -> float:
    """Area under the ROC curve of one long ranking; the same as `rank_auroc`, without sorting all of it.

    Args:
        scores (`np.ndarray` of any shape): any scores, higher for more likely.
        relevant (`np.ndarray` of the same shape): True at positives.

    Returns:
        Area, NaN where all items are positive or none is.
    """
    positives, negatives = np.sort(scores[relevant]), scores[~relevant]
    if not positives.size or not negatives.size:
        return float("nan")
    negatives = np.sort(negatives)  # the look-ups below then walk through memory in order
    beaten = np.searchsorted(negatives, positives, "left").sum()
    shared = np.searchsorted(negatives, positives, "right").sum() - beaten
    return float((beaten + shared / 2) / (positives.size * negatives.size))


def mean_of_defined(values: FloatArray) -> tuple[float, int]:
    """Average the rankings that are defined.

    Args:
        values (`np.ndarray` of shape `(rankings,)`): one value for each ranking, NaN where undefined.

    Returns:
        The mean, NaN if nothing is defined, and the number of rankings left out.
    """
    defined = values[~np.isnan(values)]
    return (float(defined.mean()) if defined.size else float("nan")), values.size - defined.size


def _in_blocks(
    measure: Callable[[_Sorted], FloatArray], scores: FloatArray, relevant: BoolArray
) -> FloatArray:
    step = max(1, _BLOCK_SIZE // scores.shape[-1])
    blocks = [slice(start, start + step) for start in range(0, len(scores), step)]
    return np.concatenate([measure(_sort(scores[block], relevant[block])) for block in blocks])


def _sort(scores: FloatArray, relevant: BoolArray) -> _Sorted:
    order = np.argsort(-scores, axis=-1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=-1)
    places = np.arange(scores.shape[-1])
    opens = np.ones(scores.shape, dtype=np.bool_)
    opens[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    closes = np.roll(opens, -1, axis=-1)
    first = np.maximum.accumulate(np.where(opens, places, 0), axis=-1)
    last = np.minimum.accumulate(np.where(closes, places, len(places))[..., ::-1], axis=-1)[..., ::-1]
    return _Sorted(np.take_along_axis(relevant, order, axis=-1), first, last)


def _auroc(ranking: _Sorted) -> FloatArray:
    items = ranking.relevant.shape[-1]
    positives = ranking.relevant.sum(axis=-1)
    ranks = items - (ranking.first + ranking.last) / 2  # the lowest score has rank 1
    wins = (ranks * ranking.relevant).sum(axis=-1) - positives * (positives + 1) / 2
    return _divide_where_defined(wins, positives * (items - positives))


def _average_precision(ranking: _Sorted) -> FloatArray:
    found = np.take_along_axis(np.cumsum(ranking.relevant, axis=-1), ranking.last, axis=-1)
    precision = found / (ranking.last + 1)
    return _divide_where_defined((precision * ranking.relevant).sum(axis=-1), ranking.relevant.sum(axis=-1))


def _divide_where_defined(numerator: FloatArray, denominator: np.ndarray) -> FloatArray:
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
