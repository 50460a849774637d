"""Finished runs by model, task, seed and share, as tables and figures read them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medm_plm.data.schema import HADM_ID, SUBJECT_ID
from medm_plm.errors import InputError
from medm_plm.experiments.planning import PRETRAINING, Run
from medm_plm.experiments.records import RUNS_FOLDER

FREQUENCY = "frequency"


@dataclass(frozen=True)
class Result:
    """One finished run.

    Args:
        run (`Run`): the run as it was planned.
        record (`dict`): content of its JSON file.
        folder (`Path`): its folder.
    """

    run: Run
    record: dict[str, Any]
    folder: Path

    def metric(self, name: str) -> float:
        """Read a metric of the test split, or of another as in `test_balanced:accuracy`; NaN if absent."""
        return _value(self.record["metrics"], name)

    def prior(self, name: str) -> float:
        """Read the same metric of the label frequencies of the training visits."""
        splits = {split: values.get(FREQUENCY, {}) for split, values in self.record["others"].items()}
        return _value(splits, name)

    def predictions(self, split: str = "test") -> Predictions:
        """Read the predictions of a split.

        Raises:
            InputError: if the run has left none, or the file is gone.
        """
        path = self.folder / self.record.get("predictions", {}).get(split, "missing")
        if not path.is_file():
            raise InputError("predictions are missing", file=path, remedy="run the list again")
        rows = pl.read_parquet(path)
        labels = json.loads(pl.read_parquet_metadata(path)["labels"])
        return Predictions(
            rows[SUBJECT_ID].to_list(),
            rows[HADM_ID].to_list(),
            np.array(rows["probabilities"].to_list(), np.float32),
            np.array(rows["labels"].to_list(), np.uint8),
            labels,
        )


@dataclass(frozen=True)
class Predictions:
    """Probabilities and truth of the visits of a split, both `(targets, labels)`, and whose they are."""

    patients: list[str]
    visits: list[str]
    probabilities: np.ndarray
    labels: np.ndarray
    label_names: list[str]

    def is_comparable(self, other: Predictions) -> bool:
        """Tell whether both predict the same labels of the same visits."""
        return self.visits == other.visits and self.label_names == other.label_names


class Results:
    """The finished runs of a list.

    Args:
        runs (`Sequence[Run]`): the runs that were planned.
        records (`dict`): records of finished runs by name.
        output (`Path`): folder of the experiments.
    """

    def __init__(self, runs: Sequence[Run], records: dict[str, dict[str, Any]], output: Path) -> None:
        self.all = [
            Result(run, records[run.name], output / RUNS_FOLDER / run.name)
            for run in runs
            if run.name in records
        ]
        self.num_planned = len(runs)

    def of(self, model: str, task: str, share: float | None = 1.0) -> list[Result]:
        """Choose the runs of a model on a task, one for each seed.

        Args:
            model (`str`): name of the model.
            task (`str`): name of the task.
            share (`float`, *optional*): share of the training data; None takes all.
        """
        return [
            result
            for result in self.all
            if (result.run.model, result.run.task) == (model, task)
            and (share is None or math.isclose(result.run.share, share))
        ]

    def pretraining_of(self, model: str) -> list[Result]:
        """Choose the pre-trainings that runs of a model started from, or that are planned for it alone."""
        needed = {name for result in self.all if result.run.model == model for name in result.run.needs}
        return [result for result in self.all if result.run.name in needed]

    def pretrainings(self) -> list[Result]:
        """Choose all pre-trainings."""
        return [result for result in self.all if result.run.kind == PRETRAINING]

    def shares(self, model: str, task: str) -> list[float]:
        """List the shares of the training data for which a model has runs on a task."""
        return sorted({result.run.share for result in self.of(model, task, share=None)})

    def prior(self, task: str, metric: str) -> float:
        """Give the mean of a metric of the label frequencies over the runs of a task."""
        runs = [r for r in self.all if r.run.task == task and math.isclose(r.run.share, 1.0)]
        return mean([result.prior(metric) for result in runs])


def mean(values: Iterable[float]) -> float:
    """Give the mean of the values that are numbers; NaN without any."""
    defined = [value for value in values if not math.isnan(value)]
    return statistics.fmean(defined) if defined else math.nan


def deviation(values: Iterable[float]) -> float:
    """Give the standard deviation (of a sample) of the values that are numbers; NaN with fewer than two."""
    defined = [value for value in values if not math.isnan(value)]
    return statistics.stdev(defined) if len(defined) > 1 else math.nan


def _value(splits: dict[str, dict[str, Any]], name: str) -> float:
    split, _, metric = name.rpartition(":")
    value = splits.get(split or "test", {}).get(metric)
    return math.nan if value is None else float(value)
