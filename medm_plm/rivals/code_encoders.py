"""The code encoders of G-BERT and Med-BERT, made of the parts of MedM-PLM's own.

Axes: batch (visits), codes, hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from configuration_medm_plm import MedMPLMCodeConfig
from medm_plm.data.collators import IGNORED_LABEL
from modeling_medm_plm import MedMPLMCodeEmbeddings, MedMPLMCodeModel

DIAGNOSIS, MEDICATION = 1, 2
"""Code types, as the code tokenizer numbers them; 0 is special."""


class GBertCodeModel(MedMPLMCodeModel):
    """G-BERT (Shang et al. 2019): one Transformer over ontology embeddings reads diagnoses and medications
    apart.

    A visit has two states, `[CLS]` of its diagnoses and `[CLS]` of its medications. The ontology embedding is
    the one of MedM-PLM, whose messages reach the codes; in the authors' code they do not.
    """

    def __init__(self, config: MedMPLMCodeConfig):
        super().__init__(config)
        self.visit_size = 2 * config.hidden_size

    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Encode the diagnoses and the medications of visits.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, codes)`): `[CLS]`, then the codes.
            attention_mask (`torch.Tensor` of shape `(batch, codes)`, *optional*): 1 at codes, 0 at padding.
            token_type_ids (`torch.LongTensor` of shape `(batch, codes)`): kind of each code.

        Returns:
            `pooler_output` `(batch, 2 * hidden)`, the state of the diagnoses and then of the medications, and
            `last_hidden_state` `(batch, codes, hidden)`, of each code the state among its own kind.
        """
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        token_type_ids = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        is_medication = token_type_ids == MEDICATION
        # The same rows twice, once without medications and once without diagnoses: one pass for both.
        masks = [real.bool() & ~is_medication, real.bool() & (token_type_ids != DIAGNOSIS)]
        both = super().forward(
            input_ids=torch.cat([input_ids, input_ids]),
            attention_mask=torch.cat(masks).long(),
            token_type_ids=torch.cat([token_type_ids, token_type_ids]),
            **kwargs,
        )
        of_diagnoses, of_medications = both.last_hidden_state.chunk(2)
        states = torch.where(is_medication.unsqueeze(-1), of_medications, of_diagnoses)
        pooled = torch.cat([of_diagnoses[:, 0], of_medications[:, 0]], dim=-1)
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)

    def current_state(self, pooled: torch.Tensor) -> torch.Tensor:
        """State of a visit of which only the diagnoses are known, `(batch, hidden)`."""
        return pooled[:, : self.config.hidden_size]

    @property
    def current_size(self) -> int:
        """Width of `current_state`."""
        return self.config.hidden_size


def serialization_of(
    token_type_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
) -> torch.LongTensor:
    """Number the codes of a visit in the order of the record, each kind from 1; `[CLS]` and padding are 0.

    Args:
        token_type_ids (`torch.LongTensor` of shape `(batch, codes)`): kind of each code, 0 at `[CLS]`.
        attention_mask (`torch.Tensor` of shape `(batch, codes)`, *optional*): 1 at codes, 0 at padding.

    Returns:
        `torch.LongTensor` of shape `(batch, codes)`.
    """
    if attention_mask is not None:
        token_type_ids = token_type_ids * attention_mask.to(token_type_ids.dtype)
    places = torch.zeros_like(token_type_ids)
    for code_type in (DIAGNOSIS, MEDICATION):
        is_kind = (token_type_ids == code_type).long()
        places = places + is_kind * is_kind.cumsum(dim=-1)
    return places


class SerializedCodeEmbeddings(MedMPLMCodeEmbeddings):
    """Med-BERT's sum of code embedding and serialization embedding, with the kind of the code added."""

    def __init__(self, config: MedMPLMCodeConfig):
        super().__init__(config)
        self.serialization_embeddings = nn.Embedding(config.max_code_length, config.hidden_size)

    def forward(
        self,
        input_ids: torch.LongTensor | None,
        token_type_ids: torch.LongTensor | None,
        inputs_embeds: torch.FloatTensor | None,
    ) -> torch.Tensor:
        if inputs_embeds is None:
            inputs_embeds = self.word_embeddings(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros(
                inputs_embeds.shape[:-1], dtype=torch.long, device=inputs_embeds.device
            )
        last = self.serialization_embeddings.num_embeddings - 1
        places = serialization_of(token_type_ids).clamp(max=last)
        return super().forward(None, token_type_ids, inputs_embeds + self.serialization_embeddings(places))


class MedBertCodeModel(MedMPLMCodeModel):
    """Med-BERT (Rasmy et al. 2021): a Transformer over plain code embeddings that know their order.

    One visit is one sequence, as for every code encoder here, so the visit embedding of the authors, which
    numbers the visits of a sequence, has nothing to tell and is left out.
    """

    def __init__(self, config: MedMPLMCodeConfig):
        super().__init__(config)
        self.embeddings = SerializedCodeEmbeddings(config)
        self.visit_size = self.current_size = config.hidden_size
        self.post_init()

    def current_state(self, pooled: torch.Tensor) -> torch.Tensor:
        """State of a visit of which only the diagnoses are known, `(batch, hidden)`."""
        return pooled


CODE_ENCODERS: dict[str, type[MedMPLMCodeModel]] = {"gbert": GBertCodeModel, "med_bert": MedBertCodeModel}


def split_by_kind(labels: torch.LongTensor, code_types: torch.LongTensor) -> dict[int, torch.Tensor]:
    """Tell the asked-for codes apart by kind.

    Args:
        labels (`torch.LongTensor` of shape `(batch, codes)`): code ids, -100 elsewhere.
        code_types (`torch.LongTensor` of shape `(vocab_size,)`): kind of each code of the vocabulary.

    Returns:
        For each kind 1 where a code of the vocabulary is asked for, `(batch, vocab_size)`.
    """
    hot = torch.zeros((labels.shape[0], code_types.shape[0]), device=labels.device)
    hot.scatter_reduce_(1, labels.clamp(min=0), (labels != IGNORED_LABEL).to(hot.dtype), reduce="amax")
    return {kind: hot * (code_types == kind) for kind in (DIAGNOSIS, MEDICATION)}
