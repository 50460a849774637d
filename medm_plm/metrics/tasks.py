"""The table of numbers for each downstream task.

A label counts as predicted when its probability reaches the threshold (`>=`). Counts stand in the same table
as the measures, so that a reader sees how many visits or labels a measure rests on. A measure is NaN only
when nothing at all can be ranked, for example the AUROC of visits that all ended alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from medm_plm.metrics.agreement import (
    count,
    f1,
    f1_of_mean_precision_and_recall,
    interaction_rate,
    jaccard,
)
from medm_plm.metrics.calibration import expected_calibration_error
from medm_plm.metrics.checks import BoolArray, FloatArray, check_probabilities_and_labels
from medm_plm.metrics.ranking import (
    auroc_of_all,
    average_precision,
    mean_of_defined,
    precision_at_k,
    rank_auroc,
    recall_at_precision,
)

_EVEN_THRESHOLD = 0.5  # accuracies, whatever the threshold of the sets
_PRECISION_CUTOFFS = (5, 8, 15)  # CAML: 5 for its 50 labels, 8 and 15 for all of them


def medication_recommendation_metrics(
    probabilities: ArrayLike,
    labels: ArrayLike,
    threshold: float = 0.3,
    interactions: np.ndarray | None = None,
) -> dict[str, float]:
    """Measure how well the medications of each visit are predicted; averages over visits.

    Args:
        probabilities (`ArrayLike` of shape `(targets, labels)`): probability of each medication at each
            visit.
        labels (`ArrayLike` of shape `(targets, labels)`): 1 where it was prescribed, else 0.
        threshold (`float`, defaults to 0.3): probability from which a medication is recommended.
        interactions (`np.ndarray` of shape `(labels, labels)`, *optional*): True where two medications
            interact.

    Returns:
        `jaccard_samples`, `f1_samples`, `prauc_samples` (average precision), `auroc_samples`,
        `label_accuracy` (of single labels, at 0.5), `num_medications_predicted` and
        `num_medications_prescribed` (means), `num_targets`, `num_targets_unranked` (visits with all or none
        of the medications, which leave nothing to rank and are left out of the two areas), and if
        `interactions` are given `ddi_rate` of what is predicted and `ddi_rate_prescribed` of what was given.

    Raises:
        InputError: if the arrays are no probabilities and labels of one shape.
    """
    scores, true = check_probabilities_and_labels(probabilities, labels, ("targets", "labels"))
    predicted = scores >= threshold
    counts = count(predicted, true, axis=1)
    areas = rank_auroc(scores, true)
    auroc, unranked = mean_of_defined(areas)
    precisions = np.where(np.isnan(areas), np.nan, average_precision(scores, true))
    metrics = {
        "jaccard_samples": float(jaccard(counts, empty=1.0).mean()),
        "f1_samples": float(f1(counts, empty=1.0).mean()),
        "prauc_samples": mean_of_defined(precisions)[0],
        "auroc_samples": auroc,
        "label_accuracy": _accuracy(scores, true),
        "num_medications_predicted": float(predicted.sum(axis=1).mean()),
        "num_medications_prescribed": float(true.sum(axis=1).mean()),
        "num_targets": float(len(true)),
        "num_targets_unranked": float(unranked),
    }
    if interactions is not None:
        metrics["ddi_rate"] = interaction_rate(predicted, interactions)
        metrics["ddi_rate_prescribed"] = interaction_rate(true, interactions)
    return metrics


def readmission_metrics(
    probabilities: ArrayLike, labels: ArrayLike, threshold: float = 0.3
) -> dict[str, float]:
    """Measure how well readmission within 30 days, or death in hospital, is predicted.

    Args:
        probabilities (`ArrayLike` of shape `(visits,)` or `(visits, 1)`): risk of each visit.
        labels (`ArrayLike` of the same number of values): 1 where the patient came back (or died), else 0.
        threshold (`float`, defaults to 0.3): risk from which a readmission is predicted, for `f1_macro`.

    Returns:
        `auroc`, `auprc` (average precision), `accuracy` (at 0.5), `f1_macro` (mean over both outcomes,
        without an outcome that is neither predicted nor observed), `recall_at_precision_80`,
        `expected_calibration_error`, `prevalence` and `num_visits`.

    Raises:
        InputError: if the arrays are no probabilities and labels of one shape.
    """
    scores, true = check_probabilities_and_labels(
        _drop_last_axis(probabilities), _drop_last_axis(labels), ("visits",)
    )
    outcomes = np.stack([true, ~true], axis=1)  # (visits, 2)
    predicted = np.stack([scores >= threshold, scores < threshold], axis=1)  # (visits, 2)
    return {
        "auroc": float(rank_auroc(scores[np.newaxis], true[np.newaxis])[0]),
        "auprc": float(average_precision(scores[np.newaxis], true[np.newaxis])[0]),
        "accuracy": _accuracy(scores, true),
        "f1_macro": mean_of_defined(f1(count(predicted, outcomes, axis=0), empty=np.nan))[0],
        "recall_at_precision_80": recall_at_precision(scores, true, precision=0.8),
        "expected_calibration_error": expected_calibration_error(scores, true),
        "prevalence": float(true.mean()),
        "num_visits": float(len(true)),
    }


def icd_coding_metrics(
    probabilities: ArrayLike, labels: ArrayLike, threshold: float = 0.5
) -> dict[str, float]:
    """Measure how well the codes of each visit are assigned.

    Args:
        probabilities (`ArrayLike` of shape `(visits, labels)`): probability of each code at each visit.
        labels (`ArrayLike` of shape `(visits, labels)`): 1 where the visit has the code, else 0.
        threshold (`float`, defaults to 0.5): probability from which a code is assigned.

    Returns:
        `f1_micro`, `f1_macro` (mean of the F1 of each label), `f1_macro_caml` (from mean precision and
        recall), `auroc_micro`, `auroc_macro`, `precision_at_5`, `precision_at_8`, `precision_at_15`,
        `jaccard_micro` (what the paper calls accuracy), `num_visits`, and `num_labels_unranked` (labels that
        all or none of the visits have, which are left out of `auroc_macro`).

    Raises:
        InputError: if the arrays are no probabilities and labels of one shape.
    """
    scores, true = check_probabilities_and_labels(probabilities, labels, ("visits", "labels"))
    predicted = scores >= threshold
    of_labels, of_all = count(predicted, true, axis=0), count(predicted, true, axis=None)
    auroc_macro, unranked = mean_of_defined(rank_auroc(scores.T, true.T))
    return {
        "f1_micro": float(f1(of_all, empty=0.0)),
        "f1_macro": float(f1(of_labels, empty=0.0).mean()),
        "f1_macro_caml": float(f1_of_mean_precision_and_recall(of_labels)),
        "auroc_micro": auroc_of_all(scores, true),
        "auroc_macro": auroc_macro,
        **{f"precision_at_{k}": precision_at_k(scores, true, k) for k in _PRECISION_CUTOFFS},
        "jaccard_micro": float(jaccard(of_all, empty=0.0)),
        "num_visits": float(len(true)),
        "num_labels_unranked": float(unranked),
    }


METRICS_OF_TASK: dict[str, Callable[..., dict[str, float]]] = {
    "medication_recommendation": medication_recommendation_metrics,
    "readmission": readmission_metrics,
    "mortality": readmission_metrics,  # one yes or no a visit, as readmission
    "icd_coding": icd_coding_metrics,
    "medication_prediction": icd_coding_metrics,  # one visit, one list of labels, as in coding
}


def _accuracy(scores: FloatArray, true: BoolArray) -> float:
    return float(((scores >= _EVEN_THRESHOLD) == true).mean())


def _drop_last_axis(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
