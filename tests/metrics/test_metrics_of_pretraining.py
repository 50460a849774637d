"""Places of hidden codes, the frequency prior, and what is counted from them."""

import numpy as np
import pytest

from medm_plm.errors import InputError
from medm_plm.metrics import frequency_prior_places, hidden_code_metrics, hidden_code_places


def test_places_equal_sorting_each_visit():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(3, 23))
    labels = np.full((3, 5), -100)
    labels[0, 1], labels[0, 4], labels[2, 0] = 7, 22, 0
    order = [list(np.argsort(-visit)) for visit in logits]
    expected = [order[0].index(7), order[0].index(22), order[2].index(0)]
    assert hidden_code_places(logits, labels).tolist() == expected


def test_equal_scores_earn_nothing():
    assert hidden_code_places(np.zeros((1, 9)), [[4]]).tolist() == [8]
    assert hidden_code_places([[0.0, 2.0, 2.0, 1.0]], [[1, 3]]).tolist() == [1, 2]


def test_the_prior_ranks_by_training_frequency():
    counts = [0, 5, 9, 5, 1]
    assert frequency_prior_places(counts, [[2, -100], [3, 1]]).tolist() == [0, 2, 1]
    metrics = hidden_code_metrics(frequency_prior_places(counts, [[2, -100], [3, 1]]), "prior")
    assert metrics == pytest.approx(
        {"prior_accuracy": 1 / 3, "prior_recall_at_5": 1.0, "prior_recall_at_10": 1.0}
    )


def test_recall_counts_places_below_the_cutoff_and_skips_positions_without_a_code():
    metrics = hidden_code_metrics([[0, 4, -100], [5, 10, -100]], "t2c")
    assert metrics == {"t2c_accuracy": 0.25, "t2c_recall_at_5": 0.5, "t2c_recall_at_10": 0.75}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hidden_code_places(np.zeros((2, 5)), [[1]]), r"logits \(2, 5\) and labels \(1, 1\)"),
        (lambda: hidden_code_places([[np.nan, 0.0]], [[1]]), "logits hold NaN"),
        (lambda: hidden_code_places(np.zeros((1, 5)), [[5]]), "ids from 5 to 5, expected 0 to 4"),
        (lambda: frequency_prior_places([1, 2], [-1]), "ids from -1 to -1, expected 0 to 1"),
        (lambda: hidden_code_metrics([-100, -100], "c2c"), "no hidden code"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
