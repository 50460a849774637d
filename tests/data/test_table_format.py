"""Plain tables: the example of the documentation runs, and every mistake is named."""

import re
import sys

import polars as pl
import pytest

import run_preparation
from medm_plm.data import preparation, table_format
from medm_plm.data.cohort import CohortRules
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import read_visits
from medm_plm.data.visit_shards import prepare_shard
from medm_plm.errors import InputError
from medm_plm.ontologies.mappings import MedicationMapper


@pytest.fixture(scope="module")
def document(project_root):
    return (project_root / "docs" / "table_format.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(document, tmp_path):
    """The tables of the documentation."""
    folder = tmp_path / "tables"
    folder.mkdir()
    for name, text in re.findall(r"`(\w+\.csv)`\n\n```csv\n(.*?)```", document, re.DOTALL):
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def change(folder, name, old, new):
    text = (folder / f"{name}.csv").read_text()
    assert old in text
    (folder / f"{name}.csv").write_text(text.replace(old, new))


def as_parquet(folder, types=None):
    """Write each table as parquet instead."""
    for path in list(folder.iterdir()):
        frame = pl.read_csv(path, infer_schema=False)
        casts = {name: dtype for name, dtype in (types or {}).items() if name in frame.columns}
        frame.cast(casts).write_parquet(path.with_suffix(".parquet"))
        path.unlink()


def test_the_example_of_the_documentation(document, folder, tmp_path, monkeypatch, capsys):
    command = re.search(r"```bash\npython (run_preparation.py .*?)\n```", document).group(1)
    words = command.replace("FOLDER", str(folder)).replace("OUT", str(tmp_path / "out")).split()
    monkeypatch.setattr(sys, "argv", words)
    run_preparation.main()
    assert "warning: no visit has" not in capsys.readouterr().out
    header, *rows = re.findall(r"^\| .* \|$", document.split("writes these visits")[1], re.MULTILINE)
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    visits = read_visits(tmp_path / "out").select(
        pl.col(name).list.join(" ") if name.endswith("_codes") else pl.col(name).cast(pl.String)
        for name in columns
    )
    assert visits.rows() == [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]


def test_the_documentation_lists_every_column(document):
    listed = set(re.findall(r"`(\w+)`", document.split("## A small example")[0]))
    assert {name for columns in table_format.TABLES.values() for name in columns} <= listed
    assert set(table_format.TABLES) <= listed


def test_parquet_with_numbers_times_and_flags_reads_the_same(folder, tmp_path):
    expected = table_format.read(folder)
    change(folder, "visits", ",no", ",0")
    change(folder, "visits", ",yes", ",1")
    frames = {path.stem: pl.read_csv(path, infer_schema=False) for path in folder.iterdir()}
    time = pl.col("admission_time", "discharge_time").str.replace(r"^(\S+)$", "$1 00:00")
    frames["visits"] = frames["visits"].with_columns(
        time.str.to_datetime("%Y-%m-%d %H:%M", time_unit="ns", time_zone="UTC"),
        pl.col("age").cast(pl.Float32),
        pl.col("died_in_hospital") == "1",
        pl.col("admission_type").cast(pl.Categorical),
    )
    frames["diagnoses"] = frames["diagnoses"].cast({"position": pl.Float64})
    frames["prescriptions"] = frames["prescriptions"].with_columns(
        pl.col("start_time").str.to_date(), pl.lit(None).alias("ndc")
    )
    for name, frame in frames.items():
        (folder / f"{name}.csv").unlink()
        frame.rename(str.upper).write_parquet(folder / f"{name}.parquet")
    read = table_format.read(folder)
    for name in ("visits", "diagnoses", "prescriptions", "notes"):
        assert getattr(read, name).equals(getattr(expected, name)), name
    assert read.ledgers == expected.ledgers


def test_whole_numbers_with_gaps_keep_their_names_and_codes_as_numbers_are_refused(folder):
    for name in ("visits", "diagnoses", "prescriptions", "notes"):
        change(folder, name, "V", "1")
    as_parquet(folder, {"hadm_id": pl.Float64})
    assert table_format.read(folder).visits["hadm_id"].to_list() == ["12", "11", "13"]
    pl.DataFrame({"hadm_id": [11], "position": [1], "system": ["ICD9CM"], "code": [389]}).write_parquet(
        folder / "diagnoses.parquet"
    )
    with pytest.raises(InputError, match=r"diagnoses.parquet: column code holds numbers.* leading zeros"):
        table_format.read(folder)


@pytest.mark.parametrize(
    ("table", "column"), [(table, name) for table, columns in table_format.TABLES.items() for name in columns]
)
def test_each_missing_column_is_named(folder, table, column):
    path = folder / f"{table}.csv"
    frame = pl.read_csv(path, infer_schema=False).drop(column)
    frame.write_csv(path)
    with pytest.raises(InputError, match=f"{table}.csv, row 1: column {column.upper()} is missing"):
        table_format.read(folder)
    path.unlink()
    frame.write_parquet(path.with_suffix(".parquet"))
    with pytest.raises(InputError, match=rf"{table}.parquet: column {column} is missing.*table_format.md"):
        table_format.read(folder)


@pytest.mark.parametrize("table", list(table_format.TABLES))
def test_each_missing_table_is_named(folder, table):
    (folder / f"{table}.csv").unlink()
    with pytest.raises(InputError, match=rf"table {table} is missing.*{table}.parquet"):
        table_format.read(folder)


def test_damaged_parquet_files_are_named(folder):
    """One byte after the other is changed: the file is refused in one line, or read to the end."""
    as_parquet(folder)
    path = folder / "notes.parquet"
    intact = path.read_bytes()
    messages = []
    for place in range(0, len(intact), 31):
        path.write_bytes(intact[:place] + bytes([intact[place] ^ 0xFF]) + intact[place + 1 :])
        try:
            table_format.read(folder)
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all("notes.parquet: " in message and "dyspnea" not in message for message in messages)
    path.write_bytes(intact[:-40])
    with pytest.raises(InputError, match=r"notes.parquet: file cannot be read as parquet"):
        table_format.read(folder)


def test_tables_without_rows_are_their_header(folder):
    for name in ("diagnoses", "prescriptions", "notes"):
        path = folder / f"{name}.csv"
        path.write_text(path.read_text().splitlines()[0] + "\n")
    rules = PreparationRules(cohort=CohortRules(require=()))
    tables = preparation.read_source("table", folder, rules)
    prepared = prepare_shard(tables, MedicationMapper.default(), rules)
    assert prepared.visits["diagnosis_codes"].list.len().sum() == 0
    assert prepared.visits.height == 3


def test_mistakes_of_a_whole_column_are_refused_without_a_cell(folder):
    change(folder, "notes", "2031-", "5/20/2031 ")
    with pytest.raises(InputError, match="no value can be read of column note_time of table notes") as caught:
        table_format.read(folder)
    assert "5/20" not in str(caught.value)
    change(folder, "diagnoses", "ICD10CM", "SNOMED")
    with pytest.raises(InputError, match="column system is unknown in 3 rows") as caught:
        table_format.read(folder)
    assert "SNOMED" not in str(caught.value)


def test_single_bad_rows_are_counted(folder):
    with (folder / "visits.csv").open("a") as table:
        table.write("P9,V1,2031-01-01,2031-01-02,40,,\nP9,,2031-01-01,2031-01-02,40,,\n")
        table.write("P9,V7,2031-01-03,2031-01-02,40,,\nP9,V8,soon,2031-01-02,40,,\n,,,,,,\n")
        table.write("P9,V9,2031-01-01,2031-01-02,old,,perhaps\n")
    with (folder / "diagnoses.csv").open("a") as table:
        table.write("V9,,ICD-9-CM,\nV9,,,4280\nV404,1,ICD9CM,4280\nV9,,icd-9-cm,v45.81\n")
    with (folder / "notes.csv").open("a") as table:
        table.write("V9,2031-01-01,\nV404,,lost\n")
    tables = table_format.read(folder)
    assert tables.ledgers["visits"].dropped == {
        "row has no value in the columns read": 1,
        "no patient or admission number": 1,
        "admission is listed again": 1,
        "admission or discharge time cannot be read": 1,
        "discharge before admission": 1,
    }
    assert tables.ledgers["diagnoses"].dropped == {
        "no code system": 1,
        "no code": 1,
        "row belongs to no visit that was read": 1,
    }
    assert tables.ledgers["notes"].dropped == {
        "note has no text": 1,
        "row belongs to no visit that was read": 1,
    }
    assert tables.remarks == {"visits whose died_in_hospital is neither yes nor no": 1}
    last = tables.visits.filter(hadm_id="V9").row(0, named=True)
    assert (last["age"], last["died_in_hospital"]) == (None, None)
    assert tables.diagnoses.filter(hadm_id="V9")["code"].to_list() == ["ICD9CM:V4581"]


def test_without_dates_the_file_is_in_order(folder):
    for name in ("visits", "prescriptions", "notes"):
        text = (folder / f"{name}.csv").read_text()
        (folder / f"{name}.csv").write_text(re.sub(r"2031-\d\d-\d\d( \d\d:\d\d)?", "", text))
    change(folder, "diagnoses", "V1,2,", "V1,,")
    change(folder, "diagnoses", "V1,1,", "V1,,")
    change(folder, "diagnoses", ",1,", ",,")
    rules = PreparationRules()
    tables = preparation.read_source("table", folder, rules)
    visits = prepare_shard(tables, MedicationMapper.default(), rules).visits
    assert visits["hadm_id"].to_list() == ["V2", "V1", "V3"]
    assert visits["readmission"].null_count() == 3
    first = visits.filter(hadm_id="V1").row(0, named=True)
    assert first["diagnosis_codes"] == ["ICD10CM:I10", "ICD10CM:I509"]
    assert first["medication_codes"] == ["ATC:C07A", "ATC:C03C"]


def test_a_class_of_the_hospital_wins_over_the_mapping_and_bad_ones_do_not(folder, tmp_path):
    change(folder, "prescriptions", "Furosemide,PO,,", "Furosemide,PO,,n02aa01")
    change(folder, "prescriptions", "Heparin,SC,,", "Heparin,SC,,B01")
    rules = PreparationRules()
    tables = preparation.read_source("table", folder, rules)
    prepared = prepare_shard(tables, MedicationMapper.default(), rules)
    codes = dict(prepared.visits.select("hadm_id", "medication_codes").iter_rows())
    assert codes == {"V1": ["ATC:N02A", "ATC:C07A"], "V2": ["ATC:J01C"], "V3": ["ATC:B01A"]}
    report = preparation.Preparation("table", folder, tmp_path / "out").run()
    assert report["medications"]["rows_with_a_class_of_the_source"] == 2


SUMMARY = (
    "Chief Complaint:\nFever\n\nHistory of Present Illness:\nThree days of cough.\n\n"
    "Brief Hospital Course:\nTreated with ceftriaxone.\n\nDischarge Medications:\nAmoxicillin\n"
)


def test_what_is_known_on_the_first_day(folder, tmp_path):
    change(folder, "visits", "2031-05-17 08:30", "2031-05-16 23:30")  # the second drug is 24.5 hours later
    change(folder, "notes", "Died of sepsis.", f'"{SUMMARY}"')
    preparation.Preparation("table", folder, tmp_path / "out").run()
    visits = {row["hadm_id"]: row for row in read_visits(tmp_path / "out").to_dicts()}
    assert visits["V1"]["medication_codes"] == ["ATC:C03C", "ATC:C07A"]
    assert visits["V1"]["first_day_medication_codes"] == ["ATC:C03C"]
    assert visits["V2"]["first_day_medication_codes"] == ["ATC:J01C"]
    note, early = visits["V3"]["note"], visits["V3"]["admission_note"]
    assert "three days of cough" in early
    assert "ceftriaxone" in note
    assert not any(word in early for word in ("ceftriaxone", "amoxicillin", "family informed"))
    assert visits["V2"]["admission_note"] is None
