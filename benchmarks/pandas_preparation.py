"""The preparation of MIMIC-III in plain pandas, as the field's scripts do it: the rival of `preparation.py`.

    python benchmarks/pandas_preparation.py --input MIMIC_FOLDER --output VISITS.parquet

Does what `run_preparation.py --source mimic3 --require note diagnoses medications` does, with the same result
(`preparation.same_rows` compares them), in the manner of published scripts. Nothing is slow on purpose, and
nothing is tuned. What follows which habit:

- Each table is read whole by `pd.read_csv`, with all its columns, ICD-9 codes as text and NDC as a category;
  unused columns are dropped afterwards (the scripts of GAMENet, SafeDrug and of the paper's authors).
- Times are parsed afterwards by `pd.to_datetime` with their format; the next admission is found by a sort and
  a shift within the patient (ClinicalBERT).
- Rows without a value go by `dropna`, repeated rows by `drop_duplicates`; after a sort, codes of a visit are
  gathered by `groupby(...).unique()` (GAMENet and its successors).
- NDC and names are mapped over distinct values and merged back (GAMENet maps NDC so). The mapping is that of
  this project, or else the results could not be equal.
- Discharge summaries are chosen by category, sorted, joined for each admission by a `groupby(...).apply` and
  cleaned by regular expressions, note for note, in an `.apply` (ClinicalBERT). The expressions are those of
  this project, for the same reason.
- Tables come together by inner merges on the admission (all of them).

It neither checks the files nor counts dropped rows, and writes neither vocabulary nor splits nor report.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # runs from a clone, installed or not

from medm_plm.ontologies.mappings import MedicationMapper  # noqa: E402

KEYS = ["SUBJECT_ID", "HADM_ID"]
TIME = "%Y-%m-%d %H:%M:%S"
MINIMUM_AGE = 16
SECONDS_PER_DAY = 24 * 60 * 60
UNUSED_OF_PRESCRIPTIONS = [
    "ROW_ID", "ICUSTAY_ID", "ENDDATE", "DRUG_TYPE", "DRUG_NAME_POE", "DRUG_NAME_GENERIC", "FORMULARY_DRUG_CD",
    "GSN", "NDC", "PROD_STRENGTH", "DOSE_VAL_RX", "DOSE_UNIT_RX", "FORM_VAL_DISP", "FORM_UNIT_DISP",
]  # fmt: skip


def main() -> None:
    """Prepare one folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="folder of the tables as .csv.gz or .csv")
    parser.add_argument("--output", type=Path, required=True, help="parquet file to write")
    options = parser.parse_args()
    visits = prepare(options.input)
    visits.to_parquet(options.output, index=False)
    print(f"{len(visits)} visits of {visits['SUBJECT_ID'].nunique()} patients")


def prepare(folder: Path) -> pd.DataFrame:
    """Read, clean and merge.

    Args:
        folder (`Path`): the five tables of MIMIC-III.

    Returns:
        One row for each visit that has a note, diagnoses and medications.
    """
    admissions = read_admissions(folder)
    keys = admissions[KEYS]
    diagnoses = read_diagnoses(folder, keys)
    medications = read_medications(folder, keys)
    notes = read_notes(folder, keys)
    visits = admissions[admissions["AGE"] >= MINIMUM_AGE]
    for part in (notes, diagnoses, medications):
        visits = visits.merge(part, on="HADM_ID", how="inner")
    visits = visits[visits["NOTE"] != ""]
    return visits[[*KEYS, "NOTE", "DIAGNOSIS_CODES", "MEDICATION_CODES", "READMISSION"]].reset_index(
        drop=True
    )


def read_table(folder: Path, name: str, **options: object) -> pd.DataFrame:
    """Read a table whole."""
    path = folder / f"{name}.csv.gz"
    return pd.read_csv(path if path.exists() else folder / f"{name}.csv", **options)


def read_admissions(folder: Path) -> pd.DataFrame:
    """Read admissions and patients; age at admission, and readmission within 30 days."""
    patients = read_table(folder, "PATIENTS").drop(columns=["ROW_ID"]).drop_duplicates("SUBJECT_ID")
    patients["DOB"] = pd.to_datetime(patients["DOB"], format=TIME, errors="coerce")
    admissions = read_table(folder, "ADMISSIONS").drop_duplicates("HADM_ID")
    for column in ("ADMITTIME", "DISCHTIME"):
        admissions[column] = pd.to_datetime(admissions[column], format=TIME, errors="coerce")
    admissions = admissions.merge(patients[["SUBJECT_ID", "DOB"]], on="SUBJECT_ID", how="inner")
    admissions = admissions.dropna(subset=["ADMITTIME", "DISCHTIME"])
    admissions = admissions[admissions["DISCHTIME"] >= admissions["ADMITTIME"]]
    lived = admissions["ADMITTIME"] - admissions["DOB"]
    admissions["AGE"] = lived.dt.total_seconds() / SECONDS_PER_DAY / 365.25
    admissions = admissions.sort_values(["SUBJECT_ID", "ADMITTIME", "DISCHTIME", "HADM_ID"])
    admissions = admissions.reset_index(drop=True)
    admissions["NEXT_ADMITTIME"] = admissions.groupby("SUBJECT_ID")["ADMITTIME"].shift(-1)
    until_next = admissions["NEXT_ADMITTIME"] - admissions["DISCHTIME"]
    admissions["DAYS_NEXT_ADMIT"] = until_next.dt.total_seconds() / SECONDS_PER_DAY
    admissions["READMISSION"] = admissions["DAYS_NEXT_ADMIT"] < 30
    return admissions[[*KEYS, "AGE", "READMISSION"]]


