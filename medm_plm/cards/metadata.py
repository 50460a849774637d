"""The metadata of a model card: the YAML header with `model-index`, and the newer `.eval_results` files.

Both are written from the same list of results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from medm_plm.cards.reading import FinishedRun, Publisher
from medm_plm.cards.sources import OPEN_LICENSE, Source
from medm_plm.cards.wording import TASKS

CONFIDENCE = 0.95
RESAMPLED = "patients"
TAGS = ("medm-plm", "electronic-health-records", "clinical-notes", "icd", "atc", "multimodal", "medical")
_COUNT_PREFIX = "num_"


@dataclass(frozen=True)
class Result:
    """A metric of the test split.

    Args:
        name (`str`): its name.
        value (`float`): its value.
        interval (`tuple[float, float]`, *optional*): ends of its 95 % interval.
        frequency (`float`, *optional*): what the label frequency alone reaches.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    frequency: float | None = None


def test_results(run: FinishedRun) -> list[Result]:
    """List the metrics of the test split with their intervals; counts and undefined ones are left out.

    Args:
        run (`FinishedRun`): the run.

    Returns:
        The results, in the order of `metrics.json`.
    """
    test = run.metrics.get("test") or {}
    intervals = (run.metrics.get("test_intervals") or {}).get("model", {})
    frequency = test.get("frequency", {})
    results = []
    for name, value in test.get("model", {}).items():
        if value is None or name.startswith(_COUNT_PREFIX):
            continue
        ends = intervals.get(name)
        interval = None if ends is None or None in ends else (float(ends[0]), float(ends[1]))
        prior = frequency.get(name, frequency.get(re.sub("^(t2c|c2c)_", "prior_", name)))
        results.append(Result(name, float(value), interval, prior))
    return results


def header(run: FinishedRun, name: str, publisher: Publisher) -> str:
    """Write the YAML header of a model card.

    Args:
        run (`FinishedRun`): the run.
        name (`str`): name of the model.
        publisher (`Publisher`): gives the language where the source does not.

    Returns:
        YAML, checked by the Hub's own class for it.
    """
    restricted = run.restricted
    fields: dict[str, Any] = {
        "language": language(run, publisher),
        "library_name": "transformers",
        "pipeline_tag": TASKS[run.task].pipeline_tag,
        "tags": [*TAGS, run.task.replace("_", "-")],
        "datasets": [source.dataset_id for source in run.sources],
        "model_name": name,
        "eval_results": model_index_results(run),
    }
    if run.text_encoder not in (None, "local"):
        fields["base_model"] = run.text_encoder
    fields |= _license(restricted)
    if restricted is not None:
        fields |= _gate(restricted)
    return ModelCardData(**fields).to_yaml()


def language(run: FinishedRun, publisher: Publisher) -> str:
    """ISO 639 code of the notes."""
    return publisher.language or run.source.language


def model_index_results(run: FinishedRun) -> list[EvalResult]:
    """Turn the results into entries of `model-index`, with their intervals.

    Args:
        run (`FinishedRun`): the run.

    Returns:
        One entry for each metric.
    """
    wording, source = TASKS[run.task], run.source
    return [
        EvalResult(
            task_type=wording.pipeline_tag,
            task_name=wording.title,
            dataset_type=source.dataset_id,
            dataset_name=source.title,
            dataset_split="test",
            dataset_revision=fingerprint(run),
            metric_type=result.name,
            metric_name=result.name,
            metric_value=round(result.value, 6),
            metric_args=None if result.interval is None else _interval_entry(result.interval),
        )
        for result in test_results(run)
    ]


def eval_results_file(run: FinishedRun) -> tuple[str, str] | None:
    """Write the results once more in the format of `.eval_results/*.yaml`.

    Args:
        run (`FinishedRun`): the run.

    Returns:
        File name and YAML; None without a result.
    """
    entries: list[dict[str, Any]] = []
    for result in test_results(run):
        dataset = {"id": run.source.dataset_id, "task_id": f"{run.task}/{result.name}"}
        if (revision := fingerprint(run)) is not None:
            dataset["revision"] = revision
        entry: dict[str, Any] = {"dataset": dataset, "value": round(result.value, 6)}
        if run.metrics.get("finished"):
            entry["date"] = str(run.metrics["finished"])
        notes = "test split of the prepared data; no interval was computed"
        if result.interval is not None:
            low, high = result.interval
            notes = f"test split; 95 % interval {low:.4f} to {high:.4f}, {RESAMPLED} resampled"
        entries.append({**entry, "notes": notes})
    if not entries:
        return None
    name = f"{run.source.dataset_id}-{run.task.replace('_', '-')}.yaml"
    return name, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)


def fingerprint(run: FinishedRun) -> str | None:
    """What identifies the data: SHA-256 of the prepared visits or sentences."""
    found = run.metrics.get("data_sha256")
    return None if found is None else str(found)


def license_name(restricted: Source | None) -> str:
    """Name of the licence of the weights."""
    if restricted is None:
        return OPEN_LICENSE
    return restricted.license_name or "not-licensed"


def _license(restricted: Source | None) -> dict[str, Any]:
    if restricted is None:
        return {"license": OPEN_LICENSE}
    found: dict[str, Any] = {"license": "other", "license_name": license_name(restricted)}
    if restricted.license_link is not None:
        found["license_link"] = restricted.license_link
    return found


def _gate(restricted: Source) -> dict[str, Any]:
    """Fields with which the Hub asks before it gives out a gated repository."""
    agreement = restricted.license_name or "the agreement with the owner of the data"
    return {
        "extra_gated_heading": "Access for holders of the same data-use agreement only",
        "extra_gated_prompt": f"Trained on {restricted.title}. {restricted.rule}",
        "extra_gated_fields": {
            "Name": "text",
            "Affiliation": "text",
            "Credentials for the data (user name at their provider)": "text",
            f"I have signed {agreement} for {restricted.title}": "checkbox",
            "I will not try to identify patients and will not pass the weights on": "checkbox",
        },
    }


def _interval_entry(interval: tuple[float, float]) -> Mapping[str, Any]:
    low, high = interval
    return {
        "confidence": CONFIDENCE,
        "interval": [round(low, 6), round(high, 6)],
        "resampled": RESAMPLED,
    }
