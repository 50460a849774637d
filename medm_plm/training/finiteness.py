"""Loss, gradient and weights must be finite in each step; if not, the step and its examples are known.

Nothing is read back from the device before the end of the step, and then all in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils import get_total_norm

from medm_plm.errors import InputError

EXAMPLE_IDS = "example_ids"
QUANTITIES = ("loss", "gradient", "weights")
MOST_NAMED = 32


class NamedBatches:
    """Collator that leaves the ids of the examples in the batch.

    Args:
        collate (`Callable`): makes a batch of examples with `example_id`.
    """

    def __init__(self, collate: Callable[[list[Any]], Mapping[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, examples: list[Any]) -> dict[str, Any]:
        """Return the batch with `example_ids` (`list[str]`)."""
        return {**self.collate(examples), EXAMPLE_IDS: [example["example_id"] for example in examples]}


class FinitenessCheck:
    """Collects what one optimizer step computes and finds out whether all of it is finite."""

    def __init__(self) -> None:
        self.start_step()

    def start_step(self) -> None:
        """Forget the step before."""
        self._losses: list[torch.Tensor] = []
        self._ids: list[list[str]] = []
        self._norms = {"gradient": torch.zeros(()), "weights": torch.zeros(())}

    def add_loss(self, loss: torch.Tensor, example_ids: Sequence[str]) -> None:
        """Note the loss of one of the batches of the step."""
        self._losses.append(loss.detach().reshape(()).float())
        self._ids.append(list(example_ids))

    def add_gradient(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Note the gradient before the optimizer uses it."""
        self._norms["gradient"] = largest_entry(p.grad for p in parameters if p.grad is not None)

    def add_weights(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Note the trained weights after the optimizer has changed them."""
        self._norms["weights"] = largest_entry(p.detach() for p in parameters if p.requires_grad)

    def faults(self) -> dict[str, bool]:
        """Tell for each of loss, gradient and weights whether it is not finite on this process."""
        device = self._losses[0].device if self._losses else torch.device("cpu")
        values = [*self._losses, *(norm.to(device).float() for norm in self._norms.values())]
        finite = torch.isfinite(torch.stack(values)).tolist()
        self._finite_losses = finite[: len(self._losses)]
        return dict(
            zip(QUANTITIES, (not all(self._finite_losses), not finite[-2], not finite[-1]), strict=True)
        )

    def suspects(self) -> list[str]:
        """Return the ids of the batches whose loss was not finite, or of all if the loss gives no hint."""
        pairs = list(zip(self._ids, self._finite_losses, strict=True))
        chosen = [ids for ids, is_finite in pairs if not is_finite] or [ids for ids, _ in pairs]
        return [example_id for ids in chosen for example_id in ids]


def largest_entry(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the largest absolute value of all tensors; not a number where one of them holds such."""
    # Of a sharded tensor each process looks at its own part.
    local = [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]
    filled = [tensor for tensor in local if tensor.numel() > 0]
    return get_total_norm(filled, float("inf")) if filled else torch.zeros(())


def not_finite_error(quantity: str, step: int, example_ids: Sequence[str]) -> InputError:
    """Make the one line that says what was not finite, when and with which examples."""
    place = f"after step {step} are" if quantity == "weights" else f"of step {step} is"
    named = ", ".join(map(str, example_ids[:MOST_NAMED]))
    more = len(example_ids) - MOST_NAMED
    return InputError(
        f"the {quantity} {place} not finite",
        received=f"examples {named}" + (f" and {more} more" if more > 0 else ""),
        remedy="the last checkpoint is older and finite; look at these examples, or lower --learning_rate",
    )
