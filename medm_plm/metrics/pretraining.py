"""Does the model find the codes that were hidden from it, better than by knowing which codes are frequent?

A place is where a hidden code stands among all codes of the vocabulary, 0 being the best.
Axes: visits, codes, vocabulary, hidden (the codes chosen for prediction, visit by visit).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medm_plm.errors import InputError

_IGNORED = -100  # label and place of a position that was not chosen
_RECALL_CUTOFFS = (5, 10)


def hidden_code_places(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Find the place of each hidden code in a visit's list of codes, best first.

    Args:
        logits (`ArrayLike` of shape `(visits, vocabulary)`): T2C or C2C scores of each visit.
        labels (`ArrayLike` of shape `(visits, codes)`): id of the hidden code at the chosen positions, -100
            elsewhere.

    Returns:
        Places `(hidden,)`. A code that shares its score gets the worst of the shared places, so that equal
        scores for everything earn nothing.

    Raises:
        InputError: if the numbers of visits differ, a score is not a number, or a label is no id of the
            vocabulary.
    """
    scores, targets = np.asarray(logits), np.asarray(labels)
    if scores.ndim != 2 or targets.ndim != 2 or len(scores) != len(targets):
        raise InputError(
            "logits and labels do not fit",
            received=f"logits {scores.shape} and labels {targets.shape}",
            expected="(visits, vocabulary) and (visits, codes)",
        )
    if np.isnan(scores).any():
        raise InputError("logits hold NaN", expected="numbers", remedy="look for a diverged training")
    visits, positions = np.nonzero(targets != _IGNORED)
    own = scores[visits, _check_ids(targets[visits, positions], scores.shape[1])]
    pairs = zip(visits, own, strict=True)
    return np.array([(scores[visit] >= score).sum() - 1 for visit, score in pairs], np.int64)


def frequency_prior_places(code_counts: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Find the place of each hidden code if every visit were given the codes most frequent in training.

    Args:
        code_counts (`ArrayLike` of shape `(vocabulary,)`): how often each code stands in training.
        labels (`ArrayLike`): ids of the hidden codes, of any shape, -100 at the positions to leave out.

    Returns:
        Places `(hidden,)` in the order of `labels`; of equally frequent codes the lower id comes first.

    Raises:
        InputError: if a label is no id of the vocabulary.
    """
    counts, targets = np.asarray(code_counts), np.asarray(labels)
    place_of_code = np.empty(len(counts), np.int64)
    place_of_code[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    places: np.ndarray = place_of_code[_check_ids(targets[targets != _IGNORED], len(counts))]
    return places


def hidden_code_metrics(places: ArrayLike, prefix: str) -> dict[str, float]:
    """Say how often the hidden code came first, or among the first.

    Args:
        places (`ArrayLike` of any shape): places from 0, negative where nothing was predicted.
        prefix (`str`): start of the names: `"t2c"`, `"c2c"` or `"prior"`.

    Returns:
        `{prefix}_accuracy`, `{prefix}_recall_at_5` and `{prefix}_recall_at_10`, over all hidden codes.

    Raises:
        InputError: if no code was hidden.
    """
    found = np.asarray(places)
    found = found[found >= 0]
    if found.size == 0:
        raise InputError("there is nothing to measure", received="no hidden code", expected="at least one")
    metrics = {"accuracy": found == 0, **{f"recall_at_{k}": found < k for k in _RECALL_CUTOFFS}}
    return {f"{prefix}_{name}": float(hits.mean()) for name, hits in metrics.items()}


def _check_ids(ids: np.ndarray, vocabulary_size: int) -> np.ndarray:
    if ids.size and not (ids.min() >= 0 and ids.max() < vocabulary_size):
        raise InputError(
            "a label is no id of the code vocabulary",
            received=f"ids from {ids.min()} to {ids.max()}",
            expected=f"0 to {vocabulary_size - 1}",
        )
    return ids
