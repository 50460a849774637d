"""`run_prediction.py`: files in, files out, one line for every mistake, and nothing of a patient in it."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import run_prediction
from medm_plm import load_pipeline
from medm_plm.errors import InputError
from medm_plm.prediction import neutralized, read_examples
from medm_plm.prediction.predicting import predict_file
from prepared_cohort import invent_visits, write_prepared_folder
from tiny_predictors import save_predictor

SECRET = "zebrafish"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Models of three tasks and a prepared folder."""
    base = tmp_path_factory.mktemp("prediction")
    for task in ("icd_coding", "readmission", "medication_recommendation", "medication_prediction"):
        save_predictor(task, base / task)
    write_prepared_folder(base / "prepared", invent_visits(30))
    return base


def run(folders: Path, task: str, source: Path, output: Path, **more: object) -> None:
    words = ["--model", str(folders / task), "--input", str(source), "--output", str(output)]
    run_prediction.main(words + [word for name, value in more.items() for word in (f"--{name}", str(value))])


@pytest.mark.parametrize("task", ["icd_coding", "readmission", "medication_recommendation"])
def test_a_prepared_folder_is_predicted_as_the_pipeline_does(task, folders, tmp_path, capsys):
    output = tmp_path / "out" / "predictions.parquet"
    run(folders, task, folders / "prepared", output)
    table, rows = pl.read_parquet(output), pl.read_parquet(folders / "prepared" / "visits.parquet").to_dicts()
    predict = load_pipeline(folders / task, device="cpu")
    groups = {str(row["subject_id" if "recommendation" in task else "hadm_id"]): [] for row in rows}
    for row in rows:
        groups[str(row["subject_id" if "recommendation" in task else "hadm_id"])].append(row)
    if task == "medication_recommendation":
        groups = {patient: visits for patient, visits in groups.items() if len(visits) > 1}
    assert table["row"].n_unique() == len(groups)
    assert table["row"].is_sorted()
    for rows_of_one, found in zip(
        groups.values(), table.partition_by("row", maintain_order=True), strict=True
    ):
        expected = predict(rows_of_one if task == "medication_recommendation" else rows_of_one[0])
        entries = [expected] if isinstance(expected, dict) else expected
        assert found["hadm_id"].unique().to_list() == [rows_of_one[-1]["hadm_id"]]
        for entry, row in zip(entries, found.iter_rows(named=True), strict=True):
            assert row["probability"] == pytest.approx(entry["probability"], abs=1e-6)
            assert {name: row[name] for name in entry if name != "probability"} == {
                name: value for name, value in entry.items() if name != "probability"
            }
    assert os.stat(output).st_mode & 0o777 == 0o600
    assert "only you can read it" in capsys.readouterr().out


