"""ClinicalBERT's vote (Huang et al. 2019): one probability from those of the chunks of a long note.

Axes: batch (visits), chunks, words, labels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.utils.generic import can_return_tuple

from medm_plm.rivals.base import inputs_of
from medm_plm.rivals.heads import RivalForVisitClassification
from modeling_medm_plm import MedMPLMClassifierOutput, _scatter_visits

SCALE = 2.0
"""The authors' constant c: how soon the mean outweighs the highest chunk as chunks grow in number."""

SMALLEST_PROBABILITY = 1e-6


def vote(probabilities: torch.Tensor, is_chunk: torch.BoolTensor) -> torch.Tensor:
    """Weigh the most alarming chunk against the mean of all: (P_max + P_mean n/2) / (1 + n/2).

    Args:
        probabilities (`torch.FloatTensor` of shape `(batch, chunks, labels)`): of each chunk by itself.
        is_chunk (`torch.BoolTensor` of shape `(batch, chunks)`): false where a shorter note has no chunk; at
            least one is true.

    Returns:
        `torch.FloatTensor` of shape `(batch, labels)`; of a note of one chunk its own probability.
    """
    absent = ~is_chunk.unsqueeze(-1)
    count = is_chunk.sum(dim=1, keepdim=True).to(probabilities.dtype)  # (batch, 1)
    highest = probabilities.masked_fill(absent, 0.0).amax(dim=1)
    mean = probabilities.masked_fill(absent, 0.0).sum(dim=1) / count
    return (highest + mean * count / SCALE) / (1.0 + count / SCALE)


class ClinicalBertForVisitClassification(RivalForVisitClassification):
    """ClinicalBERT of one score: each chunk of a note is an example in training, and in prediction they vote.

    Without long notes (`max_note_chunks` 1) it is the text encoder with the classifier.
    """

    @can_return_tuple
    def forward(self, labels: torch.Tensor | None = None, **inputs: Any) -> MedMPLMClassifierOutput:
        """Score visits; the arguments are those of `RivalForVisitClassification`."""
        note = inputs_of(self.config, inputs)
        words = note.get("input_ids", note.get("text_prefix_states"))
        chunks = self.model._chunks_of(words, note.get("attention_mask"))
        if chunks is None:
            return super().forward(labels=labels, return_dict=True, **note)
        logits = self.classifier(self.model(**chunks.cut(note)).text_pooler_output)  # (rows, labels)
        loss = None
        if labels is not None:
            truth = labels.to(logits.dtype).view(len(words), 1, -1)
            truth = truth.expand(-1, chunks.is_read.shape[1], -1)[chunks.is_read]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, truth)
        voted = vote(_scatter_visits(logits.float().sigmoid(), chunks.is_read), chunks.is_read)
        return MedMPLMClassifierOutput(loss=loss, logits=voted.logit(eps=SMALLEST_PROBABILITY))
