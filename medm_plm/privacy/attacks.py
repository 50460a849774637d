"""Membership inference: can one tell from a model's losses whether a patient was in its training data?

An attacker who knows a patient's visits computes their losses. The loss-threshold attack calls a patient with
low losses a training patient (Yeom et al., 2018). Some patients are easy for any model, so the
likelihood-ratio attack compares with reference models that have not seen the patient (Carlini et al., 2022;
Mireshghallah et al., 2022). An AUC of 0.5 means that the attacker guesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from medm_plm.errors import InputError
from medm_plm.metrics.bootstrap import bootstrap_interval
from medm_plm.metrics.ranking import auroc_of_all

NUM_SAMPLES = 1000


@dataclass(frozen=True)
class Attack:
    """How well an attack tells training patients from others.

    Args:
        auc (`float`): chance that a training patient scores higher than another.
        interval (`tuple[float, float]`): its 95 % interval, patients resampled.
        members, others (`int`): patients in the training data, and not in it.
    """

    auc: float
    interval: tuple[float, float]
    members: int
    others: int

    def record(self) -> dict[str, object]:
        """Plain numbers, for a report."""
        return asdict(self)


def loss_threshold_attack(
    member_losses: Mapping[str, float], other_losses: Mapping[str, float], seed: int = 0
) -> Attack:
    """Attack by the losses of the model alone: the lower, the more likely a training patient.

    Args:
        member_losses, other_losses (`Mapping[str, float]`): mean loss of each patient in the training data,
            and not in it.
        seed (`int`, defaults to 0): seed of the resampling.

    Returns:
        How well it works.

    Raises:
        InputError: if there is no patient on one of the sides.
    """
    members = {patient: -loss for patient, loss in member_losses.items()}
    others = {patient: -loss for patient, loss in other_losses.items()}
    return attack_of(members, others, seed)


def likelihood_ratio_attack(
    member_losses: Mapping[str, float],
    other_losses: Mapping[str, float],
    reference_losses: Sequence[Mapping[str, float]],
    seed: int = 0,
) -> Attack:
    """Attack by the ratio of likelihoods: how much lower the loss is than that of models without the patient.

    Args:
        member_losses, other_losses (`Mapping[str, float]`): as in `loss_threshold_attack`.
        reference_losses (`Sequence[Mapping[str, float]]`): for each reference model the losses of all these
            patients; their mean is what the patient's visits cost a model that has not seen them.
        seed (`int`, defaults to 0): seed of the resampling.

    Returns:
        How well it works.

    Raises:
        InputError: if there is no reference model, or one lacks a patient.
    """
    if not reference_losses:
        raise InputError("the likelihood-ratio attack needs a reference model", remedy="give --reference")

    def ratio(losses: Mapping[str, float]) -> dict[str, float]:
        if any(not losses.keys() <= reference.keys() for reference in reference_losses):
            raise InputError("a reference model lacks losses of some patients")
        return {
            patient: float(np.mean([reference[patient] for reference in reference_losses])) - loss
            for patient, loss in losses.items()
        }

    return attack_of(ratio(member_losses), ratio(other_losses), seed)


def attack_of(member_scores: Mapping[str, float], other_scores: Mapping[str, float], seed: int = 0) -> Attack:
    """Measure scores that should be higher for training patients.

    Args:
        member_scores, other_scores (`Mapping[str, float]`): score of each patient.
        seed (`int`, defaults to 0): seed of the resampling.

    Returns:
        The AUC, equal scores counted half, with its interval.

    Raises:
        InputError: if there is no patient on one of the sides, or a patient on both, or a score is no number.
    """
    if not member_scores or not other_scores:
        raise InputError(
            "membership inference needs patients of both kinds",
            received=f"{len(member_scores)} training and {len(other_scores)} other patients",
        )
    if member_scores.keys() & other_scores.keys():
        raise InputError("a patient stands among the training patients and among the others")
    scores = np.array([*member_scores.values(), *other_scores.values()], dtype=np.float64)
    if not np.isfinite(scores).all():
        # Comparisons with them are false, which would count as a success or a failure of the attack.
        raise InputError(
            "losses of some patients are no finite numbers",
            received=f"{int((~np.isfinite(scores)).sum())} of {len(scores)}",
            remedy="look at the model: its training may have diverged",
        )
    is_member = np.arange(len(scores)) < len(member_scores)
    interval = bootstrap_interval(auroc_of_all, scores, is_member, np.arange(len(scores)), NUM_SAMPLES, seed)
    return Attack(auroc_of_all(scores, is_member), interval, len(member_scores), len(other_scores))


def mean_by_patient(patients: Sequence[str], losses: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Average the losses of visits over each patient.

    Args:
        patients (`Sequence[str]`): the patient of each visit.
        losses (`np.ndarray` of shape `(visits,)`): sum of a visit's losses.
        weights (`np.ndarray` of shape `(visits,)`): how many losses that is; 0 for a visit without any.

    Returns:
        Weighted mean of each patient with a loss.
    """
    totals: dict[str, list[float]] = {}
    for patient, loss, weight in zip(patients, losses.tolist(), weights.tolist(), strict=True):
        total = totals.setdefault(patient, [0.0, 0.0])
        total[0] += loss
        total[1] += weight
    return {patient: loss / weight for patient, (loss, weight) in totals.items() if weight > 0}
