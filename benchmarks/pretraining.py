"""One pre-training step and one epoch at the paper's size: the straightforward way and ours.

    python benchmarks/pretraining.py --output OUT --batch_sizes 8 32 --steps 5 --threads 1
    python benchmarks/pretraining.py --output OUT --device cuda --batch_sizes 32 256 --epoch_visits 39550

Compares `straightforward_model.py`, our model with the frozen text layers computed in each step, and with
their states read from the cache, with and without attention dropout in the live layers (the last is another
recipe). Every variant has a process of its own, in which the highest resident set is read; the processes take
steps by turns, and so does one that multiplies large matrices, the machine's peak. Shown are medians and
ratios of CPU time on a CPU, of time by CUDA events (bf16) on a GPU. The epoch is the step's median times the
number of steps, unless `--epoch_visits` is given: then one is trained from the cache, with the batches and
workers of a run. All measurements lie in `measurements.json` of OUT. Needs torch, transformers, accelerate
and numpy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # runs from a clone, installed or not

from medm_plm.command_line import print_table  # noqa: E402

WORKER = ROOT / "benchmarks" / "pretraining_worker.py"
VARIANTS = (
    "straightforward",
    "straightforward_shared_ontology",
    "uncached",
    "cached",
    "cached_no_attention_dropout",
)
DEFAULT_VARIANTS = tuple(name for name in VARIANTS if name != "straightforward_shared_ontology")
PEAK = "peak"
EPOCH_VISITS = 39_550
"""Pre-training visits of the paper."""


class Worker:
    """A process that answers each line it is sent with one line of JSON.

    Args:
        options (`dict`): what `pretraining_worker.py` is to be.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        threads = str(options["threads"])
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        self.name = options["variant"]
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.questions, self.answers = self.process.stdin, self.process.stdout

    def ask(self, question: str = "") -> dict[str, Any]:
        """Send a line, or nothing to a worker that answers by itself, and wait."""
        if question:
            self.questions.write(f"{question}\n")
            self.questions.flush()
        answer = self.answers.readline()
        if not answer:
            raise SystemExit(f"the process of {self.name} ended with {self.process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self.questions.close()
        self.process.wait()
        self.answers.close()


def main() -> None:
    """Measure and print."""
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    print(machine(options), flush=True)
    results: dict[str, Any] = {"machine": machine(options), "batch_sizes": {}}
    with tempfile.TemporaryDirectory(dir=options.output) as cache:
        shared = {"device": options.device, "size": options.size, "threads": options.threads, "cache": cache}
        shared["num_visits"] = options.num_visits
        results["cache"] = Worker({"variant": "fill", **shared}).ask()
        print_cache(results["cache"], options)
        for batch_size in options.batch_sizes:
            measured = measure(options, {**shared, "batch_size": batch_size})
            results["batch_sizes"][batch_size] = measured
            print_steps(batch_size, measured, options)
            print_stages(batch_size, measured)
            (options.output / "measurements.json").write_text(json.dumps(results, indent=1) + "\n")
        if options.epoch_visits:
            shared |= {"num_visits": options.epoch_visits, "batch_size": options.batch_sizes[-1]}
            results["fill_of_epoch"] = Worker({"variant": "fill", **shared}).ask()
            print_cache(results["fill_of_epoch"], options)
            results["epoch"] = Worker({"variant": "epoch", "workers": options.workers, **shared}).ask()
            print_epoch(results["epoch"])
    results["machine_afterwards"] = machine(options)
    (options.output / "measurements.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nafterwards: {machine(options)}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="takes measurements.json and the cache")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--steps", type=int, default=5, help="measured steps of each variant, by turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=DEFAULT_VARIANTS)
    parser.add_argument("--size", choices=("paper", "tiny"), default="paper")
    parser.add_argument("--num_visits", type=int, default=32, help="invented visits, used over and over")
    parser.add_argument("--epoch_visits", type=int, default=0, help="train one epoch of so many, cached")
    parser.add_argument("--workers", type=int, default=8, help="of the data loader in that epoch")
    return parser.parse_args()


def machine(options: argparse.Namespace) -> str:
    """Say what the numbers were measured on."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {options.device}, threads a process: "
        f"{options.threads}, load average {load}"
    )


def measure(options: argparse.Namespace, shared: dict[str, Any]) -> dict[str, Any]:
    """Let all variants of one batch size take steps by turns."""
    workers = [Worker({"variant": name, **shared}) for name in (PEAK, *options.variants)]
    flops = {worker.name: worker.ask("count").get("flops", {}) for worker in workers}
    rounds = [{worker.name: worker.ask("step") for worker in workers} for _ in range(options.steps)]
    for worker in workers:
        worker.close()
    return {"flops": flops, "rounds": rounds}


def seconds(measured: dict[str, Any], name: str, stage: str | None = None, clock: int = 1) -> float:
    """Median of a stage, or of the whole step; clock 0 is the wall, 1 that of the cores or of the GPU."""
    answers = [answers[name]["stages"] for answers in measured["rounds"]]
    chosen = [values.items() if stage is None else [(stage, values.get(stage, (0, 0)))] for values in answers]
    return statistics.median(sum(times[clock] for _, times in items) for items in chosen)


def peak_rate(measured: dict[str, Any]) -> float:
    """Largest rate of matrix products seen in the run, operations a second."""
    return max(answers[PEAK]["flops_per_second"] for answers in measured["rounds"])


def print_steps(batch_size: int, measured: dict[str, Any], options: argparse.Namespace) -> None:
    """One line a variant."""
    peak, first = peak_rate(measured), options.variants[0]
    rows = []
    for name in options.variants:
        step, flops = seconds(measured, name), sum(measured["flops"][name].values())
        last = measured["rounds"][-1][name]
        times = [answers[name].get("step_seconds") for answers in measured["rounds"]]
        undisturbed = statistics.median(times) if times[0] else seconds(measured, name, clock=0)
        rows.append(
            [
                name,
                round(step * 1e3),
                f"{seconds(measured, first) / step:.2f}",
                round(undisturbed * 1e3),
                round(flops / 1e9),
                f"{flops / step / peak:.0%}",
                round(last["peak_memory"]),
                f"{batch_size / undisturbed:.2f}",
                f"{undisturbed * EPOCH_VISITS / batch_size / 3600:.2f}",
            ]
        )
    time_name, memory = ("CPU ms", "RSS MB") if options.device == "cpu" else ("GPU ms", "GPU MB")
    print_table(
        f"Batch {batch_size}: one step, medians of {len(measured['rounds'])}; best matrix product "
        f"{peak / 1e9:.0f} GFLOP/s",
        ["variant", time_name, "times", "wall ms", "GFLOP", "of peak", memory, "visits/s", "epoch h"],
        rows,
    )


def print_stages(batch_size: int, measured: dict[str, Any]) -> None:
    """One line a stage and variant."""
    peak = peak_rate(measured)
    rows = []
    for name, flops in measured["flops"].items():
        for stage in measured["rounds"][0][name].get("stages", {}):
            spent = seconds(measured, name, stage)
            share = spent / seconds(measured, name)
            counted = flops.get(stage, 0.0)
            rate = f"{counted / spent / peak:.0%}" if spent else "-"
            rows.append([name, stage, f"{spent * 1e3:.1f}", f"{share:.1%}", f"{counted / 1e9:.2f}", rate])
    print_table(
        f"Batch {batch_size}: stages", ["variant", "stage", "ms", "of step", "GFLOP", "of peak"], rows
    )


def print_cache(cache: dict[str, float], options: argparse.Namespace) -> None:
    """Size of the kept states, and what they cost once."""
    per_visit = cache["bytes"] / cache["num_visits"]
    used = cache["cpu" if options.device == "cpu" else "wall"] / cache["num_visits"]
    row = [cache["num_visits"], f"{per_visit / 1e6:.3f}", f"{per_visit * EPOCH_VISITS / 1e9:.1f}"]
    columns = ["visits", "MB a visit", f"GB for {EPOCH_VISITS}", "ms a visit", "h for all, once"]
    print_table(
        "Cache of the frozen layers, filled once",
        columns,
        [[*row, round(used * 1e3), f"{used * EPOCH_VISITS / 3600:.2f}"]],
    )


def print_epoch(epoch: dict[str, float]) -> None:
    """A whole epoch that was trained."""
    print_table(
        "One epoch from the cache",
        ["visits", "steps", "s", "visits/s", "last loss"],
        [
            [
                epoch["visits"],
                epoch["steps"],
                epoch["seconds"],
                epoch["visits"] / epoch["seconds"],
                epoch["loss"],
            ]
        ],
    )


if __name__ == "__main__":
    main()
