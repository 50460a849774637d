"""What a fine-tuned model says of visits: probabilities after the temperature, and the label to explain.

Axes: visits, labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medm_plm.data import tasks
from medm_plm.data.collators import VisitCollator
from medm_plm.data.schema import ADMISSION_NOTE
from medm_plm.errors import InputError
from medm_plm.explanations.visits import EXPLAINED_TASKS, VisitInputs
from modeling_medm_plm import MedMPLMForICDCoding, MedMPLMForReadmissionPrediction, MedMPLMVisitClassifier
from tokenization_medm_plm import CODE_TYPE_OF_SYSTEM, DIAGNOSIS_TYPE, MedMPLMProcessor

WHOLE_STAY, FIRST_DAY = tasks.MEDICATION_WINDOWS


@dataclass(frozen=True)
class Prediction:
    """The answer that is explained, and the others beside it.

    Args:
        task (`str`): name of the task.
        labels (`tuple[str, ...]`): all labels.
        probabilities (`np.ndarray` of shape `(labels,)`): after the temperature.
        threshold (`tuple[float, ...]`): probability of each label from which it counts as predicted.
        explained (`int`): the label that is explained.
    """

    task: str
    labels: tuple[str, ...]
    probabilities: np.ndarray
    threshold: tuple[float, ...]
    explained: int

    @property
    def label(self) -> str:
        """Name of the label that is explained."""
        return self.labels[self.explained]

    @property
    def probability(self) -> float:
        """Its probability."""
        return float(self.probabilities[self.explained])

    @property
    def is_predicted(self) -> bool:
        """Whether the model gives this label to the visit."""
        return self.probability >= self.threshold[self.explained]


def task_of(model: MedMPLMVisitClassifier) -> str:
    """Tell from a fine-tuned model which task it is for.

    Args:
        model (`MedMPLMVisitClassifier`): the model.

    Returns:
        A name of `EXPLAINED_TASKS`.

    Raises:
        InputError: if it is for none of them.
    """
    labels = list(model.config.id2label.values())
    if isinstance(model, MedMPLMForReadmissionPrediction) and labels[0] in tasks.OUTCOME_COLUMNS:
        return labels[0]
    if isinstance(model, MedMPLMForICDCoding):
        types = {CODE_TYPE_OF_SYSTEM.get(str(label).partition(":")[0]) for label in labels}
        if len(types) == 1 and None not in types:
            return "icd_coding" if types == {DIAGNOSIS_TYPE} else "medication_prediction"
    raise InputError(
        "this model cannot be explained",
        received=type(model).__name__,
        expected=f"a model that run_finetuning.py wrote for {' or '.join(EXPLAINED_TASKS)}",
    )


def medication_window_of(model: MedMPLMVisitClassifier) -> str:
    """Tell from the configuration of a fine-tuned model which medications it was trained to predict.

    Args:
        model (`MedMPLMVisitClassifier`): the model.

    Returns:
        `first_day` if it reads what is known at admission in place of the whole note, else `whole_stay`.
    """
    return FIRST_DAY if model.config.note_field == ADMISSION_NOTE else WHOLE_STAY


@contextmanager
def evaluation(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def probabilities(
    model: MedMPLMVisitClassifier,
    processor: MedMPLMProcessor,
    visits: Sequence[VisitInputs],
    batch_size: int = 32,
) -> np.ndarray:
    """Predict the labels of visits.

    Args:
        model (`MedMPLMVisitClassifier`): a fine-tuned model.
        processor (`MedMPLMProcessor`): its processor.
        visits (`Sequence[VisitInputs]`): what it reads.
        batch_size (`int`, defaults to 32): visits at a time.

    Returns:
        `np.ndarray` of shape `(visits, labels)`.
    """
    collate = VisitCollator.from_processor(processor)
    rows = []
    with evaluation(model), torch.inference_mode():
        for start in range(0, len(visits), batch_size):
            examples = _examples(processor, visits[start : start + batch_size])
            batch = {name: values.to(model.device) for name, values in collate(examples).items()}
            logits = model(**batch).logits.float() / model.config.temperature
            rows.append(torch.sigmoid(logits).cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, model.config.num_labels), dtype=np.float32)


def _examples(processor: MedMPLMProcessor, visits: Sequence[VisitInputs]) -> list[dict[str, Any]]:
    encoded = processor(
        text=[visit.note for visit in visits],
        diagnosis_codes=[list(visit.diagnosis_codes) for visit in visits],
        medication_codes=[list(visit.medication_codes) for visit in visits],
        verbose=False,
    )
    names = ("input_ids", "code_input_ids", "code_token_type_ids")
    return [
        dict(zip(names, row, strict=True)) for row in zip(*(encoded[name] for name in names), strict=True)
    ]


def predict(
    model: MedMPLMVisitClassifier,
    processor: MedMPLMProcessor,
    inputs: VisitInputs,
    task: str,
    label: str | None = None,
) -> Prediction:
    """Predict a visit and choose the label to explain.

    Args:
        model (`MedMPLMVisitClassifier`): a fine-tuned model.
        processor (`MedMPLMProcessor`): its processor.
        inputs (`VisitInputs`): the visit.
        task (`str`): its task.
        label (`str`, *optional*): the label to explain; the most probable one by default.

    Returns:
        The prediction.

    Raises:
        InputError: if the model has no such label.
    """
    labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))
    if label is not None and label not in labels:
        raise InputError(
            "the model has no such label", received=label, expected=f"one of its {len(labels)} labels"
        )
    row = probabilities(model, processor, [inputs])[0]
    explained = int(row.argmax()) if label is None else labels.index(label)
    threshold = model.config.decision_threshold
    each = tuple(threshold) if isinstance(threshold, list | tuple) else (float(threshold),) * len(labels)
    return Prediction(task, labels, row, each, explained)
