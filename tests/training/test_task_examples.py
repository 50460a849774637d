"""Examples of the tasks: what may be read, what has to be predicted, and how many are used."""

import numpy as np
import polars as pl
import pytest

from medm_plm.errors import InputError
from medm_plm.training.task_examples import (
    baseline_examples,
    multi_hot,
    task_examples,
    task_labels,
    training_share,
)
from prepared_cohort import invent_visits

TASKS = ("medication_recommendation", "readmission", "icd_coding", "medication_prediction", "mortality")


@pytest.fixture(scope="module")
def visits() -> pl.DataFrame:
    return invent_visits(40)


def examples_of(task: str, visits: pl.DataFrame, split: str = "train", **options):
    return task_examples(task, visits, split, task_labels(task, visits, 50), **options)


def test_multi_hot_leaves_other_codes_out():
    rows = multi_hot([["b", "x"], [], ["a", "b"]], ["a", "b", "c"])
    assert rows.tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 0]]


def test_labels_come_from_the_training_split(visits):
    only_tested = visits.with_columns(
        pl.when(pl.col("split") == "test")
        .then(pl.concat_list(pl.col("diagnosis_codes"), pl.lit("ICD9CM:0010")))
        .otherwise(pl.col("diagnosis_codes"))
        .alias("diagnosis_codes")
    )
    labels = task_labels("icd_coding", only_tested, 50)
    assert len(labels) == 8
    assert "ICD9CM:0010" not in labels
    assert task_labels("icd_coding", visits, 3) == labels[:3]
    assert task_labels("readmission", visits, 50) == ["readmission"]
    assert task_labels("mortality", visits, 50) == ["mortality"]


def test_no_code_to_predict_is_one_clear_error(visits):
    empty = visits.with_columns(pl.lit([], dtype=pl.List(pl.String)).alias("diagnosis_codes"))
    with pytest.raises(InputError, match="icd_coding: the training split holds no code"):
        task_labels("icd_coding", empty, 50)


@pytest.mark.parametrize("task", TASKS)
def test_an_empty_split_is_one_clear_error(task, visits):
    without_test = visits.filter(pl.col("split") != "test")
    with pytest.raises(InputError, match=f"{task}: the test split holds no example"):
        examples_of(task, without_test, "test")


@pytest.mark.parametrize(
    ("task", "hidden"), [("icd_coding", "diagnosis_codes"), ("medication_prediction", "medication_codes")]
)
def test_what_is_predicted_is_no_input(task, hidden, visits):
    examples = examples_of(task, visits)
    assert examples.visits[hidden].list.len().sum() == 0
    assert examples.is_target.all()
    labels = task_labels(task, visits, 50)
    by_id = dict(zip(visits["hadm_id"], visits[hidden], strict=True))
    for hadm_id, row in zip(examples.visits["hadm_id"], examples.labels, strict=True):
        assert {labels[i] for i in np.flatnonzero(row)} == set(by_id[hadm_id])


def test_readmission_is_trained_on_equal_numbers_and_tested_on_all(visits):
    train, test = examples_of("readmission", visits), examples_of("readmission", visits, "test")
    assert train.labels.mean() == 0.5
    assert len(test.labels) == visits.filter(pl.col("split") == "test").height
    assert examples_of("readmission", visits, seed=1).targets.equals(
        examples_of("readmission", visits, seed=1).targets
    )


def test_mortality_is_trained_on_equal_numbers_and_tested_on_all(visits):
    train, test = examples_of("mortality", visits), examples_of("mortality", visits, "test")
    assert train.labels.mean() == 0.5
    whole = visits.filter(pl.col("split") == "test")
    assert len(test.labels) == whole.height
    assert test.labels.sum() == whole["died_in_hospital"].sum() > 0
    assert test.visits["note"].to_list() == whole["admission_note"].to_list()
    assert test.visits["medication_codes"].to_list() == whole["first_day_medication_codes"].to_list()
    assert test.visits["diagnosis_codes"].list.len().sum() == 0
    natural = examples_of("mortality", visits, balanced=False)
    assert natural.labels.sum() == train.labels.sum() < natural.labels.size / 2


def test_mortality_of_a_source_that_tells_nothing_early_is_one_clear_error(visits):
    late = visits.with_columns(
        pl.lit(None, dtype=pl.String).alias("admission_note"),
        pl.lit(None, dtype=pl.List(pl.String)).alias("first_day_medication_codes"),
    )
    with pytest.raises(InputError, match=r"task mortality.*a source that tells deaths"):
        examples_of("mortality", late)


@pytest.mark.parametrize("task", ["medication_recommendation", "medication_prediction"])
def test_medications_of_the_first_day_are_the_labels(task, visits):
    labels = task_labels(task, visits, 50, "first_day")
    examples = task_examples(task, visits, "test", labels, medication_window="first_day")
    by_id = dict(zip(visits["hadm_id"], visits["first_day_medication_codes"], strict=True))
    assert (examples.target_labels.sum(1) == 2).all()
    for hadm_id, row in zip(examples.targets["hadm_id"], examples.target_labels, strict=True):
        assert {labels[i] for i in np.flatnonzero(row)} == set(by_id[hadm_id])


