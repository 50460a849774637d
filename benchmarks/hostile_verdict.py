"""Run one case of hostile input and judge what came of it."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from hostile_cells import NUMBER, SENTINEL
from hostile_kinds import PREPARED, REFUSED, Case
from hostile_tables import num_records

from medm_plm.data.checking import check_folder
from medm_plm.data.preparation import Preparation
from medm_plm.data.schema import REPORT_FILE, REPORT_PAGE_FILE, VISITS_FILE
from medm_plm.errors import InputError

FAILED = "failed"
_SECONDS = 60
_MEGABYTES = 500  # what one case may add to the memory of the process
_CHARACTERS_OF_MESSAGE = 1500


@dataclass
class Verdict:
    """What came of a case.

    Args:
        case (`Case`): the case.
        outcome (`str`): "refused", "prepared" or "failed".
        why (`str`): the message, or what is wrong.
        growth (`int`): megabytes that the case added to the memory of the process at its peak.
        seconds (`float`): how long it took.
    """

    case: Case
    outcome: str
    why: str = ""
    growth: int = 0
    seconds: float = 0.0


class TooLongError(Exception):
    """A case took longer than it may."""


def judge(case: Case) -> Verdict:
    """Prepare a case, or check its prepared folder, and look at everything that it left behind."""
    before = _reset_peak()
    with captured() as printed, time_limit():
        outcome, why, told, report = _run(case)
    growth = (_memory("VmHWM") - before) // 1024
    if outcome == FAILED:
        return Verdict(case, outcome, why, growth)
    problems = list(_leaks(case, {"message": told, "output of the process": printed()}))
    if "panicked" in printed():
        problems.append("the engine printed a panic")
    if case.expected not in (None, outcome):
        problems.append(f"{outcome}, expected {case.expected} ({why})")
    if growth > _MEGABYTES:
        problems.append("memory")
    if report is not None:
        problems += _account(case, report)
        problems += _other_shards(case)
    return Verdict(case, FAILED if problems else outcome, "; ".join(problems) or why, growth)


def _run(case: Case) -> tuple[str, str, str, dict | None]:
    """Outcome, reason in short, all that the user may be shown, and the report."""
    try:
        if case.prepared is not None:
            check_folder(case.prepared)
            return PREPARED, "", "", None
        report = preparation_of(case).run(case.tamper or (lambda step: None))
    except InputError as error:
        told = "".join(traceback.format_exception(error))
        if len(str(error)) > _CHARACTERS_OF_MESSAGE:
            return FAILED, "message is too long", told, None
        return REFUSED, str(error).replace(str(case.folder), ""), told, None
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "medm_plm" in frame.filename] or frames
        place = " < ".join(f"{Path(frame.filename).name}:{frame.name}" for frame in reversed(own[-3:]))
        return FAILED, f"{type(error).__name__} in {place}: {str(error)[:120]!r}", "", None
    return PREPARED, "", "", report


def preparation_of(case: Case, **changes: object) -> Preparation:
    """Say what is to be prepared."""
    options = {"output": case.folder / "output", **case.options, **changes}
    return Preparation(case.source, case.input, **options)


def _leaks(case: Case, texts: dict[str, str]) -> Iterator[str]:
    """Look for cells where none may be."""
    output = case.folder / "output"
    for name in (REPORT_FILE, REPORT_PAGE_FILE):
        if case.prepared is None and (output / name).is_file():
            texts[name] = (output / name).read_bytes().decode(errors="replace")
    texts["names of files"] = "\n".join(str(path.relative_to(output)) for path in output.rglob("*"))
    for place, text in texts.items():
        if SENTINEL.lower() in text.lower() or NUMBER in text:
            yield f"cell in {place}"


def _account(case: Case, report: dict) -> Iterator[str]:
    """Compare the accounts with the files and with the visits."""
    for name, ledger in report["tables"].items():
        numbers = [ledger["rows_in"], ledger["rows_out"], *ledger["rows_dropped"].values()]
        if ledger["rows_in"] != sum(numbers[1:]) or min(numbers) < 0:
            yield f"account of {name} does not close"
    rows_in = sum(ledger["rows_in"] for ledger in report["tables"].values())
    rows_of_files = sum(file["rows"] for file in report["source"]["files"].values())
    if rows_in != rows_of_files:
        yield f"{rows_of_files} rows of files, {rows_in} in the accounts"
    if case.tamper is None and (num_rows := _rows_of(case)) != rows_in:
        yield f"files hold {num_rows} rows, the accounts {rows_in}"
    visits = pl.read_parquet(case.folder / "output" / VISITS_FILE, glob=False)
    table = {"mimic3": "ADMISSIONS", "mimic4": "admissions", "eicu": "patient", "table": "visits"}
    if report["tables"][table.get(case.source, "admission")]["rows_out"] != visits.height:
        yield "account of the visits differs from the visits"


def _rows_of(case: Case) -> int:
    """Count the rows of the files in another way than the preparation."""
    total = 0
    for path in sorted(case.input.rglob("*")):
        if not path.is_file():
            continue
        if path.suffix == ".parquet":
            with path.open("rb") as file:
                total += pl.read_parquet(file).height
        else:
            content = path.read_bytes()
            total += num_records(gzip.decompress(content) if path.suffix == ".gz" else content)
    return total


def _other_shards(case: Case) -> Iterator[str]:
    """Prepare again with another number of shards; not one byte of the visits may differ."""
    if case.number % 3 or case.tamper is not None:
        return
    other = case.folder / "other"
    try:
        preparation_of(case, output=other, num_shards=4 - int(case.options["num_shards"])).run()
    except InputError:
        yield "refused with another number of shards"
        return
    if (other / VISITS_FILE).read_bytes() != (case.folder / "output" / VISITS_FILE).read_bytes():
        yield "other visits with another number of shards"
    one, two = (json.loads((folder / REPORT_FILE).read_text()) for folder in (other, case.folder / "output"))
    differing = sorted(name for name in one if one[name] != two.get(name))
    if differing:
        yield f"other report with another number of shards: {differing}"


@contextlib.contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Catch what is printed, logged or warned of, by Python and by the engine's own threads."""
    text, log = io.StringIO(), logging.StreamHandler(io.StringIO())
    root = logging.getLogger()
    level = root.level
    kept = ""
    with tempfile.TemporaryFile() as file:
        saved = [os.dup(1), os.dup(2)]
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        root.addHandler(log)
        root.setLevel(logging.DEBUG)
        try:
            with (
                contextlib.redirect_stdout(text),
                contextlib.redirect_stderr(text),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("always")
                yield lambda: kept
        finally:
            root.removeHandler(log)
            root.setLevel(level)
            for number, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            file.seek(0)
            kept = file.read().decode(errors="replace") + text.getvalue() + log.stream.getvalue()


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raise `TooLongError` after a minute."""

    def stop(*_: object) -> None:
        raise TooLongError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _reset_peak() -> int:
    """Forget the peak so far and give the memory in use, in kilobytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
