"""Resampling of patients: the quick metrics against slow ones, and intervals that cover what they should."""

import numpy as np
import pytest

from medm_plm.errors import InputError
from medm_plm.metrics import METRICS_OF_TASK
from medm_plm.metrics import weighted as weighted_module
from medm_plm.metrics.bootstrap import bootstrap_interval, bootstrap_values, interval_of, patient_weights
from medm_plm.metrics.weighted import WEIGHTED_METRICS, weighted_metric

METRICS_OF_SHAPE = {1: ("readmission",), 9: ("medication_recommendation", "icd_coding")}


def predictions(num_labels, num_visits=41, decimals=1, seed=0):
    """Probabilities with many ties, labels, and patients of one to several visits."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((num_visits, num_labels)) < 0.35).astype(np.int64)
    if num_labels > 1:
        labels[3], labels[:, 4], labels[:, 5] = 0, 0, 1  # nothing to rank in a visit and in two labels
    probabilities = (rng.random(labels.shape) + 0.4 * labels).round(decimals) / 1.4
    return probabilities, labels, rng.integers(0, num_visits // 2, num_visits)


@pytest.mark.parametrize("num_labels", METRICS_OF_SHAPE)
@pytest.mark.parametrize("block", [None, 7])
def test_weighted_metrics_equal_those_of_the_task_on_repeated_visits(num_labels, block, monkeypatch):
    if block:
        monkeypatch.setattr(weighted_module, "_BLOCK_SIZE", block)
    probabilities, labels, groups = predictions(num_labels)
    (weights,) = patient_weights(groups, 12, seed=1)
    compared = set()
    for task in METRICS_OF_SHAPE[num_labels]:
        rows = [np.repeat(np.arange(len(labels)), drawn.astype(int)) for drawn in weights]
        slow = [METRICS_OF_TASK[task](probabilities[r], labels[r], threshold=0.4) for r in rows]
        for name in slow[0].keys() & WEIGHTED_METRICS.keys():
            quick = weighted_metric(name, probabilities, labels, 0.4)(weights)
            assert quick == pytest.approx([values[name] for values in slow], abs=1e-6, nan_ok=True), name
            compared.add(name)
    assert len(compared) == {1: 6, 9: 14}[num_labels]


def test_a_threshold_of_its_own_for_each_label():
    probabilities, labels, _ = predictions(9)
    thresholds = np.linspace(0.1, 0.9, 9)
    value = weighted_metric("f1_micro", probabilities, labels, thresholds)(np.ones((1, len(labels))))
    expected = METRICS_OF_TASK["icd_coding"](probabilities, labels, threshold=thresholds)["f1_micro"]
    assert value == pytest.approx([expected])


def test_patients_are_drawn_with_all_their_visits_and_as_many_as_there_are():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    (weights,) = patient_weights(groups, 500, seed=0)
    for patient in "abc":
        (columns,) = np.unique(weights[:, groups == patient], axis=1).T[:1]
        assert (weights[:, groups == patient] == columns[:, np.newaxis]).all()
        assert columns.mean() == pytest.approx(1.0, abs=0.15)
    first_visits = weights[:, [0, 1, 3]]
    assert (first_visits.sum(axis=1) == 3).all()
    (again,) = patient_weights(groups, 500, seed=0)
    assert np.array_equal(weights, again)


def test_a_function_gives_the_same_interval_as_the_name():
    probabilities, labels, groups = predictions(1)

    def brier(scores, truth):
        return float(((scores - truth) ** 2).mean())

    def accuracy(scores, truth):
        return float(((scores >= 0.5) == truth).mean())

    named = bootstrap_interval("accuracy", probabilities, labels, groups, num_samples=50)
    assert bootstrap_interval(accuracy, probabilities, labels, groups, num_samples=50) == pytest.approx(named)
    low, high = bootstrap_interval(brier, probabilities, labels, groups, num_samples=50)
    assert low < brier(probabilities, labels) < high


def test_blocks_of_samples_change_nothing(monkeypatch):
    probabilities, labels, groups = predictions(9)
    whole = bootstrap_values(["f1_micro"], [probabilities], labels, groups, num_samples=30)
    monkeypatch.setattr("medm_plm.metrics.bootstrap._BLOCK_SIZE", 4 * len(labels))
    assert np.array_equal(
        whole, bootstrap_values(["f1_micro"], [probabilities], labels, groups, num_samples=30)
    )


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Patients of four alike visits: intervals by patient cover 95 %, intervals by visit far less."""
    rng = np.random.default_rng(0)
    covered = {"patients": 0, "visits": 0}
    runs = 200
    for _ in range(runs):
        right = np.repeat(rng.random(60) < 0.7, 4)[:, np.newaxis]
        labels = np.ones_like(right, dtype=np.int64)
        probabilities = np.where(right, 0.9, 0.1)
        for name, groups in (("patients", np.repeat(np.arange(60), 4)), ("visits", np.arange(240))):
            low, high = bootstrap_interval("accuracy", probabilities, labels, groups, num_samples=300)
            covered[name] += low <= 0.7 <= high
    assert covered["patients"] / runs == pytest.approx(0.94, abs=0.05)
    assert covered["visits"] / runs < 0.75


def test_undefined_draws_are_left_out():
    assert interval_of(np.arange(101.0), confidence=0.9) == pytest.approx((5.0, 95.0))
    assert interval_of(np.array([np.nan, 1.0, np.nan, 1.0])) == (1.0, 1.0)
    low, high = bootstrap_interval("auroc", [0.2, 0.4], [0, 0], [0, 1], num_samples=5)
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "accuracy_of_all"}, "unknown metric; received 'accuracy_of_all', expected jaccard"),
        ({"groups": [0]}, r"groups do not fit; received shape \(1,\), expected one for each of 2 visits"),
        ({"num_samples": 0}, "number of samples"),
        ({"confidence": 95}, "confidence; received 95"),
        ({"probabilities": [0.5]}, "probabilities and labels do not fit"),
    ],
)
def test_mistakes_are_refused(change, message):
    good = {"metric": "auroc", "probabilities": [0.2, 0.4], "labels": [0, 1], "groups": [0, 1]}
    with pytest.raises(InputError, match=message):
        bootstrap_interval(**{**good, **change})
