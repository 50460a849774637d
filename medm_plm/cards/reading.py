"""What a card is made from: the files of a finished run, and the little that only its publisher knows."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medm_plm.cards.sources import Source, source_of
from medm_plm.data.files import fingerprint
from medm_plm.errors import InputError
from medm_plm.training.evaluation import METRICS_FILE
from medm_plm.training.results import CONFIG_FILE

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PRIVACY_FILE = "privacy.json"
_LENGTH_BYTES, _LARGEST_HEADER = 8, 100_000_000  # of a safetensors file
_CANARY_FIELDS = ("insertions", "canaries", "mean_exposure", "largest_exposure")

OPEN_TEXT_ENCODERS = frozenset(
    {
        "answerdotai/ModernBERT-base",
        "bert-base-cased",
        "bert-base-uncased",
        "distilbert/distilbert-base-uncased",
        "emilyalsentzer/Bio_ClinicalBERT",
        "FacebookAI/roberta-base",
        "google-bert/bert-base-cased",
        "google-bert/bert-base-uncased",
    }
)
"""Published encoders whose own licence (Apache 2.0 or MIT) lets weights that grew out of them be shared."""
UNKNOWN_TEXT_ENCODER = Source(
    "private-text-encoder",
    "a text encoder whose origin and licence the software does not know",
    "the texts that a text encoder of unknown origin has read",
    "not known to the run",
    "The text encoder came from a folder, or from a repository whose licence the software does not know; it "
    "may have read notes of patients. Keep the weights private, or gated to people who may see those texts, "
    "until their owner has agreed to more.",
)


@dataclass(frozen=True)
class Publisher:
    """What no run can know about itself.

    Args:
        developer (`str`, *optional*): who stands for the model.
        contact (`str`, *optional*): where questions and reports of harm go.
        funding (`str`, *optional*): who paid.
        language (`str`, *optional*): ISO 639 code of the notes, where the source does not tell.
    """

    developer: str | None = None
    contact: str | None = None
    funding: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Emissions:
    """Assumptions for an estimate of carbon emissions; nothing is measured and nothing is looked up.

    Args:
        watts (`float`): mean power of the machine during the run.
        grams_per_kwh (`float`): grams of carbon dioxide equivalent for each kilowatt-hour of its grid.
        region (`str`, *optional*): where it stood.
    """

    watts: float
    grams_per_kwh: float
    region: str | None = None

    def __post_init__(self) -> None:
        for name in ("watts", "grams_per_kwh"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"emissions: {name}", received=value, expected="a finite number, 0 or more")

    def grams(self, hours: float) -> float:
        """Estimate the emissions of a run of so many hours."""
        return self.watts / 1000 * hours * self.grams_per_kwh


@dataclass(frozen=True)
class FinishedRun:
    """The files of a run that a card reads.

    Args:
        metrics (`Mapping`): `metrics.json`.
        config (`Mapping`): `config.json`.
        num_parameters (`int`, *optional*): numbers in the files of the weights.
        privacy (`Mapping`, *optional*): what `run_privacy.py` wrote of this very model.
        has_other_privacy (`bool`, defaults to False): whether the folder holds a report of another model.
    """

    metrics: Mapping[str, Any]
    config: Mapping[str, Any]
    num_parameters: int | None = None
    privacy: Mapping[str, Any] | None = None
    has_other_privacy: bool = False
    sources: tuple[Source, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", self._all_sources())

    @property
    def task(self) -> str:
        """Name of the task, `pretraining` for a pre-trained model."""
        return str(self.metrics["task"])

    @property
    def source(self) -> Source:
        """Where the data of the run come from."""
        return self.sources[0]

    @property
    def restricted(self) -> Source | None:
        """The first source with rules about who may have the weights; that of pre-training counts, too."""
        return next((source for source in self.sources if source.is_restricted), None)

    @property
    def text_encoder(self) -> str | None:
        """Hub id of the published text encoder, also where it came by way of pre-training."""
        return next(self._text_encoders(), None)

    @property
    def seconds(self) -> float | None:
        """Time of the training, as the library logged it."""
        times = [entry["train_runtime"] for entry in self.history if "train_runtime" in entry]
        return float(times[-1]) if times else None

    @property
    def history(self) -> list[Mapping[str, Any]]:
        """What the run logged."""
        return list(self.metrics.get("history", []))

    def _all_sources(self) -> tuple[Source, ...]:
        preparation = self.metrics.get("preparation") or {}
        names = [preparation.get("source")]
        if self.metrics.get("pretraining") is not None or self.metrics.get("pretrained"):
            names.append((self.metrics.get("pretraining") or {}).get("source"))
        sources = [source_of(name, self.task) for name in dict.fromkeys(names)]
        if not OPEN_TEXT_ENCODERS.issuperset(self._text_encoders()):
            sources.append(UNKNOWN_TEXT_ENCODER)
        return tuple(sources)

    def _text_encoders(self) -> Iterator[str]:
        """Hub ids, or `local`: that of the run, then that of its pre-training."""
        for facts in (self.metrics, self.metrics.get("pretraining") or {}):
            if facts.get("text_encoder"):
                yield str(facts["text_encoder"])


def read_run(folder: str | Path, privacy: str | Path | None = None) -> FinishedRun:
    """Read a finished folder of `run_pretraining.py` or `run_finetuning.py`.

    Args:
        folder (`str` or `Path`): the folder.
        privacy (`str` or `Path`, *optional*): report of `run_privacy.py`; `privacy.json` of the folder by
            default, if there is one of this model.

    Returns:
        Its content.

    Raises:
        InputError: if the folder holds no finished model, or the privacy report cannot be read or is that of
        another model.
    """
    folder = Path(folder)
    metrics, config = (read_json(folder / name) for name in (METRICS_FILE, CONFIG_FILE))
    if "task" not in metrics:
        raise InputError(
            "these are no metrics of a run", file=folder / METRICS_FILE, expected="a finished model folder"
        )
    path = folder / PRIVACY_FILE if privacy is None else Path(privacy)
    report = read_report(path) if privacy is not None or path.is_file() else None
    is_other = report is not None and _subject(report) != _subject_of(folder, metrics)
    if is_other and privacy is not None:
        raise InputError(
            "the privacy report is that of another model, or of this one before it was trained again",
            file=path,
            remedy="measure this model: run_privacy.py measure --model",
        )
    return FinishedRun(metrics, config, num_parameters(folder), None if is_other else report, is_other)


def _subject(report: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a privacy report was measured on: task, data and weights."""
    return tuple(report.get(name) for name in ("task", "data_sha256", "weights_sha256"))


