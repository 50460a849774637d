"""Set measures and calibration against scikit-learn, slow references and hand numbers."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from medm_plm.errors import InputError
from medm_plm.metrics import tune_threshold
from medm_plm.metrics.agreement import (
    count,
    f1,
    f1_of_mean_precision_and_recall,
    interaction_rate,
    jaccard,
)
from medm_plm.metrics.calibration import expected_calibration_error


@pytest.fixture
def sets():
    generator = np.random.default_rng(0)
    predicted, true = generator.random((2, 13, 7)) < 0.4
    predicted[3] = true[3] = False  # a visit without anything
    predicted[:, 5] = true[:, 5] = False  # a label that never occurs
    true[:, 6] = False  # a label that is only predicted
    return predicted, true


def test_each_axis_equals_scikit_learn(sets):
    predicted, true = sets
    for measure, reference in ((f1, f1_score), (jaccard, jaccard_score)):
        of_visits = measure(count(predicted, true, axis=1), empty=1.0).mean()
        of_labels = measure(count(predicted, true, axis=0), empty=0.0).mean()
        of_all = measure(count(predicted, true, axis=None), empty=0.0)
        assert of_visits == pytest.approx(
            reference(true, predicted, average="samples", zero_division=1), abs=1e-12
        )
        assert of_labels == pytest.approx(
            reference(true, predicted, average="macro", zero_division=0), abs=1e-12
        )
        assert of_all == pytest.approx(reference(true, predicted, average="micro"), abs=1e-12)


def test_macro_f1_of_caml_comes_from_mean_precision_and_mean_recall(sets):
    predicted, true = sets
    precision = precision_score(true, predicted, average="macro", zero_division=0)
    recall = recall_score(true, predicted, average="macro", zero_division=0)
    result = f1_of_mean_precision_and_recall(count(predicted, true, axis=0))
    assert result == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)
    nothing = np.zeros((3, 2), bool)
    assert f1_of_mean_precision_and_recall(count(nothing, ~nothing, axis=0)) == 0.0


def test_macro_f1_of_caml_by_hand():
    # label 1: precision 1, recall 1/2; label 2: precision 1/2, recall 1. Means 3/4 and 3/4, F1 of each 2/3.
    true = np.array([[True, True], [True, False]])
    predicted = np.array([[True, True], [False, True]])
    counts = count(predicted, true, axis=0)
    assert f1_of_mean_precision_and_recall(counts) == pytest.approx(3 / 4)
    assert f1(counts, empty=0.0).mean() == pytest.approx(2 / 3)


def test_jaccard_follows_from_f1(sets):
    counts = count(*sets, axis=None)
    score = f1(counts, empty=0.0)
    assert jaccard(counts, empty=0.0) == pytest.approx(score / (2 - score), abs=1e-12)


def test_the_accuracy_printed_in_the_paper_is_the_jaccard_index():
    printed_f1, printed_accuracy = 52.09, 35.22
    assert round(100 * (printed_f1 / 100) / (2 - printed_f1 / 100), 2) == printed_accuracy
    # 5209 right and 2 * 4791 wrong predictions give that F1
    counts = count(
        np.repeat([True, True, False], [5209, 4791, 4791]),
        np.repeat([True, False, True], [5209, 4791, 4791]),
        None,
    )
    assert round(100 * float(f1(counts, empty=0.0)), 2) == printed_f1
    assert round(100 * float(jaccard(counts, empty=0.0)), 2) == printed_accuracy


def test_interaction_rate_counts_pairs(sets):
    predicted, _ = sets
    generator = np.random.default_rng(1)
    table = np.triu(generator.random((7, 7)) < 0.5, k=1)
    table |= table.T
    pairs = [pair for visit in predicted for pair in itertools.combinations(np.flatnonzero(visit), 2)]
    assert interaction_rate(predicted, table) == pytest.approx(
        sum(table[pair] for pair in pairs) / len(pairs)
    )
    assert interaction_rate(np.eye(7, dtype=bool), table) == 0.0
    with pytest.raises(InputError, match="expected a symmetric table of shape"):
        interaction_rate(predicted, np.triu(np.ones((7, 7)), k=1))
    with pytest.raises(InputError, match=r"received shape \(6, 6\)"):
        interaction_rate(predicted, np.ones((6, 6)))


def test_the_threshold_is_the_lowest_of_the_best():
    probabilities, labels = np.array([0.1, 0.3, 0.4, 0.8]), np.array([False, False, True, True])

    def accuracy(scores, truth, threshold):
        return ((scores >= threshold) == truth).mean()

    assert tune_threshold(probabilities, labels, accuracy) == 0.35  # 0.40 separates them as well


def slow_calibration_error(probabilities, labels, num_bins):
    error = 0.0
    for index in range(num_bins):
        low, high = index / num_bins, (index + 1) / num_bins
        inside = [low <= p < high or (p == 1.0 and index == num_bins - 1) for p in probabilities]
        if any(inside):
            error += np.mean(inside) * abs(probabilities[inside].mean() - labels[inside].mean())
    return error


def test_calibration_error_equals_a_loop_over_bins():
    generator = np.random.default_rng(0)
    probabilities = np.append(generator.random(97), [0.0, 1.0])
    labels = generator.random(99) < probabilities**2
    for num_bins in (1, 7, 10):
        expected = slow_calibration_error(probabilities, labels, num_bins)
        assert expected_calibration_error(probabilities, labels, num_bins) == pytest.approx(
            expected, abs=1e-12
        )


def test_calibration_error_by_hand():
    # Four visits at 25 %, one of them affected: calibrated. Two at 95 %, none affected: off by 0.95.
    probabilities = np.array([0.25] * 4 + [0.95] * 2)
    labels = np.array([True] + [False] * 5)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.95 * 2 / 6)
