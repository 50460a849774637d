"""The metrics of the tasks for many weightings of the visits at once, which is what a bootstrap asks for.

A resample of patients is nothing but a weight for each visit: how often it was drawn. Most metrics are
functions of sums over visits, and sums under a thousand weightings are one matrix product; the measures of
order sort once and accumulate weights. Each function takes weights `(samples, visits)` and returns values
`(samples,)`, NaN where a sample leaves a metric undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.sparse import csr_array

from medm_plm.errors import InputError
from medm_plm.metrics.agreement import Counts, count, f1, f1_of_mean_precision_and_recall, jaccard
from medm_plm.metrics.calibration import NUM_BINS, bin_of
from medm_plm.metrics.checks import BoolArray, FloatArray, check_probabilities_and_labels
from medm_plm.metrics.ranking import average_precision, highest, rank_auroc

WeightedMetric = Callable[[FloatArray], FloatArray]
Threshold = float | FloatArray

_BLOCK_SIZE = 2**22  # numbers in a temporary array
_PRECISION = 0.8  # of `recall_at_precision_80`


def weighted_metric(
    name: str, probabilities: FloatArray, labels: BoolArray, threshold: Threshold = 0.5
) -> WeightedMetric:
    """Prepare a metric for weights of the visits.

    Args:
        name (`str`): one of `WEIGHTED_METRICS`, named as in the tables of `medm_plm.metrics.tasks`.
        probabilities (`np.ndarray` of shape `(visits,)` or `(visits, labels)`): predictions. With a single
            label `f1_macro` is the mean over both outcomes, as for readmission.
        labels (`np.ndarray` of the same shape): 0 or 1.
        threshold (`float` or `np.ndarray` of shape `(labels,)`, defaults to 0.5): probability from which a
            label counts as predicted.

    Returns:
        A function of weights `(samples, visits)`; under weights of one it equals the metric of the task.

    Raises:
        InputError: if there is no such metric, or the arrays are no probabilities and labels of one shape.
    """
    scores, truth = np.asarray(probabilities), np.asarray(labels)
    if scores.ndim == 1 and truth.ndim == 1:
        scores, truth = scores[:, np.newaxis], truth[:, np.newaxis]
    scores, true = check_probabilities_and_labels(scores, truth, ("visits", "labels"))
    if name not in WEIGHTED_METRICS:
        raise InputError("unknown metric", received=repr(name), expected=" or ".join(WEIGHTED_METRICS))
    return WEIGHTED_METRICS[name](scores, true, threshold)


def _mean_over_visits(values: FloatArray) -> WeightedMetric:
    """Mean of the visits for which a value is defined."""
    defined = ~np.isnan(values)
    columns = np.stack([np.where(defined, values, 0.0), defined], axis=1)
    return lambda weights: _divide(*(weights @ columns).T)


def _of_visits(
    values_of: Callable[[FloatArray, BoolArray, Threshold], FloatArray],
) -> Callable[..., WeightedMetric]:
    return lambda scores, true, threshold: _mean_over_visits(values_of(scores, true, threshold))


def _jaccard_of_visits(scores: FloatArray, true: BoolArray, threshold: Threshold) -> FloatArray:
    return jaccard(count(scores >= threshold, true, axis=1), empty=1.0)


def _f1_of_visits(scores: FloatArray, true: BoolArray, threshold: Threshold) -> FloatArray:
    return f1(count(scores >= threshold, true, axis=1), empty=1.0)


def _auroc_of_visits(scores: FloatArray, true: BoolArray, _: Threshold) -> FloatArray:
    return rank_auroc(scores, true)


def _prauc_of_visits(scores: FloatArray, true: BoolArray, _: Threshold) -> FloatArray:
    return np.where(np.isnan(rank_auroc(scores, true)), np.nan, average_precision(scores, true))


def _accuracy_of_visits(scores: FloatArray, true: BoolArray, _: Threshold) -> FloatArray:
    return ((scores >= 0.5) == true).mean(axis=1)


def _precision_at(k: int) -> Callable[..., WeightedMetric]:
    def of_visits(scores: FloatArray, true: BoolArray, _: Threshold) -> FloatArray:
        return np.take_along_axis(true, highest(scores, k), axis=1).mean(axis=1)

    return _of_visits(of_visits)


def _micro(measure: Callable[[Counts, float], FloatArray]) -> Callable[..., WeightedMetric]:
    def prepare(scores: FloatArray, true: BoolArray, threshold: Threshold) -> WeightedMetric:
        columns = np.stack(count(scores >= threshold, true, axis=1), axis=1).astype(np.float64)
        return lambda weights: measure(Counts(*(weights @ columns).T), 0.0)

    return prepare


def _f1_macro(scores: FloatArray, true: BoolArray, threshold: Threshold) -> WeightedMetric:
    if scores.shape[1] == 1:
        outcomes = np.concatenate([true, ~true], axis=1)
        predicted = np.concatenate([scores >= threshold, scores < threshold], axis=1)
        return lambda weights: np.nanmean(f1(_label_counts(weights, predicted, outcomes), np.nan), axis=1)
    return lambda weights: f1(_label_counts(weights, scores >= threshold, true), 0.0).mean(axis=1)


def _f1_macro_caml(scores: FloatArray, true: BoolArray, threshold: Threshold) -> WeightedMetric:
    return lambda weights: f1_of_mean_precision_and_recall(_label_counts(weights, scores >= threshold, true))


def _label_counts(weights: FloatArray, predicted: BoolArray, true: BoolArray) -> Counts:
    """Weighted counts of each label, `(samples, labels)`."""
    parts = [
        [weights @ kind for kind in (predicted[:, part] & true[:, part], predicted[:, part], true[:, part])]
        for part in _slices(true.shape[1], len(true))
    ]
    both, predictions, occurrences = (np.concatenate(kind, axis=1) for kind in zip(*parts, strict=True))
    return Counts(both, predictions - both, occurrences - both)


def _calibration_error(scores: FloatArray, true: BoolArray, _: Threshold) -> WeightedMetric:
    visits, labels = scores.shape
    place = np.arange(visits)[:, np.newaxis] * NUM_BINS + bin_of(scores)
    gaps = np.bincount(place.ravel(), weights=(scores - true).ravel(), minlength=visits * NUM_BINS)
    columns = gaps.reshape(visits, NUM_BINS)
    return lambda weights: _divide(np.abs(weights @ columns).sum(axis=1), labels * weights.sum(axis=1))


class _Ranking:
    """All visits and labels in one descending order, and the weights that samples give its stretches.

    A stretch is one score that a positive has, or what lies between two such scores: there, curves are
    straight.
    """

    def __init__(self, scores: FloatArray, true: BoolArray) -> None:
        order = np.argsort(-scores, axis=None, kind="stable")
        ordered, relevant = scores.ravel()[order], true.ravel()[order]
        opens = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        has_positive = np.add.reduceat(relevant, opens, dtype=np.int64) > 0
        starts = opens[has_positive | np.append(True, has_positive[:-1])]
        positives = np.flatnonzero(relevant)
        # Each visit's share in each stretch, as sparse matrices whose rows are written one behind the other.
        visits, ends = order // scores.shape[1], np.append(starts, len(order))
        self.items = _ones(visits, ends, len(scores))
        self.positives = _ones(visits[positives], np.searchsorted(positives, ends), len(scores))

    def stretch_weights(self, by_visit: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight of the positives and of all items of each stretch.

        Args:
            by_visit (`np.ndarray` of shape `(visits, samples)`): weights.

        Returns:
            Two arrays `(stretches, samples)`.
        """
        return (self.positives @ by_visit).astype(np.float64), (self.items @ by_visit).astype(np.float64)


