"""What a run says about its predictions: decisions fitted on validation, calibration, intervals, counters.

Temperature and threshold are chosen on validation data, or are those of the task, and are then applied to
the test data unseen. They are stored in the configuration of the model, so that a pipeline decides as the run
did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medm_plm.data import tasks
from medm_plm.data.files import write_private
from medm_plm.data.schema import HADM_ID, SUBJECT_ID
from medm_plm.metrics.bootstrap import bootstrap_values, interval_of
from medm_plm.metrics.calibration import (
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
    scale,
)
from medm_plm.metrics.thresholds import FIXED_THRESHOLD, tune_task_threshold
from medm_plm.metrics.weighted import WEIGHTED_METRICS
from medm_plm.training.arguments import FinetuningArguments
from medm_plm.training.evaluation import task_metrics
from medm_plm.training.task_examples import TaskExamples, outcome_visits

CONFIG_FILE = "config.json"
NUM_SAMPLES, NUM_SAMPLES_OF_MANY = 1000, 200
_MANY = 2**23  # predictions beyond which fewer samples are drawn: a minute in place of several

Predictions = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Probabilities and labels, both `(targets, labels)`, by split."""


@dataclass(frozen=True)
class Decision:
    """How a logit becomes a probability, and a probability a yes or no.

    Args:
        temperature (`float`): what logits are divided by.
        threshold (`float`): probability, after the temperature, from which a label counts as predicted.
    """

    temperature: float
    threshold: float


def choose_decision(
    task: str, predictions: Predictions, fits_temperature: bool = False, tunes_threshold: bool = False
) -> Decision:
    """Choose temperature and threshold on the validation split.

    Args:
        task (`str`): name of the task.
        predictions (`Mapping`): unscaled predictions of each split.
        fits_temperature (`bool`, defaults to False): fit the temperature; else it is 1.
        tunes_threshold (`bool`, defaults to False): tune the threshold; else it is that of the task.

    Returns:
        The decision.
    """
    probabilities, labels = predictions["validation"]
    temperature = fit_temperature(probabilities, labels) if fits_temperature else 1.0
    threshold = FIXED_THRESHOLD[task]
    if tunes_threshold:
        threshold = tune_task_threshold(task, scale(probabilities, temperature), labels)
    return Decision(temperature, threshold)


