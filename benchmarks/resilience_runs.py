"""Runs in child processes: started, waited for, killed, and compared by what they leave behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from resilience_faults import Fault

import run_pretraining
from medm_plm.command_line import run_main

SECONDS_PER_RUN = 300
_TIMES = ("runtime", "per_second")


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
                kill(child, signal.SIGKILL)
        time.sleep(0.01)
    for child in children:  # workers of its data loader
        kill(child, signal.SIGKILL)
    return [states[child] for child in children]


def kill(child: int, number: int) -> None:
    """Send a signal to a process and its workers, if they are still there."""
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


def ended(children: list[int]) -> bool:
    """Tell whether one of the processes has ended; it is still there to be waited for."""
    return any(os.waitid(os.P_PID, c, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None for c in children)
