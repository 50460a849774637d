"""The tables of the preparation's benchmark have the size they should, and its rival does the same work."""

import json
import subprocess
import sys

import polars as pl
import pytest

SHARE = 0.001
ROWS = {"PATIENTS": 47, "ADMISSIONS": 59, "DIAGNOSES_ICD": 651, "PRESCRIPTIONS": 4156, "NOTEEVENTS": 2083}
NUM_COLUMNS = {"PATIENTS": 8, "ADMISSIONS": 19, "DIAGNOSES_ICD": 5, "PRESCRIPTIONS": 19, "NOTEEVENTS": 11}


@pytest.fixture(scope="module")
def script(project_root):
    """Import the benchmark as it imports its own parts: from the folder that it lies in."""
    if not (project_root / "benchmarks").is_dir():
        pytest.skip("benchmarks are not part of this distribution")
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(project_root / "benchmarks")
    import preparation

    yield preparation
    patch.undo()


@pytest.fixture(scope="module")
def folder(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    script.write_full_size_tables(folder / f"share-{SHARE:g}", SHARE, pool_size=300)
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    names = {name: folder / f"share-{SHARE:g}" / f"{name}.csv.gz" for name in ROWS}
    return {name: pl.read_csv(path, infer_schema=False) for name, path in names.items()}


def test_row_counts_are_exact_and_no_column_is_missing(tables, folder):
    assert {name: table.height for name, table in tables.items()} == ROWS
    assert {name: table.width for name, table in tables.items()} == NUM_COLUMNS
    content = json.loads((folder / f"share-{SHARE:g}" / "counts.json").read_text())
    assert {name: count["rows"] for name, count in content["tables"].items()} == ROWS
    for name, table in tables.items():
        assert table["ROW_ID"].cast(int).to_list() == list(range(1, ROWS[name] + 1))


@pytest.mark.parametrize("total", [1, 13, 208, 2083, 20_832, 208_318, 2_083_180])
@pytest.mark.usefixtures("script")
def test_categories_of_notes_add_up(total):
    from full_size_notes import NOTES, note_counts

    counts = note_counts(total)
    assert sum(counts.values()) == total
    assert min(counts.values()) >= 0
    if total == 2_083_180:
        assert counts == {category: count for category, (count, _) in NOTES.items()}


def test_rows_belong_to_admissions_of_their_patients(tables):
    admissions = tables["ADMISSIONS"].select("SUBJECT_ID", "HADM_ID")
    assert admissions["HADM_ID"].is_unique().all()
    assert set(admissions["SUBJECT_ID"]) == set(tables["PATIENTS"]["SUBJECT_ID"])
    for name in ("DIAGNOSES_ICD", "PRESCRIPTIONS", "NOTEEVENTS"):
        rows = tables[name].drop_nulls("HADM_ID")
        assert rows.join(admissions, on=["SUBJECT_ID", "HADM_ID"], how="semi").height == rows.height
    codes = tables["DIAGNOSES_ICD"].drop_nulls("ICD9_CODE")
    assert codes.select("HADM_ID", "ICD9_CODE").is_unique().all()


def test_notes_begin_with_the_summaries_and_are_of_realistic_length(tables):
    notes = tables["NOTEEVENTS"]
    assert (notes["CATEGORY"] == "Discharge summary").to_list() == [row < 60 for row in range(2083)]
    length = notes["TEXT"].str.len_chars()
    assert 8_000 < length.head(53).mean() < 12_000
    assert 1_200 < length.slice(60).mean() < 2_000
    assert notes["TEXT"].is_unique().all()
    for wanted in ('"', ",", "\n", "[**", "Sig:"):
        assert notes.head(10)["TEXT"].str.contains(wanted, literal=True).all(), wanted


def test_the_same_seed_writes_the_same_bytes(script, folder, tmp_path):
    again = script.write_full_size_tables(tmp_path, SHARE, pool_size=300)
    for name in again:
        first = folder / f"share-{SHARE:g}" / f"{name}.csv.gz"
        assert first.read_bytes() == (tmp_path / f"{name}.csv.gz").read_bytes(), name


def test_both_prepare_the_same_visits_and_are_measured(script, project_root, folder, tmp_path):
    pytest.importorskip("pandas")
    words = ["--folder", folder, "--output", tmp_path, "--shares", SHARE, "--repeats", 1]
    command = [sys.executable, str(project_root / "benchmarks" / "preparation.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads((tmp_path / "measurements.json").read_text())
    assert [run["system"] for run in measured] == ["MedM-PLM", "pandas"]
    assert all(run["wall"] > 0.1 and run["cpu"] > 0.1 and run["memory"] > 50 for run in measured)

    ours, theirs = tmp_path / f"medm-plm-{SHARE:g}" / "visits.parquet", tmp_path / f"pandas-{SHARE:g}.parquet"
    counts = script.same_rows(ours, theirs)
    assert counts.pop("visits") == pl.read_parquet(theirs).height > 20
    assert set(counts.values()) == {0}
    check_that_differences_are_noticed(script, ours, pl.read_parquet(theirs), tmp_path / "changed.parquet")


def check_that_differences_are_noticed(script, ours, visits, path):
    changes = {
        "subject_id": pl.lit(0),
        "note": pl.lit("x"),
        "diagnosis_codes": pl.col("DIAGNOSIS_CODES").list.head(1),
        "medication_codes": pl.col("MEDICATION_CODES").list.reverse(),
        "readmission": ~pl.col("READMISSION"),
    }
    for column, change in changes.items():
        of_first_visit = pl.when(pl.int_range(pl.len()) == 0).then(change).otherwise(column.upper())
        visits.with_columns(of_first_visit.alias(column.upper())).write_parquet(path)
        counts = script.same_rows(ours, path)
        assert {name: count for name, count in counts.items() if count} == {
            "visits": visits.height,
            column: 1,
        }
    visits.tail(-1).write_parquet(path)
    counts = script.same_rows(ours, path)
    assert {name: count for name, count in counts.items() if count} == {
        "visits": visits.height - 1,
        "ours only": 1,
    }


def test_memory_and_processor_time_of_all_children_count(script, tmp_path):
    child = "import time; x = bytearray(100_000_000); time.sleep(0.5); sum(range(3_000_000))"
    parent = (
        "import subprocess, sys\n"
        f"children = [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(2)]\n"
        "sys.exit(sum(child.wait() for child in children))"
    )
    wall, cpu, memory = script.measure([sys.executable, "-c", parent], tmp_path / "log")
    assert wall > 0.5
    assert cpu > 0.04
    assert 200 < memory < 400, "each of the two children takes 110 MB"


def test_a_run_that_fails_ends_the_benchmark(script, tmp_path):
    with pytest.raises(SystemExit, match="failed with 3"):
        script.measure([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")
