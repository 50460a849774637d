"""Short forms of `benchmarks/resilience.py`: killed runs end like untouched ones."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("words", [["--kills", "4"], ["--kills", "2", "--ranks", "2"]], ids=["one", "two"])
def test_killed_runs_end_like_untouched_ones(words, project_root):
    script = project_root / "benchmarks" / "resilience.py"
    if not script.is_file():
        pytest.skip("benchmarks are not part of this distribution")
    command = [sys.executable, str(script), *words, "--only", "kills", "--recipes", "best", "cached"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    number = int(words[1]) // 2
    for what in ("killed at a random time", "killed inside a save"):
        assert f"{what}: {number} of {number}" in done.stdout


def test_runs_killed_in_mid_epoch_end_like_untouched_ones(project_root):
    """Half of workers 0 and 2, accumulation 1 and 4, processes 1 and 2, with every pair of settings."""
    script = project_root / "benchmarks" / "resilience.py"
    if not script.is_file():
        pytest.skip("benchmarks are not part of this distribution")
    command = [sys.executable, str(script), "--only", "matrix", "--covering"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.count(": 1 of 1") == 4
