"""The metrics of each task as a metric of the evaluate library, without a network.

Example:
    >>> from medm_plm.metrics.evaluation import ClinicalMetric
    >>> metric = ClinicalMetric("readmission.auroc")
    >>> metric.add_batch(predictions=[0.9, 0.2], references=[1, 0])
    >>> metric.compute()
    {'auroc': 1.0}
"""

from __future__ import annotations

from collections.abc import Sequence

# Each import is alone on its line: evaluate.load reads these lines by itself when it is given this file.
import datasets
import evaluate

from medm_plm.errors import InputError
from medm_plm.metrics.tasks import METRICS_OF_TASK, readmission_metrics

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
            followed by a dot and the name of a metric, as in `"icd_coding.f1_micro"`, for that metric alone.
        num_process (`int`, defaults to 1): processes that collect predictions together. With several of them
            evaluate has to pass the predictions through files of its cache, and removes them afterwards.
        kwargs: further arguments of `evaluate.Metric`; `keep_in_memory` follows from `num_process`.

    Raises:
        InputError: if there is no such task, or (on computing) no such metric.
    """

    def __init__(self, config_name: str | None = None, num_process: int = 1, **kwargs: object) -> None:
        self.task, _, self.chosen = (config_name or "").partition(".")
        if self.task not in METRICS_OF_TASK:
            raise InputError("unknown task", received=repr(self.task), expected=" or ".join(METRICS_OF_TASK))
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
        if not self.chosen:
            return metrics
        if self.chosen not in metrics:
            raise InputError("unknown metric", received=repr(self.chosen), expected=" or ".join(metrics))
        return {self.chosen: metrics[self.chosen]}
