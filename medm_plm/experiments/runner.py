"""Work through a list of runs in child processes, several at a time, each of them at most once.

The children come from a fork server that has the libraries imported already: to import torch and
transformers takes longer than a small run trains.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from types import FrameType
from typing import Any

from medm_plm.data.files import make_private_folder
from medm_plm.errors import InputError
from medm_plm.experiments.planning import PRETRAINED, Run, command_words, digest
from medm_plm.experiments.preloading import PRELOADED_VARIABLE
from medm_plm.experiments.records import FINISHED, OUTPUT_FOLDER, is_finished, read_record, run_folder
from medm_plm.experiments.revision import ROOT, code_revision
from medm_plm.experiments.worker import Job, record_crash, work

DONE_BEFORE, SKIPPED, FAILED = "done before", "skipped", "failed"
_LOCK_FILE = ".lock"
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
_PATIENCE = 30.0  # seconds a child gets to save a checkpoint before it is killed


@dataclass
class Runner:
    """Does runs and records them.

    Args:
        output (`Path`): folder of the experiments.
        scripts (`Mapping[str, str]`): `module:function` for each kind of run.
        places (`Mapping[str, Path]`): what stands for the placeholders in settings.
        inputs (`Mapping[str, str]`): fingerprints of data and text encoder.
        processes (`int`, defaults to 1): how many runs at the same time.
        any_revision (`bool`, defaults to False): take finished runs of other code or data as done.
        keep_weights (`bool`, defaults to False): keep the weights of fine-tuned models.
        preload (`Sequence[str]`): modules that the fork server imports.
        report (`Callable`, *optional*): takes a line for each run that begins or ends.
    """

    output: Path
    scripts: Mapping[str, str]
    places: Mapping[str, Path] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    any_revision: bool = False
    keep_weights: bool = False
    preload: Sequence[str] = ()
    report: Callable[[str], None] = lambda line: None

    def run(self, runs: Sequence[Run], labels: Mapping[str, str] | None = None) -> dict[str, str]:
        """Do the runs that are not done, in their order, and go on after failures.

        Args:
            runs (`Sequence[Run]`): the runs; what a run needs stands before it.
            labels (`Mapping[str, str]`, *optional*): names of the models in tables.

        Returns:
            How each run ended: "done before", "finished", "failed", or "skipped" because what it needs
            failed.

        Raises:
            InputError: if another process works in the folder.
        """
        states = {run.name: DONE_BEFORE for run in runs if self.is_done(run, runs)}
        for run in runs:  # weights that nobody reads any more need not be made again
            readers = [other.name for other in runs if run.name in other.needs]
            if readers and all(name in states for name in readers):
                states.setdefault(run.name, DONE_BEFORE)
        waiting = [run for run in runs if run.name not in states]
        self.report(f"{len(runs)} runs, {len(runs) - len(waiting)} of them done before")
        with _lock(self.output), _environment(self.preload), _ending_children() as children:
            self._work_through(waiting, runs, states, children, labels or {})
        return states

    def is_done(self, run: Run, runs: Sequence[Run]) -> bool:
        """Tell whether a run is finished and nothing about it has changed since."""
        expected = None if self.any_revision else self.fingerprint(run, runs)
        return is_finished(run_folder(self.output, run), expected)

    def fingerprint(self, run: Run, runs: Sequence[Run]) -> str:
        """Take the fingerprint of settings, code and inputs of a run and of the runs it needs."""
        needed = {other.name: other for other in runs if other.name in run.needs}
        return digest(
            {
                "settings": run.settings,
                "source": code_revision()["source_sha256"],
                "inputs": dict(self.inputs),
                "needs": [self.fingerprint(needed[name], runs) for name in run.needs],
            }
        )

    def _work_through(
        self,
        waiting: list[Run],
        runs: Sequence[Run],
        states: dict[str, str],
        children: _Children,
        labels: Mapping[str, str],
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["medm_plm.experiments.preloading"])
        total = len(waiting)
        while waiting or children:
            while len(children) < self.processes and (run := _next_ready(waiting, states)) is not None:
                waiting.remove(run)
                if any(states[name] in (FAILED, SKIPPED) for name in run.needs):
                    states[run.name] = SKIPPED
                    self.report(f"{run.name}: skipped, since a run it needs failed")
                    continue
                job = self._job(run, runs, labels)
                children.start(context.Process(target=work, args=(job,)), (run, job, time.monotonic()))
            for sentinel in connection.wait([process.sentinel for process in children]):
                process = next(child for child in children if child.sentinel == sentinel)
                process.join()
                run, job, started = children.pop(process)
                states[run.name] = self._end(run, job, process.exitcode)
                left = total - len(waiting) - len(children)
                self.report(self._line(run, states[run.name], f"{left}/{total}", time.monotonic() - started))

    def _job(self, run: Run, runs: Sequence[Run], labels: Mapping[str, str]) -> Job:
        folder = make_private_folder(run_folder(self.output, run))
        fingerprint = self.fingerprint(run, runs)
        before = read_record(folder)
        if before is None or before.get("fingerprint") != fingerprint or before.get("state") == FINISHED:
            shutil.rmtree(folder, ignore_errors=True)  # what lies there is of another run
            make_private_folder(folder)
        places = dict(self.places)
        for name in run.needs:
            needed = next(other for other in runs if other.name == name)
            places[PRETRAINED] = run_folder(self.output, needed) / OUTPUT_FOLDER
        record = {
            "run": {
                "name": run.name,
                "kind": run.kind,
                "model": run.model,
                "label": labels.get(run.model or "", run.model),
                "task": run.task,
                "seed": run.seed,
                "share": run.share,
                "needs": list(run.needs),
            },
            "settings": run.settings,
            "fingerprint": fingerprint,
            "revision": code_revision(),
            "inputs": dict(self.inputs),
        }
        words = command_words(run, folder / OUTPUT_FOLDER, places)
        return Job(self.scripts[run.kind], run.kind, words, str(folder), record, self.keep_weights)

    def _end(self, run: Run, job: Job, status: int | None) -> str:
        folder = run_folder(self.output, run)
        if status != 0:
            record_crash(folder, job, status)
        return FINISHED if is_finished(folder, job.record["fingerprint"]) else FAILED

    def _line(self, run: Run, state: str, place: str, seconds: float) -> str:
        record = read_record(run_folder(self.output, run)) or {}
        what = f": {record.get('error')}" if state == FAILED else ""
        cost = record.get("cost", {})
        used = f", {cost['cpu_seconds']:.0f} s of CPU, {cost['peak_memory_mb']:.0f} MB" if cost else ""
        return f"[{place}] {run.name}: {state} after {seconds:.0f} s{used}{what}"


def _next_ready(waiting: Sequence[Run], states: Mapping[str, str]) -> Run | None:
    return next((run for run in waiting if all(name in states for name in run.needs)), None)


@contextmanager
def _lock(output: Path) -> Iterator[None]:
    """Let one list at a time work in a folder; the lock ends with the process, however it ends."""
    make_private_folder(output)
    with (output / _LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "another list of runs works in this folder", file=output, remedy="wait, or choose another"
            ) from None
        yield


@contextmanager
def _environment(preload: Sequence[str]) -> Iterator[None]:
    """Give the children one thread each and our modules, wherever the program was started."""
    path = os.pathsep.join(dict.fromkeys([str(ROOT), *(entry for entry in sys.path if entry)]))
    wanted = {**dict.fromkeys(_ONE_THREAD, "1"), "TOKENIZERS_PARALLELISM": "false"}
    wanted[PRELOADED_VARIABLE] = ",".join(preload)
    before = dict(os.environ)
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    os.environ["PYTHONPATH"] = path  # the fork server imports before it is told our sys.path
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Children(dict[Any, tuple[Run, Job, float]]):
    """Processes at work. A request to stop that comes while one is being started waits until it is known."""

    def __init__(self) -> None:
        super().__init__()
        self._is_starting = self._is_asked_to_stop = False

    def start(self, process: Any, facts: tuple[Run, Job, float]) -> None:
        """Start a process and take note of it; one without the other would leave it behind."""
        self._is_starting = True
        try:
            process.start()
            self[process] = facts
        finally:
            self._is_starting = False
        if self._is_asked_to_stop:
            raise KeyboardInterrupt

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT and SIGTERM."""
        self._is_asked_to_stop = True
        if not self._is_starting:
            raise KeyboardInterrupt


@contextmanager
def _ending_children() -> Iterator[_Children]:
    """Pass a request to stop on to the children, which save a checkpoint, and wait for them."""
    children = _Children()
    before = {number: signal.signal(number, children.interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield children
    finally:
        for process in children:
            process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for process in children:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for number, handler in before.items():
            signal.signal(number, handler)
