"""CAML and its CNN (Mullenbach et al. 2018): a convolution over the word pieces of a note.

Axes: batch (visits), words, filters, labels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple

from medm_plm.rivals.base import RivalPreTrainedModel, visit_loss
from medm_plm.rivals.configuration import RivalConfig
from modeling_medm_plm import MedMPLMClassifierOutput, MedMPLMModelOutput


class ConvolutionModel(RivalPreTrainedModel):
    """Feature maps over word pieces, and their largest value in the note.

    The word pieces are those of the other models, with embeddings of their own; the authors read whole words
    with word2vec vectors. Every place of the note is the middle of one window, and padding is never seen.
    """

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.text_config.vocab_size, config.word_embedding_size)
        self.dropout = nn.Dropout(config.word_dropout)
        self.convolution = nn.Conv1d(config.word_embedding_size, config.num_filters, config.filter_width)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.word_embeddings:
            # About unit length, as the word vectors that the authors start from.
            init.normal_(module.weight, std=self.config.word_embedding_size**-0.5)

    def get_input_embeddings(self) -> nn.Module:
        return self.word_embeddings

    def forward(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> MedMPLMModelOutput:
        """Read notes.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, words)`): note tokens.
            attention_mask (`torch.Tensor` of shape `(batch, words)`, *optional*): 1 at tokens, 0 at padding.

        Returns:
            `text_last_hidden_state` `(batch, words, filters)` and `text_pooler_output` `(batch, filters)`.
        """
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        real = real.bool().unsqueeze(-1)
        words = self.dropout(self.word_embeddings(input_ids)) * real
        before = (self.config.filter_width - 1) // 2
        around = (before, self.config.filter_width - 1 - before)
        windows = nn.functional.pad(words.transpose(1, 2), around)  # (batch, embedding, words + width - 1)
        states = self.convolution(windows).tanh().transpose(1, 2)  # (batch, words, filters)
        lowest = torch.finfo(states.dtype).min
        pooled = states.masked_fill(~real, lowest).amax(dim=1)
        return MedMPLMModelOutput(text_last_hidden_state=states, text_pooler_output=pooled)


class LabelAttention(nn.Module):
    """Each label looks at the note with weights of its own and scores what it collects."""

    def __init__(self, hidden_size: int, num_labels: int):
        super().__init__()
        self.query = nn.Linear(hidden_size, num_labels, bias=False)
        self.output = nn.Linear(hidden_size, num_labels)

    def forward(
        self, states: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score labels.

        Args:
            states (`torch.FloatTensor` of shape `(batch, words, hidden)`): token states of the notes.
            attention_mask (`torch.Tensor` of shape `(batch, words)`, *optional*): 1 at tokens, 0 at padding.

        Returns:
            Logits `(batch, labels)` and weights `(batch, labels, words)`, which sum to one over the words.
        """
        scores = self.query(states).transpose(1, 2)  # (batch, labels, words)
        if attention_mask is not None:
            absent = ~attention_mask.bool().unsqueeze(1)
            scores = scores.masked_fill(absent, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        collected = weights @ states  # (batch, labels, hidden)
        logits = (collected * self.output.weight).sum(dim=-1) + self.output.bias
        return logits, weights


class CamlForVisitClassification(RivalPreTrainedModel):
    """CAML: the convolution with an attention of its own for each label, and one linear score a label."""

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        self.model = ConvolutionModel(config)
        self.classifier = LabelAttention(config.num_filters, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MedMPLMClassifierOutput:
        """Score the labels of visits from their notes.

        Args:
            input_ids, attention_mask (`torch.LongTensor` of shape `(batch, words)`): the notes.
            labels (`torch.Tensor` of shape `(batch, labels)`, or `(batch,)` for a single label, *optional*):
                1 where a label holds, 0 where it does not.

        Returns:
            `MedMPLMClassifierOutput` with logits `(batch, labels)`.
        """
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask)
        logits, _ = self.classifier(outputs.text_last_hidden_state, attention_mask)
        return MedMPLMClassifierOutput(loss=visit_loss(logits, labels), logits=logits, **outputs)
