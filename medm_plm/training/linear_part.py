"""A logistic regression on word pieces and codes beside the trained head, in one model.

    logit_l = share * deep_l + (1 - share) * (b_l + sum over the distinct tokens t of the visit of w_lt)

A regression learns what a rare word says from a few visits and is sure of its optimum, the deep head reads
words in their context; their errors differ. The share is chosen on validation visits, so the joined model is
as good as the better of both there. It is kept in the head: `token_weights` hold w, the bias holds b.

Axes: examples, tokens (word pieces, then codes), labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from medm_plm.baselines.regression import choose_regularization, fit_labels, labels_to_choose_by, log_loss
from medm_plm.metrics.ranking import auroc_of_all
from modeling_medm_plm import MedMPLMLabelWiseHead, MedMPLMVisitClassifier

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of the deep head that are tried; of equal ones the first is taken."""
LEAST_VISITS = 5
"""A token that stands in fewer training visits has no weight, as it has no place in a learnt vocabulary:
weights can be read, and would tell what stood in a single record."""
_GRID = (0.003, 0.01, 0.03, 0.1, 0.3)  # ascending; presence of tokens wants more restraint than TF-IDF
_INPUTS = {"words": "input_ids", "codes": "code_input_ids"}

Examples = Sequence[dict[str, Any]]


def join_linear_part(
    model: MedMPLMVisitClassifier, train: Examples, validation: Examples, validation_logits: np.ndarray
) -> dict[str, Any]:
    """Fit the regression, choose the share, and write both into the head.

    Args:
        model ([`MedMPLMVisitClassifier`]): a trained model with `classifier_token_weights`.
        train (`Sequence[dict]`), validation (`Sequence[dict]`): tokenised visits with their labels.
        validation_logits (`np.ndarray` of shape `(examples, labels)`): what the model says of `validation`.

    Returns:
        What was chosen: `inverse_regularization`, `share_of_deep_head`, `tokens` with a weight, and by share
        the area under the ROC curve over all labels of the validation visits (the negative log loss, where
        all or none of them are positive).
    """
    sizes = {name: model.token_weights[name].weight.shape[0] for name in _INPUTS}
    inputs, held_out = _presence(train, sizes), _presence(validation, sizes)
    is_frequent = np.asarray(inputs.sum(axis=0)).ravel() >= LEAST_VISITS
    inputs, held_out = inputs[:, is_frequent], held_out[:, is_frequent]
    labels, truth = _labels(train), _labels(validation)

    weights = np.zeros((inputs.shape[1], labels.shape[1]), np.float32)
    shares = (labels.sum(axis=0) + 0.5) / (len(labels) + 1)
    intercepts = np.log(shares / (1 - shares))
    learned = np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0))
    strength = None
    if learned.size and inputs.shape[1]:
        chosen = labels_to_choose_by(labels, learned)
        _, strength = choose_regularization(inputs, labels[:, chosen], held_out, truth[:, chosen], _GRID)
        weights[:, learned], intercepts[learned] = fit_labels(inputs, labels[:, learned], strength)

    linear = held_out @ weights + intercepts
    scores = {share: _score(share * validation_logits + (1 - share) * linear, truth) for share in SHARES}
    share = max(scores, key=scores.__getitem__)
    all_weights = np.zeros((len(is_frequent), labels.shape[1]), np.float32)
    all_weights[is_frequent] = weights
    _write(model, share, all_weights, intercepts)
    return {
        "inverse_regularization": strength,
        "share_of_deep_head": share,
        "tokens": int(is_frequent.sum()),
        "validation": {str(tried): score for tried, score in scores.items()},
    }


def _presence(examples: Examples, sizes: dict[str, int]) -> csr_matrix:
    """Which tokens stand in which visit, `(examples, tokens)` of 0 and 1."""
    rows, columns, begin = [], [], 0
    for name, field in _INPUTS.items():
        for row, example in enumerate(examples):
            tokens = np.unique(example[field])
            rows.append(np.full(len(tokens), row))
            columns.append(begin + tokens.astype(np.int64))
        begin += sizes[name]
    places = (np.concatenate(rows), np.concatenate(columns))
    return csr_matrix((np.ones(len(places[0]), np.float32), places), shape=(len(examples), begin))


def _labels(examples: Examples) -> np.ndarray:
    return np.stack([np.atleast_1d(example["labels"]) for example in examples]).astype(np.int64)


def _score(logits: np.ndarray, truth: np.ndarray) -> float:
    area = auroc_of_all(logits, truth.astype(np.bool_))
    return -log_loss(logits, truth) if np.isnan(area) else area


@torch.no_grad()
def _write(model: MedMPLMVisitClassifier, share: float, weights: np.ndarray, intercepts: np.ndarray) -> None:
    for parameter in _score_parameters(model):
        parameter.mul_(share)
    head = model.classifier
    bias = head.bias if isinstance(head, MedMPLMLabelWiseHead) else head[-1].bias
    bias.add_(torch.from_numpy((1 - share) * intercepts).to(bias))
    begin = 0
    for name in _INPUTS:
        weight = model.token_weights[name].weight
        part = weights[begin : begin + weight.shape[0]]
        weight.add_(torch.from_numpy((1 - share) * part).to(weight))
        begin += weight.shape[0]


def _score_parameters(model: MedMPLMVisitClassifier) -> Iterator[torch.nn.Parameter]:
    """The last parameters before the logits: these grow and shrink with them."""
    head = model.classifier
    if isinstance(head, MedMPLMLabelWiseHead):
        yield from (head.bias, head.perceptron[-1].weight)
        yield from (source.evidence for source in head.sources.values())
    else:
        yield from head[-1].parameters()
    yield from (part.weight for part in model.token_weights.values())
