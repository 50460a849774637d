"""What happens in the child process of one run: the script is called, measured and recorded.

Everything that is printed goes to the log of the run. The child ends when its parent does, so that a killed
list leaves nothing behind that still writes.
"""

from __future__ import annotations

import json
import os
import pkgutil
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from medm_plm.errors import InputError
from medm_plm.experiments.planning import FINETUNING, PREPARATION
from medm_plm.experiments.records import (
    FAILED,
    FINISHED,
    LOG_FILE,
    OUTPUT_FOLDER,
    RUNNING,
    read_record,
    write_record,
)
from medm_plm.experiments.revision import machine_facts

METRICS_FILE = "metrics.json"
_CHECKPOINTS = "checkpoints"
_WEIGHTS = "*.safetensors"
_SPLITS = ("validation", "test", "test_balanced")
_LONGEST_ERROR = 300
_KILOBYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
FAILED_STATUS = 3


@dataclass(frozen=True)
class Job:
    """All that a child process needs to know.

    Args:
        script (`str`): `module:function` of the script, called without arguments as from a terminal.
        kind (`str`): kind of the run.
        words (`list[str]`): its command line.
        folder (`str`): folder of the run.
        record (`dict`): what the parent already knows for the JSON file.
        keep_weights (`bool`): keep the weights of a fine-tuned model.
    """

    script: str
    kind: str
    words: list[str]
    folder: str
    record: dict[str, Any]
    keep_weights: bool = False


def work(job: Job) -> None:
    """Do one run. The process ends with status 0 and a finished record, or 3 and a failed one.

    Args:
        job (`Job`): the run.
    """
    folder = Path(job.folder)
    _log_to(folder / LOG_FILE)
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends its children
    write_record(folder, {**job.record, "state": RUNNING})
    started = time.monotonic()
    error = _call(job)
    cost = _cost(time.monotonic() - started)
    if error is None:
        try:
            results = _results(job, folder)
        except (OSError, ValueError, KeyError) as problem:
            error = f"the script has left no readable results: {type(problem).__name__}"
    _flush()
    if error is not None:
        write_record(folder, {**job.record, "state": FAILED, "error": error, "cost": cost})
        sys.exit(FAILED_STATUS)
    facts = {"cost": cost, "machine": machine_facts()}
    write_record(folder, {**job.record, "state": FINISHED, **results, **facts})


def record_crash(folder: Path, job: Job, status: int | None) -> None:
    """Note that a child ended without a word of its own, for example for want of memory.

    Args:
        folder (`Path`): folder of the run.
        job (`Job`): the run.
        status (`int`, *optional*): exit status; negative for a signal.
    """
    record = read_record(folder)
    if record is not None and record.get("state") in (FAILED, FINISHED):
        return
    how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
    write_record(folder, {**job.record, "state": FAILED, "error": f"the process ended with {how}"})


def _call(job: Job) -> str | None:
    """Call the script; return one line if it failed."""
    sys.argv = [job.script.partition(":")[0] + ".py", *job.words]
    try:
        pkgutil.resolve_name(job.script)()
    except InputError as error:
        return _one_line(str(error))
    except SystemExit as leaving:
        if leaving.code in (None, 0):
            return None
        _flush()
        return _last_line(Path(job.folder) / LOG_FILE) or f"the script ended with status {leaving.code}"
    except BaseException as error:  # whatever it is, the rest of the list goes on
        traceback.print_exc()
        return _one_line(f"{type(error).__name__}: {error}")
    return None


def _results(job: Job, folder: Path) -> dict[str, Any]:
    output = folder / OUTPUT_FOLDER
    if job.kind == PREPARATION:
        return {
            "files": sorted(f"{OUTPUT_FOLDER}/{path.name}" for path in output.iterdir() if path.is_file())
        }
    shutil.rmtree(output / _CHECKPOINTS, ignore_errors=True)
    if job.kind == FINETUNING and not job.keep_weights:
        for path in output.glob(_WEIGHTS):
            path.unlink()
    content = json.loads((output / METRICS_FILE).read_text(encoding="utf-8"))
    splits = {split: content[split] for split in _SPLITS if split in content}
    predictions = {
        split: f"{OUTPUT_FOLDER}/{path.name}"
        for split in splits
        if (path := output / f"predictions_{split}.parquet").is_file()
    }
    weights = sorted(f"{OUTPUT_FOLDER}/{path.name}" for path in output.glob(_WEIGHTS))
    other = {key: value for key, value in content.items() if key not in (*_SPLITS, "history", "versions")}
    return {
        "metrics": {split: values["model"] for split, values in splits.items()},
        "others": {
            split: {name: values[name] for name in values if name != "model"}
            for split, values in splits.items()
        },
        "facts": other,
        "history": content.get("history", []),
        "predictions": predictions,
        "files": [*predictions.values(), *weights],
    }


def _cost(wall_seconds: float) -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_seconds": round(wall_seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_memory_mb": round(used.ru_maxrss * _KILOBYTES / 1e6, 1),
    }


def _log_to(path: Path) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False, encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, encoding="utf-8")


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return _one_line(lines[-1]) if lines else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_ERROR]
