"""Our models pass the library's common model tests.

Four groups, because the shapes of their inputs differ: the code encoder alone, everything that reads one
visit, the tagger, which reads its note alone, and medication recommendation, which reads the visits of a
patient. What a group switches off stands at its class, with the reason.
"""

import copy
import unittest
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedConfig

from configuration_medm_plm import MedMPLMCodeConfig, MedMPLMConfig
from library_suites import import_suite
from medm_plm import register_auto_classes
from modeling_medm_plm import (
    MedMPLMCodeModel,
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMForReadmissionPrediction,
    MedMPLMForTokenClassification,
    MedMPLMModel,
)


def widen_norm_epsilon(config: PreTrainedConfig) -> None:
    """Stand in for the suite's helper, which sets seven spellings of a field; ours refuses the wrong ones."""
    for part in (config, getattr(config, "text_config", None), getattr(config, "code_config", None)):
        if hasattr(part, "layer_norm_eps"):
            part.layer_norm_eps = 1.0


suite = import_suite("test_modeling_common")
# Base models have no loss; the suite knows them by name.
suite.MODEL_MAPPING_NAMES = {
    **suite.MODEL_MAPPING_NAMES,
    MedMPLMConfig.model_type: "MedMPLMModel",
    MedMPLMCodeConfig.model_type: "MedMPLMCodeModel",
}

suite.set_config_for_less_flaky_test = widen_norm_epsilon
register_auto_classes()

pytestmark = pytest.mark.conformance

# All different, so that a swapped axis cannot pass.
BATCH, VISITS, WORDS, CODES, LABELS = 3, 2, 7, 5, 11
NUM_CODES, NUM_NODES = 19, 29
CODE_HIDDEN, TEXT_HIDDEN = 24, 32


def tiny_code_config() -> MedMPLMCodeConfig:
    """Two layers over 15 codes with three levels above them."""
    return MedMPLMCodeConfig(
        vocab_size=NUM_CODES,
        num_ontology_nodes=NUM_NODES,
        hidden_size=CODE_HIDDEN,
        ontology_embedding_size=CODE_HIDDEN // 4,
        intermediate_size=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def tiny_config() -> MedMPLMConfig:
    """A tiny BERT beside the tiny code encoder; nothing frozen, since the suite asks for every gradient."""
    text_config = {
        "model_type": "bert",
        "vocab_size": 101,
        "hidden_size": TEXT_HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 37,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return MedMPLMConfig(
        text_config=text_config,
        code_config=tiny_code_config().to_dict(),
        num_frozen_text_layers=0,
        classifier_dropout=0.0,
        num_labels=LABELS,
    )


def code_inputs(prefix: str, *axes: int) -> dict[str, torch.Tensor]:
    """Codes of visits, the last of them padded, with their kinds; `[CLS]` comes first."""
    ids = torch.randint(4, NUM_CODES, (*axes, CODES))
    ids[..., 0] = 1
    mask = torch.ones_like(ids)
    mask[-1, ..., -1] = 0
    return {
        f"{prefix}input_ids": ids.masked_fill(mask == 0, 0),
        f"{prefix}attention_mask": mask,
        f"{prefix}token_type_ids": torch.randint(1, 3, ids.shape),
    }


def note_inputs(*axes: int) -> dict[str, torch.Tensor]:
    """Notes without padding."""
    ids = torch.randint(5, 101, (*axes, WORDS))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class ModelConformance(suite.ModelTesterMixin):
    """What the groups share: small models, our labels, and the names of our outputs."""

    seq_length = WORDS
    num_hidden_states_types = 2  # of the text encoder and of the code encoder

    def setUp(self):
        torch.manual_seed(0)
        self.model_tester = SimpleNamespace(
            get_config=self.config,
            prepare_config_and_inputs_for_common=lambda: (self.config(), self.inputs()),
            batch_size=BATCH,
            seq_length=self.seq_length,
            hidden_size=self.hidden_size,
            num_hidden_layers=2,
            num_attention_heads=self.num_attention_heads,
            is_training=True,
            num_hidden_states_types=self.num_hidden_states_types,
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        return copy.deepcopy(inputs_dict) | (self.labels(model_class) if return_labels else {})

    def labels(self, model_class):
        """Labels that a class needs for its loss; base models have none."""
        return {}


class CodeModelConformance(ModelConformance, unittest.TestCase):
    """The code encoder alone."""

    all_model_classes = (MedMPLMCodeModel,)
    config = staticmethod(tiny_code_config)
    hidden_size, num_attention_heads, seq_length = CODE_HIDDEN, 2, CODES
    num_hidden_states_types = 1
    test_resize_embeddings = False  # refused: a code cannot be added without its place in the tree

    def inputs(self):
        return code_inputs("", BATCH)


class VisitModelConformance(ModelConformance, unittest.TestCase):
    """Everything that reads the note and the codes of one visit."""

    all_model_classes = (
        MedMPLMModel,
        MedMPLMForPreTraining,
        MedMPLMForReadmissionPrediction,
        MedMPLMForICDCoding,
    )
    _is_composite = True
    config = staticmethod(tiny_config)
    hidden_size, num_attention_heads = TEXT_HIDDEN, 4

    def inputs(self):
        return note_inputs(BATCH) | code_inputs("code_", BATCH)

    def labels(self, model_class):
        if model_class is MedMPLMModel:
            return {}
        if model_class is MedMPLMForPreTraining:
            labels = torch.full((BATCH, CODES), -100)
            labels[:, 1] = 7
            return {"labels": labels}
        axes = (BATCH,) if model_class is MedMPLMForReadmissionPrediction else (BATCH, LABELS)
        return {"labels": torch.ones(axes)}


class SentenceModelConformance(ModelConformance, unittest.TestCase):
    """The tagger, which reads notes without codes."""

    all_model_classes = (MedMPLMForTokenClassification,)
    _is_composite = True
    config = staticmethod(tiny_config)
    hidden_size, num_attention_heads = TEXT_HIDDEN, 4
    num_hidden_states_types = 1

    def inputs(self):
        return note_inputs(BATCH)

    def labels(self, model_class):
        labels = torch.full((BATCH, WORDS), -100)
        labels[:, 1:-1] = 1
        return {"labels": labels}


class PatientModelConformance(ModelConformance, unittest.TestCase):
    """Medication recommendation over the visits of a patient."""

    all_model_classes = (MedMPLMForMedicationRecommendation,)
    _is_composite = True
    config = staticmethod(tiny_config)
    hidden_size, num_attention_heads = TEXT_HIDDEN, 4

    def inputs(self):
        codes = code_inputs("code_", BATCH, VISITS) | code_inputs("current_code_", BATCH, VISITS)
        mask = torch.ones(BATCH, VISITS, dtype=torch.long)
        return note_inputs(BATCH, VISITS) | codes | {"visit_mask": mask}

    def labels(self, model_class):
        labels = torch.ones(BATCH, VISITS, LABELS)
        labels[:, 0] = -100
        return {"labels": labels}
