"""From predictions to metrics, and the files in which a run leaves its results.

Axes: batch, visits, codes, labels, targets (the visits that are predicted).
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import EvalPrediction

from medm_plm import metrics
from medm_plm.data.collators import IGNORED_LABEL
from medm_plm.data.files import write_private

METRICS_FILE = "metrics.json"


def keep_places(logits: tuple[torch.Tensor, torch.Tensor], labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Reduce T2C and C2C scores to the places of the hidden codes before they are gathered and kept.

    A few numbers for each visit instead of the whole vocabulary; the same as
    `medm_plm.metrics.hidden_code_places`, where equal scores get the worst place.

    Args:
        logits (`tuple` of two `torch.FloatTensor` of shape `(batch, vocab_size)`): T2C and C2C scores.
        labels (`torch.LongTensor` of shape `(batch, codes)`): ids of the hidden codes, -100 elsewhere.

    Returns:
        Two `torch.LongTensor` of shape `(batch, codes)`: 0 is the best place, -100 where nothing was hidden.
    """
    visits, positions = (labels != IGNORED_LABEL).nonzero(as_tuple=True)
    kept = []
    for scores in logits:
        own = scores[visits, labels[visits, positions]]
        # Written so that a score that is not a number gets the worst place.
        better = [(~(scores[visit] < score)).sum() - 1 for visit, score in zip(visits, own, strict=True)]
        places = torch.full_like(labels, IGNORED_LABEL)
        places[visits, positions] = torch.stack(better) if better else visits
        kept.append(places)
    return tuple(kept)


def pretraining_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Metrics of T2C and C2C from the places that `keep_places` left."""
    t2c, c2c = prediction.predictions
    return {**metrics.hidden_code_metrics(t2c, "t2c"), **metrics.hidden_code_metrics(c2c, "c2c")}


def prior_metrics(code_counts: np.ndarray, examples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Metrics of naming the most frequent codes of the training visits, whatever the visit.

    Args:
        code_counts (`np.ndarray` of shape `(vocab_size,)`): in how many training visits each code stands.
        examples (`Sequence[dict]`): visits with `labels` (fixed masks).

    Returns:
        The metrics of `medm_plm.metrics.hidden_code_metrics`, names starting with `prior_`.
    """
    labels = np.concatenate([example["labels"] for example in examples])
    return metrics.hidden_code_metrics(metrics.frequency_prior_places(code_counts, labels), "prior")


def example_losses(logits: Any, labels: torch.Tensor, pretraining_target: str = "masked") -> torch.Tensor:
    """Take the loss of a batch apart, so that it can be put together over all batches and processes.

    A mean over batches depends on how the examples are cut into batches, as the last batch is smaller and
    masked codes are not equally many in each. The sum of these losses, divided by that of their weights, is
    what the model's own loss says of all examples as one batch.

    Args:
        logits (`torch.FloatTensor` of shape `(batch, labels)` or `(batch, visits, labels)`, or a `tuple` of
            T2C and C2C scores): what the model returned.
        labels (`torch.Tensor`): as the model takes them.
        pretraining_target (`str`, defaults to `"masked"`): `"masked"` or `"all"`, for T2C and C2C scores.

    Returns:
        `torch.DoubleTensor` of shape `(batch, 2)`, loss and weight: the number of hidden codes of a visit,
        or 1; 0 for a patient without a target.
    """
    if isinstance(logits, tuple):
        parts = [_losses_of_codes(scores, labels, pretraining_target) for scores in logits]
        return torch.stack([sum(part[:, 0] for part in parts), parts[0][:, 1]], dim=1)
    truth = labels.to(logits.device).view_as(logits)
    is_target = (truth != IGNORED_LABEL).all(dim=-1)  # (batch,) or (batch, visits)
    losses = binary_cross_entropy_with_logits(
        logits.float(), truth.clamp(min=0).float(), reduction="none"
    ).mean(dim=-1)
    rows = len(logits), -1
    losses, is_target = (losses * is_target).view(rows), is_target.view(rows)
    num_targets = is_target.sum(dim=-1)
    losses = losses.double().sum(dim=-1) / num_targets.clamp(min=1)
    return torch.stack([losses, (num_targets > 0).double()], dim=1)


