"""The MIMIC-IV reader on invented tables, and on the demo with counts that were taken by hand."""

import gzip
import shutil
from datetime import timedelta
from itertools import pairwise

import polars as pl
import pytest

from medm_plm.data import mimic4, preparation
from medm_plm.data.cohort import CohortRules, with_readmissions
from medm_plm.data.preparation import Preparation
from medm_plm.data.rules import PreparationRules
from medm_plm.errors import InputError

RECORDS = ("visits", "diagnoses", "prescriptions", "notes")


@pytest.fixture
def folder(project_root):
    return project_root / "tests" / "fixtures" / "mimic4"


@pytest.fixture
def demo(test_data_folder):
    return test_data_folder / "mimic4-demo-2.2"


def prepare(folder, output, rules):
    return Preparation("mimic4", folder, output, rules).run()


def test_ages_count_from_the_anchor_year(folder):
    visits = mimic4.read(folder).visits
    assert dict(visits.select("hadm_id", "age").iter_rows()) == {
        "2101": 50.0,
        "2102": 52.0,
        "2103": 53.0,
        "2201": 90.0,
        "2301": 18.0,
        "2302": None,
    }


def test_deaths_come_from_the_flag_and_never_drop_an_admission(folder):
    """A time of death hours behind the discharge, or months, as the tables have them."""
    tables = mimic4.read(folder)
    assert tables.visits.filter("died_in_hospital")["hadm_id"].to_list() == ["2201"]
    assert tables.ledgers["admissions"].dropped == {"patient is not listed": 1}
    assert tables.ledgers["patients"].dropped == {
        "patient is listed again": 1,
        "patient without an admission that was read": 1,
    }


def test_same_day_surgery_is_planned(folder):
    visits = mimic4.read(folder).visits
    kinds = dict(visits.select("hadm_id", "admission_type").iter_rows())
    assert (kinds["2102"], kinds["2302"], kinds["2101"]) == ("ELECTIVE", "ELECTIVE", "EW EMER.")


def test_each_diagnosis_has_the_system_of_its_row(folder):
    tables = mimic4.read(folder)
    codes = tables.diagnoses.sort("hadm_id", "position").select("hadm_id", "code").rows()
    assert codes == [
        ("2101", "ICD9CM:0389"),
        ("2101", "ICD9CM:4280"),
        ("2102", "ICD10CM:I509"),
        ("2102", "ICD9CM:4280"),
        ("2102", "ICD10CM:E119"),
        ("2201", "ICD10CM:A419"),
    ]
    assert tables.ledgers["diagnoses_icd"].dropped == {
        "icd_version is neither 9 nor 10": 1,
        "no code": 1,
        "row belongs to no visit that was read": 1,
    }


def test_prescriptions_without_a_package_number(folder):
    tables = mimic4.read(folder)
    assert tables.prescriptions["ndc"].to_list() == [None, None, "00000000001", None]
    assert tables.ledgers["prescriptions"].dropped == {"row belongs to no visit that was read": 1}


NOTES = {
    "2101": 'metoprolol 1.5 mg, said "better". addendum: allergic to penicillin.',
    "2201": "died of sepsis.",
}


def test_discharge_summaries_beside_the_tables_or_where_the_option_says(folder, tmp_path):
    tables = mimic4.read(folder)
    assert dict(tables.notes.select("hadm_id", "note").iter_rows()) == NOTES
    assert tables.ledgers["discharge"].dropped == {
        "note has no text": 1,
        "row belongs to no visit that was read": 1,
    }
    shutil.copytree(folder / "hosp", tmp_path / "hosp")
    alone = mimic4.read(tmp_path)
    assert alone.notes.is_empty()
    assert "discharge" not in alone.ledgers
    packed = tmp_path / "elsewhere" / "discharge.csv.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress((folder / "note" / "discharge.csv").read_bytes()))
    for place in (folder, folder / "note", packed.parent, packed):
        assert mimic4.read(tmp_path, notes=place).notes.equals(tables.notes), place
    assert mimic4.read(folder / "hosp").notes.equals(tables.notes), "note/ lies beside hosp/"


