"""What a baseline reads of a visit, and what it has to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medm_plm.errors import InputError


@dataclass(frozen=True)
class VisitExample:
    """One visit as a baseline sees it: the inputs of the model without its tokenisers.

    Args:
        note (`str`): text known when the prediction is made; empty if there is none.
        codes (`list[str]`): codes known when the prediction is made, in any spelling that tells them apart.
        labels (`np.ndarray` of shape `(labels,)`): 1 where a label applies, else 0.
    """

    note: str
    codes: list[str]
    labels: np.ndarray


def stack_labels(examples: Sequence[VisitExample]) -> np.ndarray:
    """Put the labels of several visits into one table.

    Args:
        examples (`Sequence[VisitExample]`): the visits.

    Returns:
        Boolean labels `(examples, labels)`.

    Raises:
        InputError: if there is no visit, or the visits differ in their number of labels.
    """
    if not examples:
        raise InputError("a baseline has nothing to learn from", received="no visit", expected="at least one")
    widths = sorted({len(example.labels) for example in examples})
    if len(widths) != 1:
        raise InputError("visits differ in their labels", received=widths, expected="one number of labels")
    return np.stack([example.labels for example in examples]) > 0
