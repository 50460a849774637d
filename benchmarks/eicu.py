"""MedM-PLM and logistic regression on the eICU demo: the tables of docs/results.md.

    python benchmarks/eicu.py --input EICU_FOLDER --text_model ENCODER_FOLDER --output OUT

Prepares the tables, pre-trains with and without the cross-modal module, fine-tunes ICD coding (30 most
frequent codes, from note and medications) and medication prediction (from note and diagnoses), fits the
baselines on the same examples, and prints mean (standard deviation) over the seeds. A run that has its
`metrics.json` is not repeated, so a broken-off benchmark goes on where it stopped. `--table` prints from what
is there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # runs from a clone, installed or not

from medm_plm.command_line import print_table  # noqa: E402

TASKS = ("icd_coding", "medication_prediction")
BASELINES = ("frequency", "linear_text", "linear_codes", "linear")
SHOWN = ("auroc_macro", "auroc_micro", "f1_micro")
ROWS = {
    "frequency": "label frequency",
    "linear_codes": "logistic regression, codes",
    "linear_text": "logistic regression, text",
    "linear": "logistic regression, both",
    "new": "MedM-PLM w/o pre-training",
    "separate": "MedM-PLM w/o cross-modal",
    "full": "MedM-PLM",
}


def main() -> None:
    """Run what is missing, then print."""
    options = parse()
    if not options.table:
        run_all(options)
    for task in TASKS:
        print_table(f"{task}, test patients", ("model", "runs", *SHOWN), task_rows(options.output, task))
    for name in ("full", "separate"):
        print_table(f"hidden codes of the test visits, {name}", *probe_table(options.output, name))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--input", type=Path, help="folder of the eICU tables")
    parser.add_argument("--text_model", help="folder of the text encoder, e.g. all-MiniLM-L6-v2")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, one thread each")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args()
    if not options.table and (options.input is None or options.text_model is None):
        parser.error("--input and --text_model are needed, unless --table is given")
    return options


def run_all(options: argparse.Namespace) -> None:
    """Prepare, then work through seeds, each of them pre-training before fine-tuning."""
    prepared = options.output / "prepared"
    if not (prepared / "report.json").exists():
        run("run_preparation.py", "--source", "eicu", "--input", options.input, "--output", prepared)
    with ThreadPoolExecutor(options.jobs) as pool:
        for seed in range(1, options.seeds + 1):
            list(pool.map(lambda name, seed=seed: pretrain(options, name, seed), ("full", "separate")))
            runs = [(task, name) for task in TASKS for name in ("full", "new", "separate")]
            list(pool.map(lambda pair, seed=seed: finetune_model(options, *pair, seed), runs))
        for task in TASKS:
            for name in BASELINES:
                pool.submit(finetune, options, task, name, 0, "--baseline", name)


def pretrain(options: argparse.Namespace, name: str, seed: int) -> None:
    """Pre-train one seed, with ("full") or without ("separate") the cross-modal module."""
    cross_modal = ("--use_cross_modal", str(name == "full").lower())
    train(options, "run_pretraining.py", "pretraining", pretrained_folder(options, name, seed), seed,
          "--text_model", options.text_model, "--probe_shuffled_modalities", *cross_modal)  # fmt: skip


def pretrained_folder(options: argparse.Namespace, name: str, seed: int) -> Path:
    return options.output / f"pretrained-{name}-{seed}"


def finetune_model(options: argparse.Namespace, task: str, name: str, seed: int) -> None:
    """Fine-tune one seed of MedM-PLM."""
    if name == "new":
        source = (
            "--text_model",
            options.text_model,
            "--text_pooling",
            "mean",
            "--num_frozen_text_layers",
            "6",
        )
    else:
        source = ("--model", pretrained_folder(options, name, seed))
    finetune(options, task, name, seed, *source)


def finetune(options: argparse.Namespace, task: str, name: str, seed: int, *words: object) -> None:
    folder = options.output / f"{task}-{name}-{seed}"
    train(options, "run_finetuning.py", "finetuning", folder, seed, "--task", task, *words)


def train(
    options: argparse.Namespace, script: str, config: str, folder: Path, seed: int, *words: object
) -> None:
    """Run a training script unless its metrics are there already."""
    if (folder / "metrics.json").exists():
        return
    shared = {"data": "prepared", "frozen_text_cache": "cache"}
    folders = [word for name, place in shared.items() for word in (f"--{name}", options.output / place)]
    config_file = ROOT / "configs" / "eicu" / f"{config}.yaml"
    run(script, "--config", config_file, *folders, "--output_dir", folder, "--seed", seed,
        "--disable_tqdm", "true", *words, log=folder.with_suffix(".log"))  # fmt: skip


def run(script: str, *words: object, log: Path | None = None) -> None:
    """Run a script of the project; its output goes to a log file or to the terminal."""
    command = [sys.executable, str(ROOT / script), *map(str, words)]
    print("$", *command[1:], flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    if log is None:
        subprocess.run(command, check=True, env=environment)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        done = subprocess.run(command, check=False, env=environment, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        print(f"failed with {done.returncode}, see {log.name}", flush=True)


def read_metrics(output: Path, pattern: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(output.glob(f"{pattern}/metrics.json"))]


def mean_and_deviation(values: list[float]) -> str:
    spread = f" ({statistics.stdev(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def task_rows(output: Path, task: str) -> list[list[object]]:
    """One line a model, in the order of `ROWS`."""
    rows = []
    for name, title in ROWS.items():
        runs = [content["test"]["model"] for content in read_metrics(output, f"{task}-{name}-[0-9]*")]
        if runs:
            rows.append([title, len(runs), *(mean_and_deviation([r[m] for r in runs]) for m in SHOWN)])
    return rows


def probe_table(output: Path, name: str) -> tuple[tuple[str, ...], list[list[object]]]:
    """Recall of hidden codes, with right and with exchanged notes and codes, beside the prior."""
    contents = [content["test"] for content in read_metrics(output, f"pretrained-{name}-[0-9]*")]
    rows: list[list[object]] = []
    for given in ("model", "notes_exchanged", "codes_exchanged", "frequency") if contents else ():
        for path in ("prior",) if given == "frequency" else ("t2c", "c2c"):
            values = [content[given][f"{path}_recall_at_10"] for content in contents]
            rows.append([given, path.upper(), len(values), mean_and_deviation(values)])
    return ("input", "from", "runs", "recall_at_10"), rows


if __name__ == "__main__":
    main()