def _losses_of_codes(scores: torch.Tensor, labels: torch.Tensor, pretraining_target: str) -> torch.Tensor:
    hidden = labels != IGNORED_LABEL  # (batch, codes)
    places = labels.clamp(min=0)
    if pretraining_target == "masked":
        chosen = scores.float().log_softmax(dim=-1).gather(1, places).double()
        return torch.stack([-(chosen * hidden).sum(dim=1), hidden.sum(dim=1)], dim=1)
    targets = torch.zeros_like(scores, dtype=torch.float32)
    targets = targets.scatter_reduce(1, places, hidden.float(), reduce="amax")
    losses = binary_cross_entropy_with_logits(scores.float(), targets, reduction="none").double().mean(dim=1)
    return torch.stack([losses, torch.ones_like(losses)], dim=1)


def mean_loss(parts: Sequence[torch.Tensor]) -> float:
    """Put together what `example_losses` took apart.

    Args:
        parts (`Sequence[torch.Tensor]`): losses and weights, `(examples, 2)` each.

    Returns:
        The weighted mean; 0 where nothing has a weight, as the models have it.
    """
    rows = np.concatenate([np.zeros((0, 2)), *(part.cpu().numpy() for part in parts)])
    total, weight = (math.fsum(column) for column in rows.T)  # exact, so that the order does not matter
    return total / max(weight, 1.0)


def target_rows(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the scores of a task head into probabilities of the targets.

    Args:
        logits (`np.ndarray` of shape `(batch, labels)` or `(batch, visits, labels)`): scores.
        labels (`np.ndarray` of shape `(batch,)`, `(batch, labels)` or `(batch, visits, labels)`): 0, 1, or
            rows of -100 for visits that are no target.

    Returns:
        Probabilities and labels, both `(targets, labels)`.
    """
    width = logits.shape[-1]
    scores, truth = logits.reshape(-1, width), labels.reshape(-1, width)
    is_target = (truth != IGNORED_LABEL).all(axis=1)
    probabilities = 0.5 * (1.0 + np.tanh(0.5 * scores[is_target].astype(np.float64)))
    # The precision of the file, so that metrics of the file are the metrics of the run.
    return probabilities.astype(np.float32), truth[is_target].astype(np.int64)


def task_metrics(
    task: str, probabilities: np.ndarray, labels: np.ndarray, **options: Any
) -> dict[str, float]:
    """Metrics of section 9 of the method for one task.

    Args:
        task (`str`): name of the task.
        probabilities (`np.ndarray` of shape `(targets, labels)`): predictions.
        labels (`np.ndarray` of shape `(targets, labels)`): 0 or 1.
        options: further arguments of the metrics, `threshold` for instance.

    Returns:
        Name and value of each metric.
    """
    return metrics.METRICS_OF_TASK[task](probabilities, labels, **options)


def metrics_function(task: str) -> Callable[[EvalPrediction], dict[str, float]]:
    """Make the `compute_metrics` of a task for `Trainer`."""

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        return task_metrics(task, *target_rows(prediction.predictions, prediction.label_ids))

    return compute


def run_facts(prepared_visits: Path, seed: int) -> dict[str, Any]:
    """What a result needs so that it can be traced: data fingerprint, seed and versions."""
    digest = hashlib.sha256()
    with prepared_visits.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return {"seed": seed, "data_sha256": digest.hexdigest(), "versions": versions()}


def versions() -> dict[str, str]:
    """Versions of what decides the numbers of a result."""
    packages = ("torch", "transformers", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def write_predictions(
    path: Path, targets: pl.DataFrame, probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> None:
    """Write one row for each predicted visit: its ids, the probabilities and the truth, never its content.

    Args:
        path (`Path`): a parquet file; its metadata hold the label list as JSON under `labels`.
        targets (`polars.DataFrame`): ids of the visits.
        probabilities (`np.ndarray` of shape `(targets, labels)`): predictions.
        labels (`np.ndarray` of shape `(targets, labels)`): 0 or 1.
        names (`Sequence[str]`): the label list.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = targets.with_columns(
        pl.Series("probabilities", probabilities.astype(np.float32).tolist(), dtype=pl.List(pl.Float32)),
        pl.Series("labels", labels.astype(np.uint8).tolist(), dtype=pl.List(pl.UInt8)),
    )
    metadata = {"labels": json.dumps(list(names))}
    write_private(path, lambda staging: rows.write_parquet(staging, metadata=metadata))
