"""Examples hold what a task may know and not its answer; labels come from the training split."""

import polars as pl
import pytest

from medm_plm.data import tasks
from medm_plm.data.schema import VISIT_SCHEMA
from medm_plm.errors import InputError
from prepared_cohort import invent_visits


def visit(
    subject,
    number,
    split="train",
    note="text",
    diagnoses=("ICD9CM:1",),
    medications=("ATC:A01A",),
    label=None,
):
    return {
        "subject_id": subject,
        "hadm_id": f"{subject}-{number}",
        "visit_number": number,
        "age": 50.0,
        "note": note,
        "diagnosis_codes": list(diagnoses),
        "medication_codes": list(medications),
        "readmission": label,
        "split": split,
    }


def frame(*rows):
    return pl.DataFrame(rows, schema=VISIT_SCHEMA)


def test_pretraining_sees_training_patients_with_a_code_only():
    visits = frame(
        visit("a", 1),
        visit("a", 2, diagnoses=(), medications=()),
        visit("b", 1, diagnoses=()),
        visit("c", 1, split="validation"),
        visit("d", 1, split="test"),
    )
    assert tasks.pretraining_visits(visits)["hadm_id"].to_list() == ["a-1", "b-1"]


def test_labels_are_counted_in_the_training_split_by_frequency_then_code():
    visits = frame(
        visit("a", 1, diagnoses=("ICD9CM:2", "ICD9CM:9"), medications=("ATC:B01A", "ATC:A01A")),
        visit("b", 1, diagnoses=("ICD9CM:9", "ICD9CM:1"), medications=()),
        visit("c", 1, split="test", diagnoses=("ICD9CM:7",) * 1, medications=("ATC:Z01A",)),
    )
    assert tasks.icd_coding_labels(visits, top_k=None) == ["ICD9CM:9", "ICD9CM:1", "ICD9CM:2"]
    assert tasks.icd_coding_labels(visits, top_k=2) == ["ICD9CM:9", "ICD9CM:1"]
    assert tasks.medication_prediction_labels(visits) == ["ATC:A01A", "ATC:B01A"]
    assert tasks.medication_recommendation_labels(visits, top_k=1) == ["ATC:A01A"]
    assert tasks.icd_coding_labels(visits.reverse(), None) == tasks.icd_coding_labels(visits, None)
    with pytest.raises(InputError, match="number of labels"):
        tasks.icd_coding_labels(visits, top_k=0)


def test_coding_examples_hold_the_answer_as_label_and_nowhere_else():
    visits = frame(
        visit("a", 1, diagnoses=("ICD9CM:2", "ICD9CM:1", "ICD9CM:3")),
        visit("b", 1, diagnoses=("ICD9CM:3",)),
        visit("c", 1, diagnoses=()),
        visit("d", 1, note="", medications=()),
        visit("e", 1, note="", medications=("ATC:A01A",)),
        visit("f", 1, split="test"),
    )
    examples = tasks.icd_coding_visits(visits, "train", ["ICD9CM:1", "ICD9CM:2"])
    assert examples.select("hadm_id", "labels").rows() == [
        ("a-1", ["ICD9CM:1", "ICD9CM:2"]),
        ("b-1", []),
        ("e-1", ["ICD9CM:1"]),
    ]
    assert examples["diagnosis_codes"].list.len().sum() == 0
    assert examples["medication_codes"].to_list() == [["ATC:A01A"]] * 3
    labelled = tasks.icd_coding_visits(visits, "train", ["ICD9CM:1"], only_labelled=True)
    assert labelled["hadm_id"].to_list() == ["a-1", "e-1"]


def test_medication_prediction_empties_the_medications():
    visits = frame(
        visit("a", 1, medications=("ATC:B01A", "ATC:A01A")),
        visit("b", 1, medications=()),
        visit("c", 1, note="", diagnoses=()),
    )
    examples = tasks.medication_prediction_visits(visits, "train", ["ATC:A01A"])
    assert examples.select("hadm_id", "labels", "diagnosis_codes", "medication_codes").rows() == [
        ("a-1", ["ATC:A01A"], ["ICD9CM:1"], [])
    ]


def test_recommendation_takes_patients_with_a_later_visit_that_has_medications():
    visits = frame(
        visit("a", 2),
        visit("a", 1),
        visit("a", 3, medications=()),
        visit("b", 1),
        visit("c", 1),
        visit("c", 2, medications=()),
        visit("d", 1, split="test"),
        visit("d", 2, split="test"),
    )
    histories = tasks.medication_recommendation_patients(visits, "train")
    assert histories.select("hadm_id", "is_target").rows() == [("a-1", False), ("a-2", True), ("a-3", False)]
    assert tasks.medication_recommendation_patients(visits, "test")["is_target"].to_list() == [False, True]
    assert tasks.medication_recommendation_patients(visits, "validation").is_empty()


def test_readmission_natural_and_balanced():
    rows = [visit(f"p{number:03d}", 1, label=number < 7) for number in range(40)]
    visits = frame(*rows, visit("q", 1, label=None), visit("r", 1, split="test", label=True))
    natural = tasks.readmission_visits(visits, "train")
    assert natural.height == 40
    balanced = tasks.readmission_visits(visits, "train", balanced=True, seed=1)
    assert (balanced.height, int(balanced["readmission"].sum())) == (14, 7)
    assert balanced.equals(natural.filter(pl.col("hadm_id").is_in(balanced["hadm_id"].implode()))), (
        "order kept"
    )
    backwards = tasks.readmission_visits(visits.reverse(), "train", balanced=True, seed=1)
    assert set(backwards["hadm_id"]) == set(balanced["hadm_id"])
    other = tasks.readmission_visits(visits, "train", balanced=True, seed=2)
    assert set(other["hadm_id"]) != set(balanced["hadm_id"])
    assert tasks.readmission_visits(visits, "test", balanced=True).is_empty()


def test_unknown_split_is_refused_and_inputs_stay_as_they_were():
    visits = invent_visits(10)
    before = visits.clone()
    with pytest.raises(
        InputError, match="unknown split; received 'dev', expected train or validation or test"
    ):
        tasks.readmission_visits(visits, "dev")
    for split in ("train", "validation", "test"):
        tasks.icd_coding_visits(visits, split, tasks.icd_coding_labels(visits))
        tasks.medication_recommendation_patients(visits, split)
    assert visits.equals(before)
