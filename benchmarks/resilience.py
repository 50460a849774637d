"""Kill, damage, interrupt and poison pre-training runs, and see whether they end as an untouched run does.

    python benchmarks/resilience.py --kills 50
    python benchmarks/resilience.py --kills 40 --ranks 2

Trains the smallest model on a small synthetic cohort with `run_pretraining.py`. Half of the kills (SIGKILL)
come at a random time, half at a random moment inside a save: the child process wraps the functions that
write, flush and rename, and ends itself at one of their calls. The same command is then given again; the run
counts as exact if weights, metrics and every logged loss are equal bit for bit to those of a run that nothing
happened to. Recipes go round: accumulation 1 and 2, 0 and 2 workers, evaluation by epoch and by steps with
the best weights at the end. After that runs are stopped by signals, a loss, a gradient and a weight become
not a number, and each file of a checkpoint is removed, cut or changed in one bit.

    python benchmarks/resilience.py --only matrix

kills a run in the middle of an epoch for each of workers 0 and 2, accumulation 1 and 4, processes 1 and 2.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]  # runs from a clone, installed or not
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402

import run_pretraining  # noqa: E402
from medm_plm.command_line import print_table, run_main  # noqa: E402
from medm_plm.training.checkpoints import STATE_FILE, checkpoints_in, step_of  # noqa: E402
from medm_plm.training.resumable_trainer import ResumableTrainer  # noqa: E402

Fault = Callable[[int], None]
"""Called in each child process with its rank before the run begins."""

_COMMON = {
    "config": ROOT / "configs" / "smoke" / "pretraining.yaml",
    "disable_tqdm": True,
    "use_cpu": True,
    "save_strategy": "steps",
    "save_steps": 3,
    "save_total_limit": 2,
    "logging_steps": 2,
}
RECIPES: dict[str, dict[str, Any]] = {
    "epochs": {"load_best_model_at_end": False, "num_train_epochs": 2},
    "best": {
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 8,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "logging_strategy": "steps",
        "metric_for_best_model": "loss",
        "early_stopping_patience": 20,
    },
    "workers": {
        "load_best_model_at_end": False,
        "dataloader_num_workers": 2,
        "dataloader_persistent_workers": True,
        "logging_strategy": "steps",
    },
}
CELLS = [(workers, accumulation, ranks) for workers in (0, 2) for accumulation in (1, 4) for ranks in (1, 2)]
COVERING = (CELLS[0], CELLS[3], CELLS[5], CELLS[6])
"""Half of the cells, with each pair of settings: an error of two settings together shows in these as well."""
LAST_STEP = 8
"""Of a run that is killed: between two checkpoints, and inside the second epoch."""
RECIPES_OF_CELLS: dict[str, dict[str, Any]] = {
    f"{workers} workers, accumulation {accumulation}, {ranks} ranks": {
        "load_best_model_at_end": False,
        "dataloader_num_workers": workers,
        "dataloader_persistent_workers": workers > 0,
        "gradient_accumulation_steps": accumulation,
        "per_device_train_batch_size": 16 // accumulation // ranks,
        "num_train_epochs": 3,
        "logging_strategy": "steps",
    }
    for workers, accumulation, ranks in CELLS
}
SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}
EXPERIMENTS = ("kills", "signals", "poison", "damages")
SECONDS_PER_RUN = 300
_TIMES = ("runtime", "per_second")


def words_of(recipe: str, data: Path, folder: Path) -> list[str]:
    """Write the options of a run as words of a command line."""
    options = {**_COMMON, **(RECIPES | RECIPES_OF_CELLS)[recipe], "data": data, "output_dir": folder}
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def start(words: list[str], ranks: int, log: Path, fault: Fault | None = None) -> list[int]:
    """Start a run in one child process for each rank; the modules are imported already."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            _run_as_child(words, rank, ranks, port, log.with_suffix(f".{rank}.log"), fault)
        children.append(child)
    return children


def _run_as_child(words: list[str], rank: int, ranks: int, port: int, log: Path, fault: Fault | None) -> None:
    status = 1
    try:
        os.setpgid(0, 0)
        with log.open("ab", buffering=0) as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        if ranks > 1:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
        if fault is not None:
            fault(rank)
        run_main(lambda: run_pretraining.main(words))
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(children: list[int]) -> list[int]:
    """Wait for all processes of a run; as a launcher does, end all when one ends badly."""
    states: dict[int, int] = {}
    deadline = time.monotonic() + SECONDS_PER_RUN
    while len(states) < len(children):
        for child in set(children) - states.keys():
            done, state = os.waitpid(child, os.WNOHANG)
            if done:
                states[child] = os.waitstatus_to_exitcode(state)
                if states[child] != 0:
                    deadline = min(deadline, time.monotonic() + 5)
        if time.monotonic() > deadline:
            for child in set(children) - states.keys():
                _kill(child, signal.SIGKILL)
        time.sleep(0.01)
    for child in children:  # workers of its data loader
        _kill(child, signal.SIGKILL)
    return [states[child] for child in children]


