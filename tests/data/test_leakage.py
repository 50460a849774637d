"""The checks pass on clean visits and fail, with a table of counts, on each kind of leak."""

import polars as pl
import pytest

from medm_plm.data import leakage, tasks
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from prepared_cohort import invent_visits


@pytest.fixture(scope="module")
def visits():
    return invent_visits(60)


def vocabulary_of(visits):
    return CodeVocabulary.from_codes(
        *(
            {code for codes in visits[column] for code in codes}
            for column in ("diagnosis_codes", "medication_codes")
        )
    )


def test_clean_visits_pass_and_every_check_looked_at_something(visits):
    table = leakage.check(visits, vocabulary_of(visits.filter(pl.col("split") == "train")))
    assert table["violations"].sum() == 0
    assert (table["examined"] > 0).all()
    assert table.height == 4 + 2 * 2 * 3


def test_a_patient_in_two_splits(visits):
    leaky = visits.with_columns(
        pl.when(pl.col("hadm_id") == "h0011").then(pl.lit("test")).otherwise("split").alias("split")
    )
    with pytest.raises(InputError, match=r"data leak.*patient in two splits: 1 of 60"):
        leakage.check(leaky)


def test_a_visit_listed_twice(visits):
    with pytest.raises(InputError, match="visit listed twice: 1 of"):
        leakage.check(pl.concat([visits, visits.head(1)]))


def test_pretraining_on_held_out_patients(visits):
    num_held_out = visits.filter(pl.col("split") != "train").height
    with pytest.raises(InputError, match=f"pre-training visit of a held-out patient: {num_held_out} of"):
        leakage.check(visits, pretraining=visits)
    renamed = visits.with_columns(pl.lit("p000").alias("subject_id"))
    with pytest.raises(InputError, match="pre-training visit of a held-out patient"):
        leakage.check(visits, pretraining=renamed)


def test_a_vocabulary_that_has_seen_test_patients(visits):
    rare = visits.with_columns(
        pl.when(pl.col("split") == "test")
        .then(pl.lit(["ICD9CM:99999"]))
        .otherwise("diagnosis_codes")
        .alias("diagnosis_codes")
    )
    with pytest.raises(InputError, match="vocabulary code of held-out patients only: 1 of"):
        leakage.check(rare, vocabulary_of(rare))


@pytest.mark.parametrize("task", ["icd_coding", "medication_prediction"])
def test_a_label_among_the_inputs(visits, task):
    column = {"icd_coding": "diagnosis_codes", "medication_prediction": "medication_codes"}[task]
    examples = leakage.coding_examples(visits)
    clean = examples[task]["test"]
    leaky = clean.with_columns(pl.col("labels").alias(column))
    expected = f"{task}, test: label code among the inputs: {clean.height} of {clean.height}"
    with pytest.raises(InputError, match=expected):
        leakage.check(visits, examples={**examples, task: {**examples[task], "test": leaky}})


def test_examples_of_another_split(visits):
    labels = tasks.icd_coding_labels(visits)
    train = tasks.icd_coding_visits(visits, "train", labels)
    with pytest.raises(InputError, match="icd_coding, test: patient of another split"):
        leakage.check(visits, examples={"icd_coding": {"test": train}})


def test_tasks_without_code_labels_are_checked_for_strangers(visits):
    readmission = {"readmission": {"test": tasks.readmission_visits(visits, "test")}}
    assert leakage.check(visits, examples=readmission)["violations"].sum() == 0
    with pytest.raises(InputError, match="readmission, test: patient of another split"):
        leakage.check(visits, examples={"readmission": {"test": tasks.readmission_visits(visits, "train")}})


def test_the_message_names_no_patient(visits):
    with pytest.raises(InputError) as caught:
        leakage.check(pl.concat([visits, visits]))
    assert "h000" not in str(caught.value)
    assert "p000" not in str(caught.value)
