"""Ranking measures against scikit-learn, slow references and hand numbers."""

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from medm_plm.metrics import ranking
from medm_plm.metrics.ranking import (
    auroc_of_all,
    average_precision,
    highest,
    mean_of_defined,
    precision_at_k,
    rank_auroc,
    recall_at_precision,
)


def random_rankings(rankings, items, decimals, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.random((rankings, items)).round(decimals)  # few decimals make many ties
    return scores, generator.random((rankings, items)) < 0.3


def slow_auroc(scores, relevant):
    """Share of (positive, negative) pairs in the right order, a tie counting a half."""
    pairs = [
        (positive > negative) + 0.5 * (positive == negative)
        for positive in scores[relevant]
        for negative in scores[~relevant]
    ]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("decimals", [1, 12])
def test_areas_equal_scikit_learn_with_and_without_ties(decimals):
    scores, relevant = random_rankings(7, 230, decimals)
    areas = [roc_auc_score(truth, score) for truth, score in zip(relevant, scores, strict=True)]
    precisions = [
        average_precision_score(truth, score) for truth, score in zip(relevant, scores, strict=True)
    ]
    np.testing.assert_allclose(rank_auroc(scores, relevant), areas, rtol=0, atol=1e-12)
    np.testing.assert_allclose(average_precision(scores, relevant), precisions, rtol=0, atol=1e-12)


def test_auroc_equals_counting_pairs():
    scores, relevant = random_rankings(5, 13, 1, seed=3)
    expected = [slow_auroc(score, truth) for score, truth in zip(scores, relevant, strict=True)]
    np.testing.assert_allclose(rank_auroc(scores, relevant), expected, rtol=0, atol=1e-12)


def test_blocks_do_not_change_the_result(monkeypatch):
    scores, relevant = random_rankings(7, 11, 1)
    whole = rank_auroc(scores, relevant), average_precision(scores, relevant)
    monkeypatch.setattr(ranking, "_BLOCK_SIZE", 23)  # two rankings at a time, the last block has one
    np.testing.assert_array_equal(rank_auroc(scores, relevant), whole[0])
    np.testing.assert_array_equal(average_precision(scores, relevant), whole[1])


def test_hand_numbers():
    scores = np.array([[0.9, 0.8, 0.7, 0.6]])
    relevant = np.array([[True, False, True, False]])
    assert rank_auroc(scores, relevant)[0] == 0.75
    assert average_precision(scores, relevant)[0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert precision_at_k(scores, relevant, 3) == pytest.approx(2 / 3)
    assert rank_auroc(np.full((1, 4), 0.5), relevant)[0] == 0.5


def test_what_cannot_be_ranked_is_left_out_and_counted(recwarn):
    scores = np.array([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9]])
    relevant = np.array([[False, True], [True, True], [False, False]])
    np.testing.assert_array_equal(rank_auroc(scores, relevant), [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(average_precision(scores, relevant), [1.0, 1.0, np.nan])
    assert mean_of_defined(rank_auroc(scores, relevant)) == (1.0, 2)
    mean, left_out = mean_of_defined(np.full(3, np.nan))
    assert np.isnan(mean)
    assert left_out == 3
    assert len(recwarn) == 0


def test_recall_at_precision_equals_the_best_point_of_the_curve():
    scores, relevant = random_rankings(20, 60, 1, seed=1)
    for score, truth in zip(scores + 0.3 * relevant, relevant, strict=True):
        precision, recall, _ = precision_recall_curve(truth, score)
        expected = recall[:-1][precision[:-1] >= 0.8].max(initial=0.0)
        assert recall_at_precision(score, truth, 0.8) == pytest.approx(expected, abs=1e-12)


def test_recall_at_precision_counts_ties_as_one_threshold():
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.5])
    relevant = np.array([True, True, False, False, False])
    assert recall_at_precision(scores, relevant, 0.8) == 0.5
    assert recall_at_precision(scores, ~relevant, 0.8) == 0.0
    assert np.isnan(recall_at_precision(scores, np.zeros(5, bool), 0.8))


def test_precision_at_k_takes_all_labels_if_there_are_fewer():
    scores, relevant = random_rankings(6, 4, 2)
    assert precision_at_k(scores, relevant, 5) == pytest.approx(relevant.mean())


def test_hundreds_of_labels_and_thousands_of_visits_take_no_time():
    scores, relevant = random_rankings(300, 3000, 12)
    start = time.process_time()
    rank_auroc(scores, relevant)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("decimals", [1, 12])
def test_one_long_ranking_equals_scikit_learn_with_and_without_ties(decimals):
    scores, relevant = random_rankings(7, 230, decimals)
    expected = roc_auc_score(relevant.ravel(), scores.ravel())
    assert auroc_of_all(scores, relevant) == pytest.approx(expected, abs=1e-12)
    assert np.isnan([auroc_of_all(scores, relevant & False), auroc_of_all(scores, relevant | True)]).all()


@pytest.mark.parametrize("k", [1, 4, 12, 40])
def test_the_highest_labels_are_those_of_a_stable_sort(k):
    scores, _ = random_rankings(60, 12, decimals=1)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert np.array_equal(highest(scores, k), expected)
