"""The task heads of the rivals that encode each visit by itself; the classifier is MedM-PLM's.

Axes: batch (visits, or patients where a visits axis follows), visits, hidden, labels.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.utils.generic import can_return_tuple

from medm_plm.rivals.base import RivalPreTrainedModel, inputs_of, visit_loss, visit_state
from medm_plm.rivals.configuration import RivalConfig
from medm_plm.rivals.encoders import build_encoder, text_size
from modeling_medm_plm import (
    MedMPLMClassifierOutput,
    MedMPLMModelOutput,
    _classifier,
    _loss_per_patient,
    _mean_of_earlier,
    _scatter_visits,
    _select_visits,
)

POOLED = ("text_pooler_output", "code_pooler_output")


class RivalForVisitClassification(RivalPreTrainedModel):
    """A perceptron over the states of one visit, with independent labels (equations 14 to 17)."""

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        self.model = build_encoder(config)
        code_size = self.model.code_model.visit_size if config.parts.code_encoder else 0
        self.classifier = _classifier(config, text_size(config) + code_size)
        self.post_init()

    @can_return_tuple
    def forward(self, labels: torch.Tensor | None = None, **inputs: Any) -> MedMPLMClassifierOutput:
        """Score the labels of visits.

        Args:
            labels (`torch.Tensor` of shape `(batch, labels)`, or `(batch,)` for a single label, *optional*):
                1 where a label holds, 0 where it does not.
            inputs: those of `MedMPLMModel`; of a modality that the rival does not read nothing is used.

        Returns:
            `MedMPLMClassifierOutput` with logits `(batch, labels)`.
        """
        outputs = self.model(**inputs_of(self.config, inputs))
        logits = self.classifier(visit_state(outputs))
        return MedMPLMClassifierOutput(loss=visit_loss(logits, labels), logits=logits, **outputs)


class RivalForMedicationRecommendation(RivalPreTrainedModel):
    """Medications of visit t from the mean states of the earlier visits and t's diagnoses (equations 11 to
    13).

    What is read of which visit is what `MedMPLMForMedicationRecommendation` reads; a rival without codes
    reads the earlier notes only.
    """

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        self.model = build_encoder(config)
        size = text_size(config) * (2 if config.use_current_note else 1)
        if config.parts.code_encoder is not None:
            size += self.model.code_model.visit_size + self.model.code_model.current_size
        self.classifier = _classifier(config, size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        visit_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **inputs: Any,
    ) -> MedMPLMClassifierOutput:
        """Score the medications of every visit that has an earlier one.

        Args:
            visit_mask (`torch.Tensor` of shape `(batch, visits)`, *optional*): 1 at visits, 0 at padding.
            labels (`torch.Tensor` of shape `(batch, visits, labels)`, *optional*): 1 where a medication was
                given, 0 where not, -100 in the rows of visits that are no target.
            inputs: those of `MedMPLMForMedicationRecommendation`.

        Returns:
            `MedMPLMClassifierOutput` with logits `(batch, visits, labels)`; rows of first visits and of
            padding mean nothing.
        """
        visits = inputs_of(self.config, inputs)
        first = next(iter(visits.values()))
        real = first.new_ones(first.shape[:2]).bool() if visit_mask is None else visit_mask.bool()
        num_earlier = real.cumsum(dim=1) - real.long()
        history = real & (real.sum(dim=1, keepdim=True) - num_earlier > 1)
        target = real & (num_earlier > 0)
        outputs = self._encode_history(history, visits)
        features = [
            _mean_of_earlier(outputs[name], history, num_earlier) for name in POOLED if name in outputs
        ]
        if self.config.parts.code_encoder is not None:
            features.append(self._encode_current(target, inputs))
        if self.config.use_current_note:
            features.append(self._encode_current_note(target, inputs))
        logits = self.classifier(torch.cat(features, dim=-1))  # (batch, visits, labels)
        loss = None if labels is None else _loss_per_patient(logits, labels)
        return MedMPLMClassifierOutput(loss=loss, logits=logits, **outputs)

    def _encode_history(
        self, history: torch.BoolTensor, visits: dict[str, torch.Tensor]
    ) -> MedMPLMModelOutput:
        """Encode the visits that come before another; visit-level states get their visits axis back."""
        history = _at_least_one(history)
        outputs = self.model(**{name: _select_visits(values, history) for name, values in visits.items()})
        for name in POOLED:
            if name in outputs:
                outputs[name] = _scatter_visits(outputs[name], history)
        return outputs

    def _encode_current(self, target: torch.BoolTensor, inputs: dict[str, Any]) -> torch.Tensor:
        """State of the diagnoses of the visits whose medications are asked for, `(batch, visits, hidden)`."""
        target = _at_least_one(target)
        names = ("input_ids", "attention_mask", "token_type_ids")
        codes = {name: _select_visits(inputs.get(f"current_code_{name}"), target) for name in names}
        encoder = self.model.code_model
        return _scatter_visits(encoder.current_state(encoder(**codes).pooler_output), target)

    def _encode_current_note(self, target: torch.BoolTensor, inputs: dict[str, Any]) -> torch.Tensor:
        """State of what is known of the visit in words, alone, `(batch, visits, hidden)`."""
        target = _at_least_one(target)
        text = self.model(
            input_ids=_select_visits(inputs["current_input_ids"], target),
            attention_mask=_select_visits(inputs.get("current_attention_mask"), target),
        )
        return _scatter_visits(text.text_pooler_output, target)


def _at_least_one(mask: torch.BoolTensor) -> torch.BoolTensor:
    """The mask, or, where it is empty, the first visit of each patient, so that every weight takes part."""
    if mask.any():
        return mask
    mask = torch.zeros_like(mask)
    mask[:, 0] = True
    return mask
