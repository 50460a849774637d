"""The border of the metrics: what comes in is probabilities and 0/1 labels of one shape, or is refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medm_plm.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def check_probabilities_and_labels(
    probabilities: ArrayLike, labels: ArrayLike, axes: tuple[str, ...]
) -> tuple[FloatArray, BoolArray]:
    """Bring predictions and what really happened into the arrays that the metrics compute with.

    Args:
        probabilities (`ArrayLike`): predicted probabilities in [0, 1], one axis for each name in `axes`.
        labels (`ArrayLike`): 0 or 1, of the same shape.
        axes (`tuple[str, ...]`): names of the axes, for the message.

    Returns:
        The probabilities as 64-bit floats and the labels as booleans.

    Raises:
        InputError: if the shapes differ, there is nothing to measure, a probability is outside [0, 1] or not
            a number, or a label is neither 0 nor 1.
    """
    scores, truth = np.asarray(probabilities), np.asarray(labels)
    expected = f"({', '.join(axes)})"
    if scores.ndim != len(axes) or scores.shape != truth.shape:
        received = f"probabilities {scores.shape} and labels {truth.shape}"
        raise InputError(
            "probabilities and labels do not fit", received=received, expected=f"both of shape {expected}"
        )
    if scores.size == 0:
        raise InputError(
            "there is nothing to measure",
            received=f"shape {scores.shape}",
            expected="at least one row and label",
        )
    scores = scores.astype(np.float64)
    low, high = scores.min(), scores.max()
    if not (low >= 0 and high <= 1):  # written so that NaN, which compares false with everything, is refused
        raise InputError(
            "scores are no probabilities",
            received="NaN" if np.isnan(low) else f"values from {low:.4g} to {high:.4g}",
            expected="values from 0 to 1",
            remedy="apply the sigmoid to logits first",
        )
    if not np.isin(truth, (0, 1)).all():
        raise InputError(
            "labels are not binary",
            expected="0 or 1",
            remedy="leave out the rows that are no target (-100)",
        )
    return scores, truth.astype(np.bool_)