def scaled_predictions(
    predictions: Predictions, decision: Decision
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Apply the temperature of a decision to the predictions of all splits."""
    return {
        split: (scale(probabilities, decision.temperature), labels)
        for split, (probabilities, labels) in predictions.items()
    }


def decided_metrics(
    task: str,
    predictions: tuple[np.ndarray, np.ndarray],
    decision: Decision,
    interactions: np.ndarray | None = None,
) -> dict[str, float]:
    """Metrics of a split under a decision.

    Args:
        task (`str`): name of the task.
        predictions (`tuple`): probabilities, already scaled, and labels.
        decision (`Decision`): gives the threshold.
        interactions (`np.ndarray` of shape `(labels, labels)`, *optional*): pairs of medications that
            interact.

    Returns:
        Name and value of each metric.
    """
    options: dict[str, Any] = {} if interactions is None else {"interactions": interactions}
    return task_metrics(task, *predictions, threshold=decision.threshold, **options)


def calibration_record(predictions: Predictions) -> dict[str, Any]:
    """Say how well probabilities are calibrated, as they are and after temperature scaling.

    Args:
        predictions (`Mapping`): unscaled predictions of validation and test.

    Returns:
        `fitted_temperature` (on validation, whether or not the run applies it), and for each split `raw` and
        `scaled`, each with `expected_calibration_error` over all visits and labels and the points of its
        `reliability` diagram.
    """
    temperature = fit_temperature(*predictions["validation"])
    record: dict[str, Any] = {"fitted_temperature": temperature}
    for split, (probabilities, labels) in predictions.items():
        truth = labels.ravel().astype(np.bool_)
        record[split] = {}
        for name, divisor in (("raw", 1.0), ("scaled", temperature)):
            risks = scale(probabilities, divisor).ravel().astype(np.float64)
            record[split][name] = {
                "expected_calibration_error": expected_calibration_error(risks, truth),
                "reliability": reliability_bins(risks, truth),
            }
    return record


def intervals_record(
    predictions: tuple[np.ndarray, np.ndarray],
    targets: pl.DataFrame,
    decision: Decision,
    measured: Mapping[str, float],
) -> dict[str, tuple[float, float]]:
    """Confidence intervals (95 %) of the metrics of a split, by resampling patients.

    Args:
        predictions (`tuple`): probabilities, already scaled, and labels.
        targets (`polars.DataFrame`): ids of the visits.
        decision (`Decision`): gives the threshold.
        measured (`Mapping[str, float]`): the metrics; counts among them get no interval.

    Returns:
        Lower and upper end by the name of the metric.
    """
    probabilities, labels = predictions
    names = [name for name in measured if name in WEIGHTED_METRICS]
    values = bootstrap_values(
        list(names),
        [probabilities] * len(names),
        labels,
        targets[SUBJECT_ID].to_numpy(),
        num_samples=NUM_SAMPLES if labels.size <= _MANY else NUM_SAMPLES_OF_MANY,
        threshold=decision.threshold,
    )
    return {name: interval_of(drawn) for name, drawn in zip(names, values, strict=True)}


def store_decision(folder: Path, decision: Decision) -> None:
    """Write a decision into the configuration of a saved model; a folder without a model is left as it is.

    Args:
        folder (`Path`): folder of the model.
        decision (`Decision`): becomes `temperature` and `decision_threshold`.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    config.update(temperature=decision.temperature, decision_threshold=decision.threshold)
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    mode = path.stat().st_mode
    write_private(path, lambda staging: staging.write_text(text, encoding="utf-8"))
    path.chmod(mode)  # whoever may read the weights may read this


@dataclass(frozen=True)
class Measured:
    """What `measure` found out about the predictions of a run.

    Args:
        predictions (`dict`): those of the model, scaled by its temperature, by split.
        decision (`Decision`): that of the model.
        record (`dict`): what belongs into `metrics.json`.
    """

    predictions: dict[str, tuple[np.ndarray, np.ndarray]]
    decision: Decision
    record: dict[str, Any]


def measure(
    options: FinetuningArguments,
    seed: int,
    visits: pl.DataFrame,
    examples: Mapping[str, TaskExamples],
    predictions: Mapping[str, Predictions],
    interactions: np.ndarray | None = None,
) -> Measured:
    """Measure each predictor on each split; of a yes or no also on as many visits of either kind.

    Args:
        options (`FinetuningArguments`): the task, and whether temperature and threshold are fitted.
        seed (`int`): draws the visits of the balanced test.
        visits (`polars.DataFrame`): the visits that the task may use.
        examples (`Mapping[str, TaskExamples]`): the examples by split.
        predictions (`Mapping[str, Predictions]`): unscaled predictions of `model` and of others beside it.
        interactions (`np.ndarray` of shape `(labels, labels)`, *optional*): pairs of medications that
            interact.

    Returns:
        Scaled predictions and decision of `model`, and the record: metrics by split and predictor,
        `test_balanced`, `test_intervals`, `decision` and `calibration`.
    """
    decisions = {
        name: choose_decision(options.task, made, options.fit_temperature, options.tune_threshold)
        for name, made in predictions.items()
    }
    scaled = {name: scaled_predictions(made, decisions[name]) for name, made in predictions.items()}

    def metrics_of(split: str, chosen: np.ndarray | slice = slice(None)) -> dict[str, dict[str, float]]:
        parts = {name: (made[split][0][chosen], made[split][1][chosen]) for name, made in scaled.items()}
        return {
            name: decided_metrics(options.task, part, decisions[name], interactions)
            for name, part in parts.items()
        }

    record: dict[str, Any] = {split: metrics_of(split) for split in ("validation", "test")}
    if options.task in tasks.OUTCOME_COLUMNS:
        balanced = outcome_visits(options.task, visits, "test", balanced=True, seed=seed)[HADM_ID].to_list()
        chosen = examples["test"].targets[HADM_ID].is_in(balanced).to_numpy()
        if chosen.any():  # a small test split may lack one of the two outcomes
            record["test_balanced"] = metrics_of("test", chosen)
    record["test_intervals"] = {
        name: intervals_record(made["test"], examples["test"].targets, decisions[name], record["test"][name])
        for name, made in scaled.items()
    }
    record["decision"] = {name: asdict(decision) for name, decision in decisions.items()}
    record["calibration"] = calibration_record(predictions["model"])
    return Measured(scaled["model"], decisions["model"], record)


def take_statistics(processor: Any) -> dict[str, int]:
    """Read the counters of the code tokenizer since the last call, and set them back.

    Args:
        processor (`MedMPLMProcessor`): the dual tokenizer.

    Returns:
        How many visits and codes it has read, and how many codes were unknown or cut off.
    """
    statistics = dict(processor.code_tokenizer.statistics)
    processor.code_tokenizer.reset_statistics()
    return statistics
