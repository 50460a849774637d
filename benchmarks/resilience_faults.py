"""What is done to runs: moments to die at, quantities to spoil, files to damage."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from medm_plm.training.resumable_trainer import ResumableTrainer

Fault = Callable[[int], None]
"""Called in each child process with its rank before the run begins."""


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
