"""The best that anyone could score on a synthetic cohort: the generator's own probabilities as a model.

For readmission they are exact given all that a model reads. For medications and diagnoses they also know the
illnesses of the patient, which a model has to infer, so they are an upper bound that need not be reachable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from medm_plm.command_line import parse_arguments
from medm_plm.data.files import write_json
from medm_plm.data.schema import HADM_ID, VISITS_FILE, VOCABULARY_FILE, read_visits
from medm_plm.data.synthetic import read_truth, truth_matrix
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.training.arguments import FinetuningArguments
from medm_plm.training.evaluation import METRICS_FILE, run_facts, task_metrics, write_predictions
from medm_plm.training.task_data import run_examples, task_data

_KIND_OF_TASK = {
    "medication_recommendation": "medication",
    "medication_prediction": "medication",
    "icd_coding": "diagnosis",
}


@dataclass
class CeilingArguments:
    """Where the true probabilities are, and what is to be written.

    Args:
        tables (`str`): folder of the synthetic tables.
        output_dir (`str`): folder of metrics and predictions.
        seed (`int`, defaults to 0): noted in the result; nothing is drawn.
    """

    tables: str = field(metadata={"help": "folder of the synthetic tables"})
    output_dir: str = field(metadata={"help": "folder of metrics and predictions"})
    seed: int = field(default=0, metadata={"help": "noted in the result"})


def main(argv: Sequence[str] | None = None) -> None:
    """Write what `run_finetuning.py` would write, with the true probabilities as predictions.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.

    Raises:
        InputError: if the generator does not know the answer to the task.
    """
    options, paths = parse_arguments(FinetuningArguments, CeilingArguments, argv=argv, description=__doc__)
    visits = read_visits(options.data)
    data = task_data(options, visits, CodeVocabulary.load(Path(options.data) / VOCABULARY_FILE))
    truth = read_truth(paths.tables)
    output, results = Path(paths.output_dir), {}
    for split in ("validation", "test"):
        examples = run_examples(options, data, split)
        targets = examples.targets
        rows = targets.select(HADM_ID).join(truth, on=HADM_ID, how="left", maintain_order="left")
        probabilities = _true_probabilities(options.task, rows, data.labels)
        results[split] = {"model": task_metrics(options.task, probabilities, examples.target_labels)}
        write_predictions(
            output / f"predictions_{split}.parquet",
            targets,
            probabilities,
            examples.target_labels,
            data.labels,
        )
    facts = run_facts(Path(options.data) / VISITS_FILE, paths.seed)
    write_json(output / METRICS_FILE, {"task": options.task, "predictor": "ceiling", **facts, **results})


def _true_probabilities(task: str, rows: pl.DataFrame, labels: Sequence[str]) -> np.ndarray:
    if task == "readmission":
        return rows["readmission_probability"].to_numpy()[:, np.newaxis].astype(np.float32)
    if task not in _KIND_OF_TASK:
        raise InputError(f"the generator's probabilities of task {task} are not known")
    return truth_matrix(rows, _KIND_OF_TASK[task], labels).astype(np.float32)
