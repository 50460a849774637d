"""Visits of pre-training, fixed questions of an evaluation, and the probes that exchange a modality."""

import numpy as np
import polars as pl
import pytest

from medm_plm.data.collators import CodeMasker
from medm_plm.errors import InputError
from medm_plm.training.datasets import tokenize_visits
from medm_plm.training.pretraining_examples import (
    CODE_FIELDS,
    NOTE_FIELDS,
    code_counts,
    exchange_modality,
    fixed_masks,
    pretraining_visits,
)
from prepared_cohort import invent_visits, tiny_processor


@pytest.fixture(scope="module")
def visits() -> pl.DataFrame:
    return invent_visits(20)


@pytest.fixture(scope="module")
def masker(visits) -> CodeMasker:
    return CodeMasker.from_tokenizer(tiny_processor(visits).code_tokenizer, seed=1)


@pytest.fixture(scope="module")
def examples(visits) -> list[dict]:
    return tokenize_visits(tiny_processor(visits), visits)


def test_splits_are_kept_apart(visits):
    for split in ("train", "validation", "test"):
        assert pretraining_visits(visits, split)["split"].unique().to_list() == [split]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_visits_without_codes_are_left_out_and_an_empty_split_is_one_clear_error(split, visits):
    no_codes = [
        pl.lit([], dtype=pl.List(pl.String)).alias(name) for name in ("diagnosis_codes", "medication_codes")
    ]
    half = pl.concat([visits.head(30), visits.slice(30).with_columns(no_codes)])
    assert len(pretraining_visits(half, split)) == half.head(30).filter(pl.col("split") == split).height
    with pytest.raises(InputError, match=f"the {split} split holds no visit with a code"):
        pretraining_visits(visits.with_columns(no_codes), split)


def test_the_masker_knows_the_codes_of_each_type(visits, masker):
    tokens = tiny_processor(visits).code_tokenizer
    assert tokens.convert_ids_to_tokens(masker.code_ids[1][:1].tolist())[0].startswith("ICD9CM:")
    assert all(
        token.startswith("ATC:") for token in tokens.convert_ids_to_tokens(masker.code_ids[2].tolist())
    )
    assert len(masker.code_ids[1]) == len(masker.code_ids[2]) == 8


def test_evaluation_always_asks_the_same_questions(examples, masker):
    first, second = fixed_masks(examples, masker), fixed_masks(examples[::-1], masker)[::-1]
    for one, other in zip(first, second, strict=True):
        assert one["labels"].tolist() == other["labels"].tolist()
        assert one["code_input_ids"].tolist() == other["code_input_ids"].tolist()
        assert (one["labels"] != -100).sum() == 1


def test_visits_with_nothing_to_ask_are_left_out(masker):
    unknown = {"example_id": "x", "code_input_ids": np.array([1, 3]), "code_token_type_ids": np.array([0, 1])}
    assert fixed_masks([unknown], masker) == []


@pytest.mark.parametrize("fields", [NOTE_FIELDS, CODE_FIELDS])
def test_exchanging_a_modality_moves_it_as_a_whole_and_nothing_else(fields, examples, masker):
    questions = [
        {**visit, "input_ids": np.array([index])} for index, visit in enumerate(fixed_masks(examples, masker))
    ]
    for index, visit in enumerate(questions):  # make every visit's codes its own as well
        visit["code_input_ids"] = np.append(visit["code_input_ids"], 100 + index)
    exchanged = exchange_modality(questions, fields, seed=0)
    names = [name for name in questions[0] if name in fields]
    donors = []
    for before, after in zip(questions, exchanged, strict=True):
        for name in set(before) - set(names):
            assert after[name] is before[name]
        (donor,) = (q for q in questions if all(after[name] is q[name] for name in names))
        assert donor is not before
        donors.append(donor["example_id"])
    assert sorted(donors) == sorted(visit["example_id"] for visit in questions)


def test_codes_are_counted_once_for_each_visit(examples, masker, visits):
    counts = code_counts(examples, masker, 4 + 16)
    assert (
        counts.sum()
        == visits["diagnosis_codes"].list.len().sum() + visits["medication_codes"].list.len().sum()
    )
    assert (counts[:4] == 0).all()
    tokens = tiny_processor(visits).code_tokenizer
    heart = tokens.convert_tokens_to_ids("ICD9CM:4280")
    assert counts[heart] == sum("ICD9CM:4280" in codes for codes in visits["diagnosis_codes"])
