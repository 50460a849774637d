"""How well a model does, task by task: NumPy arrays of probabilities in, a dictionary of numbers out.

The same numbers as metrics of the evaluate library, which work without a network, are in
`medm_plm.metrics.evaluation`; that module is apart because evaluate brings torch with it.
"""

from medm_plm.metrics.agreement import tune_threshold
from medm_plm.metrics.pretraining import frequency_prior_places, hidden_code_metrics, hidden_code_places
from medm_plm.metrics.tasks import (
    METRICS_OF_TASK,
    icd_coding_metrics,
    medication_recommendation_metrics,
    readmission_metrics,
)

__all__ = [
    "METRICS_OF_TASK",
    "frequency_prior_places",
    "hidden_code_metrics",
    "hidden_code_places",
    "icd_coding_metrics",
    "medication_recommendation_metrics",
    "readmission_metrics",
    "tune_threshold",
]
