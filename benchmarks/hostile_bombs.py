"""Bombs: small files that unfold to far more than memory should hold, prepared in processes of their own."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile_cells import SENTINEL
from hostile_tables import valid_tables, write_tables

ROOT = Path(__file__).resolve().parent.parent
_PIECE = 1 << 20
_MEGABYTES_OF_FIELD, _MEGABYTES_OF_ROWS = 400, 2000
_SECONDS = 300
_LIMIT_MB = 6000  # of a bomb that is not held back; it is stopped there

_PROGRAM = """
import json, sys
from pathlib import Path
from medm_plm.data.preparation import Preparation
from medm_plm.errors import InputError
try:
    Preparation("mimic3", Path(sys.argv[1]), Path(sys.argv[2])).run()
    outcome = "prepared"
except InputError as error:
    outcome = "refused: " + str(error).split(": ", 1)[-1]
status = Path("/proc/self/status").read_text().split()
print(json.dumps([int(status[status.index("VmHWM:") + 1]) // 1024, outcome]))
"""


def _field(before: bytes, unit: bytes, after: bytes) -> Iterator[bytes]:
    yield before
    for _ in range(_MEGABYTES_OF_FIELD):
        yield unit * (_PIECE // len(unit))
    yield after


def _rows(row: bytes) -> Iterator[bytes]:
    block = row * (_PIECE // len(row))
    for _ in range(_MEGABYTES_OF_ROWS):
        yield block


_VISIT = f"{SENTINEL}0P11,{SENTINEL}0P1101".encode()
_NOTE = b"900," + _VISIT + b",2100-01-10,,Discharge summary,Report,,"
_NURSE = b"900," + _VISIT + b",2100-01-10,,Nursing,Report,,no\n"
_ILLNESS = b"900," + _VISIT + b",1,0389\n"

# By name: the table and what is added to it.
BOMBS: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "quoted field of 400 MB": ("NOTEEVENTS", lambda: _field(_NOTE + b'"', b"x", b'"\n')),
    "quoted field of 400 MB in lines": ("NOTEEVENTS", lambda: _field(_NOTE + b'"', b"xxxxxxx\n", b'"\n')),
    "the same behind a blank line": ("NOTEEVENTS",
    lambda: _field(b"\n" + _NOTE + b'"', b"xxxxxxx\n", b'"\n')),
    "the same, four bytes a letter": (
        "NOTEEVENTS", lambda: _field(b"\n" + _NOTE + b'"', "😀😀\n".encode() + b"xxxxxxx", b'"\n')),
    "field of 400 MB without quotes": ("NOTEEVENTS", lambda: _field(_NOTE, b"x", b"\n")),
    "quoted field of 400 MB of quotes": ("NOTEEVENTS", lambda: _field(_NOTE + b'"', b'""', b'"\n')),
    "400 MB of commas": ("NOTEEVENTS", lambda: _field(_NOTE, b",", b"\n")),
    "400 MB of blank lines": ("NOTEEVENTS", lambda: _field(b"", b"\n", b"")),
    "header of 400 MB": ("NOTEEVENTS", lambda: _field(b"", b"x", b"\n")),
    "header of a million columns": ("NOTEEVENTS", lambda: iter([b"".join(b",c%d" % n for n in range(10**6)),
    b"\n"])),
    "2 GB of rows that are not wanted": ("NOTEEVENTS", lambda: _rows(_NURSE)),
    "2 GB of diagnoses of one visit": ("DIAGNOSES_ICD", lambda: _rows(_ILLNESS)),
}  # fmt: skip


def measure_bomb(name: str, folder: Path) -> list[object]:
    """Write a bomb, prepare it in a process of its own, and give a line of the table."""
    folder = folder / "bomb"
    shutil.rmtree(folder, ignore_errors=True)
    table, pieces = BOMBS[name]
    paths = write_tables(valid_tables("mimic3", 3), folder / "input", ".csv")
    size, path = _write(paths[table], pieces(), name.startswith("header"))
    started = time.monotonic()
    peak, outcome = _prepare(folder)
    row = [name, path.stat().st_size / 1e6, size / 1e6, time.monotonic() - started, peak, outcome]
    shutil.rmtree(folder)
    return row


def _write(table: Path, pieces: Iterator[bytes], is_header: bool) -> tuple[int, Path]:
    """Compress a table with the bomb at its end, or in its header."""
    content = table.read_bytes()
    table.unlink()
    path = table.with_name(table.name + ".gz")
    size = 0
    with gzip.open(path, "wb", compresslevel=6) as file:
        size += file.write(content.split(b"\n")[0] if is_header else content)
        for piece in pieces:
            size += file.write(piece)
    return size, path


def _prepare(folder: Path) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PROGRAM, str(folder / "input"), str(folder / "output")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )
    peak, stopped, deadline = 0, "", time.monotonic() + _SECONDS
    while process.poll() is None and not stopped:
        time.sleep(0.05)
        try:
            status = Path(f"/proc/{process.pid}/status").read_text().split()
            peak = max(peak, int(status[status.index("VmHWM:") + 1]) // 1024)
        except (OSError, ValueError):
            continue
        if peak > _LIMIT_MB:
            stopped = f"stopped at {_LIMIT_MB} MB"
        elif time.monotonic() > deadline:
            stopped = f"stopped after {_SECONDS} s"
    if stopped:
        process.kill()
    output, errors = process.communicate()
    if stopped:
        return peak, stopped
    if process.returncode:
        return (
            peak,
            f"failed: {errors.strip().splitlines()[-1][:100] if errors.strip() else process.returncode}",
        )
    measured, outcome = json.loads(output)
    return max(peak, measured), outcome + (" (leak)" if SENTINEL in errors + outcome else "")
