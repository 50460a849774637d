"""`run_finetuning.py`: every task, baselines, ablations, two processes, and mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

import run_finetuning
from medm_plm.command_line import run_main
from medm_plm.data import tasks
from medm_plm.errors import InputError
from medm_plm.metrics.calibration import fit_temperature
from medm_plm.metrics.thresholds import FIXED_THRESHOLD, tune_task_threshold
from medm_plm.training.arguments import TASK_NAMES
from medm_plm.training.evaluation import task_metrics
from medm_plm.training.trainer import MedMPLMTrainer
from modeling_medm_plm import MedMPLMLabelWiseHead
from prepared_cohort import (
    PROJECT_ROOT,
    invent_visits,
    pretrained_folder,
    smoke_options,
    write_prepared_folder,
)

NUM_LABELS = {
    "medication_recommendation": 8,
    "readmission": 1,
    "icd_coding": 8,
    "medication_prediction": 8,
    "mortality": 1,
}


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
    assert (config.temperature, config.decision_threshold) == (1.0, FIXED_THRESHOLD[task])
    for name, (low, high) in content["test_intervals"]["model"].items():
        value = content["test"]["model"][name]
        assert value is None or low <= value <= high, name
    assert content["calibration"]["test"].keys() == {"raw", "scaled"}
    assert {split: counts["unknown"] for split, counts in content["tokenizer"].items()} == dict.fromkeys(
        ("train", "validation", "test"), 0
    )
    assert all(counts["codes"] > 0 for counts in content["tokenizer"].values())
    names = json.loads(pl.read_parquet_metadata(tmp_path / "predictions_test.parquet")["labels"])
    assert list(config.id2label.values()) == names
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.num_labels == len(names)
    assert not list(tmp_path.rglob("training_args.bin"))


@pytest.mark.parametrize("task", ["medication_recommendation", "readmission"])
def test_label_attention_starts_at_the_shares_of_what_it_is_fed(task, pretrained, tmp_path, monkeypatch):
    train, born = MedMPLMTrainer.train, []

    def remember(trainer, **arguments):
        born.append(torch.sigmoid(trainer.model.classifier.bias.detach()).tolist())
        return train(trainer, **arguments)

    monkeypatch.setattr(MedMPLMTrainer, "train", remember)
    run_finetuning.main(options(task, pretrained, tmp_path, classifier="label_attention"))
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.classifier == "label_attention"
    assert born[0] == pytest.approx(config.label_prior, abs=1e-6)
    if task == "readmission":
        assert config.label_prior == [0.5], "the training visits are balanced"
    else:
        assert len(set(config.label_prior)) > 1
    _, probabilities, _ = read_predictions(tmp_path, "test")
    assert probabilities.shape[1] == NUM_LABELS[task]
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert isinstance(loaded.classifier, MedMPLMLabelWiseHead)


def test_threshold_and_temperature_of_validation_decide_on_test_and_travel_with_the_model(
    pretrained, tmp_path, capsys
):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("C03C,A10A\nR03A,N02A\nB01A,X\n".replace("X", "M01A"), encoding="utf-8")
    fitted = {"tune_threshold": True, "fit_temperature": True, "ddi_pairs": pairs, "num_train_epochs": 8}
    run_finetuning.main(options("medication_recommendation", pretrained, tmp_path / "out", **fitted))
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    decision = content["decision"]["model"]
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert {"temperature": config.temperature, "threshold": config.decision_threshold} == decision
    assert decision["temperature"] == content["calibration"]["fitted_temperature"] != 1.0
    _, probabilities, labels = read_predictions(tmp_path / "out", "validation")
    assert fit_temperature(probabilities, labels) == pytest.approx(1.0, abs=1e-3), "the files are scaled"
    assert decision["threshold"] == tune_task_threshold("medication_recommendation", probabilities, labels)
    _, probabilities, labels = read_predictions(tmp_path / "out", "test")
    found = task_metrics("medication_recommendation", probabilities, labels, threshold=decision["threshold"])
    saved = content["test"]["model"]
    assert {name: saved[name] for name in found} == pytest.approx(found, abs=1e-9)
    assert saved.keys() - found.keys() == {"ddi_rate", "ddi_rate_prescribed"}
    assert 0 < saved["ddi_rate_prescribed"] < 1
    assert content["ddi_pairs"] == {"pairs": 3, "pairs_without_label": 1, "pairs_within_label": 0}
    assert "--ddi_pairs: 3 pairs, 1 pairs without label" in capsys.readouterr().out


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
        ({"model": "none", "baseline": "linear", "text_hidden_size": 8}, "no such part: --text_hidden_size"),
        ({"text_hidden_size": 8, "code_hidden_size": 8}, "sizes are used: --code_hidden_size, --text_hidden"),
        ({"task": "medication_recommendation", "ddi_pairs": "nowhere"}, "interacting pairs is missing"),
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
    ("change", "message"),
    [
        ({"task": "prognosis"}, "icd_coding"),
        ({"training_ratio": 2}, "(0, 1]"),
        ({"model": "none", "text_max_length": 2}, "--text_max_length; received 2, expected at least 8"),
        ({"output_dir": __file__}, "--output_dir; received a file, expected a folder"),
    ],
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


FREQUENCY = {"model": "none", "baseline": "frequency"}  # the cheapest run; data and checks are the same


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("medication_recommendation", {"medication_window": "first_day"}),
        ("medication_prediction", {"medication_window": "first_day"}),
        ("medication_prediction", {"medication_window": "first_day", **FREQUENCY}),
    ],
)
def test_the_medications_of_the_first_day_are_predicted(task, more, pretrained, tmp_path):
    run_finetuning.main(options(task, pretrained, tmp_path, **more))
    rows, _, labels = read_predictions(tmp_path, "test")
    names = json.loads(pl.read_parquet_metadata(tmp_path / "predictions_test.parquet")["labels"])
    visits = invent_visits()
    assert names == tasks.medication_prediction_labels(visits, window="first_day")
    assert names != tasks.medication_prediction_labels(visits), "another order, if all medications are met"
    true = dict(zip(visits["hadm_id"], visits["first_day_medication_codes"], strict=True))
    for hadm_id, row in zip(rows["hadm_id"], labels, strict=True):
        assert {names[i] for i in np.flatnonzero(row)} == set(true[hadm_id])
    settings = json.loads((tmp_path / "metrics.json").read_text())["settings"]
    assert settings == {"medication_window": "first_day", "current_note": "none"}
    if not more.keys() & FREQUENCY.keys():
        expected = "admission_note" if task == "medication_prediction" else None
        assert AutoConfig.from_pretrained(tmp_path).note_field == expected


def test_a_folder_without_start_times_has_no_first_day(pretrained, tmp_path):
    bare = invent_visits().with_columns(
        pl.lit(None, dtype=pl.List(pl.String)).alias("first_day_medication_codes")
    )
    data = write_prepared_folder(tmp_path / "bare", bare)
    words = options(
        "medication_prediction",
        pretrained,
        tmp_path / "out",
        data=data,
        medication_window="first_day",
        **FREQUENCY,
    )
    with pytest.raises(InputError, match="no start times of prescriptions"):
        run_finetuning.main(words)


def test_mortality_is_tested_in_its_natural_share_and_on_equal_numbers(pretrained, tmp_path):
    run_finetuning.main(options("mortality", pretrained, tmp_path, **FREQUENCY))
    content = json.loads((tmp_path / "metrics.json").read_text())
    test = invent_visits().filter(pl.col("split") == "test")
    assert content["test"]["model"]["prevalence"] == pytest.approx(test["died_in_hospital"].mean())
    assert content["test_balanced"]["model"]["prevalence"] == 0.5
    train = invent_visits().filter(pl.col("split") == "train")
    assert content["num_targets"]["train"] == 2 * train["died_in_hospital"].sum()


def test_a_later_field_in_the_inputs_stops_the_run(pretrained, tmp_path, monkeypatch):
    def with_the_ending(*args, **kwargs):
        return invent_visits().filter(pl.col("split") == args[2])

    monkeypatch.setattr("medm_plm.training.task_examples.outcome_visits", with_the_ending)
    with pytest.raises(InputError, match=r"data leak .*mortality, test: field later than"):
        run_finetuning.main(options("mortality", pretrained, tmp_path, **FREQUENCY))


@pytest.mark.parametrize("choice", ["admission_sections", "full"])
def test_the_current_note_is_read_on_request_and_its_leak_is_told(choice, pretrained, tmp_path, capsys):
    run_finetuning.main(options("medication_recommendation", pretrained, tmp_path, current_note=choice))
    assert ("leaks the answer" in capsys.readouterr().out) == (choice == "full")
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.use_current_note is True
    assert config.note_field == ("note" if choice == "full" else None)
    assert json.loads((tmp_path / "metrics.json").read_text())["settings"]["current_note"] == choice


def write_lists(folder: Path, ids_by_split: dict[str, list[str]]) -> Path:
    folder.mkdir()
    for word, split in (("train", "train"), ("dev", "validation"), ("test", "test")):
        text = "".join(f"{hadm_id}\n" for hadm_id in ids_by_split[split])
        (folder / f"{word}_50_hadm_ids.csv").write_text(text, encoding="utf-8")
    return folder


def ids_of_splits(visits: pl.DataFrame) -> dict[str, list[str]]:
    """Every second visit of each split."""
    return {
        split: visits.filter(pl.col("split") == split)["hadm_id"].gather_every(2).to_list()
        for split in ("train", "validation", "test")
    }


def test_coding_with_published_labels_and_admissions(pretrained, tmp_path, capsys):
    ids = ids_of_splits(invent_visits())
    lists = write_lists(tmp_path / "lists", {**ids, "train": [*ids["train"], "unknown"]})
    labels = tmp_path / "labels.txt"
    labels.write_text("428.0\n38.93\n250.00\n486\n", encoding="utf-8")
    words = options(
        "icd_coding", pretrained, tmp_path / "out", label_file=labels, split_ids=lists, **FREQUENCY
    )
    run_finetuning.main(words)
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["num_targets"] == {split: len(part) for split, part in ids.items()}
    rows, _, _ = read_predictions(tmp_path / "out", "test")
    assert rows["hadm_id"].to_list() == ids["test"]
    path = tmp_path / "out" / "predictions_test.parquet"
    assert json.loads(pl.read_parquet_metadata(path)["labels"]) == [
        "ICD9CM:4280",
        "ICD9CM:25000",
        "ICD9CM:486",
    ]
    assert content["label_file"] == {"procedures_left_out": 1}
    total = sum(map(len, ids.values()))
    assert content["split_ids"] == {"listed": total + 1, "unknown": 1, "left_out": 0}
    printed = capsys.readouterr().out
    assert "--label_file: 1 procedures left out" in printed
    assert f"--split_ids: {total + 1} listed, 1 unknown, 0 left out" in printed


def test_published_test_admissions_that_were_pretrained_on_stop_the_run(pretrained, tmp_path):
    ids = ids_of_splits(invent_visits())
    lists = write_lists(
        tmp_path / "lists", {**ids, "train": ids["train"][1:], "test": [*ids["test"], ids["train"][0]]}
    )
    words = options("icd_coding", pretrained, tmp_path / "out", split_ids=lists, **FREQUENCY)
    with pytest.raises(InputError, match=r"held-out admission of a training patient: 1 of.*--split_ids"):
        run_finetuning.main(words)


def test_a_prepared_split_that_differs_from_the_published_one_stops_the_run(pretrained, tmp_path):
    ids = ids_of_splits(invent_visits())
    lists = write_lists(
        tmp_path / "lists", {**ids, "train": [*ids["train"], ids["test"][0]], "test": ids["test"][1:]}
    )
    words = options("icd_coding", pretrained, tmp_path / "out", split_ids=lists, **FREQUENCY)
    with pytest.raises(InputError, match=r"icd_coding, train: patient of another split.*--split_ids"):
        run_finetuning.main(words)


def test_labels_that_no_training_visit_has_are_refused(pretrained, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("V58.61\n", encoding="utf-8")
    words = options("icd_coding", pretrained, tmp_path / "out", label_file=labels, **FREQUENCY)
    with pytest.raises(InputError, match="no training visit has a code of the list; received 1 codes"):
        run_finetuning.main(words)