def test_a_visit_without_a_known_first_day_is_history(visits):
    last_unknown = visits.with_columns(
        pl.when(pl.col("visit_number") == 3)
        .then(None)
        .otherwise("first_day_medication_codes")
        .alias("first_day_medication_codes")
    )
    task = "medication_recommendation"
    labels = task_labels(task, last_unknown, 50, "first_day")
    examples = task_examples(task, last_unknown, "train", labels, medication_window="first_day")
    assert set(examples.targets["visit_number"]) == {2, 4}
    history = examples.visits.filter(pl.col("visit_number") == 3)
    assert (history["medication_codes"].list.len() == 3).all()


@pytest.mark.parametrize("choice", ["none", "admission_sections", "full"])
def test_what_is_read_of_the_current_visit(choice, visits):
    task = "medication_recommendation"
    examples = examples_of(task, visits, current_note=choice)
    chosen = examples.visits.filter(pl.Series(examples.is_target))
    read = {
        "none": [""] * chosen.height,
        "admission_sections": chosen["admission_note"].to_list(),
        "full": chosen["note"].to_list(),
    }
    assert examples.inputs["note"].to_list() == read[choice]
    assert examples.inputs["medication_codes"].list.len().sum() == 0
    assert examples.inputs["hadm_id"].to_list() == examples.targets["hadm_id"].to_list()
    made = baseline_examples(task, examples)
    second = examples.visits.with_row_index().filter(pl.Series(examples.is_target))["index"][0]
    words = [examples.visits["note"][second - 1], examples.inputs["note"][0]]
    assert made[0].note == " ".join(word for word in words if word)


def test_targets_are_all_visits_but_the_first(visits):
    examples = examples_of("medication_recommendation", visits)
    first = examples.visits["visit_number"] == 1
    assert (examples.is_target == ~first.to_numpy()).all()
    assert examples.targets["visit_number"].min() == 2
    assert len(examples.target_labels) == examples.is_target.sum()
    assert (examples.target_labels.sum(1) == 3).all()


def test_long_patients_are_cut_to_their_most_recent_visits(visits):
    examples = examples_of("medication_recommendation", visits, max_visits=2)
    last = visits.group_by("subject_id").agg(pl.col("visit_number").max().alias("last"))
    kept = examples.visits.join(last, on="subject_id", maintain_order="left")
    from_last = kept["last"] - kept["visit_number"]
    assert from_last.unique().sort().to_list() == [0, 1]
    assert (examples.is_target == (from_last == 0).to_numpy()).all()


@pytest.mark.parametrize("by", ["hadm_id", "subject_id"])
def test_a_smaller_share_is_a_part_of_a_larger_one(by, visits):
    whole = examples_of("medication_recommendation", visits)
    shares = [training_share(whole, ratio, 3, by) for ratio in (0.2, 0.5, 1.0)]
    ids = [set(share.visits[by]) for share in shares]
    total = whole.visits[by].n_unique()
    assert [len(part) for part in ids] == [int(np.ceil(ratio * total)) for ratio in (0.2, 0.5, 1.0)]
    assert ids[0] < ids[1] < ids[2]
    assert set(training_share(whole, 0.2, 4, by).visits[by]) != ids[0]


def test_a_share_of_patients_keeps_them_whole(visits):
    whole = examples_of("medication_recommendation", visits)
    share = training_share(whole, 0.3, 0, "subject_id")
    expected = whole.visits.filter(pl.col("subject_id").is_in(share.visits["subject_id"].unique().to_list()))
    assert share.visits.equals(expected)


def test_baselines_read_the_inputs_of_the_model(visits):
    examples = examples_of("icd_coding", visits)
    for (note, medications), example in zip(
        examples.visits.select("note", "medication_codes").iter_rows(),
        baseline_examples("icd_coding", examples),
        strict=True,
    ):
        assert example.note == note
        assert example.codes == medications


def test_baselines_recommend_from_history_and_current_diagnoses_alone():
    visits = pl.DataFrame(
        {
            "subject_id": ["p1", "p1", "p1", "p2", "p2"],
            "hadm_id": list("abcde"),
            "visit_number": [1, 2, 3, 1, 2],
            "note": ["one", "two", "three", "four", "five"],
            "diagnosis_codes": [["D1"], ["D2"], ["D3"], ["D4"], ["D5"]],
            "medication_codes": [["M1"], ["M2"], ["M3"], ["M4"], ["M5"]],
            "split": ["train"] * 5,
        }
    )
    made = baseline_examples("medication_recommendation", examples_of("medication_recommendation", visits))
    assert [example.note for example in made] == ["one", "one two", "four"]
    assert made[0].codes == ["D1", "M1", "current D2"]
    assert made[1].codes == ["D1", "D2", "M1", "M2", "current D3"]
    assert made[2].codes == ["D4", "M4", "current D5"]
    assert [example.labels.sum() for example in made] == [1, 1, 1]
