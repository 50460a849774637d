"""RETAIN (Choi et al. 2016): two attentions over a patient's visits, the latest visit first.

Axes: batch (patients), visits, targets (visits whose medications are asked for), steps (visits, backwards in
time), codes, hidden, labels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils.generic import can_return_tuple

from medm_plm.rivals.base import RivalPreTrainedModel, visit_loss
from medm_plm.rivals.configuration import RivalConfig
from modeling_medm_plm import (
    MedMPLMClassifierOutput,
    MedMPLMModelOutput,
    _classifier,
    _loss_per_patient,
    _scatter_visits,
)

INITIAL_RANGE = 0.1  # of the authors' new weights


class RetainModel(RivalPreTrainedModel):
    """A visit is the sum of its codes' embeddings, and a patient a weighted sum of visits.

    Two recurrent networks read the visits backwards: one gives each visit a weight, the other each of its
    features.
    """

    main_input_name = "code_input_ids"

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        codes = config.code_config
        self.code_embeddings = nn.Embedding(codes.num_ontology_nodes, codes.hidden_size)
        self.visit_network = nn.GRU(codes.hidden_size, codes.hidden_size, batch_first=True)
        self.feature_network = nn.GRU(codes.hidden_size, codes.hidden_size, batch_first=True)
        self.visit_score = nn.Linear(codes.hidden_size, 1)
        self.feature_weight = nn.Linear(codes.hidden_size, codes.hidden_size)
        self.dropout = nn.Dropout(config.recurrent_dropout)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Embedding | nn.Linear):
            init.uniform_(module.weight, -INITIAL_RANGE, INITIAL_RANGE)

    def get_input_embeddings(self) -> nn.Module:
        return self.code_embeddings

    def embed_visits(self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Sum the embeddings of the codes of each visit, `(..., hidden)`; `[CLS]` is one of them."""
        vectors = self.code_embeddings(input_ids)
        if attention_mask is not None:
            vectors = vectors * attention_mask.unsqueeze(-1).to(vectors.dtype)
        return self.dropout(vectors.sum(dim=-2))

    def forward(self, visits: torch.Tensor, visit_mask: torch.Tensor) -> MedMPLMModelOutput:
        """Weigh visits.

        Args:
            visits (`torch.FloatTensor` of shape `(batch, steps, hidden)`): visit vectors, the latest first.
            visit_mask (`torch.BoolTensor` of shape `(batch, steps)`): false at padding, which stands last.

        Returns:
            `code_pooler_output` `(batch, hidden)`, the context vector.
        """
        # Padding comes after the earliest visit, so no real step has seen it.
        scores = self.visit_score(self.visit_network(visits)[0]).squeeze(-1)  # (batch, steps)
        scores = scores.masked_fill(~visit_mask, torch.finfo(scores.dtype).min)
        features = self.feature_weight(self.feature_network(visits)[0]).tanh()  # (batch, steps, hidden)
        context = (scores.softmax(dim=-1).unsqueeze(-1) * features * visits).sum(dim=1)
        return MedMPLMModelOutput(code_pooler_output=self.dropout(context))


