"""How well a model does, task by task: NumPy arrays of probabilities in, a dictionary of numbers out.

`load` gives the same numbers as metrics of the evaluate library, without a network; their module,
`medm_plm.metrics.evaluation`, is imported only then, because evaluate brings torch with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medm_plm.metrics.pretraining import frequency_prior_places, hidden_code_metrics, hidden_code_places
from medm_plm.metrics.tasks import (
    METRICS_OF_TASK,
    icd_coding_metrics,
    medication_recommendation_metrics,
    readmission_metrics,
)
from medm_plm.metrics.thresholds import tune_threshold

if TYPE_CHECKING:
    from medm_plm.metrics.evaluation import ClinicalMetric

__all__ = [
    "METRICS_OF_TASK",
    "frequency_prior_places",
    "hidden_code_metrics",
    "hidden_code_places",
    "icd_coding_metrics",
    "load",
    "medication_recommendation_metrics",
    "readmission_metrics",
    "tune_threshold",
]


def load(name: str, **kwargs: Any) -> ClinicalMetric:
    """Load a metric of the evaluate library by its name; see `medm_plm.metrics.evaluation.load`."""
    from medm_plm.metrics import evaluation

    return evaluation.load(name, **kwargs)
