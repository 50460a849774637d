"""Runs in several processes: the shipped configurations, and the job for a queue that takes machines back."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin, patch_environment
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file

from modeling_medm_plm import MedMPLMPreTrainedModel
from prepared_cohort import PROJECT_ROOT, smoke_options, write_prepared_folder

CONFIGS = PROJECT_ROOT / "configs" / "accelerate"
NAMES = ("cpu_2_ranks", "ddp", "fsdp2", "one_gpu")
TOLERANCE = 2e-6

# Processes draw different dropout, so gradients can be compared only without it.
WITHOUT_DROPOUT = """
import sys
import torch
sys.path.insert(0, {root!r})
build = torch.nn.Dropout.__init__
torch.nn.Dropout.__init__ = lambda self, p=0.5, inplace=False: build(self, 0.0, inplace)
import run_pretraining
run_pretraining.main(sys.argv[1:])
"""


def launch_arguments(name: str, *options: str) -> argparse.Namespace:
    """What `accelerate launch` makes of a configuration."""
    words = ["--config_file", str(CONFIGS / f"{name}.yaml"), *options, "run_pretraining.py"]
    return _validate_launch_command(launch_command_parser().parse_args(words))[0]


def test_every_configuration_is_one_of_the_library():
    assert {path.stem for path in CONFIGS.iterdir()} == set(NAMES)
    for name in NAMES:
        ClusterConfig.from_yaml_file(str(CONFIGS / f"{name}.yaml"))  # refuses keys it does not know


@pytest.mark.parametrize(
    ("name", "num_processes", "precision"),
    [("cpu_2_ranks", 2, "no"), ("one_gpu", 1, "bf16"), ("ddp", 4, "bf16"), ("fsdp2", 4, "bf16")],
)
def test_launch_takes_the_configuration(name, num_processes, precision):
    arguments = launch_arguments(name)
    assert arguments.num_processes == num_processes
    assert arguments.mixed_precision == precision
    assert not any((arguments.use_cpu, arguments.cpu))  # with either, launch starts a single process
    assert bool(arguments.multi_gpu) == (name in ("cpu_2_ranks", "ddp"))
    assert bool(arguments.use_fsdp) == (name == "fsdp2")


def test_fsdp_splits_the_layers_that_the_model_names():
    environment = prepare_multi_gpu_env(launch_arguments("fsdp2"))
    fsdp = {key: value for key, value in environment.items() if key.startswith("FSDP")}
    with patch_environment(**fsdp):
        plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert str(plugin.state_dict_type).endswith("FULL_STATE_DICT")
    assert set(plugin.transformer_cls_names_to_wrap) <= set(MedMPLMPreTrainedModel._no_split_modules)


def pretrain(launcher: list[str], script: Path, output: Path, data: Path, batch_size: int) -> tuple:
    """Two epochs without dropout and with plain gradient descent, whose steps are the gradients."""
    options = {
        "data": data,
        "output_dir": output,
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": 1,  # the library averages over batches, whatever is in them
        "num_train_epochs": 2,
        "learning_rate": 0.1,
        "optim": "sgd",
        "train_sampling_strategy": "group_by_length",
        "use_cpu": "true",
        "num_frozen_text_layers": 1,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), *smoke_options("pretraining"), *words],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(output / "model.safetensors"), json.loads((output / "metrics.json").read_text())


def test_two_processes_learn_what_one_learns_on_the_same_global_batch(tmp_path):
    """Gradients (as weights after two epochs of plain steps) and metrics, to 2e-6; also with an odd rest."""
    data = write_prepared_folder(tmp_path / "data")
    script = tmp_path / "without_dropout.py"
    script.write_text(WITHOUT_DROPOUT.format(root=str(PROJECT_ROOT)))
    launcher = ["-m", "accelerate.commands.accelerate_cli", "launch", "--config_file"]
    launcher += [str(CONFIGS / "cpu_2_ranks.yaml"), "--main_process_port", "0"]
    alone, metrics_alone = pretrain([], script, tmp_path / "one", data, 14)
    together, metrics_together = pretrain(launcher, script, tmp_path / "two", data, 7)
    assert metrics_alone["visits"]["train"] % 14 != 0
    assert alone.keys() == together.keys()
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, rtol=0, atol=TOLERANCE, msg=name)
    for split in ("validation", "test"):
        expected = metrics_alone[split]["model"]
        assert metrics_together[split]["model"] == pytest.approx(expected, abs=TOLERANCE)
    losses = [
        [entry["loss"] for entry in metrics["history"] if "loss" in entry]
        for metrics in (metrics_alone, metrics_together)
    ]
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


@pytest.mark.parametrize(
    ("sent", "status", "is_requeued"),
    [(signal.SIGUSR1, 138, True), (signal.SIGTERM, 143, True), (None, 1, False), (None, 0, False)],
)
def test_the_queue_gets_an_interrupted_run_back_and_no_other(sent, status, is_requeued, tmp_path):
    """With stand-ins for the run, which saves for a moment after a signal, and for Slurm."""
    stubs = {
        "scontrol": f'echo "$@" > {tmp_path}/requeued',
        "python": (
            f'echo "$@" > {tmp_path}/options\n'
            "trap 'sleep 0.3; exit 138' USR1\ntrap 'sleep 0.3; exit 143' TERM\n"
            f"touch {tmp_path}/started\n" + ("while true; do sleep 0.05; done" if sent else f"exit {status}")
        ),
    }
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    job = subprocess.Popen(
        ["bash", str(PROJECT_ROOT / "scripts" / "pretraining.sbatch"), "prepared", "out", "--seed", "3"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "77"},
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
    if sent is not None:
        time.sleep(0.2)
        job.send_signal(sent)
    assert job.wait(timeout=60) == status
    assert (tmp_path / "options").read_text().split()[-6:] == [
        *("--data", "prepared", "--output_dir", "out"),
        *("--seed", "3"),
    ]
    assert (tmp_path / "requeued").exists() == is_requeued
    if is_requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 77\n"


def test_a_run_that_ends_while_a_signal_is_passed_on_keeps_its_own_status(tmp_path):
    """The stand-in fails by itself as the signal comes, before it is passed on to it."""
    script = (PROJECT_ROOT / "scripts" / "pretraining.sbatch").read_text(encoding="utf-8")
    slow = script.replace("trap 'kill -s USR1", "trap 'sleep 0.6; kill -s USR1")
    assert slow != script
    (tmp_path / "slow.sbatch").write_text(slow)
    stubs = {
        "scontrol": f"touch {tmp_path}/requeued",
        "python": f"touch {tmp_path}/started\nsleep 0.4\nexit 7",
    }
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    job = subprocess.Popen(
        ["bash", str(tmp_path / "slow.sbatch"), "prepared", "out"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "77"},
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    time.sleep(0.05)  # the traps are set just after the start
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=60) == 7
    assert not (tmp_path / "requeued").exists()
