"""Readmission labels and inclusion rules, each against a label worked out by hand."""

import csv
import gzip
import io
from datetime import datetime, timedelta

import polars as pl
import pytest

from medm_plm.data import mimic3, mimic4
from medm_plm.data.cohort import (
    READMISSION_POLICIES,
    REQUIREMENTS,
    CohortRules,
    select_visits,
    with_readmissions,
)
from medm_plm.data.schema import SOURCE_VISIT_SCHEMA, RowLedger
from medm_plm.errors import InputError

START = datetime(2100, 1, 1)
DAY = timedelta(days=1)


def stays(*rows, patient="p"):
    """Visits from (admission day, discharge day, type, died); the day is counted from START."""
    table = [
        {
            "subject_id": patient,
            "hadm_id": f"{patient}{number}",
            "source_order": round(1e6 * begin),
            "admission_time": START + begin * DAY,
            "discharge_time": START + end * DAY,
            "age": 50.0,
            "admission_type": kind,
            "died_in_hospital": died,
        }
        for number, (begin, end, kind, died) in enumerate(rows)
    ]
    return pl.DataFrame(table, schema=SOURCE_VISIT_SCHEMA)


def labels(visits, policy):
    return with_readmissions(visits, policy).sort("hadm_id")["readmission"].to_list()


E, P, N = "EMERGENCY", "ELECTIVE", "NEWBORN"
HAND_WORKED = {
    "the window is open at thirty days in paper and closed in cms": (
        [(0, 10, E, False), (39.9, 50, E, False), (80, 90, E, False), (120.1, 130, E, False)],
        {
            "paper": [True, False, False, False],
            "clinicalbert": [True, False, False, False],
            "cms": [True, True, False, False],
        },
    ),
    "a next admission before the discharge counts, but not for cms": (
        [(0, 10, E, False), (9, 12, E, False)],
        {"paper": [True, False], "clinicalbert": [True, False], "cms": [False, False]},
    ),
    "the moment of discharge counts, but not for cms": (
        [(0, 10, E, False), (10, 12, E, False)],
        {"paper": [True, False], "clinicalbert": [True, False], "cms": [False, False]},
    ),
    "a planned admission is none for cms and skipped by clinicalbert": (
        [(0, 10, E, False), (15, 20, P, False), (25, 30, E, False)],
        {"paper": [True, True, False], "clinicalbert": [True, True, False], "cms": [False, True, False]},
    ),
    "beyond a skipped planned admission the window is the same": (
        [(0, 10, E, False), (15, 20, P, False), (45, 50, E, False)],
        {"paper": [True, True, False], "clinicalbert": [False, True, False], "cms": [False, True, False]},
    ),
    "deaths and newborns have no label": (
        [(0, 2, N, False), (5, 10, E, False), (20, 30, E, True)],
        {"paper": [True, True, False], "clinicalbert": [None, True, None], "cms": [True, True, None]},
    ),
    "the last visit of a patient is no readmission": (
        [(0, 10, E, False)],
        {"paper": [False], "clinicalbert": [False], "cms": [False]},
    ),
}


@pytest.mark.parametrize("policy", list(READMISSION_POLICIES))
@pytest.mark.parametrize("story", list(HAND_WORKED))
def test_labels_worked_out_by_hand(story, policy):
    rows, expected = HAND_WORKED[story]
    assert labels(stays(*rows), policy) == expected[policy]


@pytest.mark.parametrize("policy", list(READMISSION_POLICIES))
def test_the_next_patient_is_no_readmission_and_row_order_does_not_matter(policy):
    one, other = stays((0, 10, E, False), (100, 110, E, False)), stays((11, 12, E, False), patient="q")
    together = pl.concat([other, one])
    assert labels(together, policy) == [False, False, False]
    shuffled = together.sample(fraction=1.0, shuffle=True, seed=5)
    assert with_readmissions(shuffled, policy).equals(with_readmissions(together, policy))


def test_without_dates_there_is_no_label():
    undated = stays((0, 1, E, False)).with_columns(pl.lit(None, pl.Datetime("us")).alias("admission_time"))
    for policy in READMISSION_POLICIES:
        assert labels(undated, policy) == [None]


def test_the_demo_has_eleven_readmissions(test_data_folder):
    visits = mimic3.read(test_data_folder / "mimic3-demo-1.4").visits
    counts = {policy: with_readmissions(visits, policy)["readmission"] for policy in READMISSION_POLICIES}
    assert {policy: int(label.sum()) for policy, label in counts.items()}["paper"] == 11
    assert counts["clinicalbert"].null_count() == int(visits["died_in_hospital"].sum()) == 40


def test_unknown_names_are_refused():
    with pytest.raises(
        InputError, match="unknown readmission policy; received 'ours', expected one of paper"
    ):
        with_readmissions(stays((0, 1, E, False)), "ours")
    with pytest.raises(InputError, match="unknown requirement; received 'labs', expected some of note"):
        CohortRules(require=("labs",))
    for age in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="minimum_age"):
            CohortRules(minimum_age=age)


