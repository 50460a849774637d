"""Measure a file of predictions, or a fine-tuned model on a prepared folder.

    medm-plm evaluate --predictions readmission/predictions_test.parquet
    medm-plm evaluate --model readmission --data prepared --split test --output metrics_again.json

A file `predictions_*.parquet` of `run_finetuning.py` holds probabilities and truth; its task and threshold
are read from the `metrics.json` beside it. A model is asked anew, with the temperature and the threshold
stored in its configuration. Intervals (95 %) come from resampling patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers import AutoConfig

from medm_plm import register_auto_classes
from medm_plm.command_line import parse_arguments, print_table, quiet_library
from medm_plm.data.collators import PatientCollator, VisitCollator
from medm_plm.data.files import write_json
from medm_plm.data.published_ids import published_visits, read_published_ids
from medm_plm.data.schema import SPLITS, SUBJECT_ID, read_visits
from medm_plm.errors import InputError
from medm_plm.metrics.calibration import scale
from medm_plm.metrics.tasks import METRICS_OF_TASK
from medm_plm.metrics.thresholds import FIXED_THRESHOLD
from medm_plm.training.arguments import ModelArguments
from medm_plm.training.datasets import ExampleDataset, tokenize_task
from medm_plm.training.evaluation import METRICS_FILE, target_rows, task_metrics
from medm_plm.training.models import load_model
from medm_plm.training.processors import load_processor
from medm_plm.training.results import Decision, intervals_record
from medm_plm.training.run_record import read_run_record
from medm_plm.training.task_examples import task_examples

TASKS = tuple(METRICS_OF_TASK)


@dataclass
class EvaluationArguments:
    """What is measured.

    Args:
        predictions (`str`, *optional*): file `predictions_*.parquet` of `run_finetuning.py`.
        model (`str`, *optional*): folder of a fine-tuned model, with `data`.
        data (`str`, *optional*): folder of `run_preparation.py`.
        split (`str`, defaults to `test`): visits of the folder that are predicted.
        split_ids (`str`, *optional*): folder with published lists of admission ids, if the model was trained
            with them.
        task (`str`, *optional*): name of the task; told by `metrics.json` by default.
        threshold (`float`, *optional*): probability from which a label counts as predicted, in place of the
            stored one.
        intervals (`bool`, defaults to True): measure the 95 % intervals, which takes the most time.
        batch_size (`int`, defaults to 32): visits or patients at a time.
        output (`str`, *optional*): JSON file for the numbers.
    """

    predictions: str | None = field(default=None, metadata={"help": "file predictions_*.parquet"})
    model: str | None = field(default=None, metadata={"help": "folder of a fine-tuned model, with --data"})
    data: str | None = field(default=None, metadata={"help": "prepared folder to measure the model on"})
    split: str = field(default="test", metadata={"help": "visits of that folder", "choices": SPLITS})
    split_ids: str | None = field(
        default=None, metadata={"help": "folder with the published lists that the model was trained with"}
    )
    task: str | None = field(
        default=None, metadata={"help": "the task; told by metrics.json", "choices": TASKS}
    )
    threshold: float | None = field(
        default=None, metadata={"help": "probability from which a label counts, in place of the stored one"}
    )
    intervals: bool = field(default=True, metadata={"help": "measure 95 %% intervals"})
    batch_size: int = field(default=32, metadata={"help": "visits or patients at a time"})
    output: str | None = field(default=None, metadata={"help": "JSON file for the numbers"})

    def __post_init__(self) -> None:
        if (self.predictions is None) == (self.model is None):
            raise InputError("give either --predictions FILE or --model FOLDER --data FOLDER")
        if (self.model is None) != (self.data is None):
            raise InputError("options --model and --data belong together", remedy="give both or none")
        if self.batch_size < 1:
            raise InputError("option --batch_size", received=self.batch_size, expected="at least 1")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise InputError("option --threshold", received=self.threshold, expected="0 to 1")


@dataclass(frozen=True)
class _Predicted:
    """Probabilities and truth, `(targets, labels)` both, and what is needed to measure them."""

    task: str
    targets: pl.DataFrame
    probabilities: np.ndarray
    labels: np.ndarray
    threshold: float | list[float]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a table.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
    """
    (options,) = parse_arguments(EvaluationArguments, argv=argv, description=__doc__)
    predicted = _read(options) if options.predictions is not None else _predict(options)
    threshold = predicted.threshold if options.threshold is None else options.threshold
    measured = task_metrics(
        predicted.task, predicted.probabilities, predicted.labels, threshold=_broadcastable(threshold)
    )
    ends: dict[str, Any] = {}
    if options.intervals and isinstance(threshold, float) and SUBJECT_ID in predicted.targets.columns:
        pair = (predicted.probabilities, predicted.labels)
        ends = intervals_record(pair, predicted.targets, Decision(1.0, threshold), measured)
    shown = {name: f"{low:.4f} to {high:.4f}" for name, (low, high) in ends.items()}
    rows = [[name, value, shown.get(name)] for name, value in measured.items()]
    print_table(f"{predicted.task}: {_source(options)}", ["metric", "value", "95 % interval"], rows)
    if options.output is not None:
        facts = {"task": predicted.task, "source": _source(options), "threshold": threshold}
        write_json(Path(options.output), {**facts, "metrics": measured, "intervals": ends})


