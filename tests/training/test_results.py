"""What a run writes about its predictions: decisions from validation alone, calibration, intervals."""

import json

import numpy as np
import polars as pl
import pytest

from medm_plm.metrics.bootstrap import bootstrap_interval
from medm_plm.metrics.calibration import fit_temperature, scale
from medm_plm.metrics.thresholds import tune_task_threshold
from medm_plm.training import results
from medm_plm.training.results import (
    Decision,
    calibration_record,
    choose_decision,
    decided_metrics,
    intervals_record,
    scaled_predictions,
    store_decision,
)

TASK = "icd_coding"


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    made = {}
    for split, size in (("validation", 60), ("test", 40)):
        logits = rng.normal(size=(size, 5)) - 1
        labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int64)
        made[split] = ((1 / (1 + np.exp(-3 * logits))).astype(np.float32), labels)
    return made


def test_decisions_are_those_of_the_task_unless_they_are_fitted(predictions):
    assert choose_decision(TASK, predictions) == Decision(1.0, 0.5)
    assert choose_decision("readmission", predictions) == Decision(1.0, 0.3)
    fitted = choose_decision(TASK, predictions, fits_temperature=True, tunes_threshold=True)
    probabilities, labels = predictions["validation"]
    assert fitted.temperature == fit_temperature(probabilities, labels) > 1.5
    assert fitted.threshold == tune_task_threshold(TASK, scale(probabilities, fitted.temperature), labels)
    predictions["test"] = tuple(1 - part for part in predictions["test"])
    again = choose_decision(TASK, predictions, fits_temperature=True, tunes_threshold=True)
    assert again == fitted, "the test split had a say"


def test_metrics_follow_the_decision(predictions):
    decision = Decision(2.0, 0.35)
    scaled = scaled_predictions(predictions, decision)["test"]
    assert np.array_equal(scaled[0], scale(predictions["test"][0], 2.0))
    at_the_threshold = (scaled[0] >= 0.35).astype(float), scaled[1]
    found = decided_metrics(TASK, scaled, decision)
    assert found["f1_micro"] == decided_metrics(TASK, at_the_threshold, Decision(1.0, 0.5))["f1_micro"]
    assert found["f1_micro"] != decided_metrics(TASK, scaled, Decision(2.0, 0.5))["f1_micro"]


def test_calibration_is_told_before_and_after_scaling(predictions):
    record = calibration_record(predictions)
    assert record["fitted_temperature"] == fit_temperature(*predictions["validation"])
    for split in ("validation", "test"):
        raw, scaled = record[split]["raw"], record[split]["scaled"]
        assert scaled["expected_calibration_error"] < raw["expected_calibration_error"]
        assert sum(point["count"] for point in raw["reliability"]) == predictions[split][1].size


def test_intervals_are_of_patients_and_of_measures_only(predictions):
    probabilities, labels = predictions["test"]
    targets = pl.DataFrame({"subject_id": [f"p{i // 4}" for i in range(40)]})
    decision = Decision(1.0, 0.35)
    measured = decided_metrics(TASK, predictions["test"], decision)
    intervals = intervals_record(predictions["test"], targets, decision, measured)
    assert measured.keys() - intervals.keys() == {"num_visits", "num_labels_unranked"}
    for name, (low, high) in intervals.items():
        assert low <= measured[name] <= high
    groups = targets["subject_id"].to_numpy()
    assert intervals["f1_micro"] == bootstrap_interval(
        "f1_micro", probabilities, labels, groups, threshold=0.35
    )


def test_many_predictions_are_drawn_less_often(predictions, monkeypatch):
    targets = pl.DataFrame({"subject_id": range(40)})
    monkeypatch.setattr(results, "_MANY", 10)
    drawn = []
    monkeypatch.setattr(
        results, "bootstrap_values", lambda *_, num_samples, **__: drawn.append(num_samples) or []
    )
    intervals_record(predictions["test"], targets, Decision(1.0, 0.5), {})
    assert drawn == [results.NUM_SAMPLES_OF_MANY]


def test_a_decision_is_stored_with_the_model_alone(tmp_path):
    store_decision(tmp_path, Decision(1.5, 0.35))
    assert not list(tmp_path.iterdir())
    (tmp_path / "config.json").write_text('{"temperature": 1.0, "model_type": "medm_plm"}', encoding="utf-8")
    (tmp_path / "config.json").chmod(0o644)
    store_decision(tmp_path, Decision(1.5, 0.35))
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o644
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {"temperature": 1.5, "decision_threshold": 0.35, "model_type": "medm_plm"}
