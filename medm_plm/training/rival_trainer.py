"""The trainer of a rival's pre-training."""

from __future__ import annotations

from typing import Any

import torch

from medm_plm import rivals
from medm_plm.training.trainer import MedMPLMTrainer


class RivalPretrainingTrainer(MedMPLMTrainer):
    """`MedMPLMTrainer` whose evaluation loss is the rival's own objective, on the fixed questions.

    Masked code prediction is put together code by code. The objective of G-BERT is a mean over visits, and
    each visit of a batch is given the mean of the batch.
    """

    def example_losses(
        self, model: torch.nn.Module, loss: torch.Tensor, logits: Any, labels: torch.Tensor
    ) -> torch.Tensor:
        """Loss and weight of each visit `(batch, 2)`."""
        if logits.dim() == 3:
            return rivals.hidden_code_losses(logits, labels)
        return torch.stack([loss.double(), torch.ones_like(loss).double()]).expand(len(labels), 2)
