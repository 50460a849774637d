"""Tiny rivals for tests, with the inputs of `tiny_models`."""

import torch
from transformers.modeling_utils import PreTrainedModel

from medm_plm.rivals import PRETRAINING, RivalConfig
from medm_plm.rivals.building import model_class_of
from tiny_models import LABELS, NODE_PARENTS, NUM_CODES, tiny_config

CODE_TYPES = torch.tensor([0] * 4 + [1] * 8 + [2] * (NUM_CODES - 12))
"""As `tiny_models.visit_inputs` gives kinds to codes."""


def rival_config(architecture: str, **fields) -> RivalConfig:
    """The tiny text encoder and the tiny code encoder in the configuration of a rival."""
    shapes = tiny_config()
    fields = {"num_frozen_text_layers": 0, "num_labels": LABELS, "num_filters": 13, **fields}
    return RivalConfig(
        architecture=architecture, text_config=shapes.text_config, code_config=shapes.code_config, **fields
    )


def build_rival(architecture: str, task: str = "icd_coding", seed: int = 0, **fields) -> PreTrainedModel:
    """A rival in evaluation mode with the tiny ontology and lively weights."""
    torch.manual_seed(seed)
    config = rival_config(architecture, **fields)
    model = model_class_of(architecture, task)(config)
    for parameter in model.parameters():  # the library's small initial weights hide mistakes
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    if config.parts.can_be_pretrained:
        model.model.code_model.set_ontology(NODE_PARENTS)
    if task == PRETRAINING:
        model.set_code_types(CODE_TYPES)
    return model.eval()
