"""Saved folders of tiny fine-tuned models with their processors, as `run_finetuning.py` leaves them."""

from pathlib import Path

import torch

from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForReadmissionPrediction,
    MedMPLMPreTrainedModel,
)
from prepared_cohort import invent_visits, tiny_model, tiny_processor, vocabulary_of
from tokenization_medm_plm import MedMPLMProcessor

CLASSES = {
    "icd_coding": MedMPLMForICDCoding,
    "medication_prediction": MedMPLMForICDCoding,
    "readmission": MedMPLMForReadmissionPrediction,
    "mortality": MedMPLMForReadmissionPrediction,
    "medication_recommendation": MedMPLMForMedicationRecommendation,
}
TASK_NAMES = tuple(CLASSES)


def labels_of(task: str) -> list[str]:
    """What a task predicts of the invented visits."""
    if task in ("readmission", "mortality"):
        return [task]
    system = "ICD9CM:" if task == "icd_coding" else "ATC:"
    vocabulary = vocabulary_of(invent_visits())
    return [token for token in vocabulary.tokens[: vocabulary.num_codes] if token.startswith(system)]


def tiny_predictor(task: str, **config_fields: object) -> tuple[MedMPLMPreTrainedModel, MedMPLMProcessor]:
    """A model with lively weights and labels of its own, and its processor."""
    visits, labels = invent_visits(), labels_of(task)
    torch.manual_seed(0)
    fields = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "temperature": 1.5,
        "decision_threshold": 0.4,
        **config_fields,
    }
    model = tiny_model(task, visits, **fields)
    for parameter in model.parameters():  # the library's small initial weights hide mistakes
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval(), tiny_processor(visits)


def save_predictor(task: str, folder: Path, **config_fields: object) -> Path:
    """Save both into a folder."""
    model, processor = tiny_predictor(task, **config_fields)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