def read_diagnoses(folder: Path, keys: pd.DataFrame) -> pd.DataFrame:
    """Read the diagnosis codes of each admission, the most important first."""
    diagnoses = read_table(folder, "DIAGNOSES_ICD", dtype={"ICD9_CODE": str})
    diagnoses = diagnoses.dropna(subset=["ICD9_CODE"]).drop(columns=["ROW_ID"]).drop_duplicates()
    diagnoses = diagnoses.merge(keys, on=KEYS, how="inner")
    diagnoses = diagnoses.sort_values(["SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD9_CODE"]).reset_index(
        drop=True
    )
    diagnoses["ICD9_CODE"] = "ICD9CM:" + diagnoses["ICD9_CODE"].str.strip().str.replace(".", "").str.upper()
    return codes_of_visits(diagnoses, "ICD9_CODE", "DIAGNOSIS_CODES")


def read_medications(folder: Path, keys: pd.DataFrame) -> pd.DataFrame:
    """Read the medication classes of each admission, in the order of the first prescription."""
    prescriptions = read_table(folder, "PRESCRIPTIONS", dtype={"NDC": "category"})
    prescriptions = prescriptions.drop(columns=UNUSED_OF_PRESCRIPTIONS)
    prescriptions = prescriptions.dropna(subset=["DRUG"]).drop_duplicates()
    prescriptions = prescriptions.merge(keys, on=KEYS, how="inner")
    prescriptions["STARTDATE"] = pd.to_datetime(prescriptions["STARTDATE"], format=TIME, errors="coerce")
    prescriptions = prescriptions.merge(classes_of_drugs(prescriptions), on=["DRUG", "ROUTE"], how="left")
    prescriptions = prescriptions.dropna(subset=["ATC"])
    prescriptions = prescriptions.sort_values(["SUBJECT_ID", "HADM_ID", "STARTDATE", "ATC"])
    return codes_of_visits(prescriptions.reset_index(drop=True), "ATC", "MEDICATION_CODES")


def classes_of_drugs(prescriptions: pd.DataFrame) -> pd.DataFrame:
    """Look up each distinct drug and route once."""
    mapper = MedicationMapper.default()
    drugs = prescriptions[["DRUG", "ROUTE"]].drop_duplicates().reset_index(drop=True)

    def look_up(row: pd.Series) -> str | None:
        route = row["ROUTE"].strip() if isinstance(row["ROUTE"], str) else None
        atc = mapper.map_one(row["DRUG"].strip(), route)
        return None if atc is None else f"ATC:{atc}"

    drugs["ATC"] = drugs.apply(look_up, axis=1)
    return drugs


def codes_of_visits(rows: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    """Gather the different codes of each admission in the order of the rows."""
    codes = rows.groupby("HADM_ID")[column].unique().reset_index()
    codes[name] = codes[column].map(list)
    return codes[["HADM_ID", name]]


def read_notes(folder: Path, keys: pd.DataFrame) -> pd.DataFrame:
    """Read the discharge summaries of each admission with their addenda, joined and cleaned."""
    notes = read_table(folder, "NOTEEVENTS")
    notes = notes[notes["CATEGORY"] == "Discharge summary"]
    notes = notes[notes["ISERROR"] != 1].dropna(subset=["HADM_ID", "TEXT"])
    notes["HADM_ID"] = notes["HADM_ID"].astype(int)
    notes = notes.merge(keys, on=KEYS, how="inner")
    notes["CHARTDATE"] = pd.to_datetime(notes["CHARTDATE"], format="%Y-%m-%d", errors="coerce")
    notes["IS_ADDENDUM"] = notes["DESCRIPTION"] == "Addendum"
    notes = notes.sort_values(["HADM_ID", "CHARTDATE", "IS_ADDENDUM", "CHARTTIME", "ROW_ID"])
    joined = notes.groupby("HADM_ID")["TEXT"].apply("\n".join).reset_index()
    joined["NOTE"] = joined["TEXT"].apply(clean)
    return joined[["HADM_ID", "NOTE"]]


def clean(text: str) -> str:
    """Clean one note, by the rules of `medm_plm.data.notes`."""
    text = text.lower()
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\[\*\*.*?\*\*\]", " ", text)
    text = re.sub(r"(^|\s)(?:\d{1,2}\.(?:\s+|$))+", r"\1", text)
    text = re.sub(r"(^|\s)\d{1,2}\.([a-z(])", r"\1\2", text)
    text = re.sub(r"\bdr\.", "doctor", text)
    text = re.sub(r"\bm\.d\.", "md", text)
    text = re.sub(r"admission date:", "", text)
    text = re.sub(r"discharge date:", "", text)
    text = re.sub(r"-{2,}|_{2,}|={2,}", "", text)
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    main()