def _subject_of(folder: Path, metrics: Mapping[str, Any]) -> tuple[Any, ...]:
    weights = folder / WEIGHTS_FILE
    return metrics["task"], metrics.get("data_sha256"), fingerprint(weights) if weights.is_file() else None


def read_report(path: Path) -> Mapping[str, Any]:
    """Read a privacy report.

    Args:
        path (`Path`): what `run_privacy.py measure` wrote.

    Returns:
        Its content.

    Raises:
        InputError: if it is missing, or lacks what a card prints of it.
    """
    report = read_json(path)
    try:
        for attack in (report.get("attacks") or {}).values():
            low, high = attack["interval"]
            numbers = [attack["auc"], attack["members"], attack["others"]]
            numbers += [] if low is None and high is None else [low, high]
            _require_numbers(numbers)
        for entry in report.get("canaries") or []:
            _require_numbers([entry[name] for name in _CANARY_FIELDS])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            "this is no privacy report", file=path, expected="what `run_privacy.py measure` wrote"
        ) from None
    return report


def _require_numbers(values: list[Any]) -> None:
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise ValueError


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a JSON file that holds a mapping.

    Args:
        path (`Path`): the file.

    Returns:
        Its content.

    Raises:
        InputError: if it is missing or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"file cannot be read: {error.strerror}", file=path, expected="a finished folder"
        ) from None
    except ValueError:
        raise InputError("file holds no JSON", file=path) from None
    if not isinstance(content, dict):
        raise InputError("file holds no mapping", file=path)
    return content


def num_parameters(folder: Path) -> int | None:
    """Count the weights of a model by the headers of its safetensors files alone.

    Args:
        folder (`Path`): folder with one file, or several and their index.

    Returns:
        The count; None where a file is missing or damaged.
    """
    try:
        if (folder / WEIGHTS_FILE).is_file():
            return _num_in_file(folder / WEIGHTS_FILE)
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        return sum(_num_in_file(folder / Path(name).name) for name in set(index["weight_map"].values()))
    except (AttributeError, KeyError, OSError, TypeError, ValueError, struct.error):
        return None


def _num_in_file(weights: Path) -> int:
    with weights.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(_LENGTH_BYTES))
        header = json.loads(stream.read(min(length, _LARGEST_HEADER)))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
