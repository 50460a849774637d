"""From the options of a run to the visits, labels and examples of its task, checked against leakage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from medm_plm.data import leakage, tasks
from medm_plm.data.checking import check_before_training
from medm_plm.data.published_ids import held_out_ids, published_visits, read_published_ids
from medm_plm.data.published_labels import read_published_labels
from medm_plm.data.schema import DIAGNOSIS_CODES, SPLIT
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.training.arguments import FinetuningArguments
from medm_plm.training.task_examples import TaskExamples, task_examples, task_labels


@dataclass(frozen=True)
class TaskData:
    """What a run learns from, apart from the examples.

    Args:
        visits (`polars.DataFrame`): the visits that the task may use; `split` is that of the task.
        labels (`list[str]`): what is predicted.
        facts (`dict`): counts that belong to the result, by the option they come from.
    """

    visits: pl.DataFrame
    labels: list[str]
    facts: dict[str, dict[str, int]] = field(default_factory=dict)


def task_data(
    options: FinetuningArguments, visits: pl.DataFrame, vocabulary: CodeVocabulary | None = None
) -> TaskData:
    """Check the prepared visits and choose those of the task, and its labels.

    Args:
        options (`FinetuningArguments`): the task and its settings.
        visits (`polars.DataFrame`): prepared visits.
        vocabulary (`CodeVocabulary`, *optional*): checked with them.

    Returns:
        Visits, labels and counts.

    Raises:
        InputError: if the visits leak, if published lists hold out patients that pre-training has seen, or if
            the source lacks what the settings need.
    """
    facts: dict[str, dict[str, int]] = {}
    if options.split_ids is None:
        check_before_training(options.data, visits, vocabulary)
    else:
        ids = read_published_ids(options.split_ids)
        check_before_training(options.data, visits, vocabulary, held_out_ids(ids))
        published = published_visits(visits, ids)
        visits, facts["split_ids"] = published.visits, published.facts
    if options.label_file is None:
        labels = task_labels(options.task, visits, options.top_k_labels, options.medication_window)
    else:
        listed = read_published_labels(options.label_file)
        labels, facts["label_file"] = list(listed.codes), {"procedures_left_out": listed.num_procedures}
        _require_labels(labels, visits, options.label_file)
    return TaskData(visits, labels, facts)


def run_examples(
    options: FinetuningArguments, data: TaskData, split: str, seed: int = 0, balanced: bool = True
) -> TaskExamples:
    """Build the examples of one split as the options ask for them.

    Args:
        options (`FinetuningArguments`): the task and its settings.
        data (`TaskData`): from `task_data`.
        split (`str`): "train", "validation" or "test".
        seed (`int`, defaults to 0): see `task_examples`.
        balanced (`bool`, defaults to True): see `task_examples`.

    Returns:
        The examples.
    """
    return task_examples(
        options.task,
        data.visits,
        split,
        data.labels,
        max_visits=options.max_visits,
        seed=seed,
        balanced=balanced,
        medication_window=options.medication_window,
        current_note=options.current_note,
    )


def check_run_examples(
    options: FinetuningArguments, visits: pl.DataFrame, examples: Mapping[str, TaskExamples]
) -> None:
    """Check the inputs that the run will read, whatever built them.

    The full note of the current visit is a leak that the user has asked for; it is not checked.

    Args:
        options (`FinetuningArguments`): the task and its settings.
        visits (`polars.DataFrame`): all prepared visits, with the prepared split.
        examples (`Mapping[str, TaskExamples]`): the examples by split.

    Raises:
        InputError: with the table of violations.
    """
    if options.current_note == "full":
        return
    name = options.task
    if name == "medication_prediction" and options.medication_window == "first_day":
        name = tasks.FIRST_DAY_PREDICTION
    remedy = None if options.split_ids is None else "prepare the data with --split_ids and the same lists"
    inputs = {split: part.inputs for split, part in examples.items()}
    leakage.check_examples(visits, {name: inputs}, remedy)


def _require_labels(labels: list[str], visits: pl.DataFrame, label_file: str) -> None:
    seen = set(visits.filter(pl.col(SPLIT) == "train")[DIAGNOSIS_CODES].explode())
    if not seen.intersection(labels):
        raise InputError(
            "no training visit has a code of the list",
            file=label_file,
            received=f"{len(labels)} codes",
            remedy="give a list in the code system of the source",
        )