def _kill(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, number)


def outcome(folder: Path) -> tuple[str, str] | None:
    """Weights and everything logged of a finished run, without times; None if it did not finish."""
    weights, report = folder / "model.safetensors", folder / "metrics.json"
    if not weights.is_file() or not report.is_file():
        return None
    content = json.loads(report.read_text())
    history = [
        {name: value for name, value in entry.items() if not name.endswith(_TIMES)}
        for entry in content["history"]
    ]
    parts = {name: content[name] for name in ("validation", "test")}
    return hashlib.sha256(weights.read_bytes()).hexdigest(), json.dumps([history, parts], sort_keys=True)


def die_inside_a_save(call: int, victim: int) -> Fault:
    """Make one rank end itself at the given moment of its saves; each call of a function has two."""

    def fault(rank: int) -> None:
        if rank == victim:
            count_moments(lambda moment: moment == call and os.kill(os.getpid(), signal.SIGKILL))

    return fault


def die_at_step(step: int) -> Fault:
    """Make all ranks end themselves when a step is to follow on this one, half of its batches done."""

    def fault(rank: int) -> None:
        original = ResumableTrainer.training_step
        batches = []

        def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == step:
                batches.append(rank)
                if len(batches) > self.args.gradient_accumulation_steps // 2:
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *args, **kwargs)

        ResumableTrainer.training_step = training_step

    return fault


