"""The length of notes and the classifier as options: new models, loaded ones, the cache of frozen layers."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from transformers import BertConfig, BertModel

import run_finetuning
from medm_plm.data.collators import VisitCollator
from medm_plm.errors import InputError
from medm_plm.training.arguments import TASK_NAMES, RunArguments
from medm_plm.training.datasets import tokenize_visits
from medm_plm.training.feature_cache import CacheOptions, add_prefix_states
from medm_plm.training.models import label_shares, load_model, new_model
from medm_plm.training.prefix_states import note_name
from medm_plm.training.processors import load_processor, shared_processor
from modeling_medm_plm import MedMPLMLabelWiseHead
from prepared_cohort import (
    invent_visits,
    pretrained_folder,
    smoke_options,
    tiny_model,
    tiny_model_options,
    tiny_processor,
    vocabulary_of,
)
from tokenization_medm_plm import MedMPLMProcessor

LONG = {"max_note_chunks": 3, "chunk_length": 6}


@pytest.fixture(scope="module")
def visits() -> pl.DataFrame:
    return invent_visits(20)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, visits) -> str:
    """A model of one chunk, as `run_pretraining.py` leaves it."""
    folder = tmp_path_factory.mktemp("pretrained")
    tiny_model("pretraining", visits, num_frozen_text_layers=1).save_pretrained(folder)
    tiny_processor(visits).save_pretrained(folder)
    return str(folder)


def lengths_of(of: object) -> tuple[int, int]:
    return of.max_note_chunks, of.chunk_length


def test_by_default_a_note_is_one_chunk_as_long_as_the_encoder_reads(visits):
    processor, model = tiny_processor(visits), tiny_model("icd_coding", visits)
    assert lengths_of(processor) == lengths_of(model.config) == (1, 32)


def test_a_new_model_and_its_processor_take_the_options(visits, tmp_path):
    options, vocabulary = tiny_model_options(**LONG), vocabulary_of(visits)
    args = RunArguments(output_dir=str(tmp_path))
    processor = shared_processor(args, options, vocabulary, visits["note"])
    model = new_model("pretraining", vocabulary, processor, options)
    assert lengths_of(processor) == lengths_of(model.config) == (3, 6)
    model.save_pretrained(tmp_path)
    assert lengths_of(load_processor(tmp_path)) == (3, 6)
    loaded = load_model("readmission", tmp_path, tiny_model_options())
    assert lengths_of(loaded.config) == (3, 6)


def test_a_tokenizer_may_allow_less_than_the_encoder_reads(visits, tmp_path):
    """The model must cut where the processor did, and that asks the tokenizer."""
    tokenizer = tiny_processor(visits).tokenizer
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 20}
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "text")
    tokenizer.save_pretrained(tmp_path / "text")
    options = tiny_model_options(text_model=str(tmp_path / "text"), max_note_chunks=2)
    args, vocabulary = RunArguments(output_dir=str(tmp_path)), vocabulary_of(visits)
    processor = shared_processor(args, options, vocabulary, visits["note"])
    model = new_model("icd_coding", vocabulary, processor, options)
    assert model.config.text_config.max_position_embeddings == 512
    assert lengths_of(processor) == lengths_of(model.config) == (2, 32)


def test_a_model_pretrained_on_short_notes_goes_on_with_long_ones(visits, pretrained, tmp_path):
    options = tiny_model_options(**LONG)
    args = RunArguments(output_dir=str(tmp_path))
    processor = shared_processor(args, options, vocabulary_of(visits), visits["note"], pretrained)
    model = load_model("icd_coding", pretrained, options, id2label={0: "A"}, label2id={"A": 0})
    assert lengths_of(processor) == lengths_of(model.config) == (3, 6)
    assert lengths_of(load_processor(pretrained)) == (1, 32)
    examples = tokenize_visits(processor, visits)
    assert max(len(example["input_ids"]) for example in examples) > 6
    assert model(**VisitCollator.from_processor(processor)(examples)).logits.shape == (len(visits), 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_note_chunks": 2, "chunk_length": 33}, "`chunk_length` is 33, but the text encoder"),
        ({"chunk_length": 2}, "chunk_length 2: expected at least 1 chunk of more than 2 tokens"),
        ({"classifier": "perceptron"}, "`classifier` is 'perceptron', but must be one of mlp"),
    ],
)
def test_impossible_options_of_a_new_model(options, message, visits, tmp_path):
    options, vocabulary = tiny_model_options(**options), vocabulary_of(visits)
    args = RunArguments(output_dir=str(tmp_path))

    def build() -> None:
        processor = shared_processor(args, options, vocabulary, visits["note"])
        new_model("icd_coding", vocabulary, processor, options)

    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_task_has_label_attention(name, visits, pretrained):
    options, vocabulary = tiny_model_options(classifier="label_attention"), vocabulary_of(visits)
    for model in (
        new_model(name, vocabulary, tiny_processor(visits), options),
        load_model(name, pretrained, options),
    ):
        assert model.config.classifier == "label_attention"
        assert isinstance(model.classifier, MedMPLMLabelWiseHead)


@pytest.mark.parametrize(("name", "architecture"), [("pretraining", "medm_plm"), ("icd_coding", "caml")])
def test_pretraining_and_rivals_have_no_label_attention(name, architecture, visits, pretrained):
    options = tiny_model_options(classifier="label_attention", architecture=architecture)
    for build in (
        lambda: new_model(name, vocabulary_of(visits), tiny_processor(visits), options),
        lambda: load_model(name, pretrained, options),
    ):
        with pytest.raises(InputError, match="option --classifier label_attention has no place here"):
            build()


@pytest.mark.parametrize("other", [{"classifier": "label_attention"}, {"classifier_token_weights": True}])
def test_a_head_is_not_exchanged_for_another_in_silence(other, visits, tmp_path):
    tiny_model("icd_coding", visits).save_pretrained(tmp_path)
    tiny_processor(visits).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="or another head"):
        load_model("icd_coding", tmp_path, tiny_model_options(**other))
    assert load_model("icd_coding", tmp_path, tiny_model_options()).config.classifier == "mlp"


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("pretraining", "medm_plm"), ("medication_recommendation", "medm_plm"), ("icd_coding", "caml")],
)
def test_token_weights_are_for_heads_of_one_visit(name, architecture, visits, pretrained):
    options = tiny_model_options(classifier_token_weights=True, architecture=architecture)
    for build in (
        lambda: new_model(name, vocabulary_of(visits), tiny_processor(visits), options),
        lambda: load_model(name, pretrained, options),
    ):
        with pytest.raises(InputError, match="option --classifier_token_weights has no place here"):
            build()


def test_token_weights_are_built_and_loaded_beside_a_pretrained_model(visits, pretrained):
    options = tiny_model_options(classifier_token_weights=True, classifier_dropout=0.25)
    for model in (
        new_model("readmission", vocabulary_of(visits), tiny_processor(visits), options),
        load_model("readmission", pretrained, options),
    ):
        assert model.token_weights["words"].dropout.p == 0.25
        assert not model.token_weights["codes"].weight.any()


def test_shares_of_labels_are_never_zero_or_one():
    labels = np.array([[0, 1, 1], [0, 1, 0], [0, 1, 0]])
    assert label_shares(labels) == [0.125, 0.875, 0.375]


def test_a_note_is_named_after_its_chunks_only_if_it_has_several(visits):
    short, long = np.arange(6), np.arange(7)
    one, two = (tiny_model("pretraining", visits, **fields).config for fields in ({}, LONG))
    assert note_name(short, one) == note_name(short, two)
    assert note_name(long, one) != note_name(long, two)


def test_the_cache_holds_long_notes_and_shares_the_short_ones(visits, tmp_path):
    model = tiny_model("icd_coding", visits, num_frozen_text_layers=1, **LONG).eval()
    tiny = tiny_processor(visits)
    processor = MedMPLMProcessor(tiny.tokenizer, tiny.code_tokenizer, **LONG)
    short = visits.with_columns(note=pl.lit("heart sugar"))
    examples = tokenize_visits(processor, pl.concat([visits, short]))
    collate = VisitCollator.from_processor(processor)
    with torch.no_grad():
        expected = model(**collate(examples)).logits
    reports = []
    options = CacheOptions(folder=tmp_path, dtype="float32", report=reports.append)
    add_prefix_states(model.model, examples, options)
    batch = collate(examples)
    assert batch["text_prefix_states"].shape[:2] == batch["input_ids"].shape
    del batch["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, expected, atol=1e-5, rtol=1e-5)
    one_chunk = tiny_model("icd_coding", visits, num_frozen_text_layers=1)
    one_chunk.load_state_dict(model.state_dict())
    add_prefix_states(one_chunk.model, tokenize_visits(tiny, short), options)
    assert " 0 notes to compute" in reports[-1]


@pytest.mark.parametrize("classifier", ["mlp", "label_attention"])
def test_a_run_on_long_notes_with_the_cache(classifier, tmp_path, tmp_path_factory):
    pretrained = pretrained_folder(tmp_path_factory.getbasetemp())
    options = {
        "data": pretrained.parent / "prepared",
        "model": pretrained,
        "output_dir": tmp_path / "run",
        "max_note_chunks": 3,
        "chunk_length": 6,
        "classifier": classifier,
        "num_frozen_text_layers": 1,
        "frozen_text_cache": tmp_path / "cache",
        "num_train_epochs": 1,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    run_finetuning.main([*smoke_options("icd_coding"), *words])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["max_note_chunks"], config["chunk_length"], config["classifier"]) == (3, 6, classifier)
    assert ("label_prior" in config and config["label_prior"] is not None) == (classifier != "mlp")
    assert lengths_of(load_processor(tmp_path / "run")) == (3, 6)
    assert (tmp_path / "run" / "predictions_test.parquet").is_file()
    assert list((tmp_path / "cache").iterdir())
