"""Examples of the tasks before tokenisation: what a model or a baseline may read, and what it has to predict.

Axes: visits, labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from medm_plm.baselines import VisitExample
from medm_plm.data import tasks
from medm_plm.data.collators import keyed_generator
from medm_plm.data.schema import (
    DIAGNOSIS_CODES,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    SUBJECT_ID,
    VISIT_NUMBER,
)
from medm_plm.errors import InputError


@dataclass(frozen=True)
class TaskExamples:
    """What a model may read, visit by visit, and what it has to predict.

    Args:
        visits (`polars.DataFrame`): visits in the columns of the schema; what is no input is emptied.
        labels (`np.ndarray` of shape `(visits, labels)`): 1 where the label holds, else 0.
        is_target (`np.ndarray` of shape `(visits,)`): False where a visit only is history (medication
            recommendation).
    """

    visits: pl.DataFrame
    labels: np.ndarray
    is_target: np.ndarray

    @property
    def targets(self) -> pl.DataFrame:
        """Which visits are predicted: patient, visit and its number, without any content."""
        return self.visits.select(SUBJECT_ID, HADM_ID, VISIT_NUMBER).filter(pl.Series(self.is_target))

    @property
    def inputs(self) -> pl.DataFrame:
        """What is read of the predicted visits themselves, in the columns of the schema."""
        if tasks.IS_TARGET not in self.visits.columns:
            return self.visits
        return tasks.current_inputs(self.visits).filter(pl.Series(self.is_target))

    @property
    def target_labels(self) -> np.ndarray:
        """Labels of the visits that are predicted, `(targets, labels)`."""
        return self.labels[self.is_target]

    def filter(self, keep: np.ndarray) -> TaskExamples:
        """Keep the visits where the mask `(visits,)` is True."""
        return TaskExamples(self.visits.filter(pl.Series(keep)), self.labels[keep], self.is_target[keep])


def multi_hot(codes: Iterable[Iterable[str]], labels: Sequence[str]) -> np.ndarray:
    """Write code lists as rows over a label list.

    Args:
        codes (`Iterable[Iterable[str]]`): codes of each visit; those outside the label list are left out.
        labels (`Sequence[str]`): the label list.

    Returns:
        `np.ndarray` of shape `(visits, labels)` of 0 and 1.
    """
    columns = {label: index for index, label in enumerate(labels)}
    rows = [[columns[code] for code in visit if code in columns] for visit in codes]
    matrix = np.zeros((len(rows), len(labels)), dtype=np.uint8)
    for row, ones in zip(matrix, rows, strict=True):
        row[ones] = 1
    return matrix


def task_labels(
    task: str, visits: pl.DataFrame, top_k_labels: int, medication_window: str = "whole_stay"
) -> list[str]:
    """List what a task predicts, from the training split alone.

    Args:
        task (`str`): name of the task.
        visits (`polars.DataFrame`): prepared visits.
        top_k_labels (`int`): length of the list of ICD coding.
        medication_window (`str`, defaults to `"whole_stay"`): which medications are predicted, a name of
            `tasks.MEDICATION_WINDOWS`.

    Returns:
        Qualified codes, most frequent first; of readmission and mortality the name of the task, so that the
        head of one is refused for the other.
    """
    if task in tasks.OUTCOME_COLUMNS:
        return [task]
    if task == "icd_coding":
        labels = tasks.icd_coding_labels(visits, top_k_labels)
    elif task == "medication_prediction":
        labels = tasks.medication_prediction_labels(visits, window=medication_window)
    else:
        labels = tasks.medication_recommendation_labels(visits, window=medication_window)
    if not labels:
        raise InputError(
            f"task {task}: the training split holds no code to predict", remedy="prepare more visits"
        )
    return labels


def task_examples(
    task: str,
    visits: pl.DataFrame,
    split: str,
    labels: Sequence[str],
    *,
    max_visits: int = 10,
    seed: int = 0,
    balanced: bool = True,
    medication_window: str = "whole_stay",
    current_note: str = "none",
) -> TaskExamples:
    """Build the examples of one task and split.

    Args:
        task (`str`): name of the task.
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test". Readmission and mortality are trained on as many
            visits with as without one, and looked at in their natural share.
        labels (`Sequence[str]`): from `task_labels`.
        max_visits (`int`, defaults to 10): longer patients are cut to their most recent visits.
        seed (`int`, defaults to 0): draws the balanced training visits.
        balanced (`bool`, defaults to True): False leaves the training visits of readmission and mortality in
            their natural share too.
        medication_window (`str`, defaults to `"whole_stay"`): as in `task_labels`.
        current_note (`str`, defaults to `"none"`): what medication recommendation reads of a visit's own
            note, a name of `tasks.CURRENT_NOTES`.

    Returns:
        The examples.

    Raises:
        InputError: if the split holds none.
    """
    if task in tasks.OUTCOME_COLUMNS:
        chosen = outcome_visits(task, visits, split, balanced=balanced and split == "train", seed=seed)
        targets = chosen[tasks.OUTCOME_COLUMNS[task]].to_numpy().astype(np.uint8)[:, None]
    elif task == "icd_coding":
        chosen = tasks.icd_coding_visits(visits, split, labels)
        targets = multi_hot(chosen[tasks.LABELS], labels)
    elif task == "medication_prediction":
        chosen = tasks.medication_prediction_visits(visits, split, labels, window=medication_window)
        targets = multi_hot(chosen[tasks.LABELS], labels)
    else:
        with_note = tasks.with_current_note(visits, current_note)
        patients = tasks.medication_recommendation_patients(with_note, split, medication_window)
        chosen = _recent_visits(patients, max_visits)
        targets = multi_hot(chosen[tasks.medication_column(visits, medication_window)].fill_null([]), labels)
    if chosen.is_empty():
        raise InputError(f"task {task}: the {split} split holds no example", remedy=_remedy(task))
    is_target = (
        chosen[tasks.IS_TARGET].to_numpy()
        if tasks.IS_TARGET in chosen.columns
        else np.ones(len(chosen), bool)
    )
    return TaskExamples(chosen, targets, is_target)


def outcome_visits(task: str, visits: pl.DataFrame, split: str, *, balanced: bool, seed: int) -> pl.DataFrame:
    """Select the labelled visits of readmission or mortality.

    Args:
        task (`str`): a name of `tasks.OUTCOME_COLUMNS`.
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test".
        balanced (`bool`): sample the larger class down to the smaller one.
        seed (`int`): draws the sample.

    Returns:
        The visits.
    """
    choose = tasks.readmission_visits if task == "readmission" else tasks.mortality_visits
    return choose(visits, split, balanced=balanced, seed=seed)


def _remedy(task: str) -> str:
    if task == "mortality":
        return "prepare a source that tells deaths in hospital and what was known on the first day"
    return "prepare more patients, or choose another task"


def _recent_visits(patients: pl.DataFrame, max_visits: int) -> pl.DataFrame:
    """Cut each patient to the last visits; what now comes first has no history and is no target."""
    from_last = pl.int_range(pl.len()).reverse().over(SUBJECT_ID)
    recent = patients.filter(from_last < max_visits)
    has_history = pl.int_range(pl.len()).over(SUBJECT_ID) > 0
    recent = recent.with_columns((pl.col(tasks.IS_TARGET) & has_history).alias(tasks.IS_TARGET))
    return recent.filter(pl.col(tasks.IS_TARGET).any().over(SUBJECT_ID))


def training_share(examples: TaskExamples, ratio: float, seed: int, by: str = HADM_ID) -> TaskExamples:
    """Keep a share of the training examples; a smaller share is a part of a larger one.

    Args:
        examples (`TaskExamples`): the whole training split.
        ratio (`float`): share in (0, 1]; at least one example stays.
        seed (`int`): chooses the share, together with the ids.
        by (`str`, defaults to `hadm_id`): column that tells examples apart; `subject_id` keeps patients
            whole.

    Returns:
        The chosen examples in their order.
    """
    ids = examples.visits[by].unique(maintain_order=True).to_list()
    order = sorted(ids, key=lambda example_id: keyed_generator(seed, "share", example_id).random())
    chosen = order[: math.ceil(ratio * len(ids))]
    return examples.filter(examples.visits[by].is_in(chosen).to_numpy())


def baseline_examples(task: str, examples: TaskExamples) -> list[VisitExample]:
    """Give the baselines the same inputs as the model.

    In medication recommendation a target's text is the notes of all earlier visits (and what is read of its
    own), its codes are those of earlier visits and, told apart from them, its own diagnoses.

    Args:
        task (`str`): name of the task.
        examples (`TaskExamples`): examples of one split.

    Returns:
        One example for each target visit.
    """
    columns = (SUBJECT_ID, NOTE, DIAGNOSIS_CODES, MEDICATION_CODES)
    rows = zip(
        *(examples.visits[name].to_list() for name in columns),
        tasks.current_inputs(examples.visits)[NOTE].to_list(),
        examples.labels,
        examples.is_target,
        strict=True,
    )
    if task != "medication_recommendation":
        return [
            VisitExample(note=note, codes=diagnoses + medications, labels=labels)
            for _, note, diagnoses, medications, _, labels, _ in rows
        ]
    result, patient, notes, codes = [], None, [], []
    for subject_id, note, diagnoses, medications, current_note, labels, is_target in rows:
        if subject_id != patient:
            patient, notes, codes = subject_id, [], []
        if is_target:
            current = [f"current {code}" for code in diagnoses]
            text = " ".join([*notes, current_note]) if current_note else " ".join(notes)
            result.append(VisitExample(note=text, codes=sorted({*codes}) + current, labels=labels))
        notes.append(note)
        codes += diagnoses + medications
    return result
