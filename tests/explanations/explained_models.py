"""Small fine-tuned-looking models for the invented visits, with lively weights."""

import torch

import prepared_cohort as cohort
from medm_plm.training.models import new_model

DIAGNOSES = [diagnosis for _, diagnosis, _ in cohort.ILLNESSES]
MEDICATIONS = [medication for _, _, medication in cohort.ILLNESSES]
LABELS_OF_TASK = {
    "readmission": ["readmission"],
    "mortality": ["mortality"],
    "icd_coding": DIAGNOSES,
    "medication_prediction": MEDICATIONS,
}
VISITS = cohort.invent_visits()


def lively_model(task: str = "readmission", **options):
    """A model of a task whose answers depend on what it reads, and its processor."""
    labels = dict(enumerate(LABELS_OF_TASK[task]))
    fields = {"id2label": labels, "label2id": {label: index for index, label in labels.items()}}
    lengths = {name: options.pop(name) for name in ("max_note_chunks", "chunk_length") if name in options}
    chosen = cohort.tiny_model_options(**lengths, **options)
    vocabulary = cohort.vocabulary_of(VISITS)
    processor = cohort.build_processor(vocabulary, VISITS["note"], chosen)
    torch.manual_seed(0)
    model = new_model(task, vocabulary, processor, chosen, **fields)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval(), processor
