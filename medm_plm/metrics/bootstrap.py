"""Confidence intervals by resampling patients.

The visits of a patient resemble each other, so a resample draws patients, with all their visits: intervals
from visits drawn one by one would be too narrow. Percentile intervals (Efron and Tibshirani, 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from medm_plm.errors import InputError
from medm_plm.metrics.checks import FloatArray
from medm_plm.metrics.weighted import Threshold, weighted_metric

Metric = str | Callable[[np.ndarray, np.ndarray], float]

_BLOCK_SIZE = 2**24  # weights in memory at a time


def bootstrap_interval(
    metric: Metric,
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    num_samples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    threshold: Threshold = 0.5,
) -> tuple[float, float]:
    """Give the range in which a metric would lie in most other draws of as many patients.

    Args:
        metric (`str` or `Callable`): name of a metric of `medm_plm.metrics.weighted.WEIGHTED_METRICS`, which
            is computed for all samples at once, or a function of probabilities and labels, which is called
            for each sample.
        probabilities (`ArrayLike` of shape `(visits,)` or `(visits, labels)`): predictions.
        labels (`ArrayLike` of the same shape): 0 or 1.
        groups (`ArrayLike` of shape `(visits,)`): the patient of each visit.
        num_samples (`int`, defaults to 1000): draws.
        seed (`int`, defaults to 0): seed of the draws; the same patients are drawn for every metric.
        confidence (`float`, defaults to 0.95): share of the draws inside the interval.
        threshold (`float` or `np.ndarray` of shape `(labels,)`, defaults to 0.5): of a named metric that
            needs one.

    Returns:
        Lower and upper end. Draws in which the metric is undefined are left out; NaN if it always is.

    Raises:
        InputError: if the arrays do not fit, or the metric is unknown.
    """
    (values,) = bootstrap_values([metric], [probabilities], labels, groups, num_samples, seed, threshold)
    return interval_of(values, confidence)


def bootstrap_values(
    metrics: list[Metric],
    predictions: list[ArrayLike],
    labels: ArrayLike,
    groups: ArrayLike,
    num_samples: int = 1000,
    seed: int = 0,
    threshold: Threshold = 0.5,
) -> list[FloatArray]:
    """Compute metrics of predictions on the same resamples of patients.

    Args:
        metrics (`list`): the metrics; see `bootstrap_interval`.
        predictions (`list`): for each metric the probabilities it is computed from.
        labels, groups, num_samples, seed, threshold: see `bootstrap_interval`.

    Returns:
        For each metric its values `(num_samples,)`, NaN where undefined.

    Raises:
        InputError: if the arrays do not fit, or a metric is unknown.
    """
    truth, patients = np.asarray(labels), np.asarray(groups)
    if patients.shape != truth.shape[:1]:
        raise InputError(
            "groups do not fit",
            received=f"shape {patients.shape}",
            expected=f"one for each of {len(truth)} visits",
        )
    if num_samples < 1:
        raise InputError("number of samples", received=num_samples, expected="at least 1")
    functions = [
        weighted_metric(metric, scores, truth, threshold)
        if isinstance(metric, str)
        else _resampled(metric, np.asarray(scores), truth)
        for metric, scores in zip(metrics, predictions, strict=True)
    ]
    blocks = [
        [function(weights) for function in functions]
        for weights in patient_weights(patients, num_samples, seed)
    ]
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def patient_weights(groups: np.ndarray, num_samples: int, seed: int) -> Iterator[FloatArray]:
    """Draw as many patients as there are, with replacement, again and again.

    Args:
        groups (`np.ndarray` of shape `(visits,)`): the patient of each visit.
        num_samples (`int`): draws.
        seed (`int`): seed of the draws.

    Yields:
        Blocks `(samples, visits)` of how often each visit was drawn, as 32-bit floats.
    """
    patients, patient_of_visit = np.unique(groups, return_inverse=True)
    num_patients, rng = len(patients), np.random.default_rng(seed)
    step = max(1, _BLOCK_SIZE // len(groups))
    for start in range(0, num_samples, step):
        rows = min(step, num_samples - start)
        drawn = (
            rng.integers(num_patients, size=(rows, num_patients))
            + num_patients * np.arange(rows)[:, np.newaxis]
        )
        counts = np.bincount(drawn.ravel(), minlength=rows * num_patients).reshape(rows, num_patients)
        yield counts.astype(np.float32)[:, patient_of_visit]


def interval_of(values: FloatArray, confidence: float = 0.95) -> tuple[float, float]:
    """Ends of the middle share of values, NaN left out.

    Args:
        values (`np.ndarray` of shape `(samples,)`): values of the draws.
        confidence (`float`, defaults to 0.95): share inside.

    Returns:
        Lower and upper end, NaN without a value.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError("confidence", received=confidence, expected="a share between 0 and 1")
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _resampled(
    metric: Callable[[np.ndarray, np.ndarray], float], probabilities: np.ndarray, labels: np.ndarray
) -> Callable[[FloatArray], FloatArray]:
    def compute(weights: FloatArray) -> FloatArray:
        rows = [np.repeat(np.arange(len(labels)), drawn.astype(np.int64)) for drawn in weights]
        return np.array([metric(probabilities[chosen], labels[chosen]) for chosen in rows], np.float64)

    return compute