def written(path: Path, rows: list[dict]) -> Path:
    """Rows in the kind of file that the name asks for."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    elif path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            for row in rows:
                writer.writerow({k: "; ".join(v) if isinstance(v, list) else v for k, v in row.items()})
    else:
        pl.DataFrame(rows).write_parquet(path)
    return path


def plain_rows(count: int = 9) -> list[dict]:
    names = ("hadm_id", "note", "diagnosis_codes", "medication_codes", "age")
    return [{name: row[name] for name in names} for row in invent_visits().head(count).to_dicts()]


def test_the_same_rows_in_any_kind_of_file_give_the_same_predictions(folders, tmp_path):
    tables = []
    for kind in ("parquet", "jsonl", "csv"):
        source = written(tmp_path / f"visits.{kind}", plain_rows())
        run(folders, "readmission", source, tmp_path / f"{kind}.parquet")
        tables.append(pl.read_parquet(tmp_path / f"{kind}.parquet"))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert tables[0]["row"].to_list() == list(range(1, 10))


def test_rows_count_visits_and_errors_name_lines(tmp_path):
    """Notes of two lines and blank lines move the lines and not the numbers."""
    (tmp_path / "v.csv").write_text('note\n"a\nb"\n\n"c\nd"\n', "utf-8")
    (tmp_path / "v.jsonl").write_text('{"note": "a"}\n\n\n{"note": "b"}\n', "utf-8")
    for name, lines in (("v.csv", [3, 6]), ("v.jsonl", [1, 4])):
        found = list(read_examples(tmp_path / name))
        assert [example.row for example in found] == [1, 2]
        assert [example.line for example in found] == lines


def test_the_row_of_a_patient_is_that_of_the_visit_that_is_asked_about(tmp_path):
    (tmp_path / "v.csv").write_text('subject_id,note\np,"a\nb"\np,"c\nd"\nq,x\nq,"y\nz"\n', "utf-8")
    found = list(read_examples(tmp_path / "v.csv", by_patient=True))
    assert [(example.row, example.line) for example in found] == [(2, 5), (4, 8)]


def test_a_split_does_not_change_the_rows(tmp_path):
    rows = [{"note": "x", "split": split} for split in ("train", "test", "test")]
    found = read_examples(written(tmp_path / "v.parquet", rows), split="test")
    assert [example.row for example in found] == [2, 3]


@pytest.mark.parametrize("task", ["icd_coding", "medication_recommendation"])
def test_results_do_not_depend_on_the_batch_size(task, folders, tmp_path):
    found = []
    for size in (1, 3, 64):
        run(folders, task, folders / "prepared", tmp_path / f"{size}.parquet", batch_size=size)
        found.append(pl.read_parquet(tmp_path / f"{size}.parquet").sort("row", "code"))
    for other in found[1:]:
        assert other["code"].equals(found[0]["code"])
        assert np.abs(other["probability"].to_numpy() - found[0]["probability"].to_numpy()).max() <= 1e-6
    assert found[0]["probability"].n_unique() > 20


def test_long_files_are_computed_in_parts(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("medm_plm.prediction.predicting.EXAMPLES_AT_A_TIME", 4)
    seen = []
    predict = load_pipeline(folders / "readmission", device="cpu")
    source = written(tmp_path / "visits.jsonl", plain_rows(10))
    summary = predict_file(
        predict, read_examples(source), tmp_path / "out.csv", source=source, progress=seen.append
    )
    assert (seen, summary.examples, summary.rows) == ([4, 8, 10], 10, 10)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 11


def test_csv_cells_that_begin_a_formula_are_neutralised(folders, tmp_path):
    names = ["=1+1", "+cmd", "-cmd", "@sum", "\tx", "-5", "7"]
    rows = [{**row, "hadm_id": name} for row, name in zip(plain_rows(7), names, strict=True)]
    titles = tmp_path / "titles.csv"
    titles.write_text("system,code,title\nICD9CM,4280,=HYPERLINK(1)\n")
    source = written(tmp_path / "visits.jsonl", rows)
    run(folders, "icd_coding", source, tmp_path / "out.csv", titles=titles)
    with (tmp_path / "out.csv").open(newline="") as stream:
        cells = list(csv.DictReader(stream))
    ids = list(dict.fromkeys(row["hadm_id"] for row in cells))
    assert ids == ["'=1+1", "'+cmd", "'-cmd", "'@sum", "'\tx", "-5", "7"]
    assert {row["title"] for row in cells if row["code"] == "ICD9CM:4280"} == {"'=HYPERLINK(1)"}
    assert all(0 <= float(row["probability"]) <= 1 for row in cells)


@pytest.mark.parametrize(
    "cell",
    [
        "\uff1d1+1",
        "\uff20sum",
        "\n=1",
        " =1",
        "\u00a0=1",
        "\u200b=1",
        "\ufeff=1",
        "\uff0d1",
        "-\u0663",
        "\nx",
    ],
)
def test_disguised_formulas_are_neutralised(cell):
    assert neutralized(cell) == f"'{cell}"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (";=1", ";'=1"),
        ("a;=2+2", "a;'=2+2"),
        ("a;b; @x", "a;b;' @x"),
        ("a\t=1", "a\t'=1"),
        ("=1;+2", "'=1;'+2"),
    ],
)
def test_a_formula_behind_another_separator_is_neutralised(cell, expected):
    assert neutralized(cell) == expected


@pytest.mark.parametrize(
    "cell", ["", " ", "a; b", "Heart failure", "a=1", "-5", "+.5e-3", "ICD9CM:4280", "\u200b", -1.5, None]
)
def test_what_is_no_formula_stays(cell):
    assert neutralized(cell) == cell


def test_ids_are_kept_whichever_row_is_the_first_to_have_one(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("medm_plm.prediction.predicting.EXAMPLES_AT_A_TIME", 2)
    rows = [{"note": "x"}, {"note": "x"}, {"note": "x", "subject_id": "p7"}, {"note": "x", "hadm_id": 5}]
    run(folders, "readmission", written(tmp_path / "v.jsonl", rows), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as stream:
        found = [(row["row"], row["subject_id"], row["hadm_id"]) for row in csv.DictReader(stream)]
    assert found == [("1", "", ""), ("2", "", ""), ("3", "p7", ""), ("4", "", "5")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the device can be used")
def test_a_device_that_is_not_there_gets_one_line(folders, tmp_path):
    source = written(tmp_path / "v.jsonl", plain_rows(1))
    with pytest.raises(InputError, match="device cannot be used") as caught:
        run(folders, "readmission", source, tmp_path / "out.csv", device="cuda:0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float99", "nn", ""])
def test_a_precision_that_does_not_exist_gets_one_line(dtype, folders):
    with pytest.raises(InputError, match="unknown precision"):
        load_pipeline(folders / "readmission", dtype=dtype)


def test_unknown_codes_are_counted(folders, tmp_path, capsys):
    rows = [{"note": "x", "diagnosis_codes": ["428.9", SECRET], "medication_codes": []}]
    run(folders, "readmission", written(tmp_path / "v.jsonl", rows), tmp_path / "out.csv")
    text = capsys.readouterr().out
    assert "placed on an ontology node      1" in text
    assert "unknown                         1" in text
    assert SECRET not in text


def test_only_the_most_probable_codes_of_one_split(folders, tmp_path):
    run(folders, "icd_coding", folders / "prepared", tmp_path / "out.parquet", top_k=2, split="test")
    table = pl.read_parquet(tmp_path / "out.parquet")
    visits = pl.read_parquet(folders / "prepared" / "visits.parquet").filter(pl.col("split") == "test")
    assert table.height == 2 * visits.height
    assert set(table["hadm_id"]) == set(visits["hadm_id"])


def test_a_model_of_the_first_day_reads_the_note_of_the_first_day(tmp_path):
    """As its configuration says, which is published with it; the metrics of the run are not."""
    save_predictor("medication_prediction", tmp_path / "medication_prediction", note_field="admission_note")
    (tmp_path / "medication_prediction" / "metrics.json").write_text("not JSON")
    row = {"admission_note": "heart", "diagnosis_codes": ["428.0"]}
    for name, note in (("a", "clot germ"), ("b", "mood")):
        source = written(tmp_path / f"{name}.jsonl", [{**row, "note": note}])
        run(tmp_path, "medication_prediction", source, tmp_path / f"{name}.parquet")
    assert pl.read_parquet(tmp_path / "a.parquet").equals(pl.read_parquet(tmp_path / "b.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.jsonl", '{"note": "fine"}\n{"note": 5}\n', "row 2: text: expected"),
        ("v.jsonl", f'{{"note": "fine"}}\n{SECRET}\n', "row 2: line is no JSON"),
        ("v.jsonl", f'["{SECRET}"]\n', "row 1: line is no visit"),
        ("v.jsonl", f'{{"{SECRET}": 1}}\n', "row 1: the visit has none of the fields"),
        ("v.jsonl", f'{{"note": "{SECRET}", "diagnosis_codes": [3]}}\n', "row 1: codes: expected text"),
        ("v.csv", f"note,hadm_id\n{SECRET},1,2\n", "row 2: row has another number of cells"),
        ("v.csv", f"text,hadm_id\n{SECRET},1\n", "no column of visits"),
        ("v.csv", f'note,hadm_id\n"{SECRET}\nb",1\n{SECRET}\n', "row 4: row has another number of cells"),
        ("v.csv", f"note,hadm_id,note\n{SECRET},1,x\n", "column note is there more than once"),
        ("v.csv", b"note\n\xff\xfe\n", "cannot be read as csv"),
        ("v.parquet", SECRET, "cannot be read as parquet"),
        ("v.xlsx", SECRET, "unknown kind of file"),
    ],
)
def test_a_bad_file_gets_one_line_with_its_row_and_leaves_nothing(name, content, message, folders, tmp_path):
    source = tmp_path / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        run(folders, "readmission", source, tmp_path / "out.csv")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"subject_id": "a", "note": "x"}, {"note": "x"}], "row 2: row has no subject_id"),
        (
            [{"subject_id": name, "note": "x"} for name in "aaba"],
            "row 4: the visits of a patient are not together",
        ),
    ],
)
def test_visits_of_a_patient_must_stand_together(rows, message, folders, tmp_path):
    with pytest.raises(InputError, match=message):
        run(folders, "medication_recommendation", written(tmp_path / "v.jsonl", rows), tmp_path / "out.csv")


def test_an_output_is_not_overwritten_unasked(folders, tmp_path):
    source = written(tmp_path / "v.jsonl", plain_rows(2))
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(SystemExit):
        run(folders, "readmission", source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "precious"
    run(folders, "readmission", source, tmp_path / "out.csv", overwrite=True)
    assert "probability" in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "out.txt"}, ".parquet or .csv"),
        ({"batch_size": 0}, "at least 1"),
        ({"max_visits": 1}, "at least 2"),
        ({"output": "v.jsonl"}, ".parquet or .csv"),
    ],
)
def test_impossible_options_get_one_line(options, message, folders, tmp_path, capsys):
    source = written(tmp_path / "v.jsonl", plain_rows(1))
    output = tmp_path / options.pop("output", "out.csv")
    with pytest.raises(SystemExit):
        run(folders, "readmission", source, output, **options)
    assert message in capsys.readouterr().err


def test_a_folder_without_a_task_is_refused(folders, tmp_path):
    source = written(tmp_path / "v.jsonl", plain_rows(1))
    with pytest.raises(InputError, match="cannot be opened"):
        run(folders, "prepared", source, tmp_path / "out.csv")
