"""Kill the preparation at random moments, run it again, and compare every byte with an undisturbed run.

    python benchmarks/kill_preparation.py
    python benchmarks/kill_preparation.py --source mimic3 --input MIMIC_FOLDER --num_kills 30 --seed 7

Without `--input` it writes a synthetic cohort of 2,000 patients. The undisturbed run tells how long a run
takes; the kills (SIGKILL, no clean-up) are spread over that time, one in each of as many equal parts of it,
at a random moment within the part. Each killed run is run again until it is done, and its visits, vocabulary
and report are compared by SHA-256. Ends with status 1 if one differs, or if a killed run has left a file that
others may read.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # runs from a clone, installed or not

from medm_plm.command_line import print_table  # noqa: E402
from medm_plm.data.preparation import WORK_FOLDER  # noqa: E402
from medm_plm.data.schema import REPORT_FILE, VISITS_FILE, VOCABULARY_FILE  # noqa: E402
from medm_plm.data.synthetic import DRUG_MAP_FILE, write_synthetic_tables  # noqa: E402

COMPARED = (VISITS_FILE, VOCABULARY_FILE, REPORT_FILE)
_SHARED = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Kill:
    """One killed run.

    Args:
        seconds (`float`): how long it had run.
        stage (`str`): what it was doing, from what it left behind.
        is_equal (`bool`): whether the same bytes came out in the end.
        num_shared (`int`): files and folders that it left for others to read.
    """

    seconds: float
    stage: str
    is_equal: bool
    num_shared: int


def main() -> None:
    """Run undisturbed, kill, compare, print."""
    options = parse()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = command_of(options, folder)
        start = time.monotonic()
        expected = finish(command, folder / "undisturbed")
        seconds = time.monotonic() - start
        print(f"undisturbed run: {seconds:.1f} s", flush=True)
        chance = random.Random(options.seed)
        kills = []
        for number in range(options.num_kills):
            part = (number + chance.random()) / options.num_kills
            kill = killed_run(command, folder / "killed", part * seconds, expected)
            while isinstance(kill, float):  # it was done before, because the machine is less busy than it was
                seconds = kill
                kill = killed_run(command, folder / "killed", part * seconds, expected)
            kills.append(kill)
            print(f"kill {number + 1}: {kill}", flush=True)
    rows = [
        (number, f"{kill.seconds:.2f}", kill.stage, "yes" if kill.is_equal else "NO", kill.num_shared)
        for number, kill in enumerate(kills, 1)
    ]
    title = f"{options.source}, {options.num_shards} shards: killed runs, then run again"
    print_table(title, ("kill", "seconds", "killed during", "same bytes", "files not private"), rows)
    num_equal = sum(kill.is_equal for kill in kills)
    print(f"{num_equal} of {len(kills)} byte-identical")
    if num_equal < len(kills) or any(kill.num_shared for kill in kills):
        sys.exit(1)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--source", default="mimic3", help="as of run_preparation.py")
    parser.add_argument("--input", type=Path, help="folder of the tables; a synthetic cohort without it")
    parser.add_argument("--num_patients", type=int, default=2000, help="size of the synthetic cohort")
    parser.add_argument("--num_shards", type=int, default=8)
    parser.add_argument("--num_processes", type=int, default=1, help="of the preparation")
    parser.add_argument("--num_kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="chooses the moments")
    return parser.parse_args()


def command_of(options: argparse.Namespace, folder: Path) -> list[str]:
    """Make the command line but for the output; a synthetic cohort is written first, for all runs alike."""
    words: list[object] = ["--source", options.source]
    words += ["--num_shards", options.num_shards, "--num_processes", options.num_processes]
    tables = options.input
    if tables is None:
        tables = folder / "tables"
        write_synthetic_tables(tables, num_patients=options.num_patients, seed=options.seed)
        words += ["--drug_map", tables / DRUG_MAP_FILE]
    words += ["--input", tables]
    return [sys.executable, str(ROOT / "run_preparation.py"), *map(str, words)]


def start_run(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own, so that a kill takes the processes that it has started."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--output", str(output)], start_new_session=True, env=environment, umask=0, **quiet
    )


def finish(command: list[str], output: Path) -> list[str]:
    """Run to the end and give the fingerprints of what came out."""
    process = start_run(command, output)
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"run failed with {process.returncode}: {errors.decode().splitlines()[-1]}")
    return [hashlib.sha256((output / name).read_bytes()).hexdigest() for name in COMPARED]


def killed_run(command: list[str], output: Path, seconds: float, expected: list[str]) -> Kill | float:
    """Kill a run after some time, look at what it left, run it to the end and compare.

    Args:
        command (`list[str]`): the run without its output.
        output (`Path`): where it writes; removed in the end.
        seconds (`float`): when to kill it.
        expected (`list[str]`): what `finish` gave for the undisturbed run.

    Returns:
        What came of it, or how long the run took if it was over before.
    """
    start = time.monotonic()
    process = start_run(command, output)
    try:
        process.wait(seconds)
        is_over = True
    except subprocess.TimeoutExpired:
        is_over = False
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process.stderr.close()
    if is_over:
        shutil.rmtree(output)
        return time.monotonic() - start
    stage = stage_of(output)
    num_shared = sum(bool(path.lstat().st_mode & _SHARED) for path in output.rglob("*"))
    is_equal = finish(command, output) == expected and not (output / WORK_FOLDER).exists()
    is_equal &= not list(output.rglob("*.staging"))
    shutil.rmtree(output)
    return Kill(seconds, stage, is_equal, num_shared)


def stage_of(output: Path) -> str:
    """Tell from its folder what a killed run was doing."""
    if (output / REPORT_FILE).exists():
        return "cleaning up"
    if (output / VISITS_FILE).exists() or list(output.glob(".*.staging")):
        return "finish: writing"
    work = output / WORK_FOLDER
    under_way = sorted(path for path in work.rglob(".*.staging"))
    if under_way:
        place = under_way[-1]
        kind = {"tables": "cut", "shards": "prepare"}.get(place.parent.name, "")
        return f"{kind} {place.name[1:].split('.')[0]}".strip()
    if list(work.glob("shards/*")):
        return "behind a shard"
    if list(work.glob("tables/*")):
        return "behind a table"
    return "behind the plan" if (work / "plan").exists() else "starting"


if __name__ == "__main__":
    main()
