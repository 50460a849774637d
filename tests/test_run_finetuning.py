"""`run_finetuning.py`: every task, baselines, ablations, two processes, and mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification

import run_finetuning
from medm_plm.command_line import run_main
from medm_plm.errors import InputError
from medm_plm.training.arguments import TASK_NAMES
from medm_plm.training.evaluation import task_metrics
from prepared_cohort import (
    PROJECT_ROOT,
    invent_visits,
    pretrained_folder,
    smoke_options,
    write_prepared_folder,
)

NUM_LABELS = {"medication_recommendation": 8, "readmission": 1, "icd_coding": 8, "medication_prediction": 8}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    return pretrained_folder(tmp_path_factory.getbasetemp())


def options(config: str, pretrained: Path, output: Path, **more: object) -> list[str]:
    data, model = more.pop("data", pretrained.parent / "prepared"), more.pop("model", pretrained)
    words = [*smoke_options(config), "--data", str(data), "--model", str(model), "--output_dir", str(output)]
    more = {"num_train_epochs": 1, **more}
    return words + [word for name, value in more.items() for word in (f"--{name}", str(value))]


def read_predictions(folder: Path, split: str) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    rows = pl.read_parquet(folder / f"predictions_{split}.parquet")
    return rows, np.array(rows["probabilities"].to_list()), np.array(rows["labels"].to_list())


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_task_from_the_pretrained_model_to_metrics_and_predictions(task, pretrained, tmp_path, capsys):
    run_finetuning.main(options(task, pretrained, tmp_path))
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert (content["task"], content["predictor"], content["pretrained"]) == (task, "medm_plm", True)
    assert content["num_labels"] == NUM_LABELS[task]
    for split in ("validation", "test"):
        rows, probabilities, labels = read_predictions(tmp_path, split)
        assert probabilities.shape == labels.shape == (content["num_targets"][split], NUM_LABELS[task])
        assert set(rows.columns) == {"subject_id", "hadm_id", "visit_number", "probabilities", "labels"}
        found = task_metrics(task, probabilities, labels)
        assert found == pytest.approx(content[split]["model"], abs=1e-9, nan_ok=True)
        assert set(content[split]) == {"model", "frequency"}
    assert f"{task}, test split" in capsys.readouterr().out
    config = AutoConfig.from_pretrained(tmp_path)
    names = json.loads(pl.read_parquet_metadata(tmp_path / "predictions_test.parquet")["labels"])
    assert list(config.id2label.values()) == names
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.num_labels == len(names)
    assert not list(tmp_path.rglob("training_args.bin"))


def test_predictions_stand_beside_the_right_labels(pretrained, tmp_path):
    run_finetuning.main(options("medication_recommendation", pretrained, tmp_path))
    names = json.loads(pl.read_parquet_metadata(tmp_path / "predictions_test.parquet")["labels"])
    rows, _, labels = read_predictions(tmp_path, "test")
    visits = invent_visits()
    true = dict(zip(visits["hadm_id"], visits["medication_codes"], strict=True))
    assert rows["visit_number"].min() == 2
    for hadm_id, row in zip(rows["hadm_id"], labels, strict=True):
        assert {names[i] for i in np.flatnonzero(row)} == set(true[hadm_id])


def test_readmission_is_tested_on_equal_numbers_and_on_all(pretrained, tmp_path):
    run_finetuning.main(options("readmission", pretrained, tmp_path))
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["test_balanced"]["model"]["prevalence"] == 0.5
    assert content["test_balanced"]["model"]["num_visits"] < content["test"]["model"]["num_visits"]
    assert content["test"]["model"]["prevalence"] != 0.5


@pytest.mark.parametrize("name", ["frequency", "linear_text", "linear_codes", "linear"])
def test_a_baseline_leaves_metrics_and_predictions_but_no_model(name, pretrained, tmp_path):
    run_finetuning.main(options("icd_coding", pretrained, tmp_path, model="none", baseline=name))
    assert {path.name for path in tmp_path.iterdir()} == {
        "metrics.json",
        "predictions_validation.parquet",
        "predictions_test.parquet",
    }
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert (content["predictor"], content["pretrained"]) == (name, False)
    if name == "frequency":
        assert content["test"]["model"] == content["test"]["frequency"]
    if name == "linear_text":
        assert content["test"]["model"]["auroc_macro"] > 0.95  # each code has its word in the note


def test_without_pretraining_and_with_a_share_of_the_training_visits(pretrained, tmp_path):
    run_finetuning.main(
        options("icd_coding", pretrained, tmp_path, model="none", training_ratio=0.25, use_cross_modal=False)
    )
    content = json.loads((tmp_path / "metrics.json").read_text())
    whole = invent_visits().filter(pl.col("split") == "train").height
    assert content["num_targets"]["train"] == -(-whole // 4)
    assert content["pretrained"] is False
    assert AutoConfig.from_pretrained(tmp_path).use_cross_modal is False


def test_two_processes_predict_every_target_once(pretrained, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = options(
        "medication_recommendation", pretrained, tmp_path, use_cpu=True, per_device_eval_batch_size=2
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "run_finetuning.py", *words],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows, probabilities, _ = read_predictions(tmp_path, "test")
    targets = invent_visits().filter((pl.col("split") == "test") & (pl.col("visit_number") > 1))
    assert rows["hadm_id"].to_list() == targets["hadm_id"].to_list()
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert done.stdout.count("medication_recommendation, test split") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "nowhere"}, "prepared visits are missing"),
        ({"model": "nowhere"}, "no saved model: config.json is missing"),
        ({"baseline": "linear"}, "--model and --baseline exclude each other"),
        ({"text_model": "bert"}, "--text_model has no place beside --model"),
        ({"model": "none", "baseline": "oracle"}, "unknown baseline"),
    ],
)
def test_mistakes_are_one_clear_line(change, message, pretrained, tmp_path, capsys):
    words = options("icd_coding", pretrained, tmp_path, **change)
    with pytest.raises(SystemExit) as end:
        run_main(lambda: run_finetuning.main(words))
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 1
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    ("change", "message"), [({"task": "prognosis"}, "icd_coding"), ({"training_ratio": 2}, "(0, 1]")]
)
def test_an_impossible_value_is_a_usage_error(change, message, pretrained, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run_finetuning.main(options("icd_coding", pretrained, tmp_path, **change))
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_model_pretrained_on_another_folder_needs_a_word(pretrained, tmp_path):
    """Its pre-training may have seen the patients that are held out here."""
    other = write_prepared_folder(tmp_path / "other", invent_visits(seed=5))
    words = options("icd_coding", pretrained, tmp_path / "out", data=other)
    with pytest.raises(InputError, match="another prepared folder"):
        run_finetuning.main(words)


def test_the_label_frequency_of_readmission_is_that_of_all_training_visits(pretrained, tmp_path):
    run_finetuning.main(options("readmission", pretrained, tmp_path))
    visits = invent_visits()
    train = visits.filter(pl.col("split") == "train")
    test = visits.filter(pl.col("split") == "test")
    share = train["readmission"].mean()
    always = max(test["readmission"].mean(), 1 - test["readmission"].mean())
    majority = json.loads((tmp_path / "metrics.json").read_text())["test"]["frequency"]["accuracy"]
    assert majority == pytest.approx(
        always if (share >= 0.5) == (test["readmission"].mean() >= 0.5) else 1 - always
    )
