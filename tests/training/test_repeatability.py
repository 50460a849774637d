"""Two runs with one seed, in two processes and with other hashes of strings, give the same bytes."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import run_finetuning
import run_pretraining
from prepared_cohort import PROJECT_ROOT, smoke_options, write_prepared_folder

SCRIPTS = {"run_pretraining": run_pretraining, "run_finetuning": run_finetuning}
OPTIONS = {
    "run_pretraining": smoke_options("pretraining"),
    "run_finetuning": [*smoke_options("icd_coding"), "--model", "none"],
}
NOT_REPEATED = ("runtime", "per_second")


def words(script: str, data: Path, output: Path, seed: int = 7) -> list[str]:
    options = {"data": data, "output_dir": output, "num_train_epochs": 1, "seed": seed, "use_cpu": True}
    return OPTIONS[script] + [word for name, value in options.items() for word in (f"--{name}", str(value))]


def outcome(folder: Path) -> tuple[str, list]:
    """Hash of the weights, and everything that was logged or measured, but for times."""
    content = json.loads((folder / "metrics.json").read_text())
    history = [
        {name: value for name, value in entry.items() if not name.endswith(NOT_REPEATED)}
        for entry in content.pop("history")
    ]
    weights = (folder / "model.safetensors").read_bytes()
    return hashlib.sha256(weights).hexdigest(), [history, content["validation"], content["test"]]


@pytest.mark.parametrize("script", SCRIPTS)
def test_two_runs_with_one_seed_are_equal_and_with_two_they_are_not(script, tmp_path):
    data = write_prepared_folder(tmp_path / "data")
    torch.rand(5)  # what others have drawn does not matter
    SCRIPTS[script].main(words(script, data, tmp_path / "one"))
    done = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / f"{script}.py"), *words(script, data, tmp_path / "same")],
        env={**os.environ, "PYTHONHASHSEED": "12345", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    SCRIPTS[script].main(words(script, data, tmp_path / "other", seed=8))
    one, same, other = (outcome(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert one[0] != other[0]
