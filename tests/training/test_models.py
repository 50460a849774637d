"""Processors and models are built from a prepared folder, and impossible wishes end in one clear error."""

import shutil

import polars as pl
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from medm_plm.data.tasks import OUTCOME_COLUMNS
from medm_plm.errors import InputError
from medm_plm.training.arguments import TASK_NAMES, RunArguments
from medm_plm.training.models import load_model, new_model
from medm_plm.training.processors import load_processor, shared_processor, train_text_tokenizer
from prepared_cohort import invent_visits, tiny_model, tiny_model_options, tiny_processor, vocabulary_of


@pytest.fixture(scope="module")
def visits() -> pl.DataFrame:
    return invent_visits(20)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory, visits) -> str:
    """A published text encoder of three layers with its tokenizer."""
    folder = tmp_path_factory.mktemp("text_model")
    tokenizer = train_text_tokenizer(visits["note"], 150, 32)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=20,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, visits) -> str:
    folder = tmp_path_factory.mktemp("pretrained")
    tiny_model("pretraining", visits, num_frozen_text_layers=1).save_pretrained(folder)
    tiny_processor(visits).save_pretrained(folder)
    return str(folder)


def test_the_text_tokenizer_knows_the_words_of_the_notes(visits):
    tokenizer = train_text_tokenizer(visits["note"], 200, 32)
    assert isinstance(tokenizer, BertTokenizer)
    assert 80 < len(tokenizer) <= 200
    assert tokenizer.tokenize("Pressure and HEART") == ["pressure", "and", "heart"]
    assert tokenizer.model_max_length == 32
    assert tokenizer.get_vocab() == train_text_tokenizer(visits["note"], 200, 32).get_vocab()


def test_a_new_model_has_the_vocabularies_and_the_tree_of_the_folder(visits):
    vocabulary, processor = vocabulary_of(visits), tiny_processor(visits)
    model = tiny_model("pretraining", visits)
    assert model.config.text_config.vocab_size == len(processor.tokenizer)
    assert model.config.code_config.vocab_size == vocabulary.num_codes == processor.code_tokenizer.num_codes
    parents = model.model.code_model.embeddings.word_embeddings.node_parents
    assert parents.tolist() == list(vocabulary.node_parents)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_task_has_a_model_with_its_labels(task, visits):
    labels = [task] if task in OUTCOME_COLUMNS else ["A", "B", "C"]
    model = tiny_model(
        task, visits, id2label=dict(enumerate(labels)), label2id={x: i for i, x in enumerate(labels)}
    )
    assert model.classifier[-1].out_features == len(labels)
    assert model.config.id2label == dict(enumerate(labels))


def test_options_reach_the_configuration(visits):
    options = tiny_model_options(
        code_embedding_type="plain",
        use_cross_modal=False,
        text_pooling="mean",
        num_frozen_text_layers=1,
        code_hidden_size=8,
    )
    model = new_model(
        "pretraining", vocabulary_of(visits), tiny_processor(visits), options, pretraining_target="all"
    )
    config = model.config
    assert (config.use_cross_modal, config.text_pooling, config.num_frozen_text_layers) == (False, "mean", 1)
    assert config.code_config.embedding_type == "plain"
    assert config.code_config.hidden_size == config.code_config.intermediate_size == 8
    assert config.pretraining_target == "all"


def test_a_published_text_encoder_goes_into_the_text_tower(text_model, visits, tmp_path):
    options = tiny_model_options(text_model=text_model)
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True)
    processor = shared_processor(args, options, vocabulary_of(visits), [])
    model = new_model("pretraining", vocabulary_of(visits), processor, options)
    published = BertModel.from_pretrained(text_model, add_pooling_layer=False)
    for name, weight in published.state_dict().items():
        assert torch.equal(model.model.text_model.state_dict()[name], weight), name
    assert len(processor.tokenizer) == published.config.vocab_size
    assert model.config.num_frozen_text_layers == 1  # all but the last two of three
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert all(".embeddings." in name or ".layer.0." in name for name in frozen)
    assert frozen


def test_fine_tuning_starts_from_the_pretrained_encoders_and_keeps_them_frozen(pretrained, visits):
    source = load_model("pretraining", pretrained, tiny_model_options())
    model = load_model(
        "icd_coding", pretrained, tiny_model_options(), id2label={0: "A", 1: "B"}, label2id={"A": 0, "B": 1}
    )
    for name, weight in source.model.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], weight), name
    assert model.classifier[-1].out_features == 2
    assert not model.model.text_model.embeddings.word_embeddings.weight.requires_grad
    freed = load_model("icd_coding", pretrained, tiny_model_options(num_frozen_text_layers=0))
    assert all(weight.requires_grad for weight in freed.parameters())