def test_notes_that_are_not_there_are_no_empty_notes(folder, tmp_path):
    with pytest.raises(InputError, match=r"no discharge summaries.*discharge.csv or discharge.csv.gz"):
        mimic4.read(folder, notes=tmp_path)
    with pytest.raises(InputError, match="notes is an option of mimic4, not of mimic3"):
        preparation.read_source("mimic3", folder, PreparationRules(), notes=folder)
    rules = PreparationRules(diagnosis_system="ICD10CM")
    with pytest.raises(InputError, match="diagnosis_system does not exist in mimic4"):
        preparation.read_source("mimic4", folder, rules)


def test_upper_case_gz_and_a_flat_folder_read_the_same(folder, tmp_path):
    for path in (folder / "hosp").iterdir():
        frame = pl.read_csv(path, infer_schema=False)
        frame = frame.select(reversed(frame.columns)).rename(str.upper)
        (tmp_path / f"{path.stem.upper()}.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    one, other = mimic4.read(folder), mimic4.read(tmp_path, notes=folder)
    for name in RECORDS:
        assert getattr(one, name).equals(getattr(other, name)), name
    assert one.ledgers == other.ledgers


@pytest.mark.parametrize("name", list(mimic4.TABLES))
def test_each_missing_table_is_named(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "hosp" / f"{name}.csv").unlink()
    with pytest.raises(InputError, match=f"hosp: table {name} is missing"):
        mimic4.read(tmp_path)


def test_every_row_of_the_demo_is_read(demo):
    tables = mimic4.read(demo)
    assert {name: (ledger.rows_in, ledger.rows_out) for name, ledger in tables.ledgers.items()} == {
        "patients": (100, 100),
        "admissions": (275, 275),
        "diagnoses_icd": (4506, 4506),
        "prescriptions": (18087, 18087),
    }
    systems = tables.diagnoses["code"].str.split(":").list.first().value_counts()
    assert dict(systems.iter_rows()) == {"ICD9CM": 2193, "ICD10CM": 2313}
    assert tables.visits["died_in_hospital"].sum() == 15
    assert (tables.visits["age"].min(), tables.visits["age"].max()) == (21.0, 90.0)
    assert tables.visits.filter(admission_type="ELECTIVE").height == 13 + 18
    by_visit = tables.diagnoses.group_by("hadm_id").agg(pl.col("code").str.split(":").list.first().n_unique())
    assert by_visit["code"].max() == 1, "in the demo no admission mixes the two"


@pytest.mark.parametrize(
    ("policy", "positive", "without"), [("paper", 53, 0), ("clinicalbert", 50, 15), ("cms", 48, 15)]
)
def test_readmissions_of_the_demo(demo, policy, positive, without):
    labels = with_readmissions(mimic4.read(demo).visits, policy)["readmission"]
    assert (labels.sum(), labels.null_count()) == (positive, without)


def test_readmissions_of_the_paper_by_an_independent_count(demo):
    times = pl.read_csv(demo / "hosp" / "admissions.csv.gz", try_parse_dates=True).sort(
        "subject_id", "admittime"
    )
    stays = times.select("subject_id", "admittime", "dischtime").rows()
    gaps = [after[1] - before[2] for before, after in pairwise(stays) if before[0] == after[0]]
    assert sum(gap < timedelta(days=30) for gap in gaps) == 53


def test_the_demo_prepares_to_the_same_bytes_twice(demo, tmp_path):
    rules = PreparationRules(cohort=CohortRules(require=("diagnoses", "medications")))
    reports = [prepare(demo, tmp_path / name, rules) for name in ("one", "two")]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    report = reports[0]
    assert report["visits"]["visits_read"] == 275
    assert report["medications"]["share_of_rows"] > 0.95
    for system in ("ICD9CM", "ICD10CM", "ATC"):
        assert report["codes"][system]["placed"] == report["codes"][system]["codes"] > 0
    for name, table in report["tables"].items():
        assert table["rows_in"] == table["rows_out"] + sum(table["rows_dropped"].values()), name
