"""How much each word and each code of a visit counts for a model: attention, or integrated gradients.

`attention` are the weights of the cross-modal module (equations 6 and 7): how the codes look at the words of
the note, and how the note looks at the codes. They belong to the visit, not to one label.
`label_attention` are the weights with which one label looks at the note, and at the codes if its head does,
where the model has such a head.
`integrated_gradients` say how the score of one label is made up, see
`medm_plm.explanations.integrated_gradients`.

Axes: words and codes of the visit, positions of the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medm_plm.command_line import quiet_library
from medm_plm.errors import InputError
from medm_plm.explanations.integrated_gradients import integrated_gradients
from medm_plm.explanations.prediction import evaluation
from medm_plm.explanations.visits import CODES, WORDS, EncodedVisit, batch_of
from modeling_medm_plm import MedMPLMVisitClassifier
from tokenization_medm_plm import MedMPLMProcessor

METHODS = ("attention", "label_attention", "integrated_gradients")


@dataclass(frozen=True)
class Importance:
    """Weights of the words and of the codes of a visit by one method.

    Args:
        method (`str`): a name of `METHODS`.
        weights (`dict[str, np.ndarray]`): by part, `"words"` and `"codes"`, one number for each of them; a
            part that the method says nothing about is missing.
        elsewhere (`dict[str, float]`): by part, what lies on special tokens. With it, the weights of a part
            sum to one for attention, and all parts to `difference` for integrated gradients.
        is_signed (`bool`): whether a weight below zero speaks against the label.
        difference (`float`, *optional*): for integrated gradients, the score (logit) of the visit above that
            of the same visit with every word and code masked.
        error (`float`, *optional*): for integrated gradients, by how much the weights miss `difference`.
    """

    method: str
    weights: dict[str, np.ndarray]
    elsewhere: dict[str, float]
    is_signed: bool = False
    difference: float | None = None
    error: float | None = None


def importances(
    model: MedMPLMVisitClassifier,
    processor: MedMPLMProcessor,
    visit: EncodedVisit,
    label: int,
    methods: Sequence[str],
    num_steps: int = 64,
) -> list[Importance]:
    """Weigh the words and codes of a visit.

    Args:
        model (`MedMPLMVisitClassifier`): a fine-tuned model.
        processor (`MedMPLMProcessor`): its processor.
        visit (`EncodedVisit`): the visit.
        label (`int`): the label that is explained.
        methods (`Sequence[str]`): names of `METHODS`.
        num_steps (`int`, defaults to 64): steps of integrated gradients.

    Returns:
        One result for each method, in their order.

    Raises:
        InputError: if a method is unknown, the model has not what it needs, or captum is not installed.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise InputError("unknown method", received=unknown[0], expected=" or ".join(METHODS))
    batch = {name: values.to(model.device) for name, values in batch_of(processor, [visit]).items()}
    found = []
    with evaluation(model):
        for method in methods:
            if method == "integrated_gradients":
                found.append(_integrated_gradients(model, processor, visit, batch, label, num_steps))
            else:
                found.append(_attention(model, visit, batch, label, method))
    return found


def available_methods(model: MedMPLMVisitClassifier) -> list[str]:
    """Name the kinds of attention that a model has.

    Args:
        model (`MedMPLMVisitClassifier`): a fine-tuned model.

    Returns:
        Names of `METHODS`.
    """
    has = {"attention": model.config.use_cross_modal}
    has["label_attention"] = getattr(model.config, "classifier", "mlp") == "label_attention"
    return [name for name, is_there in has.items() if is_there]


def attention_of_words(visit: EncodedVisit, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Give each word the sum of the weights of its pieces.

    Args:
        visit (`EncodedVisit`): the visit.
        weights (`np.ndarray` of shape `(positions,)`): weights of the word pieces.

    Returns:
        The weights of the words, `(words,)`, and what is left for special tokens.
    """
    of_words = np.array([weights[list(word.positions)].sum() for word in visit.words], dtype=np.float64)
    return of_words, float(weights.sum() - of_words.sum())


def attention_of_codes(visit: EncodedVisit, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """As `attention_of_words`, for the codes."""
    of_codes = np.array([weights[code.position] for code in visit.codes], dtype=np.float64)
    return of_codes, float(weights.sum() - of_codes.sum())


def _attention(
    model: MedMPLMVisitClassifier,
    visit: EncodedVisit,
    batch: dict[str, torch.Tensor],
    label: int,
    method: str,
) -> Importance:
    if method not in available_methods(model):
        raise InputError(
            f"the model has no {method.replace('_', ' ')}",
            expected="a model with the cross-modal module"
            if method == "attention"
            else "a model trained with --classifier label_attention",
        )
    with torch.inference_mode(), quiet_library():
        output = model(**batch, output_attentions=True)
    if method == "label_attention":
        by_part = {WORDS: output.label_attentions[0, label]}
        if (to_codes := getattr(output, "label_code_attentions", None)) is not None:
            by_part[CODES] = to_codes[0, label]
    else:  # the mean over heads sums to one as each head does
        by_part = {
            WORDS: output.note_token_attentions[0].mean(dim=0),
            CODES: output.code_token_attentions[0].mean(dim=0),
        }
    return _merged(method, visit, {part: values.double().cpu().numpy() for part, values in by_part.items()})


def _integrated_gradients(
    model: MedMPLMVisitClassifier,
    processor: MedMPLMProcessor,
    visit: EncodedVisit,
    batch: dict[str, torch.Tensor],
    label: int,
    num_steps: int,
) -> Importance:
    words = [position for word in visit.words for position in word.positions]
    masked = {"input_ids": batch["input_ids"].clone(), "code_input_ids": batch["code_input_ids"].clone()}
    masked["input_ids"][0, words] = _mask_id(processor.tokenizer)
    masked["code_input_ids"][0, [code.position for code in visit.codes]] = _mask_id(processor.code_tokenizer)
    shares = integrated_gradients(model, batch, masked, label, num_steps)
    by_part = {WORDS: shares.words, CODES: shares.codes}
    merged = _merged("integrated_gradients", visit, by_part)
    return Importance(merged.method, merged.weights, merged.elsewhere, True, shares.difference, shares.error)


def _merged(method: str, visit: EncodedVisit, by_part: dict[str, np.ndarray]) -> Importance:
    merge = {WORDS: attention_of_words, CODES: attention_of_codes}
    found = {part: merge[part](visit, values) for part, values in by_part.items()}
    return Importance(
        method,
        {part: weights for part, (weights, _) in found.items()},
        {part: rest for part, (_, rest) in found.items()},
    )


def _mask_id(tokenizer: object) -> int:
    """What stands for "not known": the mask, else padding."""
    mask = tokenizer.mask_token_id
    return tokenizer.pad_token_id if mask is None else mask
