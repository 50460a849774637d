"""What a run noted of its data in `metrics.json`, which stays here but decides what may be public."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medm_plm.errors import InputError

METRICS_FILE = "metrics.json"
_OPEN_SOURCES = frozenset({"synthetic"})
_LOCAL = "local"  # a text encoder from a folder, whose origin no run knows


def has_read_closed_data(folder: Path) -> bool:
    """Tell whether a run noted data that are not known to be open, its pre-training and text encoder counted.

    Args:
        folder (`Path`): folder of the model.

    Returns:
        Whether it did; False if there is no `metrics.json`, so that the card alone decides.

    Raises:
        InputError: if `metrics.json` cannot be read.
    """
    path = folder / METRICS_FILE
    if not path.exists():
        return False
    try:
        metrics = json.loads(path.read_bytes())
        return not all(source in _OPEN_SOURCES for source in _sources(metrics))
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        raise InputError(
            "the metrics of the run cannot be read, so its data are not known",
            file=path,
            remedy="put it back as the run wrote it, or publish privately",
        ) from None


def _sources(metrics: dict[str, Any]) -> Iterator[Any]:
    pretraining = metrics.get("pretraining")
    yield (metrics.get("preparation") or {}).get("source")
    if pretraining is not None or metrics.get("pretrained"):
        yield (pretraining or {}).get("source")
    for facts in (metrics, pretraining or {}):
        if facts.get("text_encoder") == _LOCAL:
            yield _LOCAL
