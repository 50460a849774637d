"""Hostile input for the preparation: what it must refuse in one line or account for row by row.

    python benchmarks/hostile_input.py --output FOLDER
    python benchmarks/hostile_input.py --output FOLDER --only 4711

Makes tables of every source from a small valid base, damages them in one way after the other,
and prepares them.
Each run must end with a report whose accounts close, or with one `InputError`. Anything else is a failure and
printed with the number of its case, which with the seed makes the case again: another exception,
a panic of the
engine, more than a minute, memory, a row that is not accounted for,
another result with three shards than with
one, or a cell in a message, a log,
a report or the name of a file. At the end bombs are prepared in processes of
their own and their memory is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # runs from a clone, installed or not
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from hostile_bombs import BOMBS, measure_bomb  # noqa: E402
from hostile_kinds import CELL_KINDS, FILE_KINDS, Case, CsvKind  # noqa: E402
from hostile_options import OPTION_KINDS  # noqa: E402
from hostile_parquet import PARQUET_KINDS  # noqa: E402
from hostile_verdict import FAILED, Verdict, judge  # noqa: E402

from medm_plm.command_line import print_table  # noqa: E402

KINDS: tuple[CsvKind, ...] = (*CELL_KINDS, *FILE_KINDS, *PARQUET_KINDS, *OPTION_KINDS)
_SECONDS_UNTIL_ABORT = 240  # beyond the limit of a case, for code that no signal interrupts


def main() -> None:
    """Run the cases, then the bombs, and print what came of them."""
    options = parse()
    if options.only is not None:
        for verdict in run_cases(options, iter([options.only])):
            print(verdict.case.kind, verdict.case.source, verdict.outcome, verdict.why, sep="; ")
        return
    verdicts: list[Verdict] = []
    with contextlib.suppress(KeyboardInterrupt):  # what is done by then is shown
        verdicts.extend(run_cases(options, iter(range(options.first, sys.maxsize))))
    columns = ("kind of damage", "cases", "files", "rows", "refused", "prepared", "failures", "seconds")
    print_table(f"hostile input, seed {options.seed}", columns, table_rows(verdicts))
    show_failures(verdicts)
    if options.bombs:
        rows = [measure_bomb(name, options.output) for name in BOMBS]
        print_table("bombs", ("bomb", "stored MB", "content MB", "seconds", "peak MB", "outcome"), rows)
    raise SystemExit(any(verdict.outcome == FAILED for verdict in verdicts))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--output", type=Path, required=True, help="where the cases are made; emptied after each"
    )
    parser.add_argument("--rows", type=int, default=200_000, help="rows in damaged tables, at least")
    parser.add_argument("--files", type=int, default=2000, help="damaged files, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="run this case alone, and leave its folder")
    parser.add_argument("--bombs", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def run_cases(options: argparse.Namespace, numbers: Iterator[int]) -> Iterator[Verdict]:
    """Make and judge cases until there are enough rows and files."""
    num_rows = num_files = 0
    terminal = os.fdopen(os.dup(2), "w")
    for number in numbers:
        faulthandler.dump_traceback_later(_SECONDS_UNTIL_ABORT, exit=True, file=terminal)
        started = time.monotonic()
        folder = options.output / f"case-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        verdict = judge(make_case(number, options.seed, folder))
        verdict.seconds = time.monotonic() - started
        faulthandler.cancel_dump_traceback_later()
        num_rows += verdict.case.num_rows
        num_files += len(verdict.case.damaged)
        if verdict.outcome == FAILED:
            print(f"case {number}: {verdict.case.kind}, {verdict.case.source}: {verdict.why}", flush=True)
        if options.only is None:
            shutil.rmtree(folder)
        yield verdict
        if num_rows >= options.rows and num_files >= options.files:
            return


def make_case(number: int, seed: int, folder: Path) -> Case:
    """Make a case; the same number and seed give the same files."""
    chooser = random.Random(f"{seed}-{number}")
    name, sources, damage, expected = KINDS[number % len(KINDS)]
    folder.mkdir(parents=True)
    case = Case(number, name, chooser.choice(sources), folder, chooser, expected)
    damage(case)
    return case


def table_rows(verdicts: list[Verdict]) -> Iterator[list[object]]:
    """One line for each kind of damage, and one for all."""
    kinds = [(kind[0], [v for v in verdicts if v.case.kind == kind[0]]) for kind in KINDS]
    for name, found in [*kinds, ("all", verdicts)]:
        outcomes = Counter(verdict.outcome for verdict in found)
        yield [
            name,
            len(found),
            sum(len(verdict.case.damaged) for verdict in found),
            sum(verdict.case.num_rows for verdict in found),
            outcomes["refused"],
            outcomes["prepared"],
            outcomes[FAILED],
            round(sum(verdict.seconds for verdict in found)),
        ]


def show_failures(verdicts: list[Verdict]) -> None:
    """Print how often each failure came, with a case of it."""
    failures = [verdict for verdict in verdicts if verdict.outcome == FAILED]
    for (kind, why), count in Counter((v.case.kind, v.why) for v in failures).most_common():
        first = next(v.case.number for v in failures if (v.case.kind, v.why) == (kind, why))
        print(f"failure, {count} cases, first {first}: {kind}: {why}")
    growths = sorted(verdicts, key=lambda verdict: verdict.growth)[-3:]
    print("most memory:", *(f"case {v.case.number} ({v.case.kind}) {v.growth} MB" for v in growths))


if __name__ == "__main__":
    main()
