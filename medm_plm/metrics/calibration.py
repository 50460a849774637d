"""Does a predicted risk of 30 % mean that 30 of 100 such patients are affected, and can it be made to?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from medm_plm.errors import InputError
from medm_plm.metrics.checks import BoolArray, FloatArray

NUM_BINS = 10
TEMPERATURES = (0.05, 20.0)
"""Least and greatest temperature: beyond, the log loss has no minimum worth the name."""

_CLOSEST = 2.0**-24  # half the step of a 32-bit float below 1: what a probability of 1 may have been


def bin_of(probabilities: FloatArray, num_bins: int = NUM_BINS) -> np.ndarray:
    """Number the bin of equal width in which each probability lies, from 0; 1 belongs to the last."""
    return np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)


def expected_calibration_error(
    probabilities: FloatArray, labels: BoolArray, num_bins: int = NUM_BINS
) -> float:
    """Mean distance between predicted risk and observed frequency, over groups of similar risk.

    Guo et al. (2017), with the risk itself in place of the confidence, as is right for a binary outcome: bins
    of equal width, each weighted by the number of visits in it.

    Args:
        probabilities (`np.ndarray` of shape `(visits,)`): predicted risk in [0, 1].
        labels (`np.ndarray` of shape `(visits,)`): True where the event happened.
        num_bins (`int`, defaults to 10): number of bins.

    Returns:
        The error in [0, 1].
    """
    bins = bin_of(probabilities, num_bins)
    risk = np.bincount(bins, weights=probabilities, minlength=num_bins)
    events = np.bincount(bins, weights=labels, minlength=num_bins)
    return float(np.abs(risk - events).sum() / len(labels))


def reliability_bins(
    probabilities: FloatArray, labels: BoolArray, num_bins: int = NUM_BINS
) -> list[dict[str, float]]:
    """Compute the points of a reliability diagram.

    Args:
        probabilities (`np.ndarray` of shape `(visits,)`): predicted risk in [0, 1].
        labels (`np.ndarray` of shape `(visits,)`): True where the event happened.
        num_bins (`int`, defaults to 10): number of bins of equal width.

    Returns:
        For each bin that is not empty, in rising order: `mean_predicted`, `observed_share` and `count`.
    """
    bins = bin_of(probabilities, num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    risk = np.bincount(bins, weights=probabilities, minlength=num_bins)
    events = np.bincount(bins, weights=labels, minlength=num_bins)
    return [
        {
            "mean_predicted": float(risk[index] / counts[index]),
            "observed_share": float(events[index] / counts[index]),
            "count": int(counts[index]),
        }
        for index in np.flatnonzero(counts)
    ]


def fit_temperature(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Find the one temperature by which logits are divided so that probabilities fit what happened best.

    Temperature scaling (Guo et al., 2017) for binary labels: least log loss over all visits and labels. Meant
    for validation data, never for test data. It mends confidence that is too high or too low on both sides;
    it cannot move probabilities that are all too high, as after training on balanced data, since a
    probability of one half stays where it is.

    Args:
        probabilities (`ArrayLike`): predicted probabilities, of any shape.
        labels (`ArrayLike` of the same shape): 0 or 1.

    Returns:
        The temperature, within `TEMPERATURES`; above 1 the model was too sure. 1 if all labels are alike,
        which any model would satisfy best by being surer still.
    """
    scores, truth = _logits(np.asarray(probabilities).ravel()), np.asarray(labels).ravel().astype(np.bool_)
    if truth.all() or not truth.any():
        return 1.0
    signed = np.where(truth, -scores, scores)  # log loss of a label is log(1 + exp(signed / temperature))

    def log_loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, signed / math.exp(log_temperature)).mean())

    low, high = (math.log(bound) for bound in TEMPERATURES)
    found = minimize_scalar(log_loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return float(math.exp(found.x))


def scale(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits behind probabilities by a temperature.

    Args:
        probabilities (`np.ndarray`): probabilities of any shape.
        temperature (`float`): above 1 moves them towards one half, below 1 away from it.

    Returns:
        The probabilities after scaling, in shape and precision of the argument; their order is the same.

    Raises:
        InputError: if the temperature is not positive.
    """
    if not 0.0 < temperature < math.inf:
        raise InputError("temperature", received=temperature, expected="a positive number")
    if temperature == 1.0:
        return probabilities
    return expit(_logits(probabilities) / temperature).astype(probabilities.dtype)


def _logits(probabilities: np.ndarray) -> FloatArray:
    tiny = np.finfo(np.float32).tiny
    return logit(np.clip(probabilities.astype(np.float64), tiny, 1.0 - _CLOSEST))
