"""Stages are whole or not there, run again only if something changed, and survive being killed anywhere."""

import errno
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import run_preparation
from medm_plm.command_line import run_main
from medm_plm.data import preparation
from medm_plm.data.cohort import CohortRules
from medm_plm.data.preparation import Preparation
from medm_plm.data.rules import PreparationRules
from medm_plm.data.stages import MANIFEST_FILE, finished_stage, remove_abandoned, run_stage
from medm_plm.errors import InputError

FILES = ("visits.parquet", "code_vocabulary.json", "report.json", "report.html")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def assert_private(output):
    """Everything below a folder is its owner's alone."""
    for path in [output, *output.rglob("*")]:
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


def contents(output):
    return {name: (output / name).read_bytes() for name in FILES}


class Writer:
    """Makes the content of a stage and counts how often it is asked."""

    def __init__(self, text="content"):
        self.text = text
        self.num_calls = 0
        self.modes = []

    def __call__(self, folder):
        self.num_calls += 1
        for name in ("a", "b"):
            (folder / name).write_text(self.text)
            self.modes.append(mode(folder / name))


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


DAMAGES = (cut_off, flip, Path.unlink)


def test_equal_inputs_run_a_stage_once_and_other_inputs_run_it_again(tmp_path):
    make, folder = Writer(), tmp_path / "stages" / "s"
    inputs = {"table": "x", "rows": (1, 2), "none": None}
    first = run_stage(folder, inputs, make)
    assert (
        run_stage(folder, inputs, make) == first == finished_stage(folder, inputs) == finished_stage(folder)
    )
    assert make.num_calls == 1
    for other in ({**inputs, "table": "y"}, {**inputs, "rows": (1, 3)}, {**inputs, "more": 1}):
        assert finished_stage(folder, other) is None
        assert run_stage(folder, other, make) != first, "what depends on it has to be run again, too"
    assert make.num_calls == 4
    assert run_stage(folder, inputs, make) == first


@pytest.mark.parametrize("name", ["a", "b", MANIFEST_FILE])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stage_is_made_again(tmp_path, name, damage):
    make, folder = Writer(), tmp_path / "s"
    first = run_stage(folder, {}, make)
    damage(folder / name)
    assert finished_stage(folder, {}) is None
    assert run_stage(folder, {}, make) == first
    assert make.num_calls == 2
    assert [(folder / part).read_text() for part in ("a", "b")] == ["content"] * 2


def test_only_the_files_that_are_read_are_looked_at(tmp_path):
    run_stage(tmp_path / "s", {}, Writer())
    flip(tmp_path / "s" / "b")
    assert finished_stage(tmp_path / "s", names=["a"])
    assert finished_stage(tmp_path / "s", names=["b"]) is None


