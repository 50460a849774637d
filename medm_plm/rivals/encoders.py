"""From the inputs of visits to their states: the base model of each rival."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from medm_plm.rivals.base import RivalPreTrainedModel
from medm_plm.rivals.code_encoders import CODE_ENCODERS
from medm_plm.rivals.configuration import RivalConfig
from medm_plm.rivals.convolution import ConvolutionModel
from modeling_medm_plm import MedMPLMModel, MedMPLMModelOutput


class NoteModel(MedMPLMModel):
    """The text encoder of MedM-PLM, alone or beside the code encoder of a rival, with nothing between them.

    Frozen layers, pooling and the cache of the frozen layers are MedM-PLM's.
    """

    config_class = RivalConfig
    _auto_class = None

    def __init__(self, config: RivalConfig):
        super().__init__(config, with_codes=False)
        if config.parts.code_encoder is not None:
            self.code_model = CODE_ENCODERS[config.parts.code_encoder]._from_config(config.code_config)
        self.post_init()


class CodeModel(RivalPreTrainedModel):
    """The code encoder of a rival, alone."""

    main_input_name = "code_input_ids"

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        self.code_model = CODE_ENCODERS[config.parts.code_encoder]._from_config(config.code_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.code_model.get_input_embeddings()

    def set_ontology(self, node_parents: list[int] | torch.LongTensor) -> None:
        """Give the codes their places in the hierarchies; see `MedMPLMModel.set_ontology`."""
        self.code_model.set_ontology(node_parents)

    def forward(
        self,
        code_input_ids: torch.LongTensor,
        code_attention_mask: torch.Tensor | None = None,
        code_token_type_ids: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> MedMPLMModelOutput:
        """Encode the codes of visits; the arguments are those of `MedMPLMModel`."""
        codes = self.code_model(
            input_ids=code_input_ids,
            attention_mask=code_attention_mask,
            token_type_ids=code_token_type_ids,
        )
        return MedMPLMModelOutput(
            code_last_hidden_state=codes.last_hidden_state, code_pooler_output=codes.pooler_output
        )


def build_encoder(config: RivalConfig) -> MedMPLMModel | CodeModel | ConvolutionModel:
    """Build the base model of a rival other than `rnn`, which reads visits in their order."""
    if config.parts.text_encoder == "bert":
        return NoteModel(config)
    return CodeModel(config) if config.parts.text_encoder is None else ConvolutionModel(config)


def text_size(config: RivalConfig) -> int:
    """Width of the visit-level text state, 0 for a rival that reads no notes."""
    widths = {None: 0, "bert": config.text_config.hidden_size, "convolution": config.num_filters}
    return widths[config.parts.text_encoder]
