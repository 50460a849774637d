"""Whether a rival differs from MedM-PLM by more than its test patients and seeds explain.

A model is the mean of its seeds: on each resample of patients the metric is averaged over the seeds first.
For a yes or no DeLong's test is used, on probabilities that are averaged over the seeds. The p-values of all
rivals on one task are a family and are adjusted together (Holm).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from medm_plm.data.files import fingerprint, write_private
from medm_plm.experiments.planning import digest
from medm_plm.experiments.reports import AREAS
from medm_plm.experiments.results import Predictions, Result, Results
from medm_plm.metrics.bootstrap import bootstrap_values, interval_of
from medm_plm.metrics.significance import delong, holm
from medm_plm.metrics.weighted import WEIGHTED_METRICS

NUM_SAMPLES = 2000
_BY_DELONG = ("auroc",)


@dataclass(frozen=True)
class Comparison:
    """A model on the test visits of a task, and its difference from the reference.

    Args:
        low (`float`), high (`float`): 95 % interval of the metric over resamples of patients.
        difference (`float`): metric of the model minus metric of the reference.
        p_value (`float`): two-sided, of that difference; NaN for the reference itself.
        adjusted (`float`): the same after Holm.
    """

    low: float
    high: float
    difference: float = math.nan
    p_value: float = math.nan
    adjusted: float = math.nan

    @property
    def mark(self) -> str:
        """Two daggers for an adjusted p below .01, one below .05."""
        return "‡" if self.adjusted < 0.01 else "†" if self.adjusted < 0.05 else ""


def compare(
    results: Results,
    task: str,
    models: Sequence[str],
    reference: str | None,
    cache: Path | None = None,
    num_samples: int = NUM_SAMPLES,
) -> dict[str, Comparison]:
    """Compare models on the test visits of one task.

    Args:
        results (`Results`): finished runs.
        task (`str`): name of the task.
        models (`Sequence[str]`): names of the models.
        reference (`str`, *optional*): the model the others are tested against.
        cache (`Path`, *optional*): file in which the numbers are kept, under a fingerprint of all that they
            are computed from.
        num_samples (`int`, defaults to 2000): resamples of patients.

    Returns:
        A comparison for each model that has predictions. A model whose test visits differ from those of
        the reference has an interval but no test.
    """
    runs = {name: found for name in models if (found := _with_predictions(results.of(name, task)))}
    if AREAS.get(task) not in WEIGHTED_METRICS or not runs:
        return {}
    key = digest([_fingerprints(runs), list(runs), reference, num_samples, AREAS[task]])
    kept = _read(cache)
    if key not in kept:
        made = _compare(runs, AREAS[task], reference, num_samples)
        kept[key] = {name: asdict(comparison) for name, comparison in made.items()}
        if cache is not None:
            text = json.dumps(kept, indent=1)
            write_private(cache, lambda path: path.write_text(text, encoding="utf-8"))
    return {name: Comparison(**values) for name, values in kept[key].items()}


def _compare(
    runs: dict[str, list[Result]], metric: str, reference: str | None, num_samples: int
) -> dict[str, Comparison]:
    predictions = {name: [result.predictions() for result in found] for name, found in runs.items()}
    samples = {name: _samples(found, metric, num_samples) for name, found in predictions.items()}
    observed = {name: np.mean([result.metric(metric) for result in found]) for name, found in runs.items()}
    made: dict[str, Comparison] = {}
    rivals = [
        name
        for name in runs
        if reference in runs
        and name != reference
        and predictions[name][0].is_comparable(predictions[reference][0])
    ]
    p_values = []
    for name in rivals:
        difference = float(observed[name] - observed[reference])
        if metric in _BY_DELONG:
            p_values.append(_delong(predictions[name], predictions[reference]))
        else:
            p_values.append(_bootstrap_p(samples[name] - samples[reference], difference))
        made[name] = Comparison(*interval_of(samples[name]), difference, p_values[-1])
    for name, adjusted in zip(rivals, holm(p_values), strict=True):
        made[name] = Comparison(**{**asdict(made[name]), "adjusted": adjusted})
    return {name: made.get(name) or Comparison(*interval_of(samples[name])) for name in runs}


def _samples(predictions: Sequence[Predictions], metric: str, num_samples: int) -> np.ndarray:
    """The metric on resamples of patients, averaged over seeds: `(num_samples,)`."""
    first = predictions[0]
    values = bootstrap_values(
        [metric] * len(predictions),
        [_squeezed(found.probabilities) for found in predictions],
        _squeezed(first.labels),
        np.array(first.patients),
        num_samples,
    )
    return np.mean(values, axis=0)


def _bootstrap_p(sampled: np.ndarray, difference: float) -> float:
    """Share of resamples whose difference strays from the one observed as far as that strays from zero."""
    defined = sampled[~np.isnan(sampled)]
    if math.isnan(difference) or not defined.size:
        return math.nan
    strayed = np.abs(defined - difference) >= abs(difference) - 1e-12
    return float((1 + strayed.sum()) / (1 + defined.size))


def _delong(predictions: Sequence[Predictions], of_reference: Sequence[Predictions]) -> float:
    averaged = [
        np.mean([_squeezed(found.probabilities) for found in part], axis=0)
        for part in (predictions, of_reference)
    ]
    first = predictions[0]
    return delong(*averaged, _squeezed(first.labels), np.array(first.patients))


def _squeezed(array: np.ndarray) -> np.ndarray:
    return array[:, 0] if array.shape[1] == 1 else array


def _with_predictions(found: list[Result]) -> list[Result]:
    return [result for result in found if "test" in result.record.get("predictions", {})]


def _fingerprints(runs: dict[str, list[Result]]) -> list[str]:
    return [
        fingerprint(result.folder / result.record["predictions"]["test"])
        for found in runs.values()
        for result in found
    ]


def _read(cache: Path | None) -> dict[str, dict[str, dict[str, float]]]:
    if cache is None or not cache.is_file():
        return {}
    try:
        return json.loads(cache.read_text(encoding="utf-8"))
    except ValueError:
        return {}