def test_a_stage_that_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    folder = tmp_path / "s"
    first = run_stage(folder, {"n": 1}, Writer("old"))

    def fail(error):
        def make(staging):
            (staging / "a").write_text("half")
            raise error

        return make

    with pytest.raises(InputError, match="s: folder cannot be written: No space left"):
        run_stage(folder, {"n": 2}, fail(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(InputError, match="row is wrong"):
        run_stage(folder, {"n": 2}, fail(InputError("row is wrong")))
    assert finished_stage(folder, {"n": 1}) == first
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_process_that_was_faster_is_as_good(tmp_path, monkeypatch):
    folder = tmp_path / "s"
    make = Writer()
    rename = Path.rename

    def late(path, target):
        monkeypatch.setattr(Path, "rename", rename)
        run_stage(folder, {"n": 1}, Writer())  # of the other process, between our deletion and our renaming
        path.mkdir(exist_ok=True)
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(Path, "rename", late)
    digest = run_stage(folder, {"n": 1}, make)
    assert digest == finished_stage(folder, {"n": 1})


def test_staging_folders_of_others_do_no_harm_and_can_be_removed(tmp_path):
    stale = tmp_path / ".s.999999.staging"
    stale.mkdir()
    (stale / "c").write_text("half of a table")
    run_stage(tmp_path / "s", {}, Writer())
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["a", "b", MANIFEST_FILE]
    assert sorted(path.name for path in tmp_path.iterdir()) == [stale.name, "s"]
    (tmp_path / "deeper").mkdir()
    shutil.copytree(stale, tmp_path / "deeper" / stale.name)
    remove_abandoned(tmp_path)
    assert not list(tmp_path.rglob("*.staging"))
    assert finished_stage(tmp_path / "s", {})


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_files_are_private_from_the_first_byte_whatever_the_umask(tmp_path, umask):
    make = Writer()
    before = os.umask(umask)
    try:
        run_stage(tmp_path / "o" / "s", {}, make)
    finally:
        after = os.umask(before)
    assert after == umask, "the umask of the process is as it was"
    assert make.modes == [0o600, 0o600]
    assert_private(tmp_path / "o")


# A whole preparation, in stages.


@pytest.fixture
def tables(project_root, tmp_path):
    folder = tmp_path / "tables"
    shutil.copytree(project_root / "tests" / "fixtures" / "mimic3", folder)
    shutil.copy(project_root / "tests" / "fixtures" / "drug_map.csv", tmp_path / "map.csv")
    return folder


def prepare(tables, output, num_shards=2, rules=None):
    mapping = tables.parent / "map.csv"
    return Preparation("mimic3", tables, output, rules or PreparationRules(), mapping, num_shards=num_shards)


def run_stages(one):
    """All stages but the last."""
    one.plan()
    for name in one.table_names:
        one.cut(name)
    for shard in range(one.planned_shards()):
        one.prepare(shard)


@pytest.fixture
def expected(tables, tmp_path):
    """What an undisturbed run writes."""
    prepare(tables, tmp_path / "undisturbed").run()
    return contents(tmp_path / "undisturbed")


@pytest.fixture
def made(monkeypatch):
    """The stages that were run, in their order."""
    names = []

    def watch(name):
        original = getattr(preparation, name)

        def watched(*arguments, **options):
            names.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(preparation, name, watched)

    for name in ("make_plan", "cut_table", "prepare_shard", "finish"):
        watch(name)
    return names


ALL = ["make_plan", *["cut_table"] * 5, *["prepare_shard"] * 2, "finish"]


def test_a_run_that_was_broken_off_does_what_is_left(tables, tmp_path, made, expected):
    made.clear()
    one = prepare(tables, tmp_path / "out")
    one.plan()
    for name in one.table_names[:3]:
        one.cut(name)
    assert made == ALL[:4]
    prepare(tables, tmp_path / "out").run()
    assert made == ALL
    assert contents(tmp_path / "out") == expected


def change_table(tables):
    path = tables / "NOTEEVENTS.csv"
    path.write_bytes(path.read_bytes().replace(b"Died of sepsis", b"died of sepsis"))


def change_mapping(tables):
    with (tables.parent / "map.csv").open("a") as mapping:
        mapping.write("Zyzzyx cream,TP,A10AB01\n")


@pytest.mark.parametrize("change", [change_table, change_mapping, "rule", "num_shards"])
def test_whatever_changes_the_visits_runs_the_stages_again(tables, tmp_path, made, change):
    run_stages(prepare(tables, tmp_path / "out"))
    made.clear()
    run_stages(prepare(tables, tmp_path / "out"))
    assert made == [], "nothing has changed"
    rules = PreparationRules(seed=1) if change == "rule" else None
    num_shards = 1 if change == "num_shards" else 2
    if callable(change):
        change(tables)
    prepare(tables, tmp_path / "out", num_shards, rules).run()
    assert made == [*ALL[:6], *["prepare_shard"] * num_shards, "finish"]
    prepare(tables, tmp_path / "new", num_shards, rules).run()
    assert contents(tmp_path / "out") == contents(tmp_path / "new")


VICTIMS = (
    "plan/owners.parquet",
    "plan/plan.json",
    "plan/manifest.json",
    "tables/ADMISSIONS/shard-0001.parquet",
    "tables/NOTEEVENTS/account.json",
    "tables/PATIENTS/learned.parquet",
    "tables/PRESCRIPTIONS/manifest.json",
    "shards/0000/visits.parquet",
    "shards/0001/account.json",
    "shards/0001/outlines.parquet",
)


def test_any_damaged_file_of_a_finished_stage_is_made_again(tables, tmp_path, expected):
    sound = prepare(tables, tmp_path / "sound")
    run_stages(sound)
    for number, victim in enumerate(VICTIMS):
        output = tmp_path / str(number)
        shutil.copytree(tmp_path / "sound", output)
        DAMAGES[number % len(DAMAGES)](output / "work" / victim)
        prepare(tables, output).run()
        assert contents(output) == expected, victim


def test_damage_is_noticed_by_the_stage_that_reads(tables, tmp_path):
    one = prepare(tables, tmp_path / "out")
    run_stages(one)
    flip(one.work / "shards" / "0001" / "visits.parquet")
    with pytest.raises(InputError, match="stage shards/0001 is not finished"):
        one.finish()
    flip(one.work / "tables" / "ADMISSIONS" / "shard-0001.parquet")
    one.prepare(0)
    with pytest.raises(InputError, match="stage tables/ADMISSIONS is not finished"):
        one.prepare(1)


def test_a_finished_output_is_left_alone_and_a_damaged_one_is_not(tables, tmp_path, made, expected):
    output = tmp_path / "undisturbed"
    made.clear()
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    steps = []
    report = prepare(tables, output, num_shards=7).run(steps.append)
    assert report == json.loads((output / "report.json").read_text())
    assert made == steps == []
    assert {path.name: path.stat().st_mtime_ns for path in output.iterdir()} == before
    for name, damage in zip(("visits.parquet", "code_vocabulary.json", "report.json"), DAMAGES, strict=True):
        made.clear()
        damage(output / name)
        prepare(tables, output).run()
        assert made == ALL
        assert contents(output) == expected
    flip(output / "visits.parquet")
    assert prepare(tables, output).finished_report() is None


def test_what_a_run_left_that_was_killed_behind_its_report_goes(tables, tmp_path, expected):
    output = tmp_path / "undisturbed"
    run_stages(prepare(tables, output))
    assert (output / "work").is_dir()
    prepare(tables, output).run()
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES)


def test_a_run_first_removes_what_killed_ones_left_under_way(tables, tmp_path):
    one = prepare(tables, tmp_path / "out")
    one.plan()
    stale = one.work / "tables" / ".PATIENTS.999999.staging"
    stale.mkdir(parents=True)
    with (tables / "PATIENTS.csv").open("a") as table:
        table.write("one field\n")
    with pytest.raises(InputError, match=r"PATIENTS\.csv, row 8: row has another number of fields"):
        prepare(tables, tmp_path / "out").run()
    assert not list(one.work.rglob("*.staging"))


def test_stages_of_different_runs_are_never_mixed(tables, tmp_path):
    output = tmp_path / "out"
    run_stages(prepare(tables, output))
    older = PreparationRules(cohort=CohortRules(minimum_age=50))
    with pytest.raises(InputError, match="stage plan was run with other options"):
        prepare(tables, output, rules=older).prepare(0)
    with pytest.raises(InputError, match="stage plan was run with other options"):
        prepare(tables, output, rules=older).finish()
    prepare(tables, output, num_shards=1).plan()  # fewer shards, of which all would be there
    with pytest.raises(InputError, match="stage tables/PATIENTS is not finished"):
        prepare(tables, output).finish()
    run_stages(prepare(tables, output))
    change_table(tables)
    with pytest.raises(InputError, match=r"file has changed|stage plan"):
        prepare(tables, output).finish()
    assert not (output / "report.json").exists()


def test_a_preparation_travels_as_its_choices(tables, tmp_path):
    one = prepare(tables, tmp_path / "out")
    one.plan()
    other = pickle.loads(pickle.dumps(one))
    assert other == one
    assert len(pickle.dumps(one)) < 2000, "no table travels along"
    other.cut("PATIENTS")


def test_shards_and_tables_in_several_processes_at_once(tables, tmp_path, expected):
    one = prepare(tables, tmp_path / "out")
    one.plan()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(one.cut, [*one.table_names, *one.table_names]))
        list(pool.map(one.prepare, [0, 1, 0, 1]))
    one.finish()
    assert contents(tmp_path / "out") == expected
    assert_private(tmp_path / "out")


