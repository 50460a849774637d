"""The MIMIC-III reader on invented tables with every mistake we know of, and on the demo."""

import gzip
import shutil

import polars as pl
import pytest

from medm_plm.data import mimic3
from medm_plm.data.preparation import Preparation
from medm_plm.data.schema import read_visits
from medm_plm.errors import InputError


@pytest.fixture
def folder(project_root):
    return project_root / "tests" / "fixtures" / "mimic3"


def test_admissions_and_what_becomes_of_the_others(folder):
    tables = mimic3.read(folder)
    visits = {row["hadm_id"]: row for row in tables.visits.to_dicts()}
    assert set(visits) == {"1101", "1102", "1103", "1201", "1301", "1402"}
    assert tables.ledgers["ADMISSIONS"].dropped == {
        "no patient or admission number": 1,
        "patient is not listed": 1,
        "admission is listed again": 1,
        "admission or discharge time cannot be read": 1,
        "discharge before admission": 1,
    }
    assert tables.ledgers["PATIENTS"].dropped == {
        "patient is listed again": 1,
        "patient without an admission that was read": 1,
    }
    assert visits["1402"]["subject_id"] == "14", "of an admission listed twice the first row counts"


def test_ages_of_the_old_are_capped_and_newborns_are_zero(folder):
    ages = dict(mimic3.read(folder).visits.select("hadm_id", "age").iter_rows())
    assert ages["1201"] == 90.0, "MIMIC says 300 years"
    assert ages["1301"] == 0.0
    assert ages["1101"] == pytest.approx(49.84, abs=0.01)
    assert ages["1402"] == pytest.approx(40.25, abs=0.01), "the first row of a patient listed twice counts"


def test_deaths_and_admission_types(folder):
    visits = mimic3.read(folder).visits
    assert visits.filter(pl.col("died_in_hospital"))["hadm_id"].to_list() == ["1201"]
    assert set(visits["admission_type"]) == {"EMERGENCY", "ELECTIVE", "NEWBORN", "URGENT"}


def test_codes_are_normalised_and_rows_of_others_dropped(folder):
    tables = mimic3.read(folder)
    codes = tables.diagnoses.filter(pl.col("hadm_id") == "1101").sort("position")["code"].to_list()
    assert codes == ["ICD9CM:0389", "ICD9CM:4280", "ICD9CM:V4581", "ICD9CM:0389"]
    assert tables.ledgers["DIAGNOSES_ICD"].dropped == {
        "no code": 2,
        "row belongs to no visit that was read": 2,
    }


def test_discharge_summary_with_addenda_in_order_and_without_errors(folder):
    tables = mimic3.read(folder)
    notes = dict(tables.notes.select("hadm_id", "note").iter_rows())
    assert notes == {
        "1101": 'seen by doctor , md metoprolol 1.5 mg said "better", ate well '
        "first addendum. second addendum.",
        "1201": "died of sepsis.",
    }
    assert tables.ledgers["NOTEEVENTS"].dropped == {
        "category is not discharge summary": 1,
        "marked as an error by a physician": 1,
        "note has no text": 1,
        "row belongs to no visit that was read": 1,
    }


def test_missing_package_numbers_are_null_and_filled_from_no_other_row(folder):
    prescriptions = mimic3.read(folder).prescriptions
    assert prescriptions["ndc"].drop_nulls().to_list() == ["00000000001"]
    assert prescriptions.filter(pl.col("hadm_id") == "1201").select("drug", "route", "ndc").row(0) == (
        None,
        None,
        None,
    )


def test_lower_case_gz_and_other_column_orders_read_the_same(folder, tmp_path):
    for path in folder.iterdir():
        frame = pl.read_csv(path, infer_schema=False)
        frame = frame.select(reversed(frame.columns)).rename(str.lower)
        packed = gzip.compress(frame.write_csv().encode())
        (tmp_path / f"{path.stem.lower()}.csv.gz").write_bytes(packed)
    one, other = mimic3.read(folder), mimic3.read(tmp_path)
    for name in ("visits", "diagnoses", "prescriptions", "notes"):
        assert getattr(one, name).equals(getattr(other, name)), name
    assert one.ledgers == other.ledgers


@pytest.mark.parametrize("name", list(mimic3.TABLES))
def test_each_missing_table_is_named(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / f"{name}.csv").unlink()
    with pytest.raises(InputError, match=f"table {name} is missing"):
        mimic3.read(tmp_path)


