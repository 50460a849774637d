"""`medm-plm evaluate`: the numbers of the run, once more from its file and once more from its model."""

import json
from pathlib import Path

import polars as pl
import pytest

import run_finetuning
from medm_plm.cli import main
from prepared_cohort import invent_visits, smoke_options, write_prepared_folder


@pytest.fixture(scope="module", params=["readmission", "medication_recommendation"])
def run(request, tmp_path_factory) -> Path:
    """A model of the smallest size, fine-tuned for one epoch on the prepared folder beside it."""
    base = tmp_path_factory.mktemp(request.param)
    data = write_prepared_folder(base / "prepared", invent_visits(40))
    words = ["--task", request.param, "--data", str(data), "--output_dir", str(base / "out")]
    run_finetuning.main(
        [*smoke_options(request.param), *words, "--num_train_epochs", "1", "--fit_temperature", "true"]
    )
    return base


def measured(run: Path, *words: object) -> dict:
    output = run / "again.json"
    main(["evaluate", *map(str, words), "--output", str(output)])
    return json.loads(output.read_text(encoding="utf-8"))


def test_a_file_gives_the_numbers_of_its_run(run, capsys):
    record = json.loads((run / "out" / "metrics.json").read_text(encoding="utf-8"))
    found = measured(run, "--predictions", run / "out" / "predictions_test.parquet")
    expected = {name: value for name, value in record["test"]["model"].items() if value is not None}
    assert {name: value for name, value in found["metrics"].items() if value is not None} == pytest.approx(
        expected
    )
    ends = {name: pair for name, pair in record["test_intervals"]["model"].items() if None not in pair}
    for name, pair in ends.items():
        assert found["intervals"][name] == pytest.approx(pair)
    assert "95 % interval" in capsys.readouterr().out


def test_a_model_gives_the_numbers_of_its_run(run):
    record = json.loads((run / "out" / "metrics.json").read_text(encoding="utf-8"))
    for split in ("validation", "test"):
        words = ("--model", run / "out", "--data", run / "prepared", "--split", split, "--intervals", "false")
        found = measured(run, *words, "--batch_size", 3)
        expected = {name: value for name, value in record[split]["model"].items() if value is not None}
        assert {name: found["metrics"][name] for name in expected} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either --predictions FILE or"),
        (["--model", "m"], "belong together"),
        (["--predictions", "nothing.parquet"], "no such file"),
        (["--predictions", "x", "--threshold", "1.5"], "option --threshold"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *words])
    assert stop.value.code in (1, 2)
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_predictions_without_truth_are_refused(tmp_path, capsys):
    path = tmp_path / "p.parquet"
    pl.DataFrame({"row": [1], "code": ["ATC:C03C"], "probability": [0.5]}).write_parquet(path)
    with pytest.raises(SystemExit):
        main(["evaluate", "--predictions", str(path)])
    assert "no file of predictions with their truth" in capsys.readouterr().err
