"""The trivial rival: every visit gets the frequencies of the training visits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medm_plm.baselines.examples import VisitExample, stack_labels
from medm_plm.errors import InputError


class FrequencyBaseline:
    """Predict each label with the share of training visits that have it, whatever the visit."""

    def __init__(self) -> None:
        self._frequencies: np.ndarray | None = None

    def fit(
        self, train: Sequence[VisitExample], validation: Sequence[VisitExample] = ()
    ) -> FrequencyBaseline:
        """Count the labels of the training visits.

        Args:
            train (`Sequence[VisitExample]`): training visits.
            validation (`Sequence[VisitExample]`, *optional*): unused, since there is nothing to choose.

        Returns:
            The baseline itself.

        Raises:
            InputError: if there is no visit, or the visits differ in their number of labels.
        """
        self._frequencies = stack_labels(train).mean(axis=0)
        return self

    def predict_proba(self, examples: Sequence[VisitExample]) -> np.ndarray:
        """Predict the labels of visits.

        Args:
            examples (`Sequence[VisitExample]`): visits; nothing of them is read.

        Returns:
            Probabilities `(examples, labels)`.

        Raises:
            InputError: if `fit` was not called.
        """
        if self._frequencies is None:
            raise InputError("the baseline has not been trained", remedy="call fit first")
        return np.tile(self._frequencies, (len(examples), 1))
