"""Counts made shard by shard add up to those of all patients, and agree with the ledgers and with loops."""

import json

import polars as pl
import pytest

from medm_plm.data.assembly import code_lists
from medm_plm.data.cohort import READMISSION_POLICIES, CohortRules, select_visits, with_readmissions
from medm_plm.data.report import accounts
from medm_plm.data.schema import RowLedger
from prepared_cohort import invent_visits

RULES = CohortRules(minimum_age=16, require=("note", "diagnoses", "medications"))


@pytest.fixture
def read():
    """Visits as they are before the cohort rules, with every reason to leave some out."""
    number = pl.int_range(pl.len())
    empty = pl.lit([], dtype=pl.List(pl.String))
    types = ["EMERGENCY", "ELECTIVE", "NEWBORN"]
    frame = invent_visits(40)
    return frame.drop("visit_number", "readmission", "split").with_columns(
        number.alias("source_order"),
        pl.when(number % 9 == 0).then(None).when(number % 10 == 1).then(7.0).otherwise("age").alias("age"),
        pl.when(number % 4 == 2).then(pl.lit("")).otherwise("note").alias("note"),
        pl.when(number % 6 == 3).then(empty).otherwise("diagnosis_codes").alias("diagnosis_codes"),
        pl.Series("admission_type", [types[i % 3] for i in range(frame.height)]),
        (number % 8 == 5).alias("died_in_hospital"),
    )


def shards(frame):
    """Whole patients, in three parts."""
    part = frame["subject_id"].str.slice(1).cast(pl.Int64) % 3
    return [frame.filter(part == number) for number in range(3)]


def test_steps_of_the_cohort_agree_with_the_ledger(read):
    steps = accounts.cohort_steps(read, RULES)
    ledger = RowLedger(read.height)
    kept = select_visits(read, RULES, ledger)
    assert steps["visits"][0] == read.height
    assert steps["visits"][-1] == kept.height
    assert steps["patients"].to_list()[:: len(steps) - 1] == [40, kept["subject_id"].n_unique()]
    dropped = dict(zip(steps["step"][1:], -steps["visits"].diff()[1:], strict=True))
    assert {reason: count for reason, count in dropped.items() if count} == ledger.dropped
    assert list(dropped) == [
        "age unknown",
        "below the minimum age",
        "no note",
        "no diagnosis",
        "no medication",
    ]
    grown_up = {row["subject_id"] for row in read.to_dicts() if row["age"] is not None and row["age"] >= 16}
    assert steps["patients"][2] == len(grown_up) < 40


def test_steps_of_shards_add_up_even_where_a_shard_drops_nothing(read):
    whole = accounts.cohort_steps(read, RULES)
    parts = [accounts.cohort_steps(part, RULES) for part in shards(read)]
    assert accounts.merge_cohort_steps(parts).equals(whole)
    easy = read.filter(pl.col("age") >= 16, pl.col("subject_id") == "p000")
    merged = accounts.merge_cohort_steps([accounts.cohort_steps(easy, RULES), *parts])
    assert merged["step"].to_list() == whole["step"].to_list()
    assert accounts.merge_cohort_steps([]).is_empty()


def test_exclusions_run_from_the_rows_read_to_the_visits_prepared(read):
    ledger = RowLedger(read.height + 5, {"discharge before admission": 3, "repeated row": 2})
    select_visits(read, RULES, ledger)
    entry = accounts.exclusions_entry(ledger, accounts.cohort_steps(read, RULES))
    steps = entry["steps"]
    assert entry["rows_read"] == read.height + 5
    assert [step["reason"] for step in steps[:3]] == [
        "discharge before admission",
        "repeated row",
        accounts.VISITS_READ,
    ]
    assert [step["patients_left"] for step in steps[:3]] == [None, None, 40]
    left = entry["rows_read"]
    for step in steps:
        left -= step["visits_dropped"]
        assert step["visits_left"] == left
        assert step["visits_dropped"] == ledger.dropped.get(step["reason"], 0)
    assert left == ledger.rows_out


def test_every_readmission_policy_is_counted(read):
    prepared = select_visits(read, RULES, RowLedger(read.height))
    entry = accounts.readmission_policies_entry(read, prepared)
    assert set(entry) == set(READMISSION_POLICIES)
    kept = set(prepared["hadm_id"])
    for policy, counts in entry.items():
        labels = {row["hadm_id"]: row["readmission"] for row in with_readmissions(read, policy).to_dicts()}
        for which, chosen in (
            ("visits_read", list(labels.values())),
            ("visits_prepared", [label for visit, label in labels.items() if visit in kept]),
        ):
            expected = {
                "positive": chosen.count(True),
                "negative": chosen.count(False),
                "none": chosen.count(None),
            }
            assert counts[which] == expected
    assert entry["paper"]["visits_read"]["none"] == 0 < entry["cms"]["visits_read"]["none"]
    parts = [accounts.readmission_policies_entry(part, prepared) for part in shards(read)]
    assert accounts.sum_entries(parts) == entry


def test_sums_of_nested_counts():
    parts = [{"a": 1, "b": {"x": 2}}, {"b": {"x": 3, "y": 4}, "c": 5}, {}]
    assert accounts.sum_entries(parts) == {"a": 1, "b": {"x": 5, "y": 4}, "c": 5}
    assert parts[0] == {"a": 1, "b": {"x": 2}}
    assert accounts.sum_entries([]) == {}


