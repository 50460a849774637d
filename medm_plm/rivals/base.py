"""What all rivals share: saving, the inputs that each reads, and how outputs and losses are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from medm_plm.rivals.configuration import RivalConfig
from modeling_medm_plm import MedMPLMModelOutput, MedMPLMPreTrainedModel

TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "text_prefix_states", "text_prefix_mask")
CODE_INPUTS = ("code_input_ids", "code_attention_mask", "code_token_type_ids")


class RivalPreTrainedModel(MedMPLMPreTrainedModel):
    """Weights, saving and loading of rivals. A folder holds no code files: rivals stay in this package."""

    config_class = RivalConfig
    _auto_class = None
    # The losses are means, so an accumulated batch needs no other divisor.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d):
            init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.GRU):
            for parameter in module.parameters():
                bound = module.hidden_size**-0.5
                init.uniform_(parameter, -bound, bound)

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Save the weights under the names they have here.

        Older releases of the library give those of a loaded model names of long ago (`LayerNorm.gamma`).
        """
        super().save_pretrained(save_directory, **{"save_original_format": False, **kwargs})

    def get_input_embeddings(self) -> nn.Module:
        encoder = self.model
        return encoder.get_input_embeddings()


def inputs_of(config: RivalConfig, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a rival reads of a batch: a code-only rival gets no text, a text-only rival no codes.

    Args:
        config (`RivalConfig`): says which modalities are read.
        inputs (`Mapping`): arguments of a forward pass.

    Returns:
        The inputs of the encoders that are there.
    """
    names = (TEXT_INPUTS if config.parts.text_encoder else ()) + (
        CODE_INPUTS if config.parts.code_encoder else ()
    )
    return {name: inputs[name] for name in names if inputs.get(name) is not None}


def visit_state(outputs: MedMPLMModelOutput) -> torch.Tensor:
    """Concatenate the visit-level states of the modalities that were read, `(batch, hidden)`."""
    states = (outputs.text_pooler_output, outputs.code_pooler_output)
    return torch.cat([state for state in states if state is not None], dim=-1)


def visit_loss(logits: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor | None:
    """Binary cross-entropy of MedM-PLM's visit tasks (equations 15 and 17)."""
    if labels is None:
        return None
    labels = labels.to(logits.dtype).view_as(logits)
    return nn.functional.binary_cross_entropy_with_logits(logits, labels)
