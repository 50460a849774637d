"""The runner with a script that does nothing: what is run, what is not, and what is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fake_experiments import SCRIPTS, calls, fake_run
from medm_plm.errors import InputError
from medm_plm.experiments import runner as runner_module
from medm_plm.experiments.records import read_record, run_folder
from medm_plm.experiments.runner import Runner, _lock


def run_all(output, runs, **options):
    return Runner(output, SCRIPTS, **options).run(runs)


def record_of(output, run):
    return read_record(run_folder(output, run))


def test_a_run_leaves_one_file_that_tells_all(tmp_path):
    run = fake_run("one", rate=0.1)
    lines = []
    states = run_all(
        tmp_path,
        [run],
        places={"{data}": Path("/private/place")},
        inputs={"visits": "abc"},
        report=lines.append,
    )
    assert states == {"one": "finished"}
    record = record_of(tmp_path, run)
    assert record["run"] == {
        "name": "one", "kind": "finetuning", "model": "model", "label": "model", "task": "readmission",
        "seed": 1, "share": 1.0, "needs": [],
    }  # fmt: skip
    assert record["settings"] == {"seed": 1, "rate": 0.1}
    assert record["metrics"]["test"] == {"auroc": 0.51}
    assert record["others"]["test"]["frequency"] == {"auroc": 0.5}
    assert record["inputs"] == {"visits": "abc"}
    assert record["revision"]["source_sha256"]
    assert record["cost"]["peak_memory_mb"] > 1
    assert set(record["cost"]) == {"wall_seconds", "cpu_seconds", "peak_memory_mb"}
    assert record["machine"]["libraries"]["torch"]
    text = json.dumps(record)
    assert str(tmp_path) not in text
    assert "/private/place" not in text
    assert os.uname().nodename not in text
    folder = run_folder(tmp_path, run)
    assert "a line for the log" in (folder / "log.txt").read_text()
    assert not list(folder.rglob("*.safetensors"))  # weights of a fine-tuned model are not kept
    assert "1/1" in lines[-1]
    assert "finished" in lines[-1]


def test_a_finished_run_is_not_done_again(tmp_path):
    runs = [fake_run("one"), fake_run("two")]
    run_all(tmp_path, runs)
    assert run_all(tmp_path, runs) == {"one": "done before", "two": "done before"}
    assert calls(tmp_path) == ["one", "two"]


@pytest.mark.parametrize("what", ["settings", "inputs", "code", "file"])
def test_a_run_is_done_again_when_something_has_changed(what, tmp_path, monkeypatch):
    run = fake_run("one", kind="pretraining")
    run_all(tmp_path, [run])
    changed, options = run, {}
    if what == "settings":
        changed = fake_run("one", kind="pretraining", rate=2)
    elif what == "inputs":
        options = {"inputs": {"visits": "other"}}
    elif what == "code":
        monkeypatch.setattr(runner_module, "code_revision", lambda: {"source_sha256": "other"})
    else:
        (run_folder(tmp_path, run) / "output" / "model.safetensors").unlink()
    assert run_all(tmp_path, [changed], **options) == {"one": "finished"}
    assert calls(tmp_path) == ["one", "one"]


def test_other_code_can_be_accepted(tmp_path, monkeypatch):
    run = fake_run("one")
    run_all(tmp_path, [run])
    monkeypatch.setattr(runner_module, "code_revision", lambda: {"source_sha256": "other"})
    assert run_all(tmp_path, [run], any_revision=True) == {"one": "done before"}


def test_what_another_run_left_is_removed(tmp_path):
    run_all(tmp_path, [fake_run("one", behaviour="defect")])
    folder = tmp_path / "runs" / "one"
    (folder / "output" / "checkpoints").mkdir()
    (folder / "output" / "checkpoints" / "step").write_text("of other settings")
    other = fake_run("one")
    run_all(tmp_path, [other])
    assert record_of(tmp_path, other)["facts"]["resumed"] is False


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("input_error", "D.csv: column is missing"),
        ("defect", "RuntimeError: no such layer second line"),
        ("wrong_option", "fake: error: unknown option --x"),
        ("killed", "the process ended with signal 9"),
    ],
)
def test_a_failed_run_is_noted_and_the_others_go_on(behaviour, error, tmp_path):
    bad, good = fake_run("bad", behaviour=behaviour), fake_run("good")
    lines = []
    assert run_all(tmp_path, [bad, good], report=lines.append) == {"bad": "failed", "good": "finished"}
    record = record_of(tmp_path, bad)
    assert (record["state"], record["error"]) == ("failed", error)
    assert any(error in line for line in lines)
    assert run_all(tmp_path, [bad, good]) == {"bad": "failed", "good": "done before"}  # tried again


def test_runs_that_need_a_failed_one_are_skipped(tmp_path):
    bad = fake_run("pre", kind="pretraining", behaviour="defect")
    runs = [bad, fake_run("child", needs=("pre",)), fake_run("other")]
    assert run_all(tmp_path, runs) == {"pre": "failed", "child": "skipped", "other": "finished"}
    assert calls(tmp_path) == ["pre", "other"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_waits_for_what_it_needs_and_is_told_where_it_is(processes, tmp_path):
    pre = fake_run("pre", kind="pretraining")
    child = fake_run("child", needs=("pre",), model="{pretrained}")
    assert set(run_all(tmp_path, [pre, child], processes=processes).values()) == {"finished"}
    assert calls(tmp_path) == ["pre", "child"]
    assert "--model" in record_of(tmp_path, child)["facts"]["words"]
    assert list((tmp_path / "runs" / "pre").rglob("*.safetensors"))


def test_weights_that_nobody_reads_are_not_made_again(tmp_path):
    pre = fake_run("pre", kind="pretraining")
    child = fake_run("child", needs=("pre",))
    run_all(tmp_path, [pre, child])
    (tmp_path / "runs" / "pre" / "output" / "model.safetensors").unlink()
    assert set(run_all(tmp_path, [pre, child]).values()) == {"done before"}
    assert calls(tmp_path) == ["pre", "child"]
    new = fake_run("new", needs=("pre",))
    run_all(tmp_path, [pre, child, new])
    assert calls(tmp_path)[2:] == ["pre", "new"]


def test_two_lists_do_not_work_in_one_folder(tmp_path):
    with _lock(tmp_path), pytest.raises(InputError, match="another list"):
        run_all(tmp_path, [fake_run("one")])


DRIVER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from fake_experiments import SCRIPTS, fake_run
from medm_plm.experiments.runner import Runner
if __name__ == "__main__":
    Runner(Path(sys.argv[1]), SCRIPTS).run([fake_run("one", behaviour="interrupted"), fake_run("two")])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_list_leaves_no_child_and_goes_on_where_it_was(number, tmp_path, project_root):
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    output = tmp_path / "out"
    words = [sys.executable, str(driver), str(output), str(Path(__file__).parent.parent), str(project_root)]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    checkpoint = output / "runs" / "one" / "output" / "checkpoints" / "step"
    wait_until(lambda: checkpoint.is_file() and checkpoint.read_text())
    child = int(checkpoint.read_text())
    process.send_signal(number)
    process.wait(60)
    wait_until(lambda: not is_alive(child))
    assert subprocess.run(words, stderr=subprocess.DEVNULL, timeout=120, check=False).returncode == 0
    one, two = fake_run("one"), fake_run("two")
    assert record_of(output, one)["facts"]["resumed"] is True
    assert record_of(output, two)["state"] == "finished"
    assert calls(output) == ["one", "one", "two"]


def wait_until(holds, seconds=90):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process_id):
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
