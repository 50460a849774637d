"""The configuration: the paper's values by default, impossible values refused with field and remedy."""

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, BertConfig

from configuration_medm_plm import TEXT_MODEL_TYPES, MedMPLMCodeConfig, MedMPLMConfig
from tiny_models import tiny_config


def test_defaults_are_the_papers_values():
    """Liu et al. (2022), section III-B, and the sizes of Table I."""
    config = MedMPLMConfig()
    text, code = config.text_config, config.code_config
    assert (text.num_hidden_layers, text.hidden_size, text.num_attention_heads) == (12, 768, 12)
    assert text.max_position_embeddings == 512
    assert (code.num_hidden_layers, code.num_attention_heads, code.hidden_size) == (2, 2, 300)
    assert (code.ontology_embedding_size, code.ontology_num_attention_heads) == (75, 4)
    assert code.max_code_length == 61
    assert code.hidden_dropout_prob == code.attention_probs_dropout_prob == 0.1
    assert code.vocab_size == 6646 + 155 + 4
    assert config.num_frozen_text_layers == 10
    assert config.use_cross_modal
    assert config.cross_modal_num_attention_heads == 1
    assert config.pretraining_target == "masked"


def test_two_layers_stay_live_in_an_encoder_of_another_depth():
    assert MedMPLMConfig(text_config={"num_hidden_layers": 6}).num_frozen_text_layers == 4
    assert MedMPLMConfig(text_config={"num_hidden_layers": 1}).num_frozen_text_layers == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"text_pooling": "max"}, "text_pooling"),
        ({"note_field": "diagnosis_codes"}, "note_field"),
        ({"pretraining_target": "some"}, "pretraining_target"),
        ({"num_frozen_text_layers": 13}, "num_frozen_text_layers"),
        ({"num_frozen_text_layers": -1}, "num_frozen_text_layers"),
        ({"num_frozen_text_layer": 3}, "num_frozen_text_layers"),
        ({"classifier_dropout": 1.5}, "classifier_dropout"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"decision_threshold": 1.01}, "decision_threshold"),
        ({"decision_threshold": [0.5, -0.1]}, "decision_threshold"),
        ({"decision_threshold": [0.5]}, "decision_threshold.*2 labels"),
        ({"classifier_num_hidden_layers": -1}, "classifier_num_hidden_layers"),
        ({"cross_modal_num_attention_heads": 7}, "cross_modal_num_attention_heads"),
        ({"text_config": {"model_type": "gpt2"}}, "text_config.model_type"),
        ({"text_config": {"hidden_size": 10**9}}, "text_config.hidden_size"),
        ({"code_config": {"hidden_size": 301}}, "hidden_size"),
        ({"code_config": {"num_attention_heads": 7}}, "num_attention_heads"),
        ({"code_config": {"num_ontology_nodes": 10}}, "num_ontology_nodes"),
        ({"code_config": {"vocab_size": 10**11}}, "vocab_size"),
        ({"code_config": {"embedding_type": "tree"}}, "embedding_type"),
        ({"code_config": {"hiden_size": 300}}, "hidden_size"),
        ({"code_config": {"hidden_size": "300"}}, "hidden_size"),
    ],
)
def test_impossible_values_name_the_field(fields, named):
    with pytest.raises((ValueError, StrictDataclassError), match=named):
        MedMPLMConfig(**fields)


def test_plain_embedding_needs_no_ontology_widths():
    assert MedMPLMCodeConfig(embedding_type="plain", hidden_size=64).ontology_embedding_size == 75


def test_saved_and_loaded_configuration_is_equal(tmp_path):
    decision = {"temperature": 1.5, "decision_threshold": [0.1, 0.2, 1, 0.4]}
    config = tiny_config(text_pooling="mean", num_labels=4, **decision)
    config.save_pretrained(tmp_path)
    loaded = MedMPLMConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict() | {"auto_map": loaded.auto_map}
    assert MedMPLMCodeConfig.from_pretrained(tmp_path).hidden_size == config.code_config.hidden_size


def test_configurations_of_two_encoders_are_joined():
    config = MedMPLMConfig.from_text_code_configs(
        BertConfig(num_hidden_layers=3), MedMPLMCodeConfig(vocab_size=99), text_pooling="mean"
    )
    assert (config.text_config.num_hidden_layers, config.code_config.vocab_size) == (3, 99)
    assert config.num_frozen_text_layers == 1


def test_nested_remote_code_is_dropped():
    nested = {"model_type": "bert", "auto_map": {"AutoModel": "someone/else--modeling.Other"}}
    assert not hasattr(MedMPLMConfig(text_config=nested).text_config, "auto_map")


@pytest.mark.parametrize("model_type", TEXT_MODEL_TYPES)
def test_every_listed_text_model_type_is_known_to_the_library(model_type):
    config = AutoConfig.for_model(model_type)
    assert MedMPLMConfig(text_config=config).text_config.model_type == model_type