@pytest.fixture
def visits():
    rows = [
        ("a", 50.0, "text", ["ICD9CM:1"], ["ATC:A"]),
        ("a", 51.0, "", ["ICD9CM:1"], []),
        ("b", 15.9, "text", ["ICD9CM:1"], ["ATC:A"]),
        ("c", None, "text", ["ICD9CM:1"], ["ATC:A"]),
        ("d", 16.0, "text", [], []),
        ("e", 90.0, "", [], ["ATC:A"]),
        ("f", 60.0, "", [], []),
    ]
    names = ["subject_id", "age", "note", "diagnosis_codes", "medication_codes"]
    return pl.DataFrame(rows, names, orient="row")


@pytest.mark.parametrize(
    ("rules", "patients", "dropped"),
    [
        (
            CohortRules(),
            ["a", "a", "d"],
            {"age unknown": 1, "below the minimum age": 1, "neither diagnosis nor note": 2},
        ),
        (CohortRules(minimum_age=0), ["a", "a", "b", "c", "d"], {"neither diagnosis nor note": 2}),
        (
            CohortRules(0, ("note", "diagnoses", "medications")),
            ["a", "b", "c"],
            {"no note": 3, "no diagnosis": 1},
        ),
        (CohortRules(0, ("medications",)), ["a", "b", "c", "e"], {"no medication": 3}),
    ],
)
def test_rules_keep_what_they_say_and_count_the_rest(visits, rules, patients, dropped):
    ledger = RowLedger(visits.height)
    kept = select_visits(visits, rules, ledger)
    assert kept["subject_id"].to_list() == patients
    assert ledger.dropped == dropped
    assert ledger.rows_out == kept.height
    assert kept["visit_number"].to_list() == ([1, 2] if "d" in patients else [1]) + [1] * len(
        set(patients) - {"a"}
    )


def test_every_requirement_is_a_rule(visits):
    for name in REQUIREMENTS:
        assert select_visits(visits, CohortRules(0, (name,)), RowLedger(7)).height < 7


def count_readmissions(rows, policy):
    """A second count in plain loops; a stay is patient, admission, discharge, kind and death in hospital."""
    by_patient = {}
    for subject, admitted, discharged, kind, died in rows:
        by_patient.setdefault(subject, []).append((admitted, discharged, kind.upper(), died))
    month = timedelta(days=30)
    num_positive = 0
    for stays in by_patient.values():
        stays.sort()
        for place, (_, discharged, kind, died) in enumerate(stays):
            later = stays[place + 1 :]
            if policy == "paper":
                num_positive += bool(later) and later[0][0] - discharged < month
                continue
            if died or (policy == "clinicalbert" and kind == "NEWBORN"):
                continue
            unplanned = [stay for stay in later if stay[2] not in ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")]
            if policy == "clinicalbert":
                num_positive += bool(unplanned) and unplanned[0][0] - discharged < month
            else:
                gap = later[0][0] - discharged if later and later[0] in unplanned else None
                num_positive += gap is not None and timedelta(0) < gap <= month
    return num_positive


@pytest.mark.parametrize(
    ("reader", "folder", "file", "policy", "positive"),
    [
        (mimic3, "mimic3-demo-1.4", "ADMISSIONS.csv", "paper", 11),
        (mimic3, "mimic3-demo-1.4", "ADMISSIONS.csv", "clinicalbert", None),
        (mimic3, "mimic3-demo-1.4", "ADMISSIONS.csv", "cms", None),
        (mimic4, "mimic4-demo-2.2", "hosp/admissions.csv.gz", "paper", 53),
        (mimic4, "mimic4-demo-2.2", "hosp/admissions.csv.gz", "clinicalbert", 50),
        (mimic4, "mimic4-demo-2.2", "hosp/admissions.csv.gz", "cms", 48),
    ],
)
def test_readmissions_of_the_demos_by_a_loop_over_the_rows(
    test_data_folder, reader, folder, file, policy, positive
):
    content = (test_data_folder / folder / file).read_bytes()
    text = (gzip.decompress(content) if file.endswith(".gz") else content).decode()
    rows = [
        (
            row["subject_id"],
            datetime.fromisoformat(row["admittime"]),
            datetime.fromisoformat(row["dischtime"]),
            row["admission_type"],
            row["hospital_expire_flag"] == "1",
        )
        for row in csv.DictReader(io.StringIO(text))
    ]
    labels = with_readmissions(reader.read(test_data_folder / folder).visits, policy)["readmission"]
    assert labels.len() == len(rows) == {mimic3: 129, mimic4: 275}[reader]
    assert labels.sum() == count_readmissions(rows, policy)
    assert positive is None or labels.sum() == positive
