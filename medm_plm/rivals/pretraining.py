"""The pre-training of G-BERT and of Med-BERT on the visits and the hidden codes of MedM-PLM's.

Axes: batch (visits), codes, hidden, vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import EvalPrediction
from transformers.utils.generic import can_return_tuple

from medm_plm.data.collators import IGNORED_LABEL
from medm_plm.errors import InputError
from medm_plm.metrics import hidden_code_metrics
from medm_plm.rivals.base import RivalPreTrainedModel
from medm_plm.rivals.code_encoders import DIAGNOSIS, MEDICATION, split_by_kind
from medm_plm.rivals.configuration import ARCHITECTURES, RivalConfig
from medm_plm.rivals.encoders import CodeModel
from modeling_medm_plm import MedMPLMForPreTrainingOutput, _mlp

KINDS = (DIAGNOSIS, MEDICATION)


class GBertForPreTraining(RivalPreTrainedModel):
    """Self-prediction and dual prediction of G-BERT.

    The state of a visit's diagnoses predicts all its diagnoses (self) and all its medications (dual), the
    state of its medications likewise; both are read with some codes hidden. Four binary cross-entropies over
    the codes of the kind that is predicted, added up.
    """

    main_input_name = "code_input_ids"

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        self.model = CodeModel(config)
        size, vocab_size = config.code_config.hidden_size, config.code_config.vocab_size
        self.heads = nn.ModuleDict(
            {
                f"{source}_to_{target}": _mlp(size, vocab_size, 1, None, 0.0, "relu")
                for source in KINDS
                for target in KINDS
            }
        )
        self.register_buffer("code_types", torch.zeros(vocab_size, dtype=torch.long))
        self.post_init()

    def set_code_types(self, code_types: torch.LongTensor) -> None:
        """Tell the kinds of codes apart: `(vocab_size,)`, 0 special, 1 diagnosis, 2 medication."""
        self.code_types.copy_(code_types)

    @can_return_tuple
    def forward(
        self,
        code_input_ids: torch.LongTensor,
        code_attention_mask: torch.Tensor | None = None,
        code_token_type_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> MedMPLMForPreTrainingOutput:
        """Predict the codes of visits.

        Args:
            code_input_ids, code_attention_mask, code_token_type_ids (`torch.LongTensor` of shape `(batch,
                codes)`): the codes, some of them hidden.
            labels (`torch.LongTensor` of shape `(batch, codes)`, *optional*): ids of the hidden codes, or of
                all codes, -100 elsewhere. Where there is none the code itself stands in the visit, so that
                all codes are predicted either way.

        Returns:
            `MedMPLMForPreTrainingOutput` with `c2c_logits` `(batch, vocab_size)`, for each code the mean of
            its self-prediction and its dual prediction. With `labels` the codes that are seen and not asked
            for are no candidates: they are predicted too, and would take the best places.
        """
        outputs = self.model(code_input_ids, code_attention_mask, code_token_type_ids)
        states = dict(zip(KINDS, outputs.code_pooler_output.chunk(2, dim=-1), strict=True))
        logits = {
            (source, target): self.heads[f"{source}_to_{target}"](states[source])
            for source in KINDS
            for target in KINDS
        }
        mean = {target: sum(logits[source, target] for source in KINDS) / 2 for target in KINDS}
        is_medication = self.code_types == MEDICATION
        both = torch.where(is_medication, mean[MEDICATION], mean[DIAGNOSIS])
        no_candidate = self.code_types == 0
        loss = None
        if labels is not None:
            seen = self._seen(code_input_ids, code_attention_mask)
            asked = split_by_kind(torch.where(labels == IGNORED_LABEL, seen, labels), self.code_types)
            loss = sum(
                self._loss(scores, asked[target], self.code_types == target)
                for (_, target), scores in logits.items()
            )
            chosen = sum(split_by_kind(labels, self.code_types).values())
            no_candidate = no_candidate | ((sum(asked.values()) > 0) & (chosen == 0))
        both = both.masked_fill(no_candidate, torch.finfo(both.dtype).min)
        return MedMPLMForPreTrainingOutput(loss=loss, c2c_logits=both, c2c_loss=loss, **outputs)

    def _seen(self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None) -> torch.LongTensor:
        """The codes of the vocabulary among the inputs, -100 at special tokens, inner nodes and padding."""
        is_code = input_ids < self.code_types.shape[0]
        is_code &= self.code_types[input_ids.masked_fill(~is_code, 0)] > 0
        if attention_mask is not None:
            is_code &= attention_mask.bool()
        return input_ids.masked_fill(~is_code, IGNORED_LABEL)

    @staticmethod
    def _loss(logits: torch.Tensor, asked: torch.Tensor, of_kind: torch.BoolTensor) -> torch.Tensor:
        """Binary cross-entropy over the codes of one kind; nothing to predict where there is none."""
        if not of_kind.any():
            return 0.0 * logits.sum()
        return nn.functional.binary_cross_entropy_with_logits(
            logits[:, of_kind], asked[:, of_kind].to(logits.dtype)
        )


class MedBertForPreTraining(RivalPreTrainedModel):
    """Masked code prediction of Med-BERT: each hidden code from the state at its own place."""

    main_input_name = "code_input_ids"

    def __init__(self, config: RivalConfig):
        super().__init__(config)
        self.model = CodeModel(config)
        size, vocab_size = config.code_config.hidden_size, config.code_config.vocab_size
        self.transform = nn.Sequential(
            nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size, eps=config.code_config.layer_norm_eps)
        )
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.post_init()

    def set_code_types(self, code_types: torch.LongTensor) -> None:
        """Nothing to tell apart: hidden codes of both kinds are predicted alike."""

    @can_return_tuple
    def forward(
        self,
        code_input_ids: torch.LongTensor,
        code_attention_mask: torch.Tensor | None = None,
        code_token_type_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> MedMPLMForPreTrainingOutput:
        """Predict the hidden codes of visits.

        Args:
            code_input_ids, code_attention_mask, code_token_type_ids (`torch.LongTensor` of shape `(batch,
                codes)`): the codes, some of them hidden.
            labels (`torch.LongTensor` of shape `(batch, codes)`, *optional*): ids of the hidden codes, -100
                elsewhere.

        Returns:
            `MedMPLMForPreTrainingOutput` with `c2c_logits` `(batch, codes, vocab_size)`.
        """
        outputs = self.model(code_input_ids, code_attention_mask, code_token_type_ids)
        # BERT's output layer: the embeddings themselves are the weights, those of inner nodes left out.
        table = self.model.code_model.get_input_embeddings().weight[: self.bias.shape[0]]
        logits = self.transform(outputs.code_last_hidden_state) @ table.T + self.bias
        loss = None
        if labels is not None:
            total = nn.functional.cross_entropy(
                logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
            )
            loss = total / (labels != IGNORED_LABEL).sum().clamp(min=1)
        return MedMPLMForPreTrainingOutput(loss=loss, c2c_logits=logits, c2c_loss=loss, **outputs)


def code_types_of(code_tokenizer: Any) -> torch.LongTensor:
    """Kind of each code of the tokenizer, `(vocab_size,)`: 0 special, 1 diagnosis, 2 medication."""
    types = torch.zeros(code_tokenizer.num_codes, dtype=torch.long)
    for kind in KINDS:
        types[torch.as_tensor(code_tokenizer.code_ids(kind), dtype=torch.long)] = kind
    return types


PRETRAINING_CLASSES: dict[str, type[RivalPreTrainedModel]] = {
    "gbert": GBertForPreTraining,
    "med_bert": MedBertForPreTraining,
}


def places_of_hidden_codes(logits: torch.Tensor, labels: torch.LongTensor) -> torch.LongTensor:
    """Reduce scores to the places of the hidden codes before they are gathered and kept.

    Args:
        logits (`torch.FloatTensor` of shape `(batch, vocab_size)` or `(batch, codes, vocab_size)`): one
            prediction for the visit, or one at each place.
        labels (`torch.LongTensor` of shape `(batch, codes)`): ids of the hidden codes, -100 elsewhere.

    Returns:
        `torch.LongTensor` of shape `(batch, codes)`: 0 is the best place, -100 where nothing was hidden;
        equal scores get the worst place.
    """
    visits, positions = (labels != IGNORED_LABEL).nonzero(as_tuple=True)
    places = torch.full_like(labels, IGNORED_LABEL)
    for visit, position in zip(visits, positions, strict=True):
        scores = logits[visit] if logits.dim() == 2 else logits[visit, position]
        places[visit, position] = (scores >= scores[labels[visit, position]]).sum() - 1
    return places


def hidden_code_losses(logits: torch.Tensor, labels: torch.LongTensor) -> torch.Tensor:
    """Cross-entropy of the hidden codes of each visit.

    Args:
        logits (`torch.FloatTensor`): as `places_of_hidden_codes` takes them.
        labels (`torch.LongTensor` of shape `(batch, codes)`): ids of the hidden codes, -100 elsewhere.

    Returns:
        `torch.DoubleTensor` of shape `(batch, 2)`: sum over the hidden codes, and how many there are.
    """
    hidden = labels != IGNORED_LABEL
    if logits.dim() == 2:
        logits = logits.unsqueeze(1).expand(-1, labels.shape[1], -1)
    log_probabilities = logits.float().log_softmax(dim=-1)
    chosen = log_probabilities.gather(2, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1).double()
    return torch.stack([-(chosen * hidden).sum(dim=1), hidden.sum(dim=1).double()], dim=1)


def c2c_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Metrics of the hidden codes, predicted from codes, from the places that are left of the scores."""
    return hidden_code_metrics(prediction.predictions, "c2c")


def pretrained_part(architecture: str) -> str:
    """Name what is pre-trained for an architecture: of a pair its code encoder, else itself."""
    parts = ARCHITECTURES.get(architecture)
    if parts is None:
        return architecture
    return str(parts.code_encoder) if parts.can_be_pretrained else architecture


def pretraining_target(architecture: str, chosen: str) -> str:
    """Tell which codes a pre-training asks for, the hidden ones (`masked`) or `all`.

    Args:
        architecture (`str`): `medm_plm` or a name of `ARCHITECTURES`.
        chosen (`str`): what the option says; a rival's own objective stands, and only `masked`, which is the
            default, may stand beside it.

    Raises:
        InputError: if another objective is asked of a rival.
    """
    if architecture not in ARCHITECTURES:
        return chosen
    if chosen != "masked":
        raise InputError(
            f"option --pretraining_target has no place with architecture {architecture}", received=chosen
        )
    return "all" if ARCHITECTURES[architecture].code_encoder == "gbert" else "masked"
