"""From which probability on does a label count as predicted?

A fixed threshold is that of the literature; a tuned one is chosen on validation data and then applied to the
test data unseen. Thresholds belong to the probabilities they were chosen on: after temperature scaling, where
that is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from medm_plm.metrics.checks import BoolArray, FloatArray
from medm_plm.metrics.tasks import METRICS_OF_TASK
from medm_plm.metrics.weighted import weighted_metric

CANDIDATES = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""0.05, 0.10 ... 0.95."""

FIXED_THRESHOLD: dict[str, float] = {
    task: inspect.signature(metrics).parameters["threshold"].default
    for task, metrics in METRICS_OF_TASK.items()
}
"""Threshold of each task where none is tuned."""

TUNED_METRIC = {
    "medication_recommendation": "jaccard_samples",
    "readmission": "f1_macro",
    "mortality": "f1_macro",
    "icd_coding": "f1_micro",
    "medication_prediction": "f1_micro",
}
"""What a tuned threshold of each task is the best for."""


def tune_threshold(
    probabilities: FloatArray,
    labels: BoolArray,
    metric: Callable[[Any, Any, float], float],
) -> float:
    """Choose the threshold that serves a metric best; meant for validation data, never for test data.

    Args:
        probabilities (`np.ndarray`): predicted probabilities.
        labels (`np.ndarray` of the same shape): what really happened.
        metric (`Callable`): function of probabilities, labels and threshold; higher is better.

    Returns:
        The best of `CANDIDATES`, the lowest of them in a tie.
    """
    return max(CANDIDATES, key=lambda threshold: metric(probabilities, labels, threshold))


def tune_task_threshold(task: str, probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Choose the threshold of a task on validation data.

    Args:
        task (`str`): a task of `TUNED_METRIC`.
        probabilities (`ArrayLike` of shape `(targets, labels)`): predictions.
        labels (`ArrayLike` of the same shape): 0 or 1.

    Returns:
        The threshold; that of the task where the metric is undefined for every candidate.
    """
    scores, truth = np.asarray(probabilities), np.asarray(labels)
    once = np.ones((1, len(truth)))

    def value(candidate_scores: Any, candidate_labels: Any, threshold: float) -> float:
        metric = weighted_metric(TUNED_METRIC[task], candidate_scores, candidate_labels, threshold)
        return float(np.nan_to_num(metric(once)[0], nan=-1.0))

    return tune_threshold(scores, truth, value)
