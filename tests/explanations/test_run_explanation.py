"""`run_explanation.py`: a page, a picture and a table from the smallest fine-tuned model, and mistakes."""

import re
import shutil
import stat
import sys

import numpy as np
import polars as pl
import pytest
from explained_models import VISITS, lively_model

import run_explanation
import run_finetuning
from medm_plm import explain_visit
from medm_plm.errors import InputError
from medm_plm.explanations.figure import attention_figure, heaviest_stretch
from prepared_cohort import pretrained_folder, smoke_options, write_prepared_folder
from tiny_predictors import save_predictor

TEST_VISIT = VISITS.filter(VISITS["split"] == "test").row(0, named=True)


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory):
    """Folder of a model of readmission, and its data."""
    pretrained = pretrained_folder(tmp_path_factory.getbasetemp())
    folder, data = tmp_path_factory.mktemp("explained") / "model", pretrained.parent / "prepared"
    words = ["--data", data, "--model", pretrained, "--output_dir", folder, "--num_train_epochs", 1]
    run_finetuning.main([*smoke_options("readmission"), *map(str, words)])
    return ["--model", str(folder), "--data", str(data)]


def is_private(path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_visit_becomes_a_private_page(fine_tuned, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    run_explanation.main([*fine_tuned, "--visit", TEST_VISIT["hadm_id"], "--output", str(page)])
    assert is_private(page)
    assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    html = page.read_text(encoding="utf-8")
    for word in TEST_VISIT["note"].split():
        assert word in html
    for code in [*TEST_VISIT["diagnosis_codes"], *TEST_VISIT["medication_codes"]]:
        assert code in html
    assert not re.search(r"https?:|<script", html)
    assert "only you can read it" in capsys.readouterr().out


def test_the_table_of_faithfulness(fine_tuned, capsys):
    options = ["--faithfulness", "true", "--split", "test", "--max_visits", "3", "--num_random", "2"]
    run_explanation.main([*fine_tuned, *options, "--shares", "0.1", "0.5"])
    out = capsys.readouterr().out
    assert "readmission, test split" in out
    for part in ("words", "codes"):
        for order in ("most important", "random", "least important"):
            rows = re.findall(rf"{part} +attention +{order} +(10 %|50 %|mean) +-?0\.\d+ +-?0\.\d+ +3\b", out)
            assert rows == ["10 %", "50 %", "mean"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--visit", "nobody", "--output", "x.html"], "no such visit"),
        (["--task", "mortality", "--faithfulness", "true"], "received mortality, expected readmission"),
    ],
)
def test_mistakes_are_one_line(fine_tuned, words, message):
    with pytest.raises(InputError, match=message):
        run_explanation.main([*fine_tuned, *words])


@pytest.mark.parametrize(
    "words", [[], ["--visit", "x"], ["--output", "x"], ["--faithfulness", "true", "--max_visits", "0"]]
)
def test_options_that_make_no_sense_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        run_explanation.main(["--model", "x", "--data", "y", *words])
    assert "error: " in capsys.readouterr().err


def test_a_pretrained_model_is_refused(tmp_path_factory):
    pretrained = pretrained_folder(tmp_path_factory.getbasetemp())
    words = [
        "--model",
        str(pretrained),
        "--data",
        str(pretrained.parent / "prepared"),
        "--faithfulness",
        "true",
    ]
    with pytest.raises(InputError, match="MedMPLMForPreTraining"):
        run_explanation.main(words)


def test_missing_weights_are_one_line(fine_tuned, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(fine_tuned[1], folder, ignore=shutil.ignore_patterns("model.safetensors", "checkpoints"))
    with pytest.raises(InputError, match="cannot be loaded"):
        run_explanation.load_fine_tuned(folder)


@pytest.mark.parametrize("field", [None, "admission_note"])
def test_the_configuration_tells_what_a_model_of_medications_reads(field, tmp_path):
    """A model that came without the record of its run, as from the Hub."""
    folder = save_predictor("medication_prediction", tmp_path / "model", note_field=field)
    words = {"note": "clotclot", "admission_note": "painpain"}
    data = write_prepared_folder(
        tmp_path / "prepared", VISITS.with_columns(**{name: pl.lit(word) for name, word in words.items()})
    )
    page = tmp_path / "page.html"
    options = ["--model", folder, "--data", data, "--visit", TEST_VISIT["hadm_id"], "--output", page]
    run_explanation.main([*map(str, options)])
    text = page.read_text(encoding="utf-8")
    assert [word in text for word in words.values()] == [field is None, field is not None]
    model, processor = run_explanation.load_fine_tuned(folder)
    told = explain_visit(model, processor, words)
    assert told.visit.inputs.note == words[field or "note"]
    other = explain_visit(model, processor, words, medication_window=("first_day", "whole_stay")[bool(field)])
    assert other.visit.inputs.note != told.visit.inputs.note


def test_a_damaged_record_is_one_line(fine_tuned, tmp_path):
    folder = shutil.copytree(fine_tuned[1], tmp_path / "model", ignore=shutil.ignore_patterns("checkpoints"))
    (folder / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics\.json: the file is no valid JSON"):
        run_explanation.main(["--model", str(folder), *fine_tuned[2:], "--faithfulness", "true"])


def test_the_picture_is_private_and_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install medm-plm[figures]")
    explanation = explain_visit(*lively_model(), VISITS.row(3, named=True))
    first, again = (attention_figure(explanation, tmp_path / name) for name in ("a.b", "c"))
    assert [path.name for path in first] == ["a.b.png", "a.b.svg"]
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert is_private(one)


def test_without_matplotlib_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"medm-plm\[figures\]"):
        attention_figure(explain_visit(*lively_model(), VISITS.row(3, named=True)), tmp_path / "a")


def test_the_fragment_is_the_heaviest():
    weights = np.array([1.0, 0, 0, -3, 2, 0, 0])
    assert heaviest_stretch(weights, 2) == slice(3, 5)
    assert heaviest_stretch(weights, 7) == heaviest_stretch(weights, 9) == slice(0, 7)