def count_moments(at_moment: Callable[[int], object]) -> None:
    """Call `at_moment` with 0, 1, 2, ... before and after each call inside a save that touches the disk."""
    state = {"inside": 0, "moment": 0}

    def tick() -> None:
        if state["inside"]:
            at_moment(state["moment"])
            state["moment"] += 1

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            tick()
            result = original(*args, **kwargs)
            tick()
            return result

        setattr(owner, name, watched)

    def enter(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def entered(*args: Any, **kwargs: Any) -> Any:
            state["inside"] += 1
            try:
                return original(*args, **kwargs)
            finally:
                state["inside"] -= 1

        setattr(owner, name, entered)

    for owner, name in (
        (os, "fsync"),
        (os, "replace"),
        (os, "makedirs"),
        (torch, "save"),
        (shutil, "rmtree"),
    ):
        watch(owner, name)
    watch(Path, "write_text")
    for name in ("_save_checkpoint", "save_model"):
        enter(ResumableTrainer, name)


class Laboratory:
    """Runs of one size, compared with runs that nothing happened to.

    Args:
        folder (`Path`): where everything lies.
        ranks (`int`): processes of each run.
        seed (`int`): chooses the moments.
    """

    def __init__(self, folder: Path, ranks: int, seed: int = 0) -> None:
        self.folder, self.ranks = folder, ranks
        self.random = random.Random(seed)
        self.data = folder / "prepared"
        if not self.data.exists():
            words = ["--source", "synthetic", "--num_patients", "70", "--output", str(self.data)]
            command = [sys.executable, str(ROOT / "run_preparation.py"), *words]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run(command, check=True, cwd=ROOT, **quiet)
        self.references: dict[str, tuple[tuple[str, str], float, list[int]]] = {}
        self._number = 0

    def new_folder(self) -> Path:
        """Name a folder for one more run."""
        self._number += 1
        return self.folder / f"run-{self.ranks}-{self._number}"

    def run(self, recipe: str, folder: Path, fault: Fault | None = None) -> list[int]:
        """Run to the end; return the exit status of each rank."""
        return wait(self.start(recipe, folder, fault))

    def start(self, recipe: str, folder: Path, fault: Fault | None = None) -> list[int]:
        """Start a run."""
        log = self.folder / f"{folder.name}.log"
        return start(words_of(recipe, self.data, folder), self.ranks, log, fault)

    def said(self, folder: Path) -> str:
        """Everything the processes of the runs in a folder have printed."""
        logs = sorted(self.folder.glob(f"{folder.name}.*.log"))
        return "".join(log.read_text(errors="replace") for log in logs)

    def reference(self, recipe: str) -> tuple[tuple[str, str], float, list[int]]:
        """Outcome, duration and number of moments inside saves (of each rank) of an untouched run."""
        if recipe not in self.references:
            folder = self.new_folder()

            def count(rank: int) -> None:
                file = self.folder / f"moments-{rank}"
                count_moments(lambda moment: file.write_bytes(str(moment + 1).encode()))

            began = time.monotonic()
            states = self.run(recipe, folder, count)
            duration = time.monotonic() - began
            made = outcome(folder)
            if any(states) or made is None:
                raise RuntimeError(f"the untouched run failed: {states}\n{self.said(folder)[-3000:]}")
            moments = [int((self.folder / f"moments-{rank}").read_text()) for rank in range(self.ranks)]
            self.references[recipe] = made, duration, moments
            shutil.rmtree(folder)
        return self.references[recipe]

    def verdict(self, recipe: str, folder: Path) -> str:
        """Give the same command again and compare with the untouched run."""
        for log in self.folder.glob(f"{folder.name}.*.log"):
            log.unlink()  # a process whose peer is killed may end as it likes
        states = self.run(recipe, folder)
        said = self.said(folder)
        made, expected = outcome(folder), self.reference(recipe)[0]
        if any(states) or made is None:
            print(f"{folder.name}: {states}\n{said[-3000:]}")
            return "not resumed"
        if "Traceback" in said:
            return "traceback"
        if made != expected:
            return "other weights" if made[0] != expected[0] else "other losses"
        shutil.rmtree(folder)
        return "exact"

    def kill_at_random_time(self, recipe: str) -> str:
        """SIGKILL to a random rank at a random time; the others follow."""
        _, duration, _ = self.reference(recipe)
        folder = self.new_folder()
        children = self.start(recipe, folder)
        time.sleep(self.random.uniform(0.1, 0.95) * duration)
        _kill(self.random.choice(children), signal.SIGKILL)
        wait(children)
        return self.verdict(recipe, folder)

    def kill_inside_a_save(self, recipe: str) -> str:
        """A random rank ends itself at a random call of one of its saves."""
        _, _, moments = self.reference(recipe)
        victim = self.random.randrange(self.ranks)
        folder = self.new_folder()
        call = self.random.randrange(moments[victim])
        states = self.run(recipe, folder, die_inside_a_save(call, victim))
        if states[victim] != -signal.SIGKILL:
            return f"not killed: {states}"
        return self.verdict(recipe, folder)

    def kill_in_mid_epoch(self, recipe: str) -> str:
        """All ranks end themselves at one step; what they resume from must lie inside an epoch."""
        self.reference(recipe)
        folder = self.new_folder()
        states = self.run(recipe, folder, die_at_step(LAST_STEP))
        if states != [-signal.SIGKILL] * self.ranks:
            return f"not killed: {states}"
        newest = checkpoints_in(folder / "checkpoints")[0]
        epoch = json.loads((newest / STATE_FILE).read_text())["epoch"]
        if float(epoch).is_integer() or step_of(newest) > LAST_STEP:
            return f"{newest.name} lies at the end of an epoch"
        return self.verdict(recipe, folder)

    def interrupt(self, recipe: str, number: int) -> str:
        """A signal at a random time of the training; the exit status must be that of the signal."""
        _, duration, _ = self.reference(recipe)
        folder = self.new_folder()
        children = self.start(recipe, folder)
        moment = time.monotonic() + self.random.uniform(0.0, 0.5) * duration
        while not checkpoints_in(folder / "checkpoints") and not _ended(children):
            time.sleep(0.005)
        time.sleep(max(0.0, moment - time.monotonic()) * 0.2)
        _kill(self.random.choice(children), number)
        states = wait(children)
        if "Traceback" in self.said(folder):
            return "traceback"
        finished = outcome(folder) is not None
        expected = {SIGNALS[number], -number} if not finished else {0}
        if not set(states) <= expected:
            return f"status {states}"
        return self.verdict(recipe, folder)

    def damages(self, recipe: str) -> Iterator[tuple[str, str, str]]:
        """Damage the newest of two checkpoints in each of its files; yield file, damage and verdict."""
        source = self.new_folder()
        self.run(recipe, source, die_inside_a_save(self.reference(recipe)[2][0] * 2 // 3, 0))
        newest = checkpoints_in(source / "checkpoints")[0]
        names = sorted(path.relative_to(newest) for path in newest.rglob("*") if path.is_file())
        for name in names:
            for damage, spoil in DAMAGES.items():
                folder = self.new_folder()
                shutil.copytree(source, folder)
                spoil(folder / "checkpoints" / newest.name / name)
                verdict = self.verdict(recipe, folder)
                if verdict == "exact" and "damaged checkpoints are passed over" not in self.said(folder):
                    verdict = "without a warning"
                yield str(name), damage, verdict

    def poison(self, recipe: str, quantity: str, step: int = 5) -> str:
        """Make a loss, a gradient or a weight not a number in one step; the run must stop there."""
        folder = self.new_folder()
        states = self.run(recipe, folder, poison(quantity, step))
        said = self.said(folder)
        newest = checkpoints_in(folder / "checkpoints")[0]
        lines = [line for line in said.splitlines() if "not finite" in line]
        if states != [1] * self.ranks or len(lines) != 1 or "Traceback" in said:
            return f"status {states}, {len(lines)} lines"
        if f"step {step} " not in lines[0] or "examples " not in lines[0] or step_of(newest) >= step:
            return "step, examples or checkpoint are wrong"
        return self.verdict(recipe, folder)


def _ended(children: list[int]) -> bool:
    return any(os.waitid(os.P_PID, c, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None for c in children)


def poison(quantity: str, step: int) -> Fault:
    """Spoil one quantity of one step on the last rank."""

    def fault(rank: int) -> None:
        if rank != int(os.environ.get("WORLD_SIZE", 1)) - 1:
            return
        original = ResumableTrainer.training_step

        def training_step(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step + 1 != step:
                return original(self, model, inputs, *args, **kwargs)
            weight = next(p for p in self.model.parameters() if p.requires_grad)
            if quantity == "loss":
                compute = self.compute_loss
                self.compute_loss = lambda *a, **k: compute(*a, **k) * float("nan")
            loss = original(self, model, inputs, *args, **kwargs)
            if quantity == "gradient":
                weight.grad.view(-1)[0] = float("inf")
            if quantity == "weights":
                weight.data.view(-1)[0] = float("nan")
            return loss

        ResumableTrainer.training_step = training_step

    return fault


def _cut(share: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "cut at 0 %": _cut(0.0),
    "cut at 50 %": _cut(0.5),
    "cut at 99 %": _cut(0.99),
    "one bit": _flip,
}


def main() -> None:
    """Run the experiments and print their table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="half of them inside a save")
    parser.add_argument("--signals", type=int, default=9, help="runs stopped by a signal")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=(*EXPERIMENTS, "matrix"), default=EXPERIMENTS)
    parser.add_argument("--covering", action="store_true", help="half of the matrix, with all pairs")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        laboratory = Laboratory(Path(folder), options.ranks, options.seed)
        counts = options.kills, options.signals
        rows = list(experiments(laboratory, *counts, options.only, options.recipes))
        if "matrix" in options.only:
            rows += matrix(Path(folder), COVERING if options.covering else CELLS, options.seed)
    columns = ["what", "runs", "exact", "otherwise"]
    ranks = "" if options.only == ["matrix"] else f"{options.ranks} process{'es' * (options.ranks > 1)}, "
    print_table(f"{ranks}seed {options.seed}", columns, rows)
    if any(runs != exact for _, runs, exact, _ in rows):
        raise SystemExit(1)


def summarize(what: str, verdicts: list[str]) -> tuple[str, int, int, str]:
    """Print one line and make one row of the table: what was done, how often, how often all was well."""
    others = sorted(set(verdicts) - {"exact"})
    print(f"{what}: {verdicts.count('exact')} of {len(verdicts)} {others or ''}", flush=True)
    return what, len(verdicts), verdicts.count("exact"), ", ".join(others) or "-"


def matrix(
    folder: Path, cells: Sequence[tuple[int, int, int]], seed: int
) -> Iterator[tuple[str, int, int, str]]:
    """Kill and resume in the middle of an epoch, once for each cell; yield what `experiments` yields."""
    laboratories = {ranks: Laboratory(folder, ranks, seed) for _, _, ranks in cells}
    for name, cell in zip(RECIPES_OF_CELLS, CELLS, strict=True):
        if cell in cells:
            yield summarize(name, [laboratories[cell[2]].kill_in_mid_epoch(name)])


def experiments(
    laboratory: Laboratory, kills: int, signals: int, only: Sequence[str], recipes: Sequence[str]
) -> Iterator[tuple[str, int, int, str]]:
    """Run all experiments; yield what was done, how often, how often all was well, and what else came out."""

    def in_turn(number: int) -> list[str]:
        return [recipes[index % len(recipes)] for index in range(number)]

    if "kills" in only:
        made = [laboratory.kill_at_random_time(recipe) for recipe in in_turn(kills - kills // 2)]
        yield summarize("killed at a random time", made)
        made = [laboratory.kill_inside_a_save(recipe) for recipe in in_turn(kills // 2)]
        yield summarize("killed inside a save", made)
    if "signals" in only:
        for index, number in enumerate(SIGNALS):
            times = len(range(index, signals, len(SIGNALS)))
            made = [laboratory.interrupt(recipe, number) for recipe in in_turn(times)]
            yield summarize(f"stopped by {number.name}", made)
    if "poison" in only:
        for quantity in ("loss", "gradient", "weights"):
            yield summarize(
                f"{quantity} not a number", [laboratory.poison(name, quantity) for name in recipes]
            )
    if "damages" in only:
        found = list(laboratory.damages(recipes[0]))
        for damage in DAMAGES:
            yield summarize(f"a file {damage}", [verdict for _, how, verdict in found if how == damage])


if __name__ == "__main__":
    main()
