"""Time and memory of the preparation at the size of MIMIC-III, beside the same work in plain pandas.

    python benchmarks/preparation.py --folder FOLDER --output OUT --shares 0.1 1 --repeats 3

Writes invented tables of the sizes wanted (`full_size_tables.py`) to FOLDER, unless they are there already,
and prepares them with `run_preparation.py` and with `pandas_preparation.py`, by turns, each in a fresh
process. Prints medians of wall time, of CPU time and of peak memory of the process and its children, their
ratios, the growth from the smallest to the largest share, and in how many rows the two results differ. All
measurements lie in `measurements.json` of OUT.

Memory is the larger of two figures: the resident sets of all processes of the tree added up ten times a
second, in which pages that processes share count several times, and the highest that the system saw any one
of them reach. The figure that comes with a process's end (`ru_maxrss`) serves only where there is no /proc,
because it is never below the size of the process that started it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # runs from a clone, installed or not

from full_size_tables import COUNTS_FILE, write_full_size_tables  # noqa: E402

from medm_plm.command_line import print_table  # noqa: E402

OURS, PANDAS = "MedM-PLM", "pandas"
REQUIRE = ("note", "diagnoses", "medications")
COMPARED = ("subject_id", "note", "diagnosis_codes", "medication_codes", "readmission")

_POLL_SECONDS = 0.1
_CHUNK_BYTES = 16 << 20
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Measurement:
    """What one run took.

    Args:
        share (`float`): size of the tables.
        system (`str`): who prepared them.
        wall (`float`): seconds from start to end.
        cpu (`float`): seconds of all cores, of the process and its children.
        memory (`float`): peak in MB.
    """

    share: float
    system: str
    wall: float
    cpu: float
    memory: float


def main() -> None:
    """Write the tables that are missing, measure, print."""
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    for share in options.shares:
        make_tables(tables_folder(options, share), share)
    systems = (OURS,) if options.skip_pandas else (OURS, PANDAS)
    measured = []
    for _ in range(options.repeats):
        for share in options.shares:
            for system in systems:
                measured.append(run(options, system, share))
                save(options.output, measured)
    cores = os.cpu_count()
    title = f"preparation of MIMIC-III-sized tables, medians of {options.repeats}, {cores} cores"
    print_table(title, ("share", "by", "wall s", "CPU s", "memory MB"), median_rows(measured))
    if len(options.shares) > 1:
        print_table("growth", ("from", "to", "by", "wall", "CPU", "memory"), growth_rows(measured))
    if not options.skip_pandas:
        sys.exit(compare(options))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the tables are kept or made")
    parser.add_argument("--output", type=Path, required=True, help="where results and logs go")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 1.0], help="of MIMIC-III's rows")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip_pandas", action="store_true", help="measure run_preparation.py only")
    return parser.parse_args()


def tables_folder(options: argparse.Namespace, share: float) -> Path:
    return options.folder / f"share-{share:g}"


def make_tables(folder: Path, share: float) -> None:
    """Write tables of one size, unless they are complete."""
    if not (folder / COUNTS_FILE).exists():
        print(f"writing tables to {folder}", flush=True)
        write_full_size_tables(folder, share)


def result_path(options: argparse.Namespace, system: str, share: float) -> Path:
    """Where a system leaves its visits."""
    name = f"{system.lower()}-{share:g}"
    return options.output / name / "visits.parquet" if system == OURS else options.output / f"{name}.parquet"


def run(options: argparse.Namespace, system: str, share: float) -> Measurement:
    """Prepare the tables of one size by one system in a fresh process."""
    tables, result = tables_folder(options, share), result_path(options, system, share)
    if system == OURS:
        script = ROOT / "run_preparation.py"
        words = ["--source", "mimic3", "--input", tables, "--output", result.parent, "--require", *REQUIRE]
    else:
        script = ROOT / "benchmarks" / "pandas_preparation.py"
        words = ["--input", tables, "--output", result]
    command = [sys.executable, str(script), *map(str, words)]
    read_once(tables)
    log = options.output / f"{system.lower()}-{share:g}.log"
    wall, cpu, memory = measure(command, log)
    print(f"{system}, share {share:g}: {wall:.1f} s, CPU {cpu:.1f} s, {memory:.0f} MB", flush=True)
    return Measurement(share, system, wall, cpu, memory)


def read_once(folder: Path) -> None:
    """Read the files, so that every run finds them in the cache of the system, if they fit."""
    for path in sorted(folder.glob("*.csv*")):
        with path.open("rb") as file:
            while file.read(_CHUNK_BYTES):
                pass


def measure(command: list[str], log: Path) -> tuple[float, float, float]:
    """Run a command.

    Args:
        command (`list[str]`): program and arguments.
        log (`Path`): file for what it prints.

    Returns:
        Wall seconds, CPU seconds and peak memory in MB.
    """
    with log.open("w") as file:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        watch = MemoryWatch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = watch.stop() or usage.ru_maxrss * 1024
    if process.returncode:
        sys.exit(f"{command[1]} failed with {process.returncode}, see {log}")
    return wall, usage.ru_utime + usage.ru_stime, peak / _MEGABYTE


class MemoryWatch(threading.Thread):
    """Looks at the memory of a process and its children, again and again, and keeps the largest figure.

    Args:
        root (`int`): number of the process.
    """

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root = root
        self._over = threading.Event()
        self._peak = 0

    def run(self) -> None:
        """Watch until `stop`."""
        while not self._over.wait(_POLL_SECONDS):
            self._peak = max(self._peak, *tree_memory(self._root))

    def stop(self) -> int:
        """Return the largest figure in bytes."""
        self._over.set()
        self.join()
        return self._peak


def tree_memory(root: int) -> tuple[int, int]:
    """Look at a process and all below it.

    Args:
        root (`int`): number of the process.

    Returns:
        Their resident sets added up, and the highest that any of them has reached so far, in bytes; zeros
        where there is no /proc.
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if stat := read_text(entry / "stat"):
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    waiting, total, highest = [root], 0, 0
    while waiting:
        number = waiting.pop()
        waiting += children.get(number, [])
        lines = read_text(Path("/proc") / str(number) / "status").splitlines()
        kilobytes = {
            line.split()[0]: line.split()[1] for line in lines if line.startswith(("VmRSS:", "VmHWM:"))
        }
        total += int(kilobytes.get("VmRSS:", 0)) * 1024
        highest = max(highest, int(kilobytes.get("VmHWM:", 0)) * 1024)
    return total, highest


