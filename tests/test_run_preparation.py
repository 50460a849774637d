"""The script as a user starts it: one command, one table, one line for each mistake."""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pytest

import run_preparation
from medm_plm.command_line import run_main


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Start the script in this process, which saves the imports; one test below starts it for real."""

    def start(*arguments):
        monkeypatch.setattr(sys, "argv", ["run_preparation.py", *map(str, arguments)])
        status = 0
        try:
            run_main(run_preparation.main)
        except SystemExit as stop:
            status = stop.code
        return Result(status, *capsys.readouterr())

    return start


def test_the_script_runs_from_a_clone(project_root, tmp_path):
    fixtures = project_root / "tests" / "fixtures"
    command = [sys.executable, "run_preparation.py", "--source", "eicu", "--input", fixtures / "eicu"]
    command += ["--drug_map", fixtures / "drug_map.csv", "--output", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project_root, check=False)
    assert done.returncode == 0, done.stderr
    assert "visits prepared" in done.stdout
    assert "step" in done.stderr, "progress goes to the error stream"


@pytest.fixture
def fixtures(project_root):
    return project_root / "tests" / "fixtures"


def test_a_synthetic_cohort_in_one_command_and_again_from_a_config_file(run, tmp_path):
    done = run("--source", "synthetic", "--num_patients", 60, "--seed", 4, "--output", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    assert "readmissions (paper)" in done.stdout
    config = tmp_path / "run.yaml"
    config.write_text(
        "source: synthetic\nnum_patients: 9\nseed: 4\nrequire: [note, diagnoses, medications]\n"
    )
    tables = tmp_path / "tables"
    again = run("--config", config, "--num_patients", 60, "--output", tmp_path / "two", "--input", tables)
    assert again.returncode == 0, again.stderr
    assert (tables / "NOTEEVENTS.csv").is_file()
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two")]
    assert reports[0]["source"]["files"] == reports[1]["source"]["files"], "equal seeds, equal tables"
    assert reports[1]["rules"]["cohort"]["require"] == ["note", "diagnoses", "medications"]
    assert reports[0]["visits"]["visits_read"] == reports[1]["visits"]["visits_read"] > 60
    checked = run("--check", tmp_path / "one")
    assert checked.returncode == 0, checked.stderr
    assert "pre-training visit of a held-out patient" in checked.stdout


def test_requirements_may_stand_with_commas(run, fixtures, tmp_path):
    done = run(
        *("--source", "mimic3", "--input", fixtures / "mimic3", "--drug_map", fixtures / "drug_map.csv"),
        *(
            "--output",
            tmp_path / "out",
            "--require",
            "note,diagnoses",
            "medications",
            "--readmission_policy",
            "cms",
        ),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rules"]["cohort"]["require"] == ["note", "diagnoses", "medications"]
    assert report["visits"]["readmission"]["policy"] == "cms"
    assert report["medications"]["mapping_sha256"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "--source and --output must be given"),
        (("--source", "mimic3", "--output", "x"), 2, "--input must be given"),
        (
            ("--source", "mimic3", "--input", "x", "--output", "y", "--require", "labs"),
            2,
            "unknown requirement",
        ),
        (("--sorce", "mimic3"), 2, "did you mean --source"),
        (("--source", "mimic9"), 2, "mimic3"),
        (
            ("--source", "eicu", "--input", "nowhere", "--output", "y"),
            1,
            "nowhere: input folder does not exist",
        ),
        (("--source", "meds", "--output", "x"), 2, "--input must be given"),
        (
            ("--source", "meds", "--input", "x", "--output", "y", "--meds_diagnosis", "DX/"),
            2,
            "does not say what follows it",
        ),
        (
            ("--source", "mimic3", "--input", "x", "--output", "y", "--notes", "z"),
            1,
            "notes is an option of mimic4",
        ),
        (("--check", "nowhere"), 1, "prepared visits are missing"),
        (
            ("--source", "synthetic", "--output", "y", "--num_patients", "0"),
            1,
            "num_patients is out of range",
        ),
    ],
)
def test_each_mistake_is_one_line(run, tmp_path, arguments, status, message):
    arguments = [str(tmp_path / word) if word in ("x", "y") else word for word in arguments]
    failed = run(*arguments)
    assert failed.returncode == status, failed.stderr
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "error: " in failed.stderr.strip().splitlines()[-1]


def test_options_about_meds_and_notes_reach_their_readers(run, fixtures, tmp_path):
    mimic4 = ("--source", "mimic4", "--input", fixtures / "mimic4" / "hosp", "--output", tmp_path / "one")
    done = run(*mimic4, "--notes", fixtures / "mimic4" / "note")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    assert report["visits"]["visits_with_note"] == 2
    assert report["rules"]["meds_codes"] is None
    rows = [
        (1, datetime(2031, 1, 2), "IN"),
        (1, datetime(2031, 1, 3), "OUT"),
        (1, datetime(2031, 1, 2), "DX:I10"),
    ]
    (tmp_path / "data").mkdir()
    pl.DataFrame(rows, ["subject_id", "time", "code"], orient="row").write_parquet(
        tmp_path / "data" / "0.parquet"
    )
    meds = ("--source", "meds", "--input", tmp_path, "--output", tmp_path / "two", "--minimum_age", 0)
    done = run(*meds, "--meds_admission", "IN", "--meds_discharge", "OUT", "--meds_diagnosis", "DX:=ICD10CM")
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(tmp_path / "two" / "visits.parquet")["diagnosis_codes"].to_list() == [
        ["ICD10CM:I10"]
    ]


def test_a_bad_table_is_named_with_its_row_and_no_cell(run, fixtures, tmp_path):
    for path in (fixtures / "mimic3").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "PRESCRIPTIONS.csv").open("a") as table:
        table.write("11,11,1101,Secret42\n")
    failed = run("--source", "mimic3", "--input", tmp_path, "--output", tmp_path / "out")
    assert failed.returncode == 1
    assert "PRESCRIPTIONS.csv, row 12: row has another number of fields" in failed.stderr
    assert "Secret42" not in failed.stderr + failed.stdout
    assert "Traceback" not in failed.stderr
    left = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert not left & {"visits.parquet", "code_vocabulary.json", "report.json", "report.html"}
    assert not [name for name in left if "PRESCRIPTIONS" in name], "half a table is not kept"


def test_real_tables_are_never_replaced_by_synthetic_ones(run, fixtures, tmp_path):
    for path in (fixtures / "mimic3").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    failed = run("--source", "synthetic", "--input", tmp_path, "--output", tmp_path / "out")
    assert failed.returncode == 1
    assert "tables that are not synthetic" in failed.stderr
    assert pl.read_csv(tmp_path / "ADMISSIONS.csv").height == 11
