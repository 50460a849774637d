"""Temperature, reliability, thresholds and pairs of interacting medications, against hand numbers."""

import itertools

import numpy as np
import pytest

from medm_plm.errors import InputError
from medm_plm.metrics import METRICS_OF_TASK
from medm_plm.metrics.calibration import (
    TEMPERATURES,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
    scale,
)
from medm_plm.metrics.interactions import read_interactions
from medm_plm.metrics.thresholds import CANDIDATES, FIXED_THRESHOLD, TUNED_METRIC, tune_task_threshold


def overconfident(factor, size=20000, seed=0):
    """Probabilities whose logits are `factor` times too large, and outcomes drawn from the right ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=size)
    labels = rng.random(size) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-factor * logits)), labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_the_logits_too_large(factor):
    probabilities, labels = overconfident(factor)
    temperature = fit_temperature(probabilities.astype(np.float32), labels)
    assert temperature == pytest.approx(factor, rel=0.06)
    if factor != 1.0:
        scaled = scale(probabilities, temperature)
        assert expected_calibration_error(scaled, labels) < 0.02
        assert expected_calibration_error(probabilities, labels) > 0.05


def test_the_temperature_has_the_least_log_loss():
    probabilities, labels = overconfident(2.0, size=300)

    def log_loss(temperature):
        scaled = scale(probabilities, temperature)
        return -np.where(labels, np.log(scaled), np.log(1 - scaled)).mean()

    best = log_loss(fit_temperature(probabilities, labels))
    assert all(best <= log_loss(other) + 1e-9 for other in np.linspace(0.8, 10, 400))


def test_the_temperature_of_alike_labels_and_of_certain_predictions():
    assert fit_temperature([0.2, 0.9], [1, 1]) == 1.0
    certain = np.array([0.0, 1.0, 1.0], np.float32)
    assert fit_temperature(certain, [0, 1, 1]) == pytest.approx(TEMPERATURES[0], rel=0.01)
    assert fit_temperature(certain, [1, 0, 1]) == pytest.approx(TEMPERATURES[1], rel=0.01)


def test_scaling_keeps_order_halves_and_precision():
    probabilities = np.array([[0.0, 1e-6, 0.5, 0.9, 1.0]], np.float32)
    scaled = scale(probabilities, 2.0)
    assert (scaled.dtype, scaled.shape) == (np.float32, probabilities.shape)
    assert (np.diff(scaled) > 0).all()
    assert scaled[0, 2] == 0.5
    assert scaled[0, 3] == pytest.approx(3 / 4)  # odds of 9 become odds of 3
    assert scale(probabilities, 1.0) is probabilities
    with pytest.raises(InputError, match="temperature; received 0"):
        scale(probabilities, 0.0)


def test_reliability_by_hand():
    probabilities, labels = np.array([0.22, 0.28, 0.95, 1.0, 0.97]), np.array([1, 0, 1, 1, 0], bool)
    first, last = reliability_bins(probabilities, labels)
    assert first == {"mean_predicted": pytest.approx(0.25), "observed_share": 0.5, "count": 2}
    assert last == {
        "mean_predicted": pytest.approx(2.92 / 3),
        "observed_share": pytest.approx(2 / 3),
        "count": 3,
    }
    gaps = [abs(bin["mean_predicted"] - bin["observed_share"]) * bin["count"] for bin in (first, last)]
    assert expected_calibration_error(probabilities, labels) == pytest.approx(sum(gaps) / 5)


@pytest.mark.parametrize("task", FIXED_THRESHOLD)
def test_the_tuned_threshold_is_the_lowest_of_the_best_for_the_metric_of_the_task(task):
    rng = np.random.default_rng(0)
    labels = (rng.random((50, 1 if TUNED_METRIC[task] == "f1_macro" else 6)) < 0.3).astype(int)
    probabilities = rng.random(labels.shape) * 0.6 + 0.2 * labels
    name, metrics = TUNED_METRIC[task], METRICS_OF_TASK[task]
    values = [metrics(probabilities, labels, threshold=threshold)[name] for threshold in CANDIDATES]
    expected = CANDIDATES[int(np.argmax(np.round(values, 12)))]
    assert tune_task_threshold(task, probabilities, labels) == expected
    assert metrics(probabilities, labels) == metrics(probabilities, labels, threshold=FIXED_THRESHOLD[task])


def test_each_kind_of_task_is_tuned_for_its_first_set_measure():
    assert TUNED_METRIC["medication_recommendation"] == "jaccard_samples"
    assert TUNED_METRIC["readmission"] == TUNED_METRIC["mortality"] == "f1_macro"
    assert TUNED_METRIC["icd_coding"] == TUNED_METRIC["medication_prediction"] == "f1_micro"


LABELS = ["ATC:B01A", "ATC:M01A", "ATC:N02A", "ATC:C03C"]


def test_pairs_are_read_at_the_level_of_the_labels(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        "# interacting groups\nB01A,M01A\n\nn02ax02; B01AA03\nN02AA01\tN02AA05\nA10A,B01A\n", encoding="utf-8"
    )
    table, facts = read_interactions(path, LABELS)
    pairs = {pair for pair in itertools.product(range(4), repeat=2) if table[pair]}
    assert pairs == {(0, 1), (1, 0), (0, 2), (2, 0)}
    assert facts == {"pairs": 4, "pairs_without_label": 1, "pairs_within_label": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("B01A,M01A\nB01A\n", "row 2: line is no pair of codes; expected two ATC codes"),
        ("B01A,M01A,N02A\n", "row 1: line is no pair"),
        ("warfarin,ibuprofen\n", "row 1: line is no pair"),
        ("A10A,A10B\n", "no pair of interacting medications fits the labels; received 1 pairs"),
        (None, "file of interacting pairs is missing"),
    ],
)
def test_mistakes_in_a_file_of_pairs_are_one_clear_error(text, message, tmp_path):
    path = tmp_path / "pairs.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_interactions(path, LABELS)
