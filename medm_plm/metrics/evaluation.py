"""The metrics of each task as a metric of the evaluate library, without a network.

Example:
    >>> from medm_plm.metrics import load
    >>> metric = load("auroc")
    >>> metric.add_batch(predictions=[0.9, 0.2], references=[1, 0])
    >>> metric.compute()
    {'auroc': 1.0}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Each import is alone on its line: evaluate.load reads these lines by itself when it is given this file.
import datasets
import evaluate
import numpy as np

from medm_plm.errors import InputError
from medm_plm.metrics.tasks import METRICS_OF_TASK, medication_recommendation_metrics, readmission_metrics

_CITATION = """@article{liu2022medmplm,
  title = {Multimodal data matters: language model pre-training over structured and unstructured
           electronic health records},
  author = {Liu, Sicen and others},
  journal = {IEEE Journal of Biomedical and Health Informatics},
  year = {2022}
}"""
_INPUTS = """
Args:
    predictions: probabilities; one number a visit for readmission and mortality, one list a visit otherwise.
    references: 0 or 1, of the same shape.
    threshold: probability from which a label counts as predicted; defaults to that of the task.
"""


class ClinicalMetric(evaluate.Metric):
    """The numbers of one task, or a single one of them, collected batch by batch.

    Predictions are those of patients, so that a single process keeps them in memory and off the disk.

    Args:
        config_name (`str`): a task of `METRICS_OF_TASK`, such as `"readmission"` or `"icd_coding"`;
            followed by a dot and the name of a metric, as in `"icd_coding.f1_micro"`, for that metric alone;
            or the name of a metric that only one kind of task has, such as `"auroc_macro"`.
        num_process (`int`, defaults to 1): processes that collect predictions together. With several of them
            evaluate has to pass the predictions through files of its cache, and removes them afterwards.
        kwargs: further arguments of `evaluate.Metric`; `keep_in_memory` follows from `num_process`.

    Raises:
        InputError: if there is no such task or metric, or the name alone does not say which.
    """

    def __init__(self, config_name: str | None = None, num_process: int = 1, **kwargs: object) -> None:
        self.task, self.chosen = _task_and_metric(config_name or "")
        kwargs["keep_in_memory"] = num_process == 1
        super().__init__(config_name, num_process=num_process, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        probability, label = datasets.Value("float64"), datasets.Value("int64")
        if METRICS_OF_TASK[self.task] is not readmission_metrics:
            probability, label = datasets.List(probability), datasets.List(label)
        return evaluate.MetricInfo(
            description=METRICS_OF_TASK[self.task].__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": probability, "references": label}),
        )

    def _compute(
        self, predictions: Sequence[object], references: Sequence[object], **options: object
    ) -> dict[str, float]:
        metrics = METRICS_OF_TASK[self.task](predictions, references, **options)
        if self.chosen is None:
            return metrics
        if self.chosen not in metrics:  # a metric that is there on a condition
            raise InputError(
                f"metric {self.chosen} lacks something", expected="its table", remedy="give interactions=..."
            )
        return {self.chosen: metrics[self.chosen]}


def load(name: str, **kwargs: Any) -> ClinicalMetric:
    """Load a metric by its name, as `evaluate.load` does, but from this package and without a network.

    Args:
        name (`str`): see `ClinicalMetric`.
        kwargs: further arguments of `ClinicalMetric`.

    Returns:
        The metric; `compute(predictions=..., references=...)` gives a dictionary.

    Raises:
        InputError: if there is no such metric, or the name alone does not say which.
    """
    return ClinicalMetric(name, **kwargs)


def metric_names(task: str) -> tuple[str, ...]:
    """Names of the numbers in the table of a task, of which `ddi_rate` needs a table of interactions.

    Args:
        task (`str`): a task of `METRICS_OF_TASK`.

    Returns:
        The names, in the order of the table.
    """
    metrics = METRICS_OF_TASK[task]
    if metrics is medication_recommendation_metrics:
        return tuple(metrics([[0.2, 0.8]], [[0, 1]], interactions=np.zeros((2, 2))))
    return tuple(metrics([[0.2], [0.8]], [[0], [1]]))


def _task_and_metric(name: str) -> tuple[str, str | None]:
    """Take `task`, `task.metric` or `metric` apart."""
    task, _, metric = name.partition(".")
    if task not in METRICS_OF_TASK:
        return _task_of_metric(name), name
    if metric and metric not in (names := metric_names(task)):
        raise InputError("unknown metric", received=repr(metric), expected=" or ".join(names))
    return task, metric or None


def _task_of_metric(name: str) -> str:
    """Find the task whose table has a metric; of tasks that share one table the first."""
    tasks = {metrics: task for task, metrics in reversed(METRICS_OF_TASK.items())}
    found = [task for task in reversed(tasks.values()) if name in metric_names(task)]
    if not found:
        expected = " or ".join((*METRICS_OF_TASK, "the name of one of their metrics"))
        raise InputError("unknown task or metric", received=repr(name), expected=expected)
    if len(found) > 1:
        expected = " or ".join(f"{task}.{name}" for task in found)
        raise InputError("more than one task has this metric", received=repr(name), expected=expected)
    return found[0]
