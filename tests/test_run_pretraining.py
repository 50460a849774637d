"""`run_pretraining.py` from a prepared folder to a saved model, alone, resumed, and in two processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file
from transformers import AutoModelForPreTraining, AutoProcessor

import run_pretraining
from medm_plm.command_line import run_main
from prepared_cohort import (
    PROJECT_ROOT,
    invent_visits,
    pretrained_folder,
    smoke_options,
    write_prepared_folder,
)

FINISHED_FILES = {
    ".eval_results",
    "README.md",
    "checkpoints",
    "code_tokenizer",
    "config.json",
    "configuration_medm_plm.py",
    "metrics.json",
    "model.safetensors",
    "modeling_medm_plm.py",
    "processor_config.json",
    "tokenization_medm_plm.py",
    "tokenizer.json",
    "tokenizer_config.json",
    "training_settings.json",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return pretrained_folder(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_prepared_folder(tmp_path_factory.mktemp("data") / "prepared")


def options(data: Path, output: Path, **more: object) -> list[str]:
    words = [*smoke_options("pretraining"), "--data", str(data), "--output_dir", str(output)]
    return words + [word for name, value in more.items() for word in (f"--{name}", str(value))]


def test_the_output_folder_is_a_finished_model(finished):
    assert {path.name for path in finished.iterdir()} == FINISHED_FILES
    model = AutoModelForPreTraining.from_pretrained(finished)
    processor = AutoProcessor.from_pretrained(finished)
    batch = processor(text="heart and pain", diagnosis_codes=["428.0"], return_tensors="pt")
    assert model(**batch).t2c_logits.shape == (1, processor.code_tokenizer.num_codes)


def test_the_metrics_stand_beside_the_frequency_prior(finished):
    content = json.loads((finished / "metrics.json").read_text())
    visits = invent_visits()
    assert content["task"] == "pretraining"
    assert content["visits"] == dict(visits["split"].value_counts().iter_rows())
    for split in ("validation", "test"):
        assert set(content[split]) == {"model", "frequency"}
        assert set(content[split]["frequency"]) == {
            "prior_accuracy",
            "prior_recall_at_5",
            "prior_recall_at_10",
        }
        for path in ("t2c", "c2c"):
            recalls = [content[split]["model"][f"{path}_{name}"] for name in run_pretraining.METRIC_NAMES]
            assert recalls == sorted(recalls)
    assert any("eval_loss" in entry for entry in content["history"])
    counters = content["tokenizer"]
    assert {split: counts["visits"] for split, counts in counters.items()} == content["visits"]
    assert counters["train"]["unknown"] == counters["train"]["truncated_codes"] == 0


def test_no_word_of_a_note_and_no_visit_is_named_in_the_results(finished):
    text = (finished / "metrics.json").read_text()
    assert "pressure" not in text
    assert "h001" not in text
    assert str(finished.parent) not in text


def test_probes_and_the_objective_over_all_codes(data, tmp_path, capsys):
    run_pretraining.main(
        options(
            data,
            tmp_path,
            num_train_epochs=1,
            pretraining_target="all",
            probe_shuffled_modalities=True,
            text_learning_rate=1e-4,
        )
    )
    test = json.loads((tmp_path / "metrics.json").read_text())["test"]
    assert set(test) == {"model", "frequency", "notes_exchanged", "codes_exchanged"}
    assert test["notes_exchanged"]["loss"] != test["model"]["loss"] != test["codes_exchanged"]["loss"]
    table = capsys.readouterr().out
    assert "Hidden codes of the test visits" in table
    assert "codes_exchanged" in table
    assert json.loads((tmp_path / "config.json").read_text())["pretraining_target"] == "all"


def test_a_run_resumed_in_the_middle_of_an_epoch_ends_in_the_same_weights(data, tmp_path):
    fixed = {
        "save_strategy": "steps",
        "save_steps": 3,
        "save_total_limit": 9,
        "load_best_model_at_end": False,
    }
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run_pretraining.main(options(data, whole, **fixed))
    (resumed / "checkpoints").mkdir(parents=True)
    shutil.copytree(whole / "checkpoints" / "checkpoint-3", resumed / "checkpoints" / "checkpoint-3")
    run_pretraining.main(options(data, resumed, **fixed, resume_from_checkpoint="last"))
    one, other = load_file(whole / "model.safetensors"), load_file(resumed / "model.safetensors")
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    vocabularies = [(folder / "tokenizer.json").read_text() for folder in (whole, resumed)]
    assert vocabularies[0] == vocabularies[1]


def test_two_processes_train_one_model(data, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = options(data, tmp_path / "out", use_cpu=True, num_train_epochs=1, dataloader_num_workers=1)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "run_pretraining.py", *words],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("Hidden codes of the test visits") == 1
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    batches = -(-content["visits"]["train"] // 16)
    assert max(entry["step"] for entry in content["history"]) == -(
        -batches // 2
    )  # each process has half of them
    assert {path.name for path in (tmp_path / "out").iterdir()} == FINISHED_FILES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "nowhere"}, "prepared visits are missing"),
        ({"resume_from_checkpoint": "last"}, "no checkpoint to resume from"),
        ({"text_model": "nowhere/at/all"}, "text_model nowhere/at/all"),
        ({"text_hidden_size": 33}, "the model cannot be built"),
    ],
)
def test_mistakes_are_one_clear_line(change, message, data, tmp_path, capsys):
    words = options(change.pop("data", data), tmp_path, **change)
    with pytest.raises(SystemExit) as end:
        run_main(lambda: run_pretraining.main(words))
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 1
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_split_is_one_clear_line(split, tmp_path, capsys):
    data = write_prepared_folder(tmp_path / "prepared", invent_visits(12).filter(pl.col("split") != split))
    with pytest.raises(SystemExit):
        run_main(lambda: run_pretraining.main(options(data, tmp_path / "out")))
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"the {split} split holds no visit with a code" in line


def test_a_misspelt_option_names_the_right_one(data, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run_pretraining.main([*options(data, tmp_path), "--mask_shar", "0.2"])
    assert end.value.code == 2
    assert "did you mean --mask_share?" in capsys.readouterr().err
