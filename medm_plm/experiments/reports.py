"""What a list of runs is to tell: the tables and figures, as they stand in its YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medm_plm.errors import InputError

KINDS = ("task_table", "cost_table", "probe_table", "share_figure", "learning_curves")

# Section 9 of the method: F1, accuracy and area as the paper prints them, under the names of our metrics.
# The paper trains and tests readmission on as many visits with as without one.
PAPER_METRICS = {
    "medication_recommendation": ("f1_samples", "label_accuracy", "auroc_samples"),
    "readmission": ("test_balanced:f1_macro", "test_balanced:accuracy", "auroc"),
    "mortality": ("test_balanced:f1_macro", "test_balanced:accuracy", "auroc"),
    "icd_coding": ("f1_micro", "jaccard_micro", "auroc_micro", "auroc_macro"),
    "medication_prediction": ("f1_micro", "jaccard_micro", "auroc_micro", "auroc_macro"),
    "ner": ("span_f1", "span_precision", "span_recall"),
}
AREAS = {
    "medication_recommendation": "auroc_samples",
    "readmission": "auroc",
    "mortality": "auroc",
    "icd_coding": "auroc_micro",
    "medication_prediction": "auroc_micro",
    "ner": "span_f1",
}
"""The one number of each task that models are compared by."""


@dataclass(frozen=True)
class ReportSpecification:
    """One table or figure.

    Args:
        kind (`str`): one of `KINDS`.
        name (`str`): name of its files.
        title (`str`): its heading.
        models (`list[str]`, *optional*): the models it shows, in this order; all by default.
        tasks (`list[str]`, *optional*): the tasks it shows; all by default.
        metrics (`dict`, *optional*): metrics of each task, in place of those of the paper; a metric of
            another split is written `test_balanced:accuracy`.
    """

    kind: str
    name: str
    title: str
    models: list[str] | None = None
    tasks: list[str] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError("reports: kind", received=self.kind, expected=" or ".join(KINDS))

    def metrics_of(self, task: str) -> tuple[str, ...]:
        """Name the metrics of a task, in the order of the columns."""
        return tuple(self.metrics.get(task, PAPER_METRICS.get(task, ())))
