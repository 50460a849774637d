"""docs/large_scale.md does what it says: its blocks are run as they stand there, on invented tables.

Only the paths and the number of shards are others. The result is compared with that of an ordinary run.
"""

import os
import pickle
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from medm_plm.data.cohort import CohortRules
from medm_plm.data.preparation import Preparation
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import VISITS_FILE, VOCABULARY_FILE

NUM_SHARDS = 3

# Each stands for the program of SLURM and runs the work at once, the tasks of an array from the last one on.
SRUN = """
import subprocess, sys
command = sys.argv[1:]
while command[0].startswith("--"):
    del command[0]
sys.exit(subprocess.run(command).returncode)
"""
SBATCH = """
import os, pathlib, re, subprocess, sys
*words, flag, command = sys.argv[1:]
assert flag == "--wrap"
options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
assert "parsable" in options
log = pathlib.Path(__file__).with_name("jobs.txt")
jobs = log.read_text().splitlines() if log.exists() else []
if jobs:
    assert options["dependency"] == f"afterok:{len(jobs)}", "waits for the job before"
first, last = map(int, re.match(r"(\\d+)-(\\d+)%\\d+$", options.get("array", "0-0%1")).groups())
for task in reversed(range(first, last + 1)):
    number = {"SLURM_ARRAY_TASK_ID": str(task)} if "array" in options else {}
    subprocess.run(["sh", "-c", command], env=os.environ | number, stdout=sys.stderr, check=True)
log.write_text("".join(f"{job}\\n" for job in [*jobs, f"{last + 1 - first} tasks"]))
print(len(jobs) + 1)
"""


@pytest.fixture(scope="module")
def tables(project_root):
    return project_root / "tests" / "fixtures" / "mimic3"


@pytest.fixture(scope="module")
def ordinary(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ordinary") / "prepared"
    Preparation("mimic3", tables, folder).run()
    return folder


@pytest.fixture
def block(project_root, tables, tmp_path):
    """Gives a block of the page by its language and a word that stands in it."""
    page = (project_root / "docs" / "large_scale.md").read_text(encoding="utf-8")

    def find(language, word):
        blocks = re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        (code,) = [code for code in blocks if word in code]
        code = re.sub(r"(num_shards(?:=|: ))24\b", rf"\g<1>{NUM_SHARDS}", code)
        return code.replace("/shared/mimic3", str(tables)).replace("/shared/prepared", str(tmp_path / "out"))

    return find


def assert_prepared(folder: Path, ordinary: Path) -> None:
    """The folder holds the bytes of an ordinary run, and no notes are left in the work folder."""
    for name in (VISITS_FILE, VOCABULARY_FILE):
        assert (folder / name).read_bytes() == (ordinary / name).read_bytes(), name
    assert {path.name for path in folder.iterdir()} == {path.name for path in ordinary.iterdir()}


def write_program(folder: Path, name: str, text: str, interpreter: str = sys.executable) -> None:
    (folder / name).write_text(f"#!{interpreter}\n{text}")
    (folder / name).chmod(0o700)


def test_the_commands_for_slurm(block, ordinary, project_root, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs, "python", f'exec "{sys.executable}" "$@"\n', "/bin/sh")
    write_program(programs, "srun", SRUN)
    write_program(programs, "sbatch", SBATCH)
    (tmp_path / "run_preparation.py").symlink_to(project_root / "run_preparation.py")
    (tmp_path / "preparation.yaml").write_text(block("yaml", "source"))
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def bash(commands):
        words = ["bash", "-c", commands]
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    done = bash(block("bash", "sbatch"))
    assert done.returncode == 0, done.stderr
    assert "visits prepared" in done.stderr, "what the last job prints"
    jobs = (programs / "jobs.txt").read_text().splitlines()
    assert jobs == ["5 tasks", f"{NUM_SHARDS} tasks", "1 tasks"], "tables, shards, the end"
    assert_prepared(tmp_path / "out", ordinary)
    again = bash("python run_preparation.py --config preparation.yaml --stage finish")
    assert again.returncode == 0, again.stderr
    assert "visits prepared" in again.stdout, "a job that is started again once it is done"


def test_the_block_for_ray(block, ordinary, project_root, tmp_path):
    if find_spec("ray") is None:
        pytest.skip('Ray is not installed: pip install -c constraints.txt ".[engines]"')
    script = tmp_path / "script.py"
    script.write_text(block("python", "import ray"))
    done = subprocess.run(
        [sys.executable, project_root / "tests" / "ray_cluster.py", script],
        env=os.environ | {"PYTHONPATH": str(project_root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_prepared(tmp_path / "out", ordinary)


def test_the_block_for_spark_with_a_stand_in_for_spark(block, tables, tmp_path):
    """What the function asks of Spark is two calls, to which the preparation travels with all its choices."""
    rules = PreparationRules(cohort=CohortRules(minimum_age=40.0), seed=3)
    Preparation("mimic3", tables, tmp_path / "ordinary", rules).run()

    def parallelize(values, num_partitions):
        assert num_partitions == len(values), "each element in a partition of its own"

        def foreach(function):
            for value in reversed(values):
                pickle.loads(pickle.dumps(function))(value)

        return SimpleNamespace(foreach=foreach)

    names = {}
    exec(compile(block("python", "spark"), "docs/large_scale.md", "exec"), names)
    spark = SimpleNamespace(sparkContext=SimpleNamespace(parallelize=parallelize))
    preparation = Preparation("mimic3", tables, tmp_path / "out", rules, num_shards=NUM_SHARDS)
    report = names["prepare_all"](spark, preparation)
    assert report["visits"]["visits_prepared"] < report["visits"]["visits_read"]
    assert_prepared(tmp_path / "out", tmp_path / "ordinary")
