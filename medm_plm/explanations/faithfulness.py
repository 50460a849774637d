"""Do the heaviest words and codes carry the answer? What the probability loses when they are deleted.

Comprehensiveness and sufficiency of ERASER (DeYoung et al. 2020), for several shares of the words or codes:
how much the probability of the answer falls when the chosen ones are deleted (large for a faithful
explanation), and how much when nothing but them is left of their part (small). The same is measured for words
or codes drawn at random and for the least important ones; a weighting that does no better than chance tells
nothing about the answer.

The answer is the label that is explained, or its absence where a yes-or-no task says no; weights with a sign
are then read the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medm_plm.data.collators import keyed_generator
from medm_plm.errors import InputError
from medm_plm.explanations.importance import Importance
from medm_plm.explanations.prediction import Prediction
from medm_plm.explanations.visits import PARTS, EncodedVisit, VisitInputs

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)  # those of ERASER
NUM_RANDOM = 5
MOST, RANDOM, LEAST = "most important", "random", "least important"
ORDERS = (MOST, RANDOM, LEAST)

Predict = Callable[[Sequence[VisitInputs]], np.ndarray]
"""Probabilities `(visits, labels)` of visits."""


@dataclass(frozen=True)
class Faithfulness:
    """Mean effect of deleting a share of the words or codes of many visits.

    Args:
        part (`str`): "words" or "codes".
        method (`str`): which weights ordered them.
        order (`str`): "most important", "random" or "least important".
        share (`float`, *optional*): share that was deleted or kept; None for the mean over all shares.
        comprehensiveness (`float`): mean loss of probability when they are deleted.
        sufficiency (`float`): mean loss when all others are deleted.
        num_visits (`int`): visits with at least two words or codes.
    """

    part: str
    method: str
    order: str
    share: float | None
    comprehensiveness: float
    sufficiency: float
    num_visits: int


def measure_faithfulness(
    predict: Predict,
    explained: Iterable[tuple[EncodedVisit, Prediction, Sequence[Importance]]],
    shares: Sequence[float] = SHARES,
    num_random: int = NUM_RANDOM,
    seed: int = 0,
) -> list[Faithfulness]:
    """Delete words and codes of visits by their weights, and at random, and look at the probability.

    Args:
        predict (`Callable`): the model, see `medm_plm.explanations.prediction.probabilities`.
        explained (`Iterable[tuple]`): visits with their prediction and weights; read once.
        shares (`Sequence[float]`, *optional*): shares in (0, 1], of which at least one word or code is taken.
        num_random (`int`, defaults to 5): random drawings for each visit, of which the mean is taken.
        seed (`int`, defaults to 0): decides them, and the order of equal weights.

    Returns:
        For each part, method and order one result per share and one for their mean.

    Raises:
        InputError: if there is no share, one is impossible, nothing is drawn, or no visit has two words or
            codes.
    """
    if not shares or not all(0 < share <= 1 for share in shares) or num_random < 1:
        raise InputError(
            "shares or number of drawings",
            received=f"{list(shares)} and {num_random}",
            expected="shares in (0, 1] and at least one drawing",
        )
    losses: dict[tuple[str, str, str], list[np.ndarray]] = {}
    for number, (visit, prediction, importances) in enumerate(explained):
        for importance in importances:
            for part in PARTS:
                if part in importance.weights and visit.size(part) > 1:
                    # Without the method in the key: all methods are compared with the same drawings.
                    generator = keyed_generator(seed, "deletion", number, part)
                    chosen = _orders(importance, part, prediction, num_random, generator)
                    for order, drawings in chosen.items():
                        found = _losses(predict, visit, prediction, part, drawings, shares)
                        losses.setdefault((part, importance.method, order), []).append(found)
    if not losses:
        raise InputError("no visit has two words or two codes to delete")
    return [
        result
        for part in PARTS
        for (found_part, method, order), of_visits in losses.items()
        if found_part == part
        for result in _means(part, method, order, shares, of_visits)
    ]


def deletion_order(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Order words or codes by falling weight, equal ones by chance.

    Args:
        weights (`np.ndarray` of shape `(words or codes,)`): their weights.
        generator (`np.random.Generator`): decides between equal ones, else the first of the note would go
            first.

    Returns:
        Places, `(words or codes,)`.
    """
    return np.lexsort((generator.random(len(weights)), -weights))


def is_answer_no(prediction: Prediction) -> bool:
    """Whether the answer is that the one label of a yes-or-no task does not hold."""
    return len(prediction.labels) == 1 and not prediction.is_predicted


def _orders(
    importance: Importance,
    part: str,
    prediction: Prediction,
    num_random: int,
    generator: np.random.Generator,
) -> dict[str, list[np.ndarray]]:
    """Places in the order of deletion, several drawings where they are random."""
    weights = importance.weights[part]
    if importance.is_signed and is_answer_no(prediction):
        weights = -weights
    return {
        MOST: [deletion_order(weights, generator)],
        RANDOM: [generator.permutation(len(weights)) for _ in range(num_random)],
        LEAST: [deletion_order(-weights, generator)],
    }


def _losses(
    predict: Predict,
    visit: EncodedVisit,
    prediction: Prediction,
    part: str,
    drawings: Sequence[np.ndarray],
    shares: Sequence[float],
) -> np.ndarray:
    """Losses of probability, `(shares, 2)`: of deleting the first places, and of deleting all others."""
    variants = []
    for order in drawings:
        for share in shares:
            count = math.ceil(share * len(order))
            variants += [visit.without(part, order[:count]), visit.without(part, order[count:])]
    left = predict(variants)[:, prediction.explained].reshape(len(drawings), len(shares), 2)
    losses = prediction.probability - left.mean(axis=0, dtype=np.float64)
    return -losses if is_answer_no(prediction) else losses


def _means(
    part: str, method: str, order: str, shares: Sequence[float], of_visits: Sequence[np.ndarray]
) -> Iterator[Faithfulness]:
    mean = np.mean(of_visits, axis=0)
    for share, (gone, left) in zip([*shares, None], [*mean, mean.mean(axis=0)], strict=True):
        yield Faithfulness(part, method, order, share, float(gone), float(left), len(of_visits))