def _ones(columns: np.ndarray, row_ends: np.ndarray, width: int) -> csr_array:
    data = np.ones(len(columns), np.float32)
    return csr_array((data, columns, row_ends), shape=(len(row_ends) - 1, width))


def _of_ranking(finish: Callable[[FloatArray, FloatArray], FloatArray]) -> Callable[..., WeightedMetric]:
    """A measure of one ranking of all visits and labels together."""

    def prepare(scores: FloatArray, true: BoolArray, _: Threshold) -> WeightedMetric:
        ranking = _Ranking(scores, true)

        def compute(weights: FloatArray) -> FloatArray:
            blocks = _slices(len(weights), ranking.items.shape[0])
            return np.concatenate([finish(*ranking.stretch_weights(weights[b].T.copy())) for b in blocks])

        return compute

    return prepare


def _auroc_of_stretches(found: FloatArray, taken: FloatArray) -> FloatArray:
    missed = taken - found
    better = np.cumsum(found, axis=0)
    total, better = better[-1].copy(), better - found / 2
    return _divide((missed * better).sum(axis=0), total * missed.sum(axis=0))


def _auprc_of_stretches(found: FloatArray, taken: FloatArray) -> FloatArray:
    better = np.cumsum(found, axis=0)
    precision = _divide(better, np.cumsum(taken, axis=0), 0.0)
    return _divide((found * precision).sum(axis=0), better[-1])