# The command line.


@pytest.fixture
def command(tables, tmp_path, monkeypatch, capsys):
    def start(*words, output="out"):
        options = ("--source", "mimic3", "--input", tables, "--output", tmp_path / output, "--num_shards", 2)
        options += ("--drug_map", tmp_path / "map.csv")
        monkeypatch.setattr(sys, "argv", ["run_preparation.py", *map(str, (*options, *words))])
        try:
            run_main(run_preparation.main)
        except SystemExit as stop:
            return stop.code, capsys.readouterr()
        return 0, capsys.readouterr()

    return start


def test_stages_one_by_one_give_the_same_bytes(command, tmp_path, expected):
    status, printed = command("--stage", "plan")
    assert status == 0
    assert printed.out == "2 shards; tables: PATIENTS ADMISSIONS DIAGNOSES_ICD PRESCRIPTIONS NOTEEVENTS\n"
    assert command("--stage", "cut", "--only", "NOTEEVENTS", "PATIENTS")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out" / "work" / "tables").iterdir()) == [
        "NOTEEVENTS",
        "PATIENTS",
    ]
    assert command("--stage", "cut")[0] == 0
    assert command("--stage", "prepare", "--only", "1")[0] == 0
    assert [path.name for path in (tmp_path / "out" / "work" / "shards").iterdir()] == ["0001"]
    assert command("--stage", "prepare", "--only", "0")[0] == 0
    status, printed = command("--stage", "finish")
    assert status == 0
    assert "visits prepared" in printed.out
    assert contents(tmp_path / "out") == expected


