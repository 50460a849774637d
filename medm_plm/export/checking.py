"""Does an exported file say what the model says? Compared over inputs of many shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medm_plm.export.graph import Axes, example_inputs, graph_inputs, output_names
from medm_plm.export.onnx_model import OnnxModel
from modeling_medm_plm import MedMPLMPreTrainedModel

MAX_DIFFERENCE = 1e-5
SHAPES = (
    Axes(),
    Axes(batch=1, visits=2, words=1, codes=1, current_codes=1, current_words=1),
    Axes(batch=1, visits=3, words=64, codes=2, current_codes=3, current_words=5),
    Axes(batch=2, visits=2, words=33, codes=61, current_codes=60, current_words=17),
    Axes(batch=8, visits=5, words=20, codes=16, current_codes=2, current_words=33),
    Axes(batch=1, visits=2, words=10_000, codes=61, current_codes=30, current_words=10_000),
)
"""The last one is cut to the longest note of the model."""


@dataclass(frozen=True)
class ParityReport:
    """What a comparison found.

    Args:
        difference (`float`): largest difference of a score, in units of the largest score or of 1, whichever
            is more: single precision keeps so many digits of a number and not of a difference.
        shapes (`int`): how many shapes were compared.
    """

    difference: float
    shapes: int

    @property
    def holds(self) -> bool:
        """Whether the two agree."""
        return self.difference <= MAX_DIFFERENCE


def check_parity(
    model: MedMPLMPreTrainedModel, exported: OnnxModel, shapes: Sequence[Axes] = SHAPES
) -> ParityReport:
    """Compare a model and its file.

    Args:
        model (`MedMPLMPreTrainedModel`): the model, in evaluation mode on a CPU.
        exported (`OnnxModel`): the file.
        shapes (`Sequence[Axes]`, *optional*): shapes of the inputs.

    Returns:
        What was found.
    """
    largest = 0.0
    for seed, axes in enumerate(shapes):
        batch = example_inputs(model, axes, seed)
        with torch.no_grad():
            expected = model(**batch, return_dict=True)
        found = exported(**graph_inputs(exported.inputs, batch))
        for name in output_names(model):
            rows = meaningful_rows(batch, expected[name].numpy())
            difference = rows - meaningful_rows(batch, found[name])
            largest = max(largest, float(np.abs(difference).max() / max(1.0, np.abs(rows).max())))
    return ParityReport(largest, len(shapes))


def meaningful_rows(batch: dict[str, torch.Tensor], scores: np.ndarray) -> np.ndarray:
    """Scores that mean something: of real words (tagging), or of visits with an earlier one.

    Args:
        batch (`dict`): the inputs.
        scores (`np.ndarray`): `(batch, labels)`, `(batch, words, labels)` or `(batch, visits, labels)`.

    Returns:
        `np.ndarray` of shape `(rows, labels)`.
    """
    if scores.ndim == 2:
        return scores
    is_real = (batch["visit_mask"] if "visit_mask" in batch else batch["attention_mask"]).bool().numpy()
    if "visit_mask" in batch:
        is_real = is_real.copy()
        is_real[:, 0] = False  # nothing precedes a first visit
    rows = scores[is_real]
    return rows if len(rows) else np.zeros((1, scores.shape[-1]), dtype=scores.dtype)
