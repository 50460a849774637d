"""Runs of one size that are killed, stopped, damaged or poisoned, and what becomes of them."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from resilience_faults import DAMAGES, Fault, count_moments, die_at_step, die_inside_a_save, poison
from resilience_recipes import LAST_STEP, ROOT, cache_of, words_of
from resilience_runs import ended, kill, outcome, start, wait

from medm_plm.training.checkpoints import STATE_FILE, checkpoints_in, step_of

SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}


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
        self.moments: Counter[str] = Counter()
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
            remove_run(folder)
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
        remove_run(folder)
        return "exact"

    def kill_at_random_time(self, recipe: str) -> str:
        """SIGKILL to a random rank at a random time; the others follow."""
        _, duration, _ = self.reference(recipe)
        folder = self.new_folder()
        children = self.start(recipe, folder)
        time.sleep(self.random.uniform(0.1, 0.95) * duration)
        self.moments[moment_of(folder, ended(children))] += 1
        kill(self.random.choice(children), signal.SIGKILL)
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
        while not checkpoints_in(folder / "checkpoints") and not ended(children):
            time.sleep(0.005)
        time.sleep(max(0.0, moment - time.monotonic()) * 0.2)
        kill(self.random.choice(children), number)
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


def moment_of(folder: Path, is_over: bool) -> str:
    """Say how far a run has come."""
    if is_over:
        return "after the end"
    return "after a checkpoint" if checkpoints_in(folder / "checkpoints") else "before the first checkpoint"


def remove_run(folder: Path) -> None:
    """Remove what a run has written."""
    shutil.rmtree(folder)
    shutil.rmtree(cache_of(folder), ignore_errors=True)
