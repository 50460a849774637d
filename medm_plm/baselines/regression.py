"""One logistic regression for each label, and the choice of its regularisation on validation visits.

Axes: examples, features, labels. The intercept is not penalised, and there are no class weights: they would
move the intercepts, so that the outputs were no probabilities of anything, and they cost micro AUROC where
labels differ in frequency.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

_LABELS_TO_CHOOSE_BY = 20


def fit_labels(
    inputs: csr_matrix, labels: np.ndarray, inverse_regularization: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a regression for each label.

    Args:
        inputs (`csr_matrix` of shape `(examples, features)`): training visits.
        labels (`np.ndarray` of shape `(examples, labels)`): 0 and 1, both in each column.
        inverse_regularization (`float`): the larger, the freer the coefficients.

    Returns:
        Coefficients `(features, labels)` and intercepts `(labels,)`.
    """
    coefficients = np.zeros((inputs.shape[1], labels.shape[1]), np.float32)
    intercepts = np.zeros(labels.shape[1])
    with warnings.catch_warnings():
        # The last digits of a rare label's optimum change no ranking and are not worth a warning each.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for index, label in enumerate(labels.T):
            regression = LogisticRegression(C=inverse_regularization, solver="lbfgs", max_iter=300)
            regression.fit(inputs, label)
            coefficients[:, index] = regression.coef_[0]
            intercepts[index] = regression.intercept_[0]
    return coefficients, intercepts


def labels_to_choose_by(labels: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Pick up to 20 labels, from the frequent to the rare, for which settings are tried.

    Args:
        labels (`np.ndarray` of shape `(examples, labels)`): 0 and 1.
        learned (`np.ndarray`): indices of labels that can be learnt.

    Returns:
        Some of the indices.
    """
    by_frequency = learned[np.argsort(-labels[:, learned].sum(axis=0), kind="stable")]
    spread = np.linspace(0, len(by_frequency) - 1, min(_LABELS_TO_CHOOSE_BY, len(by_frequency)))
    return by_frequency[spread.astype(np.int64)]


def choose_regularization(
    inputs: csr_matrix,
    labels: np.ndarray,
    held_out: csr_matrix,
    truth: np.ndarray,
    grid: Sequence[float],
) -> tuple[float, float]:
    """Choose the strength of the regularisation by the log loss of held-out visits.

    Args:
        inputs (`csr_matrix` of shape `(examples, features)`), labels (`np.ndarray` of shape `(examples,
            labels)`): training visits.
        held_out (`csr_matrix`), truth (`np.ndarray`): the same of validation visits.
        grid (`Sequence[float]`): ascending; the search stops where the loss rises.

    Returns:
        The loss and the value of the grid that gives it.
    """
    losses: list[tuple[float, float]] = []
    for inverse_regularization in grid:
        coefficients, intercepts = fit_labels(inputs, labels, inverse_regularization)
        loss = log_loss(held_out @ coefficients + intercepts, truth)
        losses.append((loss, inverse_regularization))
        if len(losses) > 1 and loss > losses[-2][0]:
            break
    return min(losses)


def log_loss(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean log loss of logits.

    Args:
        scores (`np.ndarray` of shape `(examples, labels)`): logits.
        truth (`np.ndarray` of the same shape): 0 and 1.
    """
    return float(np.logaddexp(0.0, np.where(truth, -scores, scores)).mean())