def _recall_of_stretches(found: FloatArray, taken: FloatArray) -> FloatArray:
    better = np.cumsum(found, axis=0)
    is_precise = _divide(better, np.cumsum(taken, axis=0), 0.0) >= _PRECISION
    return _divide((better * is_precise).max(axis=0), better[-1])


def _auroc_macro(scores: FloatArray, true: BoolArray, _: Threshold) -> WeightedMetric:
    labels = [label for label, share in enumerate(true.mean(axis=0)) if 0.0 < share < 1.0]

    def compute(weights: FloatArray) -> FloatArray:
        by_visit = weights.T.copy()
        total, defined = np.zeros(len(weights)), np.zeros(len(weights))
        for label in labels:
            ranking = _Ranking(scores[:, [label]], true[:, [label]])
            areas = _auroc_of_stretches(*ranking.stretch_weights(by_visit))
            total += np.nan_to_num(areas)
            defined += ~np.isnan(areas)
        return _divide(total, defined)

    return compute


def _slices(length: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK_SIZE // width)
    return (slice(start, start + step) for start in range(0, length, step))


def _divide(numerator: FloatArray, denominator: FloatArray, empty: float = np.nan) -> FloatArray:
    result = np.full(np.shape(numerator), empty)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


_AUROC = _of_ranking(_auroc_of_stretches)
_ACCURACY = _of_visits(_accuracy_of_visits)

WEIGHTED_METRICS: dict[str, Callable[[FloatArray, BoolArray, Threshold], WeightedMetric]] = {
    "jaccard_samples": _of_visits(_jaccard_of_visits),
    "f1_samples": _of_visits(_f1_of_visits),
    "prauc_samples": _of_visits(_prauc_of_visits),
    "auroc_samples": _of_visits(_auroc_of_visits),
    "label_accuracy": _ACCURACY,
    "auroc": _AUROC,
    "auprc": _of_ranking(_auprc_of_stretches),
    "accuracy": _ACCURACY,
    "f1_macro": _f1_macro,
    "recall_at_precision_80": _of_ranking(_recall_of_stretches),
    "expected_calibration_error": _calibration_error,
    "f1_micro": _micro(f1),
    "f1_macro_caml": _f1_macro_caml,
    "auroc_micro": _AUROC,
    "auroc_macro": _auroc_macro,
    "precision_at_5": _precision_at(5),
    "precision_at_8": _precision_at(8),
    "precision_at_15": _precision_at(15),
    "jaccard_micro": _micro(jaccard),
}
