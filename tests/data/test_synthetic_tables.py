"""The invented cohort as files: MIMIC-III's columns and formats, the same bytes for the same seed."""

import gzip
import hashlib
import os
import subprocess
import sys
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from medm_plm.data.synthetic import (
    DRUG_MAP_FILE,
    TRUTH_FOLDER,
    read_truth,
    truth_matrix,
    write_synthetic_tables,
    writing,
)
from medm_plm.errors import InputError

COLUMNS = {
    "PATIENTS": "ROW_ID SUBJECT_ID GENDER DOB DOD DOD_HOSP DOD_SSN EXPIRE_FLAG",
    "ADMISSIONS": "ROW_ID SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE ADMISSION_LOCATION "
    "DISCHARGE_LOCATION INSURANCE LANGUAGE RELIGION MARITAL_STATUS ETHNICITY EDREGTIME EDOUTTIME DIAGNOSIS "
    "HOSPITAL_EXPIRE_FLAG HAS_CHARTEVENTS_DATA",
    "DIAGNOSES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE",
    "PRESCRIPTIONS": "ROW_ID SUBJECT_ID HADM_ID ICUSTAY_ID STARTDATE ENDDATE DRUG_TYPE DRUG DRUG_NAME_POE "
    "DRUG_NAME_GENERIC FORMULARY_DRUG_CD GSN NDC PROD_STRENGTH DOSE_VAL_RX DOSE_UNIT_RX FORM_VAL_DISP "
    "FORM_UNIT_DISP ROUTE",
    "NOTEEVENTS": "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR "
    "TEXT",
}
NUM_PATIENTS = 400


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Written in several blocks, so that every test also sees their seams."""
    folder = tmp_path_factory.mktemp("cohort")
    patch = pytest.MonkeyPatch()
    patch.setattr(writing, "_PATIENTS_PER_BLOCK", 170)
    summary = write_synthetic_tables(folder, NUM_PATIENTS, seed=3)
    patch.undo()
    return summary, {name: pl.read_csv(folder / f"{name}.csv", infer_schema=False) for name in COLUMNS}


def fingerprints(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_tables_have_the_columns_of_mimic_and_the_counts_of_the_summary(cohort):
    summary, tables = cohort
    for name, columns in COLUMNS.items():
        assert tables[name].columns == columns.split()
        assert tables[name]["ROW_ID"].cast(int).to_list() == list(range(1, tables[name].height + 1))
    counts = (summary.num_patients, summary.num_admissions, summary.num_diagnoses)
    assert counts == tuple(tables[name].height for name in ("PATIENTS", "ADMISSIONS", "DIAGNOSES_ICD"))
    assert summary.num_prescriptions == tables["PRESCRIPTIONS"].height
    assert summary.num_notes == tables["NOTEEVENTS"].height
    assert summary.num_patients == NUM_PATIENTS


def test_identifiers_link_the_tables(cohort):
    _, tables = cohort
    admissions = tables["ADMISSIONS"]
    assert tables["PATIENTS"]["SUBJECT_ID"].n_unique() == NUM_PATIENTS
    assert admissions["HADM_ID"].n_unique() == admissions.height
    for name in ("DIAGNOSES_ICD", "PRESCRIPTIONS", "NOTEEVENTS"):
        pairs = tables[name].select("SUBJECT_ID", "HADM_ID").unique()
        assert pairs.join(admissions, on=["SUBJECT_ID", "HADM_ID"]).height == pairs.height
    subjects = admissions["HADM_ID"].cast(int).diff().drop_nulls()
    assert (subjects < 0).any()  # admission numbers must not give the order of time away


def test_dates_are_shifted_and_consistent(cohort):
    summary, tables = cohort
    times = pl.col("ADMITTIME", "DISCHTIME", "DEATHTIME").str.to_datetime("%Y-%m-%d %H:%M:%S")
    visits = tables["ADMISSIONS"].with_columns(times).sort("SUBJECT_ID", "ADMITTIME")
    assert visits["ADMITTIME"].dt.year().min() >= 2101
    assert (visits["DISCHTIME"] > visits["ADMITTIME"]).all()
    gap = visits.select(gap=pl.col("ADMITTIME").shift(-1).over("SUBJECT_ID") - pl.col("DISCHTIME"))["gap"]
    assert gap.drop_nulls().min() > timedelta(0)
    assert (gap < timedelta(days=30)).sum() == summary.num_readmissions
    assert ((gap > timedelta(days=29)) & (gap < timedelta(days=32))).sum() == 0
    dead = visits.with_columns(gap=gap).filter(pl.col("HOSPITAL_EXPIRE_FLAG") == "1")
    assert dead.height > 0
    assert dead["gap"].is_null().all()
    assert (dead["DEATHTIME"] == dead["DISCHTIME"]).all()
    assert visits["DEATHTIME"].drop_nulls().len() == dead.height


def test_the_age_of_very_old_patients_is_hidden_as_in_mimic(cohort):
    _, tables = cohort
    born = tables["PATIENTS"].select("SUBJECT_ID", born=pl.col("DOB").str.slice(0, 4).cast(int))
    first = tables["ADMISSIONS"].group_by("SUBJECT_ID").agg(year=pl.col("ADMITTIME").min().str.slice(0, 4))
    age = first.join(born, on="SUBJECT_ID").select(age=pl.col("year").cast(int) - pl.col("born"))["age"]
    hidden = age.filter(age > 95)
    assert hidden.len() > 0
    assert set(hidden.to_list()) <= {300, 301}
    assert age.min() >= 18


def test_values_look_like_those_of_the_source(cohort):
    _, tables = cohort
    codes = tables["DIAGNOSES_ICD"]["ICD9_CODE"].drop_nulls()
    assert codes.str.contains(r"^(\d{3,5}|V\d{2,4}|E\d{3,4})$").all()
    for start in ("0", "V", "E"):
        assert codes.str.starts_with(start).any()
    prescriptions = tables["PRESCRIPTIONS"]
    assert prescriptions["NDC"].str.contains(r"^(0|\d{11})$").all()
    assert prescriptions["STARTDATE"].str.ends_with(" 00:00:00").all()
    assert (prescriptions["ENDDATE"] > prescriptions["STARTDATE"]).all()
    assert prescriptions["DOSE_VAL_RX"].str.contains(r"^\d\.\d$").any()
    sequence = tables["DIAGNOSES_ICD"].group_by("HADM_ID").agg(pl.col("SEQ_NUM").cast(int))
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in sequence["SEQ_NUM"].to_list())
    notes = tables["NOTEEVENTS"]
    assert set(notes["CATEGORY"]) == {"Discharge summary", "Radiology"}
    assert set(notes["DESCRIPTION"]) >= {"Report", "Addendum"}
    assert set(notes["ISERROR"]) == {None, "1"}


def test_the_drug_map_covers_nearly_all_prescriptions(cohort):
    summary, tables = cohort
    drug_map = pl.read_csv(summary.folder / DRUG_MAP_FILE)
    assert drug_map.columns == ["drug", "route", "atc"]
    joined = tables["PRESCRIPTIONS"].join(
        drug_map, left_on=["DRUG", "ROUTE"], right_on=["drug", "route"], how="left", validate="m:1"
    )
    assert 0.98 < joined["atc"].is_not_null().mean() < 1.0


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path):
    write_synthetic_tables(tmp_path / "one", 40, seed=7)
    script = (
        f"from medm_plm.data.synthetic import *; write_synthetic_tables({str(tmp_path / 'two')!r}, 40, 7)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert fingerprints(tmp_path / "one") == fingerprints(tmp_path / "two")
    write_synthetic_tables(tmp_path / "two", 40, seed=8)
    other = fingerprints(tmp_path / "two")
    same = {name for name, value in fingerprints(tmp_path / "one").items() if other[name] == value}
    assert same == {DRUG_MAP_FILE}


def test_compressed_tables_hold_the_same_and_replace_the_others(tmp_path):
    write_synthetic_tables(tmp_path / "plain", 30, seed=1)
    write_synthetic_tables(tmp_path / "packed", 30, seed=1)
    write_synthetic_tables(tmp_path / "packed", 30, seed=1, compress=True)
    for name in COLUMNS:
        packed = (tmp_path / "packed" / f"{name}.csv.gz").read_bytes()
        assert gzip.decompress(packed) == (tmp_path / "plain" / f"{name}.csv").read_bytes()
        assert not (tmp_path / "packed" / f"{name}.csv").exists()


def test_an_earlier_larger_cohort_leaves_no_truth_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_PATIENTS_PER_BLOCK", 10)
    write_synthetic_tables(tmp_path, 30, seed=1)
    write_synthetic_tables(tmp_path, 10, seed=1)
    assert len(list((tmp_path / TRUTH_FOLDER).iterdir())) == 1


@pytest.mark.parametrize(("num_patients", "seed", "name"), [(0, 0, "num_patients"), (5, -1, "seed")])
def test_impossible_numbers_are_refused(tmp_path, num_patients, seed, name):
    with pytest.raises(InputError, match=f"{name} is out of range"):
        write_synthetic_tables(tmp_path, num_patients, seed)
    assert not list(tmp_path.iterdir())


def test_truth_belongs_to_the_visits_and_to_what_happened(cohort):
    summary, tables = cohort
    truth = read_truth(summary.folder)
    assert truth["hadm_id"].to_list() == tables["ADMISSIONS"]["HADM_ID"].to_list()
    expected = truth["readmission_probability"].to_numpy()
    assert abs(expected.sum() - summary.num_readmissions) < 4 * np.sqrt((expected * (1 - expected)).sum())
    recorded = (
        tables["DIAGNOSES_ICD"]
        .drop_nulls("ICD9_CODE")
        .select(pl.col("HADM_ID").alias("hadm_id"), code=pl.lit("ICD9CM:") + pl.col("ICD9_CODE"))
    )
    labels = recorded["code"].unique().sort().to_list()
    listed = truth.join(recorded.group_by("hadm_id").agg("code"), on="hadm_id", maintain_order="left")
    happened = np.array([[label in codes for label in labels] for codes in listed["code"].to_list()])
    stated = truth_matrix(listed, "diagnosis", labels)
    assert not (happened & (stated == 0)).any()
    error = np.sqrt((stated * (1 - stated)).sum(axis=0))
    assert (np.abs(happened.sum(axis=0) - stated.sum(axis=0)) < 5 * error + 1).all()


def test_truth_of_medications_covers_the_prescriptions(cohort):
    summary, tables = cohort
    drug_map = pl.read_csv(summary.folder / DRUG_MAP_FILE)
    keys = {"left_on": ["DRUG", "ROUTE"], "right_on": ["drug", "route"]}
    given = (
        tables["PRESCRIPTIONS"].join(drug_map, **keys).select("HADM_ID", code=pl.lit("ATC:") + pl.col("atc"))
    )
    truth = read_truth(summary.folder).select("hadm_id", code="medication_codes").explode("code")
    impossible = given.unique().join(
        truth, left_on=["HADM_ID", "code"], right_on=["hadm_id", "code"], how="anti"
    )
    assert impossible.height == 0


def test_a_folder_without_truth_says_so(tmp_path):
    with pytest.raises(InputError, match="no true probabilities"):
        read_truth(tmp_path)
    with pytest.raises(ValueError, match="expected 'medication' or 'diagnosis'"):
        truth_matrix(pl.DataFrame(), "note", [])
