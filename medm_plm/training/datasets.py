"""Tokenised examples of a prepared folder.

Axes: visits, words, codes, labels. An example holds ids without padding as small NumPy arrays, so that a
hundred thousand notes of 512 tokens take 0.2 GB; the collators of `medm_plm.data.collators` make batches of
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers.utils import logging

from medm_plm.data import tasks
from medm_plm.data.schema import DIAGNOSIS_CODES, HADM_ID, MEDICATION_CODES, NOTE, SUBJECT_ID
from medm_plm.training.task_examples import TaskExamples

logger = logging.get_logger(__name__)

VISITS_PER_CALL = 256
CODE_TYPE_OF_LABELS = {"icd_coding": 1, "medication_prediction": 2}


class ExampleDataset(torch.utils.data.Dataset):
    """Tokenised examples in memory; each comes with the number of the running epoch.

    The epoch lies in shared memory, so workers that outlive an epoch see it change.

    Args:
        examples (`Sequence[dict]`): tokenised visits or patients.
    """

    def __init__(self, examples: Sequence[Mapping[str, Any]]) -> None:
        self.examples = examples
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 0, by which the masks of pre-training are keyed."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.examples[index], "epoch": int(self._epoch)}


def tokenize_visits(
    processor: Any, visits: pl.DataFrame, description: str = "tokenising"
) -> list[dict[str, Any]]:
    """Turn notes and codes into ids, some hundred visits at a time.

    Args:
        processor (`MedMPLMProcessor`): the dual tokenizer.
        visits (`polars.DataFrame`): visits.
        description (`str`): caption of the progress bar.

    Returns:
        One example for each visit: `example_id`, `input_ids` (words, chunk after chunk), `code_input_ids`,
        `code_token_type_ids` (codes), without padding.
    """
    examples = []
    before = dict(processor.code_tokenizer.statistics)
    slices = visits.iter_slices(VISITS_PER_CALL)
    num_calls = math.ceil(len(visits) / VISITS_PER_CALL)
    for part in logging.tqdm(slices, desc=description, total=num_calls, leave=False):
        encoded = processor(
            text=part[NOTE].to_list(),
            diagnosis_codes=part[DIAGNOSIS_CODES].to_list(),
            medication_codes=part[MEDICATION_CODES].to_list(),
            verbose=False,
        )
        rows = zip(
            part[HADM_ID].to_list(),
            encoded["input_ids"],
            encoded["code_input_ids"],
            encoded["code_token_type_ids"],
            strict=True,
        )
        examples += [_example(*row) for row in rows]
    after = processor.code_tokenizer.statistics
    logger.info("%s: %s", description, {name: after[name] - count for name, count in before.items()})
    return examples


def _example(
    hadm_id: str, words: Sequence[int], codes: Sequence[int], code_types: Sequence[int]
) -> dict[str, Any]:
    return {
        "example_id": hadm_id,
        "input_ids": np.asarray(words, dtype=np.int32),
        "code_input_ids": np.asarray(codes, dtype=np.int32),
        "code_token_type_ids": np.asarray(code_types, dtype=np.int8),
    }


def tokenize_task(
    task: str, processor: Any, examples: TaskExamples, description: str
) -> list[dict[str, Any]]:
    """Tokenise the examples of a task with their labels.

    Args:
        task (`str`): name of the task.
        processor (`MedMPLMProcessor`): the dual tokenizer.
        examples (`TaskExamples`): examples of one split.
        description (`str`): caption of the progress bar.

    Returns:
        Visits for `VisitCollator`, or patients for `PatientCollator` (medication recommendation).

    Raises:
        RuntimeError: if a code of the kind that is to be predicted stands in an input, which is a defect of
        ours.
    """
    tokenized = tokenize_visits(processor, examples.visits, description)
    if task == "medication_recommendation":
        return _patients(processor, examples, tokenized)
    for example, labels in zip(tokenized, examples.labels, strict=True):
        example["labels"] = labels[0] if task in tasks.OUTCOME_COLUMNS else labels
        if (example["code_token_type_ids"] == CODE_TYPE_OF_LABELS.get(task)).any():
            raise RuntimeError(f"task {task}: a code of the predicted kind stands in an input")
    return tokenized


def _patients(processor: Any, examples: TaskExamples, visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group tokenised visits by patient and add what is known when their medications are to be predicted."""
    reads_note = tasks.CURRENT_NOTE in examples.visits.columns
    current = tokenize_visits(processor, tasks.current_inputs(examples.visits), "tokenising diagnoses")
    patients: dict[str, list[dict[str, Any]]] = {}
    rows = zip(examples.visits[SUBJECT_ID], visits, current, examples.labels, examples.is_target, strict=True)
    for subject_id, visit, known, labels, is_target in rows:
        visit["current_code_input_ids"] = known["code_input_ids"]
        visit["current_code_token_type_ids"] = known["code_token_type_ids"]
        if reads_note:
            visit["current_input_ids"] = known["input_ids"]
        visit["labels"] = labels if is_target else None
        patients.setdefault(subject_id, []).append(visit)
    return [{"example_id": subject_id, "visits": visits} for subject_id, visits in patients.items()]