def test_every_row_of_the_demo_is_read(test_data_folder):
    tables = mimic3.read(test_data_folder / "mimic3-demo-1.4")
    sizes = {name: (ledger.rows_in, ledger.rows_out) for name, ledger in tables.ledgers.items()}
    assert sizes == {
        "PATIENTS": (100, 100),
        "ADMISSIONS": (129, 129),
        "DIAGNOSES_ICD": (1761, 1761),
        "PRESCRIPTIONS": (10398, 10398),
        "NOTEEVENTS": (0, 0),
    }
    assert tables.diagnoses["code"].n_unique() == 581
    assert tables.visits["age"].max() == 90.0


def prepared(folder, output):
    mapping = folder.parent / "drug_map.csv"
    Preparation("mimic3", folder, output, drug_map=mapping if mapping.exists() else None).run()
    return {row["hadm_id"]: row for row in read_visits(output).to_dicts()}


def test_medications_of_the_first_day(folder, tmp_path):
    """Admitted on the 1st: two drugs on that day, heparin on the next, one without a date. The other visit
    begins on the 8th, its drug on the 9th: as only the day is known, that may be 38 hours later."""
    visits = prepared(folder, tmp_path / "out")
    assert visits["1101"]["medication_codes"] == ["ATC:B01A", "ATC:C03C", "ATC:A10A"]
    assert visits["1101"]["first_day_medication_codes"] == ["ATC:B01A", "ATC:C03C"]
    assert visits["1102"]["first_day_medication_codes"] == []
    assert visits["1103"]["first_day_medication_codes"] == [], "no drug at all is known"
    path = tmp_path / "later" / "PRESCRIPTIONS.csv"
    shutil.copytree(folder, path.parent)
    path.write_text(path.read_text().replace("1102,2100-02-09", "1102,2100-02-08"))
    assert prepared(path.parent, tmp_path / "two")["1102"]["first_day_medication_codes"] == ["ATC:C03C"]
    path.write_text(path.read_text().replace("1102,2100-02-08", "1102,2089-02-08"))
    assert prepared(path.parent, tmp_path / "long")["1102"]["first_day_medication_codes"] == [], "a slip"
    path.write_text(path.read_text().replace("1102,2089-02-08 00:00:00", "1102,"))
    assert prepared(path.parent, tmp_path / "three")["1102"]["first_day_medication_codes"] is None


SUMMARY = (
    "Chief Complaint:\nFever\n\nHistory of Present Illness:\nThree days of cough.\n\n"
    "Brief Hospital Course:\nTreated with ceftriaxone.\n\nDischarge Medications:\nAmoxicillin\n"
)


def test_what_is_known_at_admission_stands_apart_from_the_course(folder, tmp_path):
    path = tmp_path / "tables" / "NOTEEVENTS.csv"
    shutil.copytree(folder, path.parent)
    path.write_text(path.read_text().replace("Died of sepsis.", SUMMARY))
    visits = prepared(path.parent, tmp_path / "out")
    note, early = visits["1201"]["note"], visits["1201"]["admission_note"]
    assert "three days of cough" in early
    assert all(word in note for word in ("three days of cough", "ceftriaxone", "amoxicillin"))
    assert not any(word in early for word in ("ceftriaxone", "amoxicillin"))
    assert visits["1102"]["admission_note"] is None, "no note at all"
    assert visits["1101"]["admission_note"] == "", "a note without a heading tells nothing of the admission"


def test_an_addendum_is_no_source_of_what_was_known_at_admission(folder, tmp_path):
    """It may tell the history anew, and the last section of the report must not run on into it."""
    path = tmp_path / "tables" / "NOTEEVENTS.csv"
    shutil.copytree(folder, path.parent)
    frame = pl.read_csv(path, infer_schema=False).rename(str.lower)
    report = "History of Present Illness:\nCough.\n\nMedications on Admission:\nAspirin\n"
    addendum = "Warfarin was given.\n\nPast Medical History:\nSepsis in this stay.\n"
    first = frame.filter(pl.col("hadm_id") == "1201").head(1)
    rows = pl.concat(
        first.with_columns(
            pl.lit(f"9{number}").alias("row_id"),
            pl.lit(description).alias("description"),
            pl.lit(text).alias("text"),
        )
        for number, (description, text) in enumerate([("Report", report), ("Addendum", addendum)])
    )
    pl.concat([frame.filter(pl.col("hadm_id") != "1201"), rows]).write_csv(path)
    visit = prepared(path.parent, tmp_path / "out")["1201"]
    assert "warfarin" in visit["note"]
    assert visit["admission_note"] == "history of present illness: cough. medications on admission: aspirin"
    path.write_text(path.read_text().replace("Report", "Addendum"))
    assert not prepared(path.parent, tmp_path / "two")["1201"]["admission_note"]