class RetainForVisitClassification(RivalPreTrainedModel):
    """RETAIN over the one visit that the visit tasks give; earlier visits are in no batch of theirs."""

    main_input_name = "code_input_ids"

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        self.model = RetainModel(config)
        self.classifier = _classifier(config, config.code_config.hidden_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        code_input_ids: torch.LongTensor | None = None,
        code_attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MedMPLMClassifierOutput:
        """Score the labels of visits from their codes.

        Args:
            code_input_ids, code_attention_mask (`torch.LongTensor` of shape `(batch, codes)`): the codes.
            labels (`torch.Tensor` of shape `(batch, labels)`, or `(batch,)` for a single label, *optional*):
                1 where a label holds, 0 where it does not.

        Returns:
            `MedMPLMClassifierOutput` with logits `(batch, labels)`.
        """
        visits = self.model.embed_visits(code_input_ids, code_attention_mask).unsqueeze(1)
        outputs = self.model(visits, visits.new_ones(visits.shape[:2]).bool())
        logits = self.classifier(outputs.code_pooler_output)
        return MedMPLMClassifierOutput(loss=visit_loss(logits, labels), logits=logits, **outputs)


class RetainForMedicationRecommendation(RivalPreTrainedModel):
    """RETAIN over the earlier visits and, as the latest, the diagnoses of the visit asked for."""

    main_input_name = "code_input_ids"

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        self.model = RetainModel(config)
        self.classifier = _classifier(config, config.code_config.hidden_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        code_input_ids: torch.LongTensor | None = None,
        code_attention_mask: torch.Tensor | None = None,
        current_code_input_ids: torch.LongTensor | None = None,
        current_code_attention_mask: torch.Tensor | None = None,
        visit_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MedMPLMClassifierOutput:
        """Score the medications of every visit that has an earlier one.

        Args:
            code_input_ids, code_attention_mask (`torch.LongTensor` of shape `(batch, visits, codes)`):
                diagnoses and medications; they serve only later visits.
            current_code_input_ids, current_code_attention_mask (`torch.LongTensor` of shape `(batch, visits,
                codes)`): the diagnoses of each visit.
            visit_mask (`torch.Tensor` of shape `(batch, visits)`, *optional*): 1 at visits, 0 at padding.
            labels (`torch.Tensor` of shape `(batch, visits, labels)`, *optional*): 1 where a medication was
                given, 0 where not, -100 in the rows of visits that are no target.

        Returns:
            `MedMPLMClassifierOutput` with logits `(batch, visits, labels)`; rows of first visits and of
            padding mean nothing.
        """
        shape = code_input_ids.shape[:2]
        real = code_input_ids.new_ones(shape).bool() if visit_mask is None else visit_mask.bool()
        target = real & (real.cumsum(dim=1) > 1)
        if not target.any():
            target = torch.zeros_like(real)
            target[:, 0] = True
        earlier = self.model.embed_visits(code_input_ids, code_attention_mask)
        current = self.model.embed_visits(current_code_input_ids, current_code_attention_mask)
        outputs = self.model(*backwards(earlier, current, real, target))
        states = _scatter_visits(outputs.code_pooler_output, target)  # (batch, visits, hidden)
        logits = self.classifier(states)
        loss = None if labels is None else _loss_per_patient(logits, labels)
        return MedMPLMClassifierOutput(loss=loss, logits=logits, code_pooler_output=states)


def backwards(
    earlier: torch.Tensor, current: torch.Tensor, real: torch.BoolTensor, target: torch.BoolTensor
) -> tuple[torch.Tensor, torch.BoolTensor]:
    """Lay out what each target may see, latest visit first: its own diagnoses, then the visits before it.

    Args:
        earlier (`torch.FloatTensor` of shape `(batch, visits, hidden)`): vectors of whole visits.
        current (`torch.FloatTensor` of shape `(batch, visits, hidden)`): vectors of the diagnoses of visits.
        real (`torch.BoolTensor` of shape `(batch, visits)`): visits; padding stands last.
        target (`torch.BoolTensor` of shape `(batch, visits)`): visits that are asked for.

    Returns:
        The sequences `(targets, visits, hidden)` and their mask `(targets, visits)`.
    """
    patients, numbers = target.nonzero(as_tuple=True)
    steps = torch.arange(real.shape[1], device=real.device)
    places = numbers.unsqueeze(1) - steps  # (targets, steps); the target itself at step 0
    mask = places >= 0
    rows = earlier[patients.unsqueeze(1), places.clamp(min=0)]
    rows = torch.cat([current[target].unsqueeze(1), rows[:, 1:]], dim=1)
    return rows * mask.unsqueeze(-1).to(rows.dtype), mask
