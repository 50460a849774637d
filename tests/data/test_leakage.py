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
    with_labels, without = 3, 2  # tasks whose label is a part of the record, and others
    assert table.height == 5 + with_labels * 3 * 3 + without * 2 * 3


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


LATE = {
    "note": pl.col("note") + " and died on the third day",
    "diagnosis_codes": pl.lit(["ICD9CM:4280"]),
    "medication_codes": pl.lit(["ATC:Z99Z"]),
}
MAY_READ = {  # of the visit that is predicted; everything else is to be noticed
    "mortality": (),
    "medication_recommendation": ("diagnosis_codes",),
    tasks.FIRST_DAY_PREDICTION: ("diagnosis_codes",),
}


@pytest.mark.parametrize("column", LATE)
@pytest.mark.parametrize("task", MAY_READ)
def test_a_field_later_than_the_prediction_time(visits, task, column):
    clean = leakage.early_examples(visits)[task]["test"]
    assert leakage.check_examples(visits, {task: {"test": clean}})["violations"].sum() == 0
    one = pl.col("hadm_id") == clean["hadm_id"][1]
    leaky = clean.with_columns(pl.when(one).then(LATE[column]).otherwise(column).alias(column))
    if column in MAY_READ[task]:
        leakage.check_examples(visits, {task: {"test": leaky.with_columns(labels=pl.lit(["none"]))}})
        return
    expected = f"data leak .*{task}, test: field later than the prediction time: 1 of {clean.height}"
    with pytest.raises(InputError, match=expected):
        leakage.check_examples(visits, {task: {"test": leaky}})
    with pytest.raises(InputError, match=expected):
        leakage.check(visits, examples={task: {"test": leaky}})


def test_the_whole_note_and_the_whole_stay_are_later_than_the_first_day(visits):
    whole = visits.filter(pl.col("split") == "test").with_columns(
        pl.lit([], dtype=pl.List(pl.String)).alias("diagnosis_codes")
    )
    for known, unknown in (("note", "medication_codes"), ("medication_codes", "note")):
        empty = pl.lit("") if unknown == "note" else pl.lit([], dtype=pl.List(pl.String))
        frame = whole.with_columns(empty.alias(unknown))
        # An admission note changed in the example too does not help: what is known stands in the visits.
        frame = frame.with_columns(pl.col("note").alias("admission_note"))
        with pytest.raises(InputError, match=f"prediction time: {whole.height} of"):
            leakage.check_examples(visits, {"mortality": {"test": frame}})
        assert known in frame.columns


def test_a_task_must_state_its_prediction_time(visits):
    with pytest.raises(InputError, match="no prediction time; received prognosis"):
        leakage.check(visits, examples={"prognosis": {"test": visits.filter(pl.col("split") == "test")}})


def test_sources_that_tell_nothing_early_have_no_early_tasks(visits):
    bare = visits.with_columns(
        pl.lit(None, dtype=pl.String).alias("admission_note"),
        pl.lit(None, dtype=pl.List(pl.String)).alias("first_day_medication_codes"),
    )
    assert set(leakage.early_examples(bare)) == {"medication_recommendation"}
    assert leakage.check(bare)["violations"].sum() == 0


def test_published_test_admissions_of_training_patients(visits):
    train = visits.filter(pl.col("split") == "train")["hadm_id"]
    test = visits.filter(pl.col("split") == "test")["hadm_id"]
    name = "published held-out admission of a training patient"
    clean = leakage.check(visits, published_held_out=[*test, "unknown"])
    assert clean.filter(pl.col("check") == name).row(0) == (name, len(test), 0)
    expected = f"{name}: 1 of {len(test) + 1}.*prepare the data again with --split_ids"
    with pytest.raises(InputError, match=expected):
        leakage.check(visits, published_held_out=[*test, train[0]])


def test_notes_that_stand_in_two_splits(visits):
    name = "note that stands in a later split as well"
    assert name not in leakage.check(visits)["check"].to_list()
    assert leakage.check(visits, duplicates=(40, 0)).filter(pl.col("check") == name).row(0) == (name, 40, 0)
    with pytest.raises(InputError, match=f"{name}: 2 of 40"):
        leakage.check(visits, duplicates=(40, 2))


def test_the_message_names_no_patient(visits):
    with pytest.raises(InputError) as caught:
        leakage.check(pl.concat([visits, visits]))
    assert "h000" not in str(caught.value)
    assert "p000" not in str(caught.value)
