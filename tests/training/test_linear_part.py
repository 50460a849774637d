"""The logistic regression that is joined to a trained head, against loops over visits."""

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForSequenceClassification

import run_finetuning
from medm_plm.data.collators import VisitCollator
from medm_plm.errors import InputError
from medm_plm.training import linear_part
from medm_plm.training.linear_part import LEAST_VISITS, join_linear_part
from modeling_medm_plm import MedMPLMForICDCoding, MedMPLMForReadmissionPrediction
from prepared_cohort import PROJECT_ROOT, pretrained_folder, smoke_options
from tiny_models import NUM_CODES, TEXT_VOCABULARY, build

LABELS = 3
TELLING_WORD, RARE_WORD = 9, 11


def invented_examples(number: int, seed: int, one_label: bool = False) -> list[dict]:
    """Visits whose first label is whether the telling word stands in them, the others chance."""
    generator, examples = np.random.default_rng(seed), []
    for _ in range(number):
        words = generator.integers(12, TEXT_VOCABULARY, 6)
        labels = generator.integers(0, 2, LABELS)
        if labels[0]:
            words[2] = TELLING_WORD
        examples.append(
            {
                "example_id": str(len(examples)),
                "input_ids": np.asarray([2, *words, *words[:1]], np.int32),  # one word stands twice
                "code_input_ids": np.asarray([1, *generator.integers(4, NUM_CODES, 3)], np.int32),
                "code_token_type_ids": np.asarray([0, 1, 1, 1], np.int8),
                "labels": labels[0] if one_label else labels,
            }
        )
    return examples


def logits_of(model, examples: list[dict]) -> np.ndarray:
    with torch.no_grad():
        return model(**VisitCollator()([dict(example) for example in examples])).logits.numpy()


def presence_by_loop(example: dict) -> np.ndarray:
    row = np.zeros(TEXT_VOCABULARY + NUM_CODES)
    for token in example["input_ids"]:
        row[token] = 1
    for code in example["code_input_ids"]:
        row[TEXT_VOCABULARY + code] = 1
    return row


def new_model(model_class=MedMPLMForICDCoding, **fields):
    """A model with lively weights whose token weights already say something."""
    return build(model_class, classifier_token_weights=True, **fields)


@pytest.mark.parametrize("classifier", ["mlp", "label_attention"])
def test_the_joined_logits_are_the_mixture_of_both(classifier, monkeypatch):
    monkeypatch.setattr(linear_part, "SHARES", (0.25,))
    model = new_model(classifier=classifier, num_labels=LABELS)
    train, validation = invented_examples(80, 1), invented_examples(30, 2)
    before = logits_of(model, validation)
    chosen = join_linear_part(model, train, validation, before)

    inputs = np.stack([presence_by_loop(example) for example in train])
    inputs[:, inputs.sum(axis=0) < LEAST_VISITS] = 0
    held_out = np.stack([presence_by_loop(example) for example in validation])
    for label in range(LABELS):
        regression = LogisticRegression(C=chosen["inverse_regularization"], max_iter=300)
        regression.fit(inputs, [example["labels"][label] for example in train])
        linear = regression.decision_function(held_out)
        expected = 0.25 * before[:, label] + 0.75 * linear
        np.testing.assert_allclose(logits_of(model, validation)[:, label], expected, atol=2e-3)


def test_a_regression_that_knows_more_gets_the_larger_share():
    """Only the telling word knows the answer, and a model with weights drawn at random does not."""
    model = new_model(MedMPLMForReadmissionPrediction, num_labels=1)
    train, validation = invented_examples(200, 3, one_label=True), invented_examples(60, 4, one_label=True)
    chosen = join_linear_part(model, train, validation, logits_of(model, validation))
    areas = chosen["validation"]
    assert areas[str(chosen["share_of_deep_head"])] == max(areas.values())
    assert chosen["share_of_deep_head"] < 0.5
    assert areas["0.0"] > 0.95 > areas["1.0"]
    assert model.token_weights["words"].weight[TELLING_WORD] > 0


