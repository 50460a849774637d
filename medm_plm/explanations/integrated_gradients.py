"""Integrated gradients (Sundararajan et al. 2017) over the vectors of words and codes, through captum.

The path goes in a straight line from the visit with every word and every code masked to the visit itself;
both ends keep `[CLS]`, `[SEP]`, the kinds of the codes and all positions. What the parts get sums up to the
difference between the scores of the two ends (completeness).

Axes: positions of word pieces, positions of codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch

from medm_plm.errors import InputError
from modeling_medm_plm import MedMPLMVisitClassifier

_STEPS_PER_BATCH = 16
_MASKS = ("attention_mask", "token_type_ids", "code_attention_mask", "code_token_type_ids")


@dataclass(frozen=True)
class GradientShares:
    """What each position adds to the score of a label.

    Args:
        words (`np.ndarray` of shape `(word pieces,)`): shares of the note.
        codes (`np.ndarray` of shape `(codes,)`): shares of the codes.
        difference (`float`): score of the visit less that of the masked visit.
        error (`float`): sum of all shares less `difference`.
    """

    words: np.ndarray
    codes: np.ndarray
    difference: float
    error: float


def integrated_gradients(
    model: MedMPLMVisitClassifier,
    batch: dict[str, torch.Tensor],
    masked: dict[str, torch.Tensor],
    label: int,
    num_steps: int = 64,
) -> GradientShares:
    """Divide the score (logit) of a label among the positions of one visit.

    Args:
        model (`MedMPLMVisitClassifier`): a fine-tuned model in evaluation mode.
        batch (`dict[str, torch.Tensor]`): the inputs of one visit, `(1, ...)`.
        masked (`dict[str, torch.Tensor]`): `input_ids` and `code_input_ids` of the other end of the path.
        label (`int`): the label.
        num_steps (`int`, defaults to 64): points on the path (Gauss-Legendre).

    Returns:
        The shares.

    Raises:
        InputError: if captum is not installed.
    """
    attributions = _captum()
    masks = {name: batch[name] for name in _MASKS if name in batch}

    def score(words: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        repeated = {name: values.expand(len(words), -1) for name, values in masks.items()}
        return model(inputs_embeds=words, code_inputs_embeds=codes, **repeated).logits[:, label]

    visit, reference = _vectors(model, batch), _vectors(model, masked)
    words, codes = attributions.IntegratedGradients(score).attribute(
        visit, reference, n_steps=num_steps, internal_batch_size=min(num_steps, _STEPS_PER_BATCH)
    )
    with torch.inference_mode():
        difference = float(score(*visit) - score(*reference))
    shares = [values[0].sum(dim=-1).double().cpu().numpy() for values in (words, codes)]
    return GradientShares(*shares, difference, float(sum(part.sum() for part in shares) - difference))


def _vectors(
    model: MedMPLMVisitClassifier, ids: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        words = model.get_input_embeddings()(ids["input_ids"])
        codes = model.model.code_model.get_input_embeddings()(ids["code_input_ids"])
    return words, codes


def _captum() -> ModuleType:
    try:
        import captum.attr
    except ImportError:
        raise InputError(
            "integrated gradients need captum, which is not installed",
            remedy="pip install medm-plm[explanations]",
        ) from None
    return captum.attr