def test_a_stage_too_early_or_of_nothing_is_one_clear_line(command):
    def refusal(*words):
        status, printed = command(*words)
        assert status == 1
        assert len(printed.err.strip().splitlines()) == 1
        return printed.err

    for words in (("cut",), ("prepare",), ("finish",)):
        assert "stage plan is not finished" in refusal("--stage", *words)
    assert command("--stage", "plan")[0] == 0
    assert "there is no such table; received LABS, expected PATIENTS ADMISSIONS" in refusal(
        "--stage", "cut", "--only", "LABS"
    )
    assert "stage tables/PATIENTS is not finished" in refusal("--stage", "prepare", "--only", "0")
    for wrong in ("2", "-1", "x"):
        assert f"there is no such shard; received {wrong}, expected 0 to 1" in refusal(
            "--stage", "prepare", "--only", wrong
        )
    assert command("--stage", "cut")[0] == 0
    assert command("--stage", "prepare", "--only", "0")[0] == 0
    assert "stage shards/0001 is not finished" in refusal("--stage", "finish")


# Kills.

KILLED = """
import os, pathlib, sys
kind, count, part = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sys.argv = ["run_preparation.py", *sys.argv[4:]]
os.umask(0)

def die(name, owner, of):
    original = getattr(owner, name)
    def watched(*arguments, **options):
        global count
        if part in str(of(*arguments)):
            count -= 1
            if count == 0:
                os._exit(9)
        return original(*arguments, **options)
    setattr(owner, name, watched)

if kind == "fsync":
    die("fsync", os, lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}"))
else:
    die(kind, pathlib.Path, lambda *paths: paths[0])
import run_preparation
run_preparation.main()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds open files by /proc")
@pytest.mark.parametrize(
    ("kind", "count", "part", "left"),
    [
        ("fsync", 2, "PRESCRIPTIONS", "work/tables/.PRESCRIPTIONS.*.staging/*"),
        ("rename", 1, ".0001.", "work/shards/.0001.*.staging/manifest.json"),
        ("replace", 2, "", ".code_vocabulary.json.*.staging"),
    ],
)
def test_a_killed_run_leaves_private_files_and_runs_on(
    tables, tmp_path, expected, project_root, kind, count, part, left
):
    output = tmp_path / "out"
    words = ["--source", "mimic3", "--input", tables, "--output", output, "--num_shards", "2"]
    words += ["--drug_map", tmp_path / "map.csv", "--num_processes", "1"]
    command = [sys.executable, "-c", KILLED, kind, str(count), part, *map(str, words)]
    before = {path for path in tmp_path.rglob("*") if output not in path.parents and path != output}
    environment = {**os.environ, "PYTHONPATH": str(project_root), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 9, done.stderr
    assert list(output.glob(left)), sorted(output.rglob("*"))
    assert not (output / "report.json").exists()
    assert_private(output)
    after = {path for path in tmp_path.rglob("*") if output not in path.parents and path != output}
    assert after == before, "nothing is written outside the output folder"
    prepare(tables, output).run()
    assert contents(output) == expected
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES)
    assert_private(output)
