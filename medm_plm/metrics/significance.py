"""Is one model better than another, or were its test patients just kind to it?

Both models are measured on the same visits, so the tests are paired. All p-values are two-sided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

from medm_plm.errors import InputError
from medm_plm.metrics.bootstrap import Metric, bootstrap_values
from medm_plm.metrics.checks import BoolArray, FloatArray, check_probabilities_and_labels
from medm_plm.metrics.weighted import Threshold, weighted_metric


def paired_bootstrap(
    metric: Metric,
    probabilities_a: ArrayLike,
    probabilities_b: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    num_samples: int = 1000,
    seed: int = 0,
    threshold: Threshold = 0.5,
) -> float:
    """Test whether two models differ in a metric, by resampling patients.

    How far the difference strays from the one observed, over the resamples, is how far it would stray from
    zero if the models were equally good.

    Args:
        metric (`str` or `Callable`): see `medm_plm.metrics.bootstrap.bootstrap_interval`.
        probabilities_a, probabilities_b (`ArrayLike`): predictions of the two models for the same visits.
        labels, groups, num_samples, seed, threshold: see `bootstrap_interval`.

    Returns:
        p-value, at least `1 / (num_samples + 1)`; NaN where the metric is undefined on the visits themselves.

    Raises:
        InputError: if the arrays do not fit, or the metric is unknown.
    """
    truth = np.asarray(labels)
    both = [np.asarray(probabilities_a), np.asarray(probabilities_b)]
    if isinstance(metric, str):
        once = np.ones((1, len(truth)), np.float32)
        observed = [weighted_metric(metric, scores, truth, threshold)(once)[0] for scores in both]
    else:
        observed = [metric(scores, truth) for scores in both]
    difference = float(observed[0] - observed[1])
    if math.isnan(difference):
        return difference
    of_a, of_b = bootstrap_values([metric] * 2, list(both), truth, groups, num_samples, seed, threshold)
    strayed = np.abs(of_a - of_b - difference)
    strayed = strayed[~np.isnan(strayed)]
    # A hair's breadth less, so that rounding does not decide between equal differences.
    return float((1 + (strayed >= abs(difference) - 1e-12).sum()) / (len(strayed) + 1))


def delong(
    probabilities_a: ArrayLike,
    probabilities_b: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
) -> float:
    """Test whether two models differ in AUROC, by DeLong's test.

    DeLong et al. (1988), computed by ranks (Sun and Xu, 2014). With `groups` the variance is that of
    Obuchowski (1997) for dependent visits of one patient, which for one visit a patient is DeLong's own.

    Args:
        probabilities_a, probabilities_b (`ArrayLike` of shape `(visits,)` or `(visits, 1)`): predictions of
            the two models for the same visits.
        labels (`ArrayLike` of the same number of values): 0 or 1.
        groups (`ArrayLike` of shape `(visits,)`, *optional*): the patient of each visit; without it visits
            count as independent, which makes p-values too small where patients have several.

    Returns:
        p-value; 1 if the models rank all pairs alike, NaN with fewer than two positives or negatives.

    Raises:
        InputError: if the arrays are no probabilities and labels of one shape.
    """
    flat = [np.asarray(array) for array in (probabilities_a, probabilities_b, labels)]
    flat = [array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array for array in flat]
    scores_a, true = check_probabilities_and_labels(flat[0], flat[2], ("visits",))
    scores_b, _ = check_probabilities_and_labels(flat[1], flat[2], ("visits",))
    if not 2 <= true.sum() <= len(true) - 2:
        return float("nan")
    patients = np.arange(len(true)) if groups is None else np.asarray(groups)
    if patients.shape != true.shape:
        raise InputError(
            "groups do not fit", received=f"shape {patients.shape}", expected=f"shape {true.shape}"
        )
    areas, components = zip(
        *(_auroc_components(scores, true) for scores in (scores_a, scores_b)), strict=True
    )
    difference = areas[0] - areas[1]
    variance = _variance_of_sum(components[0] - components[1], difference, true, patients)
    if variance <= 0:
        return 1.0 if abs(difference) < 1e-12 else 0.0
    return float(2 * norm.sf(abs(difference) / math.sqrt(variance)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of a family of tests, so that the chance of any false alarm stays bounded.

    Holm (1979), which asks nothing of the dependence between the tests.

    Args:
        p_values (`Sequence[float]`): p-values; NaN is a test that could not be made, and stays NaN.

    Returns:
        Adjusted p-values in the same order.
    """
    values = np.asarray(p_values, np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]


def _auroc_components(scores: FloatArray, true: BoolArray) -> tuple[float, FloatArray]:
    """The AUROC, and for each positive (negative) the share of negatives (positives) it is in order with."""
    positives, negatives = int(true.sum()), int((~true).sum())
    ranks = rankdata(scores)
    components = np.empty(len(scores))
    components[true] = (ranks[true] - rankdata(scores[true])) / negatives
    components[~true] = 1.0 - (ranks[~true] - rankdata(scores[~true])) / positives
    return float(components[true].mean()), components


def _variance_of_sum(components: FloatArray, area: float, true: BoolArray, patients: np.ndarray) -> float:
    """Variance of the mean of components of positives, which is also the mean of those of negatives."""
    _, patient_of_visit = np.unique(patients, return_inverse=True)
    deviations = components - area
    sums = [
        np.bincount(patient_of_visit[kind], deviations[kind], patient_of_visit.max() + 1)
        for kind in (true, ~true)
    ]
    sizes = [int(kind.sum()) for kind in (true, ~true)]
    patients_with = [len(np.unique(patient_of_visit[kind])) for kind in (true, ~true)]
    num_patients = patient_of_visit.max() + 1
    if min(patients_with) < 2:
        return float("nan")
    own = [
        present / (present - 1) * float(total @ total) / size**2
        for present, total, size in zip(patients_with, sums, sizes, strict=True)
    ]
    between = num_patients / (num_patients - 1) * float(sums[0] @ sums[1]) / (sizes[0] * sizes[1])
    return sum(own) + 2 * between