def read_text(path: Path) -> str:
    """Read a small file; "" if the process that it tells of has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def save(output: Path, measured: list[Measurement]) -> None:
    """Keep what has been measured so far."""
    text = json.dumps([asdict(measurement) for measurement in measured], indent=2)
    (output / "measurements.json").write_text(text + "\n", encoding="utf-8")


def medians(measured: list[Measurement]) -> dict[tuple[float, str], tuple[float, float, float]]:
    """Medians of wall time, CPU time and memory by share and system, in the order of the runs."""
    groups: dict[tuple[float, str], list[Measurement]] = {}
    for one in measured:
        groups.setdefault((one.share, one.system), []).append(one)
    return {
        key: (
            statistics.median(one.wall for one in runs),
            statistics.median(one.cpu for one in runs),
            statistics.median(one.memory for one in runs),
        )
        for key, runs in groups.items()
    }


def median_rows(measured: list[Measurement]) -> list[list[object]]:
    """One line for each share and system, and the ratio of the two."""
    found = medians(measured)
    rows: list[list[object]] = []
    for share in dict.fromkeys(share for share, _ in found):
        ours = found[share, OURS]
        rows.append([f"{share:g}", OURS, *(f"{value:.1f}" for value in ours)])
        if theirs := found.get((share, PANDAS)):
            rows.append([f"{share:g}", PANDAS, *(f"{value:.1f}" for value in theirs)])
            rows.append([f"{share:g}", "ratio", *ratios(theirs, ours)])
    return rows


def growth_rows(measured: list[Measurement]) -> list[list[object]]:
    """One line for each system: how much more the largest share takes than the smallest."""
    found = medians(measured)
    shares = [share for share, _ in found]
    low, high = min(shares), max(shares)
    systems = dict.fromkeys(system for _, system in found)
    return [
        [f"{low:g}", f"{high:g}", system, *ratios(found[high, system], found[low, system])]
        for system in systems
    ]


def ratios(upper: tuple[float, ...], lower: tuple[float, ...]) -> list[str]:
    return [f"{above / below:.2f}" for above, below in zip(upper, lower, strict=True)]


def compare(options: argparse.Namespace) -> int:
    """Print in how many rows the results differ; 1 if any does."""
    rows, status = [], 0
    for share in options.shares:
        counts = same_rows(result_path(options, OURS, share), result_path(options, PANDAS, share))
        rows.append([f"{share:g}", *counts.values()])
        status |= sum(counts.values()) > counts["visits"]
    print_table("rows that differ between the two results", ("share", *counts), rows)
    return int(status)


def same_rows(ours: Path, theirs: Path) -> dict[str, int]:
    """Count the visits in which two results differ, column by column.

    Args:
        ours (`Path`): `visits.parquet` of a prepared folder.
        theirs (`Path`): what `pandas_preparation.py` wrote.

    Returns:
        "visits" that both have, those in "ours only" and "pandas only", and by column of `COMPARED` the
        visits that have another value there. All but the first are 0 if the results are the same.
    """
    known, rival = read_column(ours, None), read_column(theirs, None)
    both = known.join(rival, on="hadm_id", how="inner").height
    counts = {"visits": both, "ours only": known.height - both, "pandas only": rival.height - both}
    for column in COMPARED:
        pairs = read_column(ours, column).join(read_column(theirs, column), on="hadm_id", suffix=" of pandas")
        counts[column] = pairs.filter(pl.col(column).ne_missing(pl.col(f"{column} of pandas"))).height
    return counts


def read_column(path: Path, column: str | None) -> pl.DataFrame:
    """Read the number of each visit and one more column of a result; names in lower case, numbers as text."""
    rows = pl.scan_parquet(path, glob=False)
    rows = rows.rename({name: name.lower() for name in rows.collect_schema().names()})
    is_number = pl.col("hadm_id", *([column] if column == "subject_id" else [])).cast(pl.String)
    return rows.select("hadm_id", *([column] if column else [])).with_columns(is_number).collect()


if __name__ == "__main__":
    main()
