"""The trainer of a rival's pre-training."""

from __future__ import annotations

from typing import Any

import torch

from medm_plm import rivals
from medm_plm.training.resumable_trainer import ResumableTrainer
from medm_plm.training.trainer import MedMPLMTrainer


class RivalPretrainingTrainer(MedMPLMTrainer):
    """`MedMPLMTrainer` whose evaluation loss is the rival's own objective, on the fixed questions.

    Masked code prediction is put together code by code. The objective of G-BERT is a mean over visits, and
    each visit of a batch is given the mean of the batch.
    """

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Any, Any, Any]:
        """Predict a batch, and note the loss of each of its visits."""
        loss, logits, labels = ResumableTrainer.prediction_step(self, model, inputs, False, *args, **kwargs)
        if logits.dim() == 3:
            losses = rivals.hidden_code_losses(logits, labels)
        else:
            losses = torch.stack([loss.double(), torch.ones_like(loss).double()]).expand(len(labels), 2)
        self._example_losses.append(self.accelerator.gather_for_metrics(losses))
        return (loss, None, None) if prediction_loss_only else (loss, logits, labels)
