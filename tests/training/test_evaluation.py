"""Predictions become metrics and files without loss, and without any content of a visit."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest
import torch
from transformers import EvalPrediction

from medm_plm import metrics
from medm_plm.data.files import write_json
from medm_plm.data.tasks import OUTCOME_COLUMNS
from medm_plm.training import evaluation
from medm_plm.training.arguments import TASK_NAMES


def test_kept_places_are_those_of_the_metrics():
    generator = torch.Generator().manual_seed(0)
    t2c, c2c = torch.randn(4, 12, generator=generator), torch.zeros(4, 12)
    labels = torch.tensor([[-100, 3, 5], [7, -100, -100], [-100, -100, -100], [11, 0, 4]])
    kept = evaluation.keep_places((t2c, c2c), labels)
    for scores, places in zip((t2c, c2c), kept, strict=True):
        expected = metrics.hidden_code_places(scores.numpy(), labels.numpy())
        assert places[labels != -100].tolist() == expected.tolist()
        assert (places[labels == -100] == -100).all()
    assert (kept[1][labels != -100] == 11).all()  # equal scores earn nothing


def test_a_batch_without_hidden_codes_has_no_places():
    kept = evaluation.keep_places((torch.randn(2, 5), torch.randn(2, 5)), torch.full((2, 3), -100))
    assert all((places == -100).all() for places in kept)


def test_pretraining_metrics_read_both_paths():
    t2c, c2c = np.array([[0, -100], [6, 10]]), np.array([[1, -100], [0, 0]])
    found = evaluation.pretraining_metrics(EvalPrediction(predictions=(t2c, c2c), label_ids=None))
    assert found["t2c_accuracy"] == pytest.approx(1 / 3)
    assert found["t2c_recall_at_10"] == pytest.approx(2 / 3)
    assert found["c2c_accuracy"] == pytest.approx(2 / 3)


def test_the_prior_names_the_most_frequent_codes():
    examples = [{"labels": np.array([-100, 2])}, {"labels": np.array([0])}]
    found = evaluation.prior_metrics(np.array([1, 0, 9, 4]), examples)
    assert found["prior_accuracy"] == 0.5
    assert found["prior_recall_at_5"] == 1.0


@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 2)])
def test_target_rows_leave_out_what_is_no_target(shape):
    logits = np.linspace(-800, 800, int(np.prod(shape))).reshape(shape).astype(np.float32)
    labels = np.ones(shape, np.float32)
    labels[0] = -100
    probabilities, truth = evaluation.target_rows(logits, labels)
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-logits[1:].astype(np.float64))).reshape(-1, 2)
    np.testing.assert_allclose(probabilities, expected, atol=1e-7)
    assert truth.tolist() == [[1, 1]] * len(expected)


def test_target_rows_of_a_single_label():
    probabilities, truth = evaluation.target_rows(np.zeros((3, 1)), np.array([1.0, 0.0, 1.0]))
    assert probabilities.tolist() == [[0.5]] * 3
    assert truth.tolist() == [[1], [0], [1]]


@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_task_has_metrics(task):
    width = 1 if task in OUTCOME_COLUMNS else 20
    rng = np.random.default_rng(0)
    found = evaluation.task_metrics(task, rng.random((30, width)), rng.integers(0, 2, (30, width)))
    assert all(isinstance(value, float) for value in found.values())


def test_json_has_null_for_what_is_not_defined(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    write_json(path, {"auroc": float("nan"), "nested": [{"loss": float("inf"), "steps": 3}]})
    assert json.loads(path.read_text()) == {"auroc": None, "nested": [{"loss": None, "steps": 3}]}


def test_predictions_hold_ids_probabilities_and_labels_alone(tmp_path):
    targets = pl.DataFrame({"subject_id": ["p", "q"], "hadm_id": ["a", "b"], "visit_number": [1, 2]})
    probabilities, labels = np.array([[0.25, 0.5], [0.75, 1.0]]), np.array([[0, 1], [1, 1]])
    path = tmp_path / "predictions.parquet"
    evaluation.write_predictions(path, targets, probabilities, labels, ["ICD9CM:4280", "ICD9CM:496"])
    read = pl.read_parquet(path)
    assert read.columns == ["subject_id", "hadm_id", "visit_number", "probabilities", "labels"]
    assert read["probabilities"].to_list() == probabilities.tolist()
    assert read["labels"].to_list() == labels.tolist()
    assert json.loads(pl.read_parquet_metadata(path)["labels"]) == ["ICD9CM:4280", "ICD9CM:496"]


def test_facts_name_the_data_by_content(tmp_path):
    path = tmp_path / "visits.parquet"
    path.write_bytes(b"visits")
    facts = evaluation.run_facts(path, seed=3)
    assert facts["data_sha256"] == hashlib.sha256(b"visits").hexdigest()
    assert facts["seed"] == 3
    assert str(tmp_path) not in json.dumps(facts)


def test_a_score_that_is_not_a_number_gets_the_worst_place():
    scores = torch.tensor([[0.1, torch.nan, 0.3, 0.2]])
    places = evaluation.keep_places((scores, scores), torch.tensor([[1, 2, -100]]))
    assert places[0].tolist() == [[3, 1, -100]]
