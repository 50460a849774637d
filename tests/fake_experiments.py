"""Scripts that stand in for training in tests of the runner, and lists of runs for them."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from medm_plm.errors import InputError
from medm_plm.experiments.planning import Run
from medm_plm.experiments.specification import DataSpecification, ExperimentList, ModelSpecification

SCRIPTS = dict.fromkeys(("pretraining", "finetuning", "preparation"), "fake_experiments:main")


def main():
    """Do as `--behaviour` says and leave a file of metrics; each call is noted beside the runs."""
    words = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    output = Path(words["--output_dir"])
    output.mkdir(parents=True, exist_ok=True)
    with (output.parent.parent.parent / "calls.txt").open("a") as file:
        file.write(output.parent.name + "\n")
    sys.stdout.write("a line for the log\n")
    behaviour = words.get("--behaviour", "finish")
    if behaviour == "input_error":
        raise InputError("column is missing", file="D.csv")
    if behaviour == "defect":
        raise RuntimeError("no such layer\nsecond line")
    if behaviour == "wrong_option":
        sys.stderr.write("fake: error: unknown option --x\n")
        raise SystemExit(2)
    if behaviour == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    checkpoint = output / "checkpoints" / "step"
    resumed = checkpoint.is_file()
    if behaviour == "interrupted" and not resumed:
        checkpoint.parent.mkdir()
        checkpoint.write_text(str(os.getpid()))
        time.sleep(600)
    (output / "model.safetensors").write_bytes(b"weights")
    scores = {"model": {"auroc": 0.5 + float(words["--seed"]) / 100}, "frequency": {"auroc": 0.5}}
    content = {"test": scores, "validation": scores, "resumed": resumed, "words": sorted(words)}
    (output / "metrics.json").write_text(json.dumps(content))


def calls(output: Path) -> list[str]:
    """Names of the runs whose script was called, in order."""
    path = output / "calls.txt"
    return path.read_text().split() if path.is_file() else []


def fake_run(name: str, needs: tuple[str, ...] = (), kind: str = "finetuning", **settings) -> Run:
    """A run of the fake script."""
    return Run(name, kind, {"seed": 1, **settings}, 1, "model", "readmission", needs=needs)


def fake_list(**changes) -> ExperimentList:
    """Two tasks; two models that share a pre-training, one without, a baseline."""
    models = {
        "linear": ModelSpecification("LR", baseline="linear", seeds=[1]),
        "full": ModelSpecification("MedM-PLM", pretraining={}),
        "half": ModelSpecification(
            "half", pretraining={}, finetuning={"learning_rate": 1}, only=["icd_coding"]
        ),
        "new": ModelSpecification("new", model={"use_cross_modal": False}),
    }
    content = {
        "title": "a list",
        "data": DataSpecification("invented", "synthetic"),
        "models": models,
        "tasks": {"readmission": {"metric_for_best_model": "auroc"}, "icd_coding": {"top_k_labels": 5}},
        "seeds": [1, 2],
        "common": {"num_train_epochs": 3},
        "model": {"text_model": "package:encoder/model"},
        "finetuning": {"num_train_epochs": 2},
        "reference": "full",
    }
    return ExperimentList(**{**content, **changes})
