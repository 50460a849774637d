"""What a model's losses are, visit by visit.

Pre-training: the sum of the T2C loss (hidden codes from the note) and the C2C loss (hidden codes from the
other codes), the mean over the codes that were hidden. Membership inference hides codes as the training does,
in several drawings that the training has not used; a canary has each of its codes hidden in turn. A
fine-tuned model: the loss of its task, as it was trained, mean over the labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch

from medm_plm.data.collators import (
    IGNORED_LABEL,
    CodeMasker,
    PatientCollator,
    PretrainingCollator,
    VisitCollator,
)
from medm_plm.data.schema import SUBJECT_ID
from medm_plm.training.datasets import tokenize_task, tokenize_visits
from medm_plm.training.evaluation import example_losses
from medm_plm.training.task_examples import TaskExamples

BATCH_SIZE = 32
DESCRIPTIONS = {
    "pretraining": "Loss of a visit: T2C plus C2C, mean over hidden codes.",
    "task": "Loss of a visit: that of the task, mean over its labels.",
}


def masked_losses(
    model: Any, processor: Any, visits: pl.DataFrame, num_masks: int, seed: int = 0
) -> np.ndarray:
    """Losses of a pre-trained model with codes hidden at random, several times.

    Args:
        model (`MedMPLMForPreTraining`): the model.
        processor (`MedMPLMProcessor`): its processor.
        visits (`polars.DataFrame`): visits.
        num_masks (`int`): drawings of the hidden codes.
        seed (`int`, defaults to 0): of the drawings.

    Returns:
        `np.ndarray` of shape `(visits, 2)`: summed loss, and the number of codes it is summed over.
    """
    examples = tokenize_visits(processor, visits)
    masker = CodeMasker.from_tokenizer(processor.code_tokenizer, seed)
    total = np.zeros((len(examples), 2))
    for drawing in range(num_masks):
        hidden = [_hide(example, masker, f"privacy {drawing}", model) for example in examples]
        total += _losses(model, PretrainingCollator.from_processor(processor), hidden)
    return total


def each_code_losses(model: Any, processor: Any, visits: pl.DataFrame) -> np.ndarray:
    """Losses of a pre-trained model with each code of a visit hidden in turn; nothing is drawn.

    Args:
        model (`MedMPLMForPreTraining`): the model.
        processor (`MedMPLMProcessor`): its processor.
        visits (`polars.DataFrame`): visits, each with at least one code of the vocabulary.

    Returns:
        `np.ndarray` of shape `(visits,)`: mean over the codes of a visit.
    """
    examples = tokenize_visits(processor, visits)
    masker = CodeMasker.from_tokenizer(processor.code_tokenizer)
    turns = [(row, turn) for row, example in enumerate(examples) for turn in _each_code(example, masker)]
    losses = _losses(model, PretrainingCollator.from_processor(processor), [turn for _, turn in turns])
    total = np.zeros((len(examples), 2))
    np.add.at(total, [row for row, _ in turns], losses)
    return total[:, 0] / total[:, 1]


def task_losses(
    task: str, model: Any, processor: Any, examples: TaskExamples
) -> tuple[list[str], np.ndarray]:
    """Losses of a fine-tuned model.

    Args:
        task (`str`): its task.
        model (`MedMPLMVisitClassifier`): the model.
        processor (`MedMPLMProcessor`): its processor.
        examples (`TaskExamples`): what it reads and is to predict.

    Returns:
        The patient of each row, and `np.ndarray` of shape `(rows, 2)`: loss and weight; a row is a visit,
        or a patient in medication recommendation.
    """
    tokenized = tokenize_task(task, processor, examples, "tokenising")
    if task == "medication_recommendation":
        patients = [str(example["example_id"]) for example in tokenized]
        return patients, _losses(model, PatientCollator.from_processor(processor), tokenized)
    return examples.visits[SUBJECT_ID].to_list(), _losses(
        model, VisitCollator.from_processor(processor), tokenized
    )


def _hide(example: Mapping[str, Any], masker: CodeMasker, drawing: str, model: Any) -> dict[str, Any]:
    codes, types = example["code_input_ids"], example["code_token_type_ids"]
    masked, labels = masker(codes, types, drawing, example["example_id"])
    if model.config.pretraining_target == "all":
        eligible = masker.eligible_positions(codes, types)
        labels[eligible] = codes[eligible]
    return {**example, "code_input_ids": masked, "labels": labels}


def _each_code(example: Mapping[str, Any], masker: CodeMasker) -> Iterator[dict[str, Any]]:
    codes = np.asarray(example["code_input_ids"], dtype=np.int64)
    for position in masker.eligible_positions(codes, example["code_token_type_ids"]):
        masked, labels = codes.copy(), np.full(len(codes), IGNORED_LABEL, dtype=np.int64)
        masked[position], labels[position] = masker.mask_token_id, codes[position]
        yield {**example, "code_input_ids": masked, "labels": labels}


def _losses(model: Any, collate: Any, examples: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Loss and weight of each example, `(examples, 2)`; batches go by length and come back in order."""
    order = sorted(range(len(examples)), key=lambda index: _length(examples[index]))
    rows = np.zeros((len(examples), 2))
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            batch = collate([examples[index] for index in chosen])
            labels = batch.pop("labels").to(model.device)
            outputs = model(**{name: values.to(model.device) for name, values in batch.items()})
            logits = _logits_of(outputs)
            losses = example_losses(logits, labels, model.config.pretraining_target)
            rows[chosen] = losses.cpu().numpy()
    return rows


def _logits_of(outputs: Any) -> Any:
    if hasattr(outputs, "t2c_logits"):
        return outputs.t2c_logits, outputs.c2c_logits
    return outputs.logits


def _length(example: Mapping[str, Any]) -> int:
    return len(example["input_ids"]) if "input_ids" in example else len(example["visits"])
