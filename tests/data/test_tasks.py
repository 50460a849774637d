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
    **early,
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
        **early,
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


def first_day(subject, number, codes, **fields):
    codes = None if codes is None else list(codes)
    return visit(subject, number, first_day_medication_codes=codes, **fields)


def test_recommendation_of_the_first_day_has_only_visits_with_a_known_first_day_as_targets():
    both = ("ATC:A01A", "ATC:B01A")
    visits = frame(
        first_day("a", 1, ("ATC:A01A",), medications=both),
        first_day("a", 2, ("ATC:B01A",), medications=both),
        first_day("a", 3, (), medications=both),
        first_day("a", 4, None, medications=both),
        first_day("b", 1, ("ATC:B01A",), medications=both),
        first_day("b", 2, None, medications=both),
        first_day("c", 1, ("ATC:C01A",), split="test"),
    )
    histories = tasks.medication_recommendation_patients(visits, "train", "first_day")
    assert histories.select("hadm_id", "is_target").rows() == [
        ("a-1", False),
        ("a-2", True),
        ("a-3", False),
        ("a-4", False),
    ]
    assert histories["medication_codes"].to_list() == [list(both)] * 4, "histories keep the whole stay"
    assert tasks.medication_recommendation_labels(visits, window="first_day") == ["ATC:B01A", "ATC:A01A"]
    assert tasks.medication_prediction_labels(visits, window="first_day") == ["ATC:B01A", "ATC:A01A"]
    assert tasks.medication_recommendation_labels(visits) == ["ATC:A01A", "ATC:B01A"]


def test_prediction_of_the_first_day_reads_the_admission_note():
    visits = frame(
        first_day("a", 1, ("ATC:B01A",), admission_note="came", medications=("ATC:A01A", "ATC:B01A")),
        first_day("b", 1, ("ATC:B01A",), admission_note=None),
        first_day("c", 1, None, admission_note="came"),
        first_day("d", 1, (), admission_note="came"),
        first_day("e", 1, ("ATC:B01A",), admission_note=None, diagnoses=()),
    )
    examples = tasks.medication_prediction_visits(visits, "train", ["ATC:B01A"], window="first_day")
    assert examples.select("hadm_id", "note", "labels", "medication_codes").rows() == [
        ("a-1", "came", ["ATC:B01A"], []),
        ("b-1", "", ["ATC:B01A"], []),
    ]
    assert examples["first_day_medication_codes"].null_count() == 2, "the answer stands nowhere else"


def test_no_start_times_are_one_clear_error():
    visits = frame(visit("a", 1), visit("a", 2))
    for call in (
        lambda: tasks.medication_recommendation_labels(visits, window="first_day"),
        lambda: tasks.medication_recommendation_patients(visits, "train", "first_day"),
        lambda: tasks.medication_prediction_labels(visits, window="first_day"),
        lambda: tasks.medication_prediction_visits(visits, "train", [], window="first_day"),
    ):
        with pytest.raises(InputError, match=r"no start times of prescriptions.*whole_stay"):
            call()
    with pytest.raises(InputError, match="unknown medication window; received 'last_day'"):
        tasks.medication_column(visits, "last_day")


def test_mortality_reads_what_was_known_on_the_first_day_alone():
    known = {"admission_note": "came", "died_in_hospital": True, "medications": ("ATC:A01A", "ATC:B01A")}
    visits = frame(
        first_day("a", 1, ("ATC:A01A",), **known),
        first_day("b", 1, None, **known),
        first_day("c", 1, ("ATC:A01A",), **{**known, "admission_note": None, "died_in_hospital": False}),
        first_day("d", 1, ("ATC:A01A",), **{**known, "died_in_hospital": None}),
        first_day("e", 1, None, **{**known, "admission_note": None}),
        first_day("f", 1, (), **{**known, "admission_note": ""}),
        first_day("g", 1, ("ATC:A01A",), split="test", **known),
    )
    examples = tasks.mortality_visits(visits, "train")
    columns = ("hadm_id", "note", "diagnosis_codes", "medication_codes", "died_in_hospital")
    assert examples.select(columns).rows() == [
        ("a-1", "came", [], ["ATC:A01A"], True),
        ("b-1", "came", [], [], True),
        ("c-1", "", [], ["ATC:A01A"], False),
    ]
    balanced = tasks.mortality_visits(visits, "train", balanced=True, seed=0)
    assert sorted(balanced["died_in_hospital"]) == [False, True]
    assert tasks.mortality_visits(visits, "test")["hadm_id"].to_list() == ["g-1"]


def test_what_is_read_of_the_current_note():
    visits = frame(visit("a", 1, admission_note="came"), visit("a", 2, admission_note=None))
    read = {
        choice: tasks.current_inputs(tasks.with_current_note(visits, choice))
        for choice in tasks.CURRENT_NOTES
    }
    assert {choice: inputs["note"].to_list() for choice, inputs in read.items()} == {
        "none": ["", ""],
        "admission_sections": ["came", ""],
        "full": ["text", "text"],
    }
    for inputs in read.values():
        assert inputs["medication_codes"].list.len().sum() == 0
        assert inputs["diagnosis_codes"].to_list() == visits["diagnosis_codes"].to_list()
    with pytest.raises(InputError, match=r"known at admission.*--current_note none"):
        tasks.with_current_note(frame(visit("a", 1)), "admission_sections")
    with pytest.raises(InputError, match="unknown current note; received 'all'"):
        tasks.with_current_note(visits, "all")


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


def test_mortality_leaves_out_stays_that_end_within_the_first_day():
    stays = {"a": 23.99, "b": 24.0, "c": None, "d": 100.0}
    rows = [
        visit(
            name,
            1,
            admission_note="known",
            died_in_hospital=True,
            stay_hours=hours,
            first_day_medication_codes=[],
        )
        for name, hours in stays.items()
    ]
    assert tasks.mortality_visits(frame(*rows), "train")["hadm_id"].to_list() == ["b-1", "c-1", "d-1"]
