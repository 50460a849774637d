"""`run_experiments.py` on the smallest list, as a user starts it."""

import json
import subprocess
import sys

import pytest

import run_experiments


@pytest.fixture(scope="module")
def smoke(tmp_path_factory, project_root):
    """Words that run the smallest list, and the folder it writes to."""
    output = tmp_path_factory.mktemp("experiments")
    config = project_root / "configs" / "experiments" / "smoke.yaml"
    return [str(project_root / "run_experiments.py"), str(config), "--output", str(output)], output


def start(words, *more):
    done = subprocess.run([sys.executable, *words, *more], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_smallest_list_from_nothing_to_its_report(smoke):
    words, output = smoke
    status, shown, errors = start(words)
    assert status == 0, shown + errors
    assert "Traceback" not in errors
    records = [json.loads(path.read_text()) for path in output.glob("runs/*/run.json")]
    assert {record["state"] for record in records} == {"finished"}
    assert {record["run"]["kind"] for record in records} == {
        "preparation",
        "pretraining",
        "finetuning",
        "ceiling",
    }
    text = "".join(path.read_text() for path in output.glob("runs/*/run.json"))
    assert str(output) not in text
    folder = output / "report" / "smoke"
    assert {"report.md", "table3.md", "table3.tex", "cost.md", "learning_curves.svg"} <= {
        path.name for path in folder.iterdir()
    }
    page = (folder / "report.md").read_text()
    assert "| generator |" in page
    assert "| MedM-PLM |" in page
    again = start(words)
    assert again[0] == 0
    assert f"{len(records) - 1} runs, {len(records) - 1} of them done before" in again[1]


def test_a_list_is_shown_and_nothing_is_done(smoke, capsys, tmp_path):
    words, _ = smoke
    run_experiments.main([words[1], "--output", str(tmp_path / "none"), "--dry_run", "--only", "ceiling"])
    shown = capsys.readouterr().out
    assert "2 runs" in shown
    assert "not begun" in shown
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("words", [["--processes", "0"], ["--unknown"], []])
def test_a_mistake_gets_one_line(words, smoke, capsys):
    with pytest.raises(SystemExit) as caught:
        run_experiments.main([smoke[0][1], *words])
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_list_that_needs_data_says_so(project_root, tmp_path):
    config = project_root / "configs" / "experiments" / "table3_eicu.yaml"
    with pytest.raises(ValueError, match="--data eicu=FOLDER"):
        run_experiments.main([str(config), "--output", str(tmp_path)])
    with pytest.raises(ValueError, match="received mimic"):
        run_experiments.main([str(config), "--output", str(tmp_path), "--data", f"mimic={tmp_path}"])
