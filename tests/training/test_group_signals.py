"""A signal to the whole process group, as Slurm and Ctrl-C send it, reaches the workers of a loader too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from medm_plm.command_line import run_main
from medm_plm.training.checkpoints import checkpoints_in
from prepared_cohort import PROJECT_ROOT, tiny_processor
from tiny_trainers import VISITS, logged, pretraining_trainer

OPTIONS = {
    "save_strategy": "steps",
    "save_steps": 100,
    "max_steps": -1,
    "num_train_epochs": 2,
    "logging_strategy": "steps",
    "logging_steps": 1,
    "dataloader_num_workers": 2,
    "dataloader_persistent_workers": True,
}
STEP = 3
READY = "ready"
EVALUATION = {"eval_strategy": "steps", "eval_steps": STEP - 1, "per_device_eval_batch_size": 2}
SECONDS = 120


class WaitForSignal(TrainerCallback):
    """Stops in the middle of an epoch, or of the evaluation before it, until a signal has been noted."""

    def __init__(self, trainer, ready: Path) -> None:
        self.trainer, self.ready = trainer, ready

    def on_step_begin(self, args, state, control, **kwargs):
        """Say so, and wait."""
        if state.global_step + 1 == STEP:
            self.wait()

    def on_prediction_step(self, args, state, control, **kwargs):
        """The same between two batches of an evaluation."""
        self.wait()

    def wait(self) -> None:
        """Say so, and wait."""
        self.ready.touch()
        while not self.trainer.interruption.signal_number:
            time.sleep(0.01)


def interrupted_run(folder: Path, **options) -> None:
    trainer = pretraining_trainer(tiny_processor(VISITS), folder, **OPTIONS, **options)
    trainer.add_callback(WaitForSignal(trainer, folder / READY))
    trainer.train()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    trainer = pretraining_trainer(tiny_processor(VISITS), tmp_path_factory.mktemp("whole"), **OPTIONS)
    trainer.train()
    return trainer.model.state_dict(), logged(trainer)


@pytest.mark.parametrize(
    ("number", "status", "when"),
    [
        (signal.SIGTERM, 143, "training"),
        (signal.SIGINT, 130, "training"),
        (signal.SIGUSR1, 138, "training"),
        (signal.SIGTERM, 143, "evaluation"),
    ],
)
def test_a_signal_to_the_group_saves_and_the_run_goes_on_to_the_bit(number, status, when, whole, tmp_path):
    paths = os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "tests")])
    run = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path), when],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, which its workers join
    )
    deadline = time.monotonic() + SECONDS
    while not (tmp_path / READY).exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(run.pid, number)
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode == status, said[-3000:]
    assert "Traceback" not in said
    assert f"stopped by {number.name}: checkpoint-{STEP} is saved" in said
    with pytest.raises(ProcessLookupError):  # no worker is left behind
        os.killpg(run.pid, 0)
    (saved,) = checkpoints_in(tmp_path / "checkpoints")
    options = EVALUATION if when == "evaluation" else {}
    again = pretraining_trainer(tiny_processor(VISITS), tmp_path, **OPTIONS, **options)
    again.train(resume_from_checkpoint=str(saved))
    weights, losses = whole
    assert when == "evaluation" or logged(again) == losses
    assert all(torch.equal(weight, again.model.state_dict()[name]) for name, weight in weights.items())


if __name__ == "__main__":
    chosen = EVALUATION if sys.argv[2] == "evaluation" else {}
    run_main(lambda: interrupted_run(Path(sys.argv[1]), **chosen))
