"""The table of each task, what is refused at the border, and the metrics of the evaluate library."""

import socket
import warnings
from pathlib import Path

import evaluate
import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    jaccard_score,
    roc_auc_score,
)

import medm_plm.metrics
from medm_plm.errors import InputError
from medm_plm.metrics import (
    METRICS_OF_TASK,
    icd_coding_metrics,
    load,
    medication_recommendation_metrics,
    readmission_metrics,
)
from medm_plm.metrics.evaluation import ClinicalMetric

TASK_FILE = Path(medm_plm.metrics.__file__).with_name("evaluation.py")


@pytest.fixture
def table():
    generator = np.random.default_rng(5)
    labels = (generator.random((29, 11)) < 0.4).astype(np.int64)
    return (generator.random((29, 11)) + 0.5 * labels).round(2) / 1.5, labels


def test_medication_recommendation_equals_scikit_learn_visit_by_visit(table):
    probabilities, labels = table
    metrics = medication_recommendation_metrics(probabilities, labels)
    predicted = probabilities >= 0.3
    rows = list(zip(labels, probabilities, strict=True))
    assert metrics == pytest.approx(
        {
            "jaccard_samples": jaccard_score(labels, predicted, average="samples"),
            "f1_samples": f1_score(labels, predicted, average="samples"),
            "prauc_samples": np.mean([average_precision_score(truth, score) for truth, score in rows]),
            "auroc_samples": np.mean([roc_auc_score(truth, score) for truth, score in rows]),
            "label_accuracy": accuracy_score(labels.ravel(), probabilities.ravel() >= 0.5),
            "num_medications_predicted": predicted.sum() / 29,
            "num_medications_prescribed": labels.sum() / 29,
            "num_targets": 29,
            "num_targets_unranked": 0,
        },
        abs=1e-12,
    )


def test_medication_recommendation_on_visits_with_all_or_no_medications(recwarn):
    labels = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]])
    probabilities = np.array([[0.9, 0.2, 0.8], [0.1, 0.1, 0.1], [0.9, 0.1, 0.9]])
    metrics = medication_recommendation_metrics(
        probabilities, labels, interactions=np.ones((3, 3)) - np.eye(3)
    )
    assert metrics["jaccard_samples"] == pytest.approx((1 + 1 + 2 / 3) / 3)  # nothing where nothing was right
    assert metrics["auroc_samples"] == metrics["prauc_samples"] == 1.0
    assert metrics["num_targets_unranked"] == 2
    assert metrics["ddi_rate"] == metrics["ddi_rate_prescribed"] == 1.0
    assert len(recwarn) == 0