def _source(options: EvaluationArguments) -> str:
    if options.predictions is not None:
        return Path(options.predictions).name
    return f"{Path(options.model or '').name} on the {options.split} split of {Path(options.data or '').name}"


def _broadcastable(threshold: float | list[float]) -> Any:
    return np.asarray(threshold) if isinstance(threshold, list) else threshold


def _task(options: EvaluationArguments, record: dict[str, Any], folder: Path) -> str:
    task = options.task or record.get("task")
    if task not in TASKS:
        raise InputError(
            "it is not known which task this is",
            file=folder / METRICS_FILE,
            received=task or "no record",
            expected=" or ".join(TASKS),
            remedy="say it by --task",
        )
    return str(task)


def _read(options: EvaluationArguments) -> _Predicted:
    path = Path(options.predictions or "")
    if not path.is_file():
        raise InputError("no such file", file=path)
    try:
        table = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        raise InputError("file cannot be read as parquet", file=path) from None
    missing = {"probabilities", "labels"} - set(table.columns)
    if missing or not table.height:
        raise InputError(
            "this is no file of predictions with their truth",
            file=path,
            received=f"{table.height} rows" if not missing else f"no column {min(missing)}",
            expected="what run_finetuning.py wrote",
            remedy="a file of run_prediction.py has no truth; measure its model by --model and --data",
        )
    record = read_run_record(path.parent)
    task = _task(options, record, path.parent)
    stored = record.get("decision", {}).get("model", {}).get("threshold")
    threshold = float(FIXED_THRESHOLD[task] if stored is None else stored)
    columns = [np.asarray(table[name].to_list()) for name in ("probabilities", "labels")]
    return _Predicted(task, table, columns[0].astype(np.float32), columns[1].astype(np.int64), threshold)


def _predict(options: EvaluationArguments) -> _Predicted:
    register_auto_classes()
    folder = Path(options.model or "")
    processor = load_processor(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    record = read_run_record(folder)
    task = _task(options, record, folder)
    labels = [str(label) for label in config.id2label.values()]
    settings = record.get("settings", {})
    visits = read_visits(options.data or "")
    if options.split_ids is not None:
        visits = published_visits(visits, read_published_ids(options.split_ids)).visits
    examples = task_examples(
        task,
        visits,
        options.split,
        labels,
        medication_window=settings.get("medication_window", "whole_stay"),
        current_note=settings.get("current_note", "none"),
    )
    model = load_model(task, folder, ModelArguments(), use_current_note=config.use_current_note)
    collator = PatientCollator if task == "medication_recommendation" else VisitCollator
    loader = torch.utils.data.DataLoader(
        ExampleDataset(tokenize_task(task, processor, examples, "tokenising")),
        batch_size=options.batch_size,
        collate_fn=collator.from_processor(processor),
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    parts = []
    with torch.inference_mode(), quiet_library():
        for batch in loader:
            logits = model(**{name: value.to(device) for name, value in batch.items()}).logits
            parts.append(target_rows(logits.float().cpu().numpy(), _rows(batch["labels"], logits)))
    probabilities, truth = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    threshold = config.decision_threshold
    return _Predicted(
        task,
        examples.targets,
        scale(probabilities, config.temperature),
        truth,
        threshold if isinstance(threshold, list) else float(threshold),
    )


def _rows(labels: torch.Tensor, logits: torch.Tensor) -> np.ndarray:
    array: np.ndarray = labels.cpu().numpy().reshape(logits.shape)
    return array
