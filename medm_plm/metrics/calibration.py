"""Does a predicted risk of 30 % mean that 30 of 100 such patients are affected?"""

from __future__ import annotations

import numpy as np

from medm_plm.metrics.checks import BoolArray, FloatArray


def expected_calibration_error(probabilities: FloatArray, labels: BoolArray, num_bins: int = 10) -> float:
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
    bins = np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)
    risk = np.bincount(bins, weights=probabilities, minlength=num_bins)
    events = np.bincount(bins, weights=labels, minlength=num_bins)
    return float(np.abs(risk - events).sum() / len(labels))
