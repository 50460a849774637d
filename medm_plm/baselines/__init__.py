"""Rivals that a language model has to beat, by name.

Every baseline has `fit(train, validation=())` and `predict_proba(examples) -> (examples, labels)`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from medm_plm.baselines.examples import VisitExample
from medm_plm.baselines.frequency import FrequencyBaseline
from medm_plm.baselines.linear import LinearBaseline
from medm_plm.errors import InputError

__all__ = ["BASELINES", "Baseline", "FrequencyBaseline", "LinearBaseline", "VisitExample", "build_baseline"]


class Baseline(Protocol):
    """What every baseline can do."""

    def fit(self, train: Sequence[VisitExample], validation: Sequence[VisitExample] = ()) -> "Baseline":
        """Learn from training visits; choose settings on validation visits if there are any."""

    def predict_proba(self, examples: Sequence[VisitExample]) -> np.ndarray:
        """Predict probabilities `(examples, labels)`."""


BASELINES: dict[str, Callable[[], Baseline]] = {
    "frequency": FrequencyBaseline,
    "linear_text": partial(LinearBaseline, use_codes=False),
    "linear_codes": partial(LinearBaseline, use_note=False),
    "linear": LinearBaseline,
}


def build_baseline(name: str) -> Baseline:
    """Make an untrained baseline.

    Args:
        name (`str`): a key of `BASELINES`: `"frequency"`, `"linear_text"`, `"linear_codes"` or `"linear"`.

    Returns:
        The baseline.

    Raises:
        InputError: if there is no baseline of that name.
    """
    if name not in BASELINES:
        raise InputError("unknown baseline", received=repr(name), expected=" or ".join(BASELINES))
    return BASELINES[name]()