def test_repeated_codes_are_counted_against_the_lists_made_of_them():
    rows = pl.DataFrame(
        {
            "hadm_id": ["1", "1", "1", "2", "2", "3"],
            "position": [1, 2, 3, 1, 2, 1],
            "code": ["ICD9CM:4280", "ICD9CM:4019", "ICD9CM:4280", "ICD9CM:486", "ICD9CM:496", "ICD9CM:0389"],
            "num_rows": [1, 1, 1, 1, 2, 1],
        }
    )
    lists = code_lists(rows, "diagnosis_codes").filter(pl.col("hadm_id") != "3")
    empty = pl.DataFrame({"hadm_id": ["4"], "diagnosis_codes": [[]]}, schema=lists.schema)
    entry = accounts.repeated_codes_entry(rows, pl.concat([lists, empty]), "diagnosis_codes")
    assert entry == {"rows": 6, "codes": 4, "rows_merged": 2, "visits_with_repeats": 2}
    distinct = rows.unique(["hadm_id", "code"]).with_columns(pl.lit(1).alias("num_rows"))
    entry = accounts.repeated_codes_entry(distinct, lists, "diagnosis_codes")
    assert (entry["rows_merged"], entry["visits_with_repeats"]) == (0, 0)


def prescriptions():
    """Invented rows: drug string, whether mapped, patients."""
    written = (
        ("Heparin", True, range(8)),
        ("Zyzzyxol", False, range(6)),
        ("Zyzzyxol", False, range(2)),
        ("Drops by Dr Doe", False, range(4)),
        ("Salve", False, range(1, 6)),
        ("Salve", True, range(1, 3)),
        ("Bag", False, range(7)),
        (None, False, range(3)),
        (None, True, range(2)),
    )
    rows = [
        {"subject_id": f"p{patient}", "drug": drug, "mapped": mapped, "num_rows": 1}
        for drug, mapped, patients in written
        for patient in patients
    ]
    schema = {"subject_id": pl.String, "drug": pl.String, "mapped": pl.Boolean, "num_rows": pl.Int64}
    return pl.DataFrame(rows, schema=schema)


def test_coverage_of_the_mapping_by_row_and_by_string():
    entry = accounts.medication_coverage_entry([accounts.count_drugs(prescriptions())])
    assert (entry["rows"], entry["rows_without_drug"], entry["rows_mapped"]) == (39, 10, 12)
    assert entry["share_of_rows_naming_a_drug"] == round(12 / 29, 4)
    assert (entry["strings"], entry["strings_mapped"], entry["share_of_strings"]) == (4, 2, 0.5)
    assert entry["unmapped"] == [
        {"drug": "Zyzzyxol", "rows_unmapped": 8, "rows": 8, "patients": 6},
        {"drug": "Salve", "rows_unmapped": 5, "rows": 7, "patients": 5},
    ]
    assert entry["unmapped_of_fewer_patients"] == {"strings": 1, "rows": 4}
    assert entry["unmapped_beyond_the_list"] == {"strings": 0, "rows": 0}
    assert "Doe" not in json.dumps(entry)
    unmapped = sum(row["rows_unmapped"] for row in entry["unmapped"])
    assert entry["rows"] == entry["rows_mapped"] + entry["rows_without_drug"] + unmapped + 4


def test_coverage_of_shards_adds_up():
    rows = prescriptions().with_columns(pl.col("num_rows") * 2)
    shard = rows["subject_id"].str.slice(1).cast(pl.Int64) % 3
    parts = [accounts.count_drugs(rows.filter(shard == number)) for number in range(3)]
    whole = accounts.medication_coverage_entry([accounts.count_drugs(rows)])
    assert accounts.medication_coverage_entry(parts) == whole
    assert whole["rows"] == 78
    assert max(part["patients"].max() for part in parts) < 5  # none of them alone would name a string
    nothing = accounts.medication_coverage_entry([])
    assert (nothing["rows"], nothing["share_of_rows_naming_a_drug"], nothing["unmapped"]) == (0, None, [])


def test_a_long_list_of_strings_is_cut(monkeypatch):
    monkeypatch.setattr(accounts, "NUM_UNMAPPED", 1)
    entry = accounts.medication_coverage_entry([accounts.count_drugs(prescriptions())])
    assert [row["drug"] for row in entry["unmapped"]] == ["Zyzzyxol"]
    assert entry["unmapped_beyond_the_list"] == {"strings": 1, "rows": 5}


def test_mapping_is_counted_by_row_prescription_and_name():
    rows = [
        ("Heparin", "IV", "1", "ATC:B01A", 3),
        ("Heparin", "IV", "1", "ATC:B01A", 1),
        ("Heparin", "SC", None, None, 2),
        ("Zyzzyxol", "PO", None, None, 1),
        (None, None, "2", "ATC:N02A", 1),
    ]
    schema = ["drug", "route", "ndc", "code", "num_rows"]
    prescriptions = pl.DataFrame(rows, schema, orient="row")
    entry = accounts.mapping_entry(prescriptions)
    assert entry == {
        "rows": 8,
        "rows_mapped": 5,
        "share_of_rows": 0.625,
        "distinct_prescriptions": 4,
        "distinct_prescriptions_mapped": 2,
        "distinct_drug_names": 2,
        "distinct_drug_names_mapped": 1,
        "medication_classes": 2,
    }
    with_class = prescriptions.with_columns(pl.Series("atc", ["B01A", None, None, None, "N02A"]))
    assert accounts.mapping_entry(with_class)["rows_with_a_class_of_the_source"] == 4