def test_the_cross_modal_module_can_be_left_out_but_not_invented(pretrained, visits, tmp_path):
    without = load_model("icd_coding", pretrained, tiny_model_options(use_cross_modal=False))
    assert not hasattr(without.model, "text_cross_modal")
    without.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"weights are missing.*use_cross_modal"):
        load_model("icd_coding", tmp_path, tiny_model_options(use_cross_modal=True))


def test_the_processor_is_built_once_and_a_saved_one_is_kept(visits, pretrained, tmp_path):
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True)
    built = shared_processor(args, tiny_model_options(), vocabulary_of(visits), visits["note"])
    assert built.tokenizer.get_vocab() == load_saved(tmp_path, pretrained).tokenizer.get_vocab()
    kept = shared_processor(args, tiny_model_options(), vocabulary_of(visits), ["other words"], pretrained)
    assert kept.tokenizer.get_vocab() == built.tokenizer.get_vocab()


def load_saved(folder, pretrained):
    """Read a processor beside the configuration of a model."""
    shutil.copy(f"{pretrained}/config.json", folder)
    return load_processor(folder)


def test_a_folder_without_a_model_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match=r"config\.json is missing.*run_pretraining"):
        load_processor(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_model": "no/such/folder/anywhere"}, "no/such/folder/anywhere: no text encoder.*no folder"),
        ({"text_pooling": "median"}, "text_pooling"),
        ({"code_hidden_size": 10}, "code_hidden_size|ontology_embedding_size"),
        ({"num_frozen_text_layers": 9}, "num_frozen_text_layers"),
        ({"code_embedding_type": "magic"}, "embedding_type"),
    ],
)
def test_impossible_options_are_one_clear_error(options, message, visits, tmp_path):
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True)
    wished = tiny_model_options(**options)
    with pytest.raises(InputError, match=message):
        build(visits, args, wished)


def build(visits, args, wished):
    """Build what a run builds."""
    processor = shared_processor(args, wished, vocabulary_of(visits), visits["note"])
    return new_model("pretraining", vocabulary_of(visits), processor, wished)


def test_a_head_for_other_labels_is_refused_and_one_for_the_same_goes_on(visits, tmp_path):
    labels = {
        "id2label": {0: "ICD9CM:4280", 1: "ICD9CM:496"},
        "label2id": {"ICD9CM:4280": 0, "ICD9CM:496": 1},
    }
    tiny_model("icd_coding", visits, **labels).save_pretrained(tmp_path)
    loaded = load_model("icd_coding", tmp_path, tiny_model_options(), **labels)
    assert loaded.config.id2label == labels["id2label"]
    swapped = {
        "id2label": {0: "ICD9CM:496", 1: "ICD9CM:4280"},
        "label2id": {"ICD9CM:496": 0, "ICD9CM:4280": 1},
    }
    with pytest.raises(InputError, match="other labels"):
        load_model("icd_coding", tmp_path, tiny_model_options(), **swapped)
    with pytest.raises(InputError, match="another task"):
        load_model("medication_recommendation", tmp_path, tiny_model_options(), **labels)


def names_of(task):
    return {"id2label": {0: task}, "label2id": {task: 0}}


@pytest.mark.parametrize(("learnt", "asked"), [("readmission", "mortality"), ("mortality", "readmission")])
def test_a_head_of_one_outcome_is_refused_for_another(learnt, asked, visits, tmp_path):
    tiny_model(learnt, visits, **names_of(learnt)).save_pretrained(tmp_path)
    assert load_model(learnt, tmp_path, tiny_model_options(), **names_of(learnt)).config.num_labels == 1
    with pytest.raises(InputError, match="another task"):
        load_model(asked, tmp_path, tiny_model_options(), **names_of(asked))


def test_a_head_that_reads_the_current_note_is_refused_for_one_that_does_not(visits, tmp_path):
    name = "medication_recommendation"
    tiny_model(name, visits, num_labels=3, use_current_note=True).save_pretrained(tmp_path)
    assert load_model(name, tmp_path, tiny_model_options(), use_current_note=True).config.use_current_note
    with pytest.raises(InputError, match="from other inputs"):
        load_model(name, tmp_path, tiny_model_options())


def test_a_head_that_reads_another_field_is_refused(visits, tmp_path):
    name = "medication_prediction"
    tiny_model(name, visits, num_labels=3, note_field="admission_note").save_pretrained(tmp_path)
    loaded = load_model(name, tmp_path, tiny_model_options(), note_field="admission_note")
    assert loaded.config.note_field == "admission_note"
    assert load_model(name, tmp_path, tiny_model_options()).config.note_field == "admission_note"
    with pytest.raises(InputError, match="from other inputs"):
        load_model(name, tmp_path, tiny_model_options(), note_field=None)