def test_readmission_equals_scikit_learn(table):
    risk, labels = table[0].ravel(), table[1].ravel()
    metrics = readmission_metrics(risk, labels)
    expected = {
        "auroc": roc_auc_score(labels, risk),
        "auprc": average_precision_score(labels, risk),
        "accuracy": accuracy_score(labels, risk >= 0.5),
        "f1_macro": f1_score(labels, risk >= 0.3, average="macro"),
        "prevalence": labels.mean(),
        "num_visits": len(labels),
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert metrics.keys() - expected.keys() == {"recall_at_precision_80", "expected_calibration_error"}
    assert readmission_metrics(risk[:, np.newaxis], labels[:, np.newaxis]) == metrics


def test_readmission_of_visits_that_all_ended_alike(recwarn):
    metrics = readmission_metrics([0.1, 0.2, 0.25], [0, 0, 0])
    undefined = {name for name, value in metrics.items() if np.isnan(value)}
    assert undefined == {"auroc", "auprc", "recall_at_precision_80"}
    assert metrics["f1_macro"] == 1.0  # of the one outcome there is
    assert metrics["accuracy"] == 1.0
    assert len(recwarn) == 0


def test_icd_coding_equals_scikit_learn(table):
    probabilities, labels = table
    metrics = icd_coding_metrics(probabilities, labels)
    predicted = probabilities >= 0.5
    top = np.argsort(-probabilities, axis=1, kind="stable")
    assert (
        metrics
        == pytest.approx(
            {
                "f1_micro": f1_score(labels, predicted, average="micro"),
                "f1_macro": f1_score(labels, predicted, average="macro"),
                "f1_macro_caml": metrics["f1_macro_caml"],  # held in test_agreement_and_calibration
                "auroc_micro": roc_auc_score(labels, probabilities, average="micro"),
                "auroc_macro": roc_auc_score(labels, probabilities, average="macro"),
                "precision_at_5": np.mean([labels[row, top[row, :5]].mean() for row in range(29)]),
                "precision_at_8": np.mean([labels[row, top[row, :8]].mean() for row in range(29)]),
                "precision_at_15": labels.mean(),  # of 11 labels, all are taken
                "jaccard_micro": metrics["f1_micro"] / (2 - metrics["f1_micro"]),
                "num_visits": 29,
                "num_labels_unranked": 0,
            },
            abs=1e-12,
        )
    )


def test_labels_that_never_occur_are_left_out_of_the_macro_auroc_and_counted(table, recwarn):
    probabilities, labels = table
    labels[:, 3], labels[:, 4] = 0, 1
    metrics = icd_coding_metrics(probabilities, labels)
    rest = [label for label in range(11) if label not in (3, 4)]
    expected = roc_auc_score(labels[:, rest], probabilities[:, rest], average="macro")
    assert metrics["auroc_macro"] == pytest.approx(expected, abs=1e-12)
    assert metrics["num_labels_unranked"] == 2
    assert not np.isnan(list(metrics.values())).any()
    assert len(recwarn) == 0


def test_every_value_is_a_plain_float(table):
    for metrics in METRICS_OF_TASK.values():
        arrays = [array.ravel() for array in table] if metrics is readmission_metrics else table
        assert {type(value) for value in metrics(*arrays).values()} == {float}


@pytest.mark.parametrize(
    ("probabilities", "labels", "parts"),
    [
        ([[2.5, -1.0]], [[1, 0]], ["values from -1 to 2.5", "apply the sigmoid"]),
        ([[np.nan, 0.5]], [[1, 0]], ["received NaN", "values from 0 to 1"]),
        ([[np.inf, 0.5]], [[1, 0]], ["values from 0.5 to inf"]),
        ([[0.1, 0.5]], [[-100, -100]], ["labels are not binary", "-100"]),
        ([[0.1, 0.5]], [[0.5, 0]], ["labels are not binary"]),
        ([[0.1, 0.5]], [[1], [0]], ["probabilities (1, 2) and labels (2, 1)", ", labels)"]),
        ([0.1, 0.5], [1, 0], ["probabilities (2,)"]),
        (np.zeros((0, 3)), np.zeros((0, 3)), ["nothing to measure", "(0, 3)"]),
    ],
)
def test_what_is_no_probability_or_no_label_is_refused(probabilities, labels, parts):
    for metrics in (medication_recommendation_metrics, icd_coding_metrics):
        with pytest.raises(InputError) as error:
            metrics(probabilities, labels)
        assert [part for part in parts if part not in str(error.value)] == []


def test_evaluate_metrics_give_the_same_numbers_batch_by_batch(table, monkeypatch, tmp_path):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a metric asked the network"))
    for task, metrics in METRICS_OF_TASK.items():
        probabilities, labels = (
            (array.ravel() for array in table) if metrics is readmission_metrics else table
        )
        metric = ClinicalMetric(task, cache_dir=tmp_path)
        for rows in (slice(0, 7), slice(7, None)):
            metric.add_batch(predictions=probabilities[rows], references=labels[rows])
        assert metric.compute() == metrics(probabilities, labels)
        assert metric.compute(predictions=probabilities, references=labels, threshold=0.4) == metrics(
            probabilities, labels, threshold=0.4
        )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []  # nothing of a patient on the disk


def test_evaluate_loads_the_metric_from_its_file_without_a_network(table, monkeypatch, tmp_path):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a metric asked the network"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = evaluate.load(str(TASK_FILE), "icd_coding.f1_micro", cache_dir=str(tmp_path))
    predicted = {"f1_micro": icd_coding_metrics(*table)["f1_micro"]}
    assert metric.compute(predictions=table[0], references=table[1]) == predicted


def test_unknown_tasks_and_metrics_are_refused_by_name(tmp_path):
    for name in ("icd", None):
        with pytest.raises(InputError, match="expected medication_recommendation or readmission"):
            ClinicalMetric(name, cache_dir=tmp_path)
    with pytest.raises(InputError, match="unknown metric; received 'f1', expected f1_micro or"):
        ClinicalMetric("icd_coding.f1", cache_dir=tmp_path)
    with pytest.raises(InputError, match=r"expected readmission\.f1_macro or icd_coding\.f1_macro"):
        load("f1_macro", cache_dir=tmp_path)


NAMES_OF_METHOD = {
    "medication_recommendation": (
        *("jaccard_samples", "f1_samples", "prauc_samples", "auroc_samples", "label_accuracy"),
        "num_medications_predicted",
    ),
    "readmission": (
        *("auroc", "auprc", "accuracy", "readmission.f1_macro", "recall_at_precision_80"),
        "expected_calibration_error",
    ),
    "icd_coding": (
        *("f1_micro", "icd_coding.f1_macro", "f1_macro_caml", "auroc_micro", "auroc_macro"),
        *("precision_at_5", "precision_at_8", "precision_at_15", "jaccard_micro"),
    ),
}


@pytest.mark.parametrize("task", NAMES_OF_METHOD)
def test_every_metric_is_loaded_by_its_name_without_a_network(task, table, monkeypatch, tmp_path):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a metric asked the network"))
    probabilities, labels = (array.ravel() for array in table) if task == "readmission" else table
    expected = METRICS_OF_TASK[task](probabilities, labels)
    for name in NAMES_OF_METHOD[task]:
        value = load(name, cache_dir=tmp_path).compute(predictions=probabilities, references=labels)
        assert value == {name.split(".")[-1]: expected[name.split(".")[-1]]}


def test_the_rate_of_interactions_needs_its_table(table, tmp_path):
    metric = load("ddi_rate", cache_dir=tmp_path)
    interactions = np.ones((11, 11)) - np.eye(11)
    value = metric.compute(predictions=table[0], references=table[1], interactions=interactions)
    assert value == {"ddi_rate": 1.0}
    with pytest.raises(InputError, match="give interactions="):
        metric.compute(predictions=table[0], references=table[1])
