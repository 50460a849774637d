"""Tokenised examples are what the processor says, and hold nothing that is to be predicted."""

import pickle

import numpy as np
import polars as pl
import pytest

from medm_plm.data.collators import PatientCollator
from medm_plm.training import datasets
from medm_plm.training.datasets import ExampleDataset, tokenize_task, tokenize_visits
from medm_plm.training.task_examples import TaskExamples, task_examples, task_labels
from prepared_cohort import invent_visits, tiny_processor


@pytest.fixture(scope="module")
def visits() -> pl.DataFrame:
    return invent_visits(20)


@pytest.fixture(scope="module")
def processor(visits):
    return tiny_processor(visits)


def tokenized(task: str, visits: pl.DataFrame, processor) -> tuple[TaskExamples, list[dict]]:
    examples = task_examples(task, visits, "train", task_labels(task, visits, 50))
    return examples, tokenize_task(task, processor, examples, "tokenising")


@pytest.mark.parametrize("visits_per_call", [3, 256])
def test_a_visit_is_tokenised_as_the_processor_does_alone(visits_per_call, visits, processor, monkeypatch):
    monkeypatch.setattr(datasets, "VISITS_PER_CALL", visits_per_call)
    examples = tokenize_visits(processor, visits.head(8))
    assert [example["example_id"] for example in examples] == visits["hadm_id"].head(8).to_list()
    row = visits.row(5, named=True)
    alone = processor(
        text=row["note"], diagnosis_codes=row["diagnosis_codes"], medication_codes=row["medication_codes"]
    )
    for name in ("input_ids", "code_input_ids", "code_token_type_ids"):
        assert examples[5][name].tolist() == alone[name]


def test_examples_are_small(visits, processor):
    example = tokenize_visits(processor, visits.head(1))[0]
    assert example["input_ids"].dtype == np.int32
    assert example["code_token_type_ids"].dtype == np.int8


def test_an_empty_visit_is_its_special_tokens(visits, processor):
    empty = visits.head(1).with_columns(
        pl.lit("").alias("note"),
        *(
            pl.lit([], dtype=pl.List(pl.String)).alias(name)
            for name in ("diagnosis_codes", "medication_codes")
        ),
    )
    example = tokenize_visits(processor, empty)[0]
    tokens = processor.tokenizer
    assert example["input_ids"].tolist() == [tokens.cls_token_id, tokens.sep_token_id]
    assert example["code_input_ids"].tolist() == [processor.code_tokenizer.cls_token_id]


@pytest.mark.parametrize(("task", "left"), [("icd_coding", 2), ("medication_prediction", 1)])
def test_codes_of_the_predicted_kind_are_no_input(task, left, visits, processor):
    examples, rows = tokenized(task, visits, processor)
    assert {code_type for row in rows for code_type in row["code_token_type_ids"].tolist()} == {0, left}
    assert (np.stack([row["labels"] for row in rows]) == examples.labels).all()


def test_a_label_in_the_input_stops_the_run(visits, processor):
    leaking = TaskExamples(visits, np.zeros((len(visits), 2), np.uint8), np.ones(len(visits), bool))
    with pytest.raises(RuntimeError, match="icd_coding: a code of the predicted kind"):
        tokenize_task("icd_coding", processor, leaking, "tokenising")


def test_readmission_has_one_number_as_label(visits, processor):
    examples, rows = tokenized("readmission", visits, processor)
    assert [int(row["labels"]) for row in rows] == examples.labels[:, 0].tolist()
    assert np.shape(rows[0]["labels"]) == ()


def test_patients_hold_their_visits_in_order_and_only_diagnoses_of_the_current_one(visits, processor):
    examples, patients = tokenized("medication_recommendation", visits, processor)
    assert [patient["example_id"] for patient in patients] == examples.visits["subject_id"].unique(
        maintain_order=True
    ).to_list()
    assert [visit["example_id"] for patient in patients for visit in patient["visits"]] == examples.visits[
        "hadm_id"
    ].to_list()
    for patient in patients:
        assert patient["visits"][0]["labels"] is None
        for visit in patient["visits"]:
            assert set(visit["current_code_token_type_ids"].tolist()) == {0, 1}
            whole = visit["code_input_ids"][visit["code_token_type_ids"] < 2]
            assert visit["current_code_input_ids"].tolist() == whole.tolist()
    labels = [visit["labels"] for patient in patients for visit in patient["visits"]]
    assert (np.stack([row for row in labels if row is not None]) == examples.target_labels).all()


@pytest.mark.parametrize("choice", ["none", "admission_sections"])
def test_words_of_the_current_visit_are_those_known_at_admission(choice, visits, processor):
    task = "medication_recommendation"
    words = pl.col("note").str.split(" ").list.head(pl.col("visit_number"))  # of different lengths
    visits = visits.with_columns(words.list.join(" ").alias("admission_note"))
    examples = task_examples(task, visits, "train", task_labels(task, visits, 50), current_note=choice)
    patients = tokenize_task(task, processor, examples, "tokenising")
    rows = [visit for patient in patients for visit in patient["visits"]]
    assert all(("current_input_ids" in row) == (choice != "none") for row in rows)
    if choice == "none":
        return
    for row, note in zip(rows, examples.visits["admission_note"], strict=True):
        assert row["current_input_ids"].tolist() == processor.tokenizer(note)["input_ids"]
        assert len(row["current_input_ids"]) < len(row["input_ids"])
    batch = PatientCollator.from_processor(processor)(patients[:3])
    assert batch["current_input_ids"].shape == batch["current_attention_mask"].shape
    assert batch["current_input_ids"].shape[:2] == batch["visit_mask"].shape
    lengths = [len(row["current_input_ids"]) for patient in patients[:3] for row in patient["visits"]]
    assert batch["current_attention_mask"].sum().item() == sum(lengths)


def test_examples_carry_the_epoch_even_to_a_copy_in_another_process():
    data = ExampleDataset([{"example_id": "a"}, {"example_id": "b"}])
    data.set_epoch(3)
    assert data[1] == {"example_id": "b", "epoch": 3}
    assert len(data) == 2
    assert pickle.loads(pickle.dumps(data))[0]["epoch"] == 3