def test_a_head_that_knows_all_is_left_as_it_is():
    model = new_model(num_labels=LABELS)
    train, validation = invented_examples(60, 5), invented_examples(30, 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    perfect = np.stack([example["labels"] for example in validation]) * 20.0 - 10
    assert join_linear_part(model, train, validation, perfect)["share_of_deep_head"] == 1.0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_token_of_few_visits_has_no_weight(monkeypatch):
    monkeypatch.setattr(linear_part, "SHARES", (0.0,))
    model = new_model(num_labels=LABELS)
    train, validation = invented_examples(60, 7), invented_examples(20, 8)
    for example in train[: LEAST_VISITS - 1]:
        example["input_ids"][3] = RARE_WORD
    join_linear_part(model, train, validation, logits_of(model, validation))
    words = model.token_weights["words"].weight
    assert not words[RARE_WORD].any()
    assert words[TELLING_WORD].any()


def test_labels_that_all_or_none_have_need_no_regression():
    model = new_model(MedMPLMForReadmissionPrediction, num_labels=1)
    train, validation = invented_examples(20, 9, one_label=True), invented_examples(10, 10, one_label=True)
    for example in [*train, *validation]:
        example["labels"] = 0
    chosen = join_linear_part(model, train, validation, logits_of(model, validation))
    assert chosen["inverse_regularization"] is None
    assert all(np.isfinite(score) for score in chosen["validation"].values())
    assert np.isfinite(logits_of(model, validation)).all()


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return pretrained_folder(tmp_path_factory.getbasetemp())


def words_of(task: str, pretrained, output, **more: object) -> list[str]:
    options = {"data": pretrained.parent / "prepared", "model": pretrained, "output_dir": output, **more}
    options = {"num_train_epochs": 1, "join_linear": True, **options}
    return smoke_options(task) + [
        word for name, value in options.items() for word in (f"--{name}", str(value))
    ]


def test_the_script_joins_saves_and_says_so(pretrained, tmp_path):
    run_finetuning.main(words_of("icd_coding", pretrained, tmp_path))
    record = json.loads((tmp_path / "metrics.json").read_text())["linear_part"]
    assert record["tokens"] > 0
    assert record["share_of_deep_head"] in linear_part.SHARES
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert model.config.classifier_token_weights
    assert bool(model.token_weights["words"].weight.any()) == (record["share_of_deep_head"] < 1)
    found = pl.read_parquet(tmp_path / "predictions_validation.parquet")
    scores, truth = (np.array(found[name].to_list()) for name in ("probabilities", "labels"))
    best = max(record["validation"].values())
    assert linear_part.auroc_of_all(scores, truth.astype(bool)) == pytest.approx(best, abs=1e-3)


def test_the_weights_of_tokens_are_not_trained_unless_asked_for(pretrained, tmp_path, monkeypatch):
    seen = {}

    def remember(model, *_):
        seen["weights"] = model.token_weights["words"].weight.detach().clone()
        return {}

    monkeypatch.setattr(run_finetuning, "join_linear_part", remember)
    run_finetuning.main(words_of("icd_coding", pretrained, tmp_path / "a"))
    assert not seen["weights"].any()
    run_finetuning.main(words_of("icd_coding", pretrained, tmp_path / "b", classifier_token_weights=True))
    assert seen["weights"].any()


def test_weights_that_are_divided_among_processes_are_refused(pretrained, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match=r"--join_linear needs whole weights; received FSDP"):
        run_finetuning.main(words_of("icd_coding", pretrained, tmp_path))


@pytest.mark.slow
def test_two_processes_join_what_one_joins(pretrained, tmp_path):
    """The same share of the same regression, and one file of weights."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    fields = {"use_cpu": True, "classifier_dropout": 0.0}
    words = words_of("icd_coding", pretrained, tmp_path / "two", per_device_train_batch_size=4, **fields)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "run_finetuning.py", *words],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    run_finetuning.main(
        words_of("icd_coding", pretrained, tmp_path / "one", per_device_train_batch_size=8, **fields)
    )
    one, two = (
        json.loads((tmp_path / name / "metrics.json").read_text())["linear_part"] for name in ("one", "two")
    )
    assert one["tokens"] == two["tokens"]
    assert one["inverse_regularization"] == two["inverse_regularization"]
    assert one["validation"]["0.0"] == pytest.approx(two["validation"]["0.0"], abs=1e-12)
    found = pl.read_parquet(tmp_path / "two" / "predictions_validation.parquet")
    scores, truth = (np.array(found[name].to_list()) for name in ("probabilities", "labels"))
    best = max(two["validation"].values())
    assert linear_part.auroc_of_all(scores, truth.astype(bool)) == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize(
    ("task", "more", "message"),
    [
        (
            "icd_coding",
            {"model": "none", "baseline": "linear"},
            "--join_linear is for MedM-PLM; received linear",
        ),
        (
            "icd_coding",
            {"model": "none", "architecture": "cnn"},
            "--join_linear is for MedM-PLM; received cnn",
        ),
        ("medication_recommendation", {}, "--join_linear has no place in task medication_recommendation"),
    ],
)
def test_it_is_refused_where_it_has_no_place(task, more, message, pretrained, tmp_path, capsys):
    with pytest.raises((InputError, SystemExit)) as caught:
        run_finetuning.main(words_of(task, pretrained, tmp_path, **more))
    assert message in str(caught.value) + capsys.readouterr().err
