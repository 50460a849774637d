"""The one JSON file of each run, and what it says about whether the run has to be done.

A run has a folder: `run.json`, `log.txt`, and `output/` with what the script wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medm_plm.data.files import make_private_folder, write_json
from medm_plm.errors import InputError
from medm_plm.experiments.planning import Run

FORMAT = 1
RUN_FILE, LOG_FILE, OUTPUT_FOLDER = "run.json", "log.txt", "output"
RUNNING, FINISHED, FAILED = "running", "finished", "failed"
RUNS_FOLDER = "runs"


def run_folder(output: Path, run: Run) -> Path:
    """Give the folder of a run inside the folder of the experiments."""
    return output / RUNS_FOLDER / run.name


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read what a run has left.

    Args:
        folder (`Path`): folder of the run.

    Returns:
        The content of its JSON file; None where there is none, or one that cannot be read.
    """
    try:
        record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the JSON file of a run, completely or not at all; a number that is not finite becomes null.

    Args:
        folder (`Path`): folder of the run, made if it is missing.
        record (`Mapping`): its content.

    Raises:
        InputError: if it cannot be written.
    """
    make_private_folder(folder)
    write_json(folder / RUN_FILE, {"format": FORMAT, **record})


def is_finished(folder: Path, fingerprint: str | None) -> bool:
    """Tell whether a run needs not be done again.

    Args:
        folder (`Path`): folder of the run.
        fingerprint (`str`, *optional*): of settings, code and data as they are now; None takes a finished run
            whatever the code and data were.

    Returns:
        True if its record is complete, its fingerprint is the same, and the files it names are there.
    """
    record = read_record(folder)
    if record is None or record.get("state") != FINISHED:
        return False
    if fingerprint is not None and record.get("fingerprint") != fingerprint:
        return False
    return all((folder / path).is_file() for path in record.get("files", ()))


def finished_records(output: Path) -> dict[str, dict[str, Any]]:
    """Read the records of all finished runs.

    Args:
        output (`Path`): folder of the experiments.

    Returns:
        Records by name of the run.

    Raises:
        InputError: if there is no finished run.
    """
    found = {}
    for path in sorted((output / RUNS_FOLDER).glob(f"*/{RUN_FILE}")):
        record = read_record(path.parent)
        if record is not None and record.get("state") == FINISHED:
            found[path.parent.name] = record
    if not found:
        raise InputError("there is no finished run", file=output, remedy="run the list without --report")
    return found
