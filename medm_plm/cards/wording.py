"""What a card says of each task: what it is for, what goes in, what comes out, how it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_AFTER_STAY = "a finished stay, read after discharge"


@dataclass(frozen=True)
class TaskWording:
    """A task in words.

    Args:
        title (`str`): its name.
        pipeline_tag (`str`): task of the Hub.
        inputs, outputs (`str`): what the model reads and returns.
        use (`str`): what it may be tried for.
        moment (`str`): when the inputs are known.
        main_metrics (`tuple[str, ...]`): those to look at first.
    """

    title: str
    pipeline_tag: str
    inputs: str
    outputs: str
    use: str
    moment: str
    main_metrics: tuple[str, ...]


TASKS = {
    "pretraining": TaskWording(
        "pre-training (Text-to-Code and Code-to-Code)",
        "feature-extraction",
        "the note of a visit, and its diagnosis and medication codes",
        "vectors of the note and of the codes, and scores of hidden codes",
        "a starting point for fine-tuning, and features of visits for research",
        _AFTER_STAY,
        ("t2c_recall_at_10", "c2c_recall_at_10"),
    ),
    "medication_recommendation": TaskWording(
        "medication recommendation",
        "text-classification",
        "the notes and codes of earlier visits, and the diagnosis codes of the visit in question",
        "a probability for each medication class (third level of ATC)",
        "research into which medication classes patients like these were given",
        "earlier stays are finished; the diagnosis codes of the present one are known",
        ("jaccard_samples", "prauc_samples", "f1_samples"),
    ),
    "readmission": TaskWording(
        "readmission within 30 days",
        "text-classification",
        "the note of a visit, and its diagnosis and medication codes",
        "the probability that the patient comes back within 30 days",
        "research into risk at discharge",
        _AFTER_STAY,
        ("auroc", "auprc", "recall_at_precision_80"),
    ),
    "icd_coding": TaskWording(
        "ICD coding",
        "text-classification",
        "the note of a visit and its medication codes",
        "a probability for each diagnosis code of the label list",
        "research into support for clinical coders, who decide",
        _AFTER_STAY,
        ("f1_micro", "auroc_micro", "auroc_macro"),
    ),
    "medication_prediction": TaskWording(
        "medication prediction",
        "text-classification",
        "the note of a visit and its diagnosis codes",
        "a probability for each medication class (third level of ATC)",
        "research into the agreement of notes, diagnoses and prescriptions",
        _AFTER_STAY,
        ("f1_micro", "auroc_micro", "auroc_macro"),
    ),
    "mortality": TaskWording(
        "death in hospital",
        "text-classification",
        "what the run let the model read of a visit: note and codes",
        "the probability that the patient dies during the stay",
        "research into the severity of illness",
        "inputs that are written during or after the stay can give the outcome away",
        ("auroc", "auprc"),
    ),
    "ner": TaskWording(
        "named entity recognition",
        "token-classification",
        "the words of a sentence",
        "a label for each word",
        "research into finding entities in clinical text",
        "whenever the text is written",
        ("span_f1", "span_precision", "span_recall"),
    ),
}

_OPEN = """\
import torch
from transformers import {auto_class}, AutoProcessor

repository = "."  # this folder, or the repository's id; from the Hub pass revision="<commit>" as well
processor = AutoProcessor.from_pretrained(repository, trust_remote_code=True)
model = {auto_class}.from_pretrained(repository, trust_remote_code=True).eval()
"""
_VISIT = """\
inputs = processor(
    "admitted with shortness of breath and swollen legs, given furosemide",
    diagnosis_codes={diagnoses},
    medication_codes={medications},
    return_tensors="pt",
)
with torch.no_grad():
    outputs = model(**inputs)
"""
_VECTORS = "print(tuple(outputs.text_augmented_output.shape), tuple(outputs.code_augmented_output.shape))\n"
_DECIDE = """\
probabilities = torch.sigmoid(outputs.logits / model.config.temperature){place}
for index in probabilities.argsort(descending=True)[:5].tolist():
    decided = bool(probabilities[index] >= model.config.decision_threshold)
    print(model.config.id2label[index], round(float(probabilities[index]), 3), decided)
"""
_HISTORY = """\
diagnoses = [["428.0", "401.9"], ["427.31"]]  # an earlier visit, and the visit in question
history = processor(
    ["admitted with shortness of breath and swollen legs", ""],
    diagnosis_codes=diagnoses,
    medication_codes=[["C03C"], []],
    padding=True,
    return_tensors="pt",
)
now = processor(
    ["", "{note}"], diagnosis_codes=diagnoses, medication_codes=[[], []], padding=True, return_tensors="pt"
)
inputs = {{name: values.unsqueeze(0) for name, values in history.items()}}  # one patient
known = {known}
inputs |= {{f"current_{{name}}": now[name].unsqueeze(0) for name in known}}
with torch.no_grad():
    outputs = model(**inputs)
"""
_TAGGER = """\
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

repository = "."  # this folder, or the repository's id; from the Hub pass revision="<commit>" as well
tokenizer = AutoTokenizer.from_pretrained(repository)
model = AutoModelForTokenClassification.from_pretrained(repository, trust_remote_code=True).eval()
words = "given furosemide for swollen legs".split()
inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt")
with torch.no_grad():
    outputs = model(**{name: inputs[name] for name in ("input_ids", "attention_mask")})
for place, index in zip(inputs.word_ids(), outputs.logits[0].argmax(dim=-1).tolist()):
    if place is not None:
        print(words[place], model.config.id2label[index])
"""
_RIVAL = """\
from medm_plm import rivals

model = rivals.load_rival("{architecture}", "{task}", ".").eval()  # the folder of this card
"""


def start_snippet(task: str, config: Mapping[str, Any], architecture: str = "medm_plm") -> str:
    """Write the code that opens a saved folder and predicts a visit.

    Args:
        task (`str`): name of the task.
        config (`Mapping`): configuration of the model.
        architecture (`str`, defaults to `"medm_plm"`): a rival needs the package.

    Returns:
        Python, to be run in the folder.
    """
    if architecture != "medm_plm":
        return _RIVAL.format(architecture=architecture, task=task)
    if task == "ner":
        return _TAGGER
    if task == "pretraining":
        visit = _VISIT.format(diagnoses='["428.0", "401.9"]', medications='["C03C"]')
        return _OPEN.format(auto_class="AutoModel") + visit + _VECTORS
    opening = _OPEN.format(auto_class="AutoModelForSequenceClassification")
    if task == "medication_recommendation":
        reads_note = bool(config.get("use_current_note"))
        names = 'if name.startswith("code_")'
        known = f"[name for name in now {names}]"
        if reads_note:
            known = "list(now)"
        note = "palpitations since this morning" if reads_note else ""
        return opening + _HISTORY.format(note=note, known=known) + _DECIDE.format(place="[0, -1]")
    diagnoses = "None" if task == "icd_coding" else '["428.0", "401.9"]'
    medications = "None" if task == "medication_prediction" else '["C03C"]'
    visit = _VISIT.format(diagnoses=diagnoses, medications=medications)
    place = "[0]" if len(config.get("id2label", {})) > 1 else ".reshape(-1)"
    return opening + visit + _DECIDE.format(place=place)
