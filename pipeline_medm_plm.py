"""Predictions for hospital visits in one call: `pipeline("medm-plm-icd-coding", model=FOLDER)` and its kin.

    classify = pipeline("medm-plm-icd-coding", model=FOLDER, trust_remote_code=True)
    classify({"note": "admitted with ...", "medication_codes": ["C03C"]}, top_k=5)

A visit is a plain dictionary with `note`, `diagnosis_codes` and `medication_codes`, a list of dictionaries is
a batch. Medication recommendation takes the visits of a patient in the order of time. What a task must not
read, because it is the answer or tells it, is not read (see `FIELDS_OF_TASK`).

This file travels to the Hub and imports nothing but torch and transformers.
"""

import difflib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import Pipeline
from transformers.utils import logging

logger = logging.get_logger(__name__)

MODEL_FACTORY = "AutoModelForSequenceClassification"
DEFAULT_BATCH_SIZE = 16
BATCHES_SORTED_TOGETHER = 16
"""So many batches are read before the first is computed, which brings visits of one length together."""

Visit = Mapping[str, Any]
Encoded = dict[str, Any]

NOTE, DIAGNOSES, MEDICATIONS = "note", "diagnosis_codes", "medication_codes"
FIELDS_OF_TASK: dict[str, dict[str, str]] = {
    "medm-plm-medication-recommendation": {
        "text": NOTE,
        "diagnosis_codes": DIAGNOSES,
        "medication_codes": MEDICATIONS,
    },
    "medm-plm-readmission": {"text": NOTE, "diagnosis_codes": DIAGNOSES, "medication_codes": MEDICATIONS},
    "medm-plm-mortality": {"text": "admission_note", "medication_codes": "first_day_medication_codes"},
    "medm-plm-icd-coding": {"text": NOTE, "medication_codes": MEDICATIONS},
    "medm-plm-medication-prediction": {"text": NOTE, "diagnosis_codes": DIAGNOSES},
}
"""Which field of a visit serves as which input of the processor; other fields are not read. The text comes
from another field where the model was trained so (`note_field` of its configuration)."""
CURRENT_NOTE = "admission_note"
"""What medication recommendation may read of the visit it is for, if it was trained to."""


class MedMPLMVisitPipeline(Pipeline):
    """What all pipelines over visits share.

    Args:
        model (`MedMPLMPreTrainedModel`): a fine-tuned model; its configuration holds the temperature, which
            is applied once, and the threshold of the decision.
        processor (`MedMPLMProcessor`): its processor; its code tokenizer holds the titles.
        top_k (`int`, *optional*): return the most probable codes only.
        kwargs: as any pipeline takes them (`device`, `batch_size`, `dtype`).

    Raises:
        ValueError: if the model was not fine-tuned for the task.
    """

    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_video_processor = False

    task_name = ""
    model_name = "MedMPLMForICDCoding"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _write_names_again(self.model.config)
        self._check_model()
        self.model.eval()

    def _check_model(self) -> None:
        """Refuse a head that was built anew because the folder holds none, or another one."""
        saved_as = (self.model.config.architectures or [type(self.model).__name__])[0]
        if {saved_as, type(self.model).__name__} != {self.model_name}:
            raise ValueError(
                f"{self.task_name}: received a {saved_as}, expected a {self.model_name}; give the folder of "
                "a model that was fine-tuned for this task"
            )
        if self.processor is None:
            raise ValueError(
                f"{self.task_name}: no processor; give processor=, or the folder that holds both"
            )

    def _sanitize_parameters(
        self, top_k: int | None = None, **unknown: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if unknown:
            raise TypeError(f"{self.task_name}: unknown options {', '.join(sorted(unknown))}, expected top_k")
        if top_k is not None:
            _check_count(self.task_name, "top_k", top_k)
        return {}, {}, {} if top_k is None else {"top_k": top_k}

    def __call__(self, inputs: Any, batch_size: int | None = None, **parameters: Any) -> Any:
        """Predict.

        One warning tells how many codes were not in the vocabulary or cut off, never which.

        Args:
            inputs (`dict`, `list` or an iterable of them): a visit, or many. For medication recommendation a
                patient is a list of visits or `{"visits": [...]}`, the last visit being the one whose
                medications are asked for.
            batch_size (`int`, *optional*, defaults to 16): examples computed together; changes no result
                beyond rounding.
            parameters: `top_k`.

        Returns:
            For codes a list of `{"code", "title", "title_of", "probability", "decision"}`, the most probable
            first; `title_of` is the code, or the group above it where that bears the title. For readmission
            and mortality `{"probability", "decision"}`. A list of these for a list, an iterator for any other
            iterable.

        Raises:
            TypeError, ValueError: if a visit is not as described; the message holds nothing of its content.
        """
        options = {**self._postprocess_params, **self._sanitize_parameters(**parameters)[2]}
        if batch_size is not None:
            _check_count(self.task_name, "batch_size", batch_size)
        size = batch_size or self._batch_size or DEFAULT_BATCH_SIZE
        if self._is_one(inputs):
            (result,) = self._stream([inputs], size, options)
            return result
        if isinstance(inputs, str) or not isinstance(inputs, Iterable):
            raise TypeError(f"{self.task_name}: expected dictionaries, received {type(inputs).__name__}")
        results = self._stream(inputs, size, options)
        return list(results) if isinstance(inputs, Sequence) else results

    def _is_one(self, inputs: Any) -> bool:
        return isinstance(inputs, Mapping)

    def _stream(self, inputs: Iterable[Any], batch_size: int, options: dict[str, Any]) -> Iterator[Any]:
        """Predict some batches at a time, results in the order of the inputs."""
        before = dict(self.processor.code_tokenizer.statistics)
        examples = enumerate(inputs, start=1)
        while window := list(islice(examples, batch_size * BATCHES_SORTED_TOGETHER)):
            encoded = [self._encode_numbered(number, example) for number, example in window]
            rows = self.probabilities(encoded, batch_size)
            yield from (self.postprocess(row, **options) for row in rows)
        self._report(before)

    def _encode_numbered(self, number: int, example: Any) -> Encoded:
        try:
            return self.preprocess(example)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.task_name}: example {number}: {error}") from None

    def probabilities(self, encoded: Sequence[Encoded], batch_size: int = DEFAULT_BATCH_SIZE) -> torch.Tensor:
        """Compute what `preprocess` returned, examples of one length together.

        Args:
            encoded (`Sequence[dict]`): the examples.
            batch_size (`int`, defaults to 16): examples at a time.

        Returns:
            `torch.DoubleTensor` of shape `(examples, labels)`, after the temperature.
        """
        order = sorted(range(len(encoded)), key=lambda index: encoded[index]["length"])
        rows = torch.empty((len(encoded), self.model.config.num_labels), dtype=torch.double)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            outputs = self.forward(self.collate([encoded[index] for index in chosen]))
            rows[chosen] = torch.sigmoid(outputs["logits"].double() / self.model.config.temperature)
        return rows

    def preprocess(self, visit: Visit) -> Encoded:
        """Turn one visit into ids without padding, and say how long it is."""
        fields = FIELDS_OF_TASK[self.task_name]
        encoded = self._encode(visit, {**fields, "text": self._note_field(fields["text"])})
        return {**encoded, "length": len(encoded["input_ids"])}

    def _note_field(self, usual: str) -> str:
        """The field that the model was trained to read as text: another may be empty, or tell the answer."""
        return self.model.config.note_field or usual

    def _encode(self, visit: Visit, fields: Mapping[str, str]) -> Encoded:
        _check_visit(visit, fields, self.task_name)
        inputs = {name: visit.get(field) for name, field in fields.items()}
        encoded = self.processor(
            text="" if inputs.get("text") is None else inputs["text"],
            diagnosis_codes=_given(inputs, "diagnosis_codes"),
            medication_codes=_given(inputs, "medication_codes"),
            verbose=False,
        )
        return {name: encoded[name] for name in ("input_ids", "code_input_ids", "code_token_type_ids")}

    def collate(self, examples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Pad examples to the longest of them: the inputs of the model."""
        return {**self._pad_notes(examples, ""), **self._pad_codes(examples, "")}

    def _pad_notes(self, visits: Sequence[Encoded], prefix: str) -> dict[str, torch.Tensor]:
        tokenizer, rows = self.processor.tokenizer, [visit[f"{prefix}input_ids"] for visit in visits]
        batch = {
            f"{prefix}input_ids": _pad(rows, tokenizer.pad_token_id),
            f"{prefix}attention_mask": _pad([[1] * len(row) for row in rows], 0),
        }
        if not prefix and "token_type_ids" in tokenizer.model_input_names:
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
        return batch

    def _pad_codes(self, visits: Sequence[Encoded], prefix: str) -> dict[str, torch.Tensor]:
        rows = [visit[f"{prefix}code_input_ids"] for visit in visits]
        types = [visit[f"{prefix}code_token_type_ids"] for visit in visits]
        return {
            f"{prefix}code_input_ids": _pad(rows, self.processor.code_tokenizer.pad_token_id),
            f"{prefix}code_attention_mask": _pad([[1] * len(row) for row in rows], 0),
            f"{prefix}code_token_type_ids": _pad(types, 0),
        }

    def _forward(self, model_inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"logits": self.model(**model_inputs).logits.float()}  # (batch, labels)

    def postprocess(self, probabilities: torch.Tensor, top_k: int | None = None) -> Any:
        """Name the labels of one example, the most probable first.

        Args:
            probabilities (`torch.Tensor` of shape `(labels,)`): after the temperature.
            top_k (`int`, *optional*): how many.
        """
        tokenizer, decisions = self.processor.code_tokenizer, self.decide(probabilities)
        order = probabilities.argsort(descending=True, stable=True)[:top_k].tolist()
        result = []
        for label in order:
            code = str(self.model.config.id2label[label])
            title, title_of = tokenizer.title(code)
            result.append(
                {
                    "code": code,
                    "title": title,
                    "title_of": title_of,
                    "probability": float(probabilities[label]),
                    "decision": bool(decisions[label]),
                }
            )
        return result

    def decide(self, probabilities: torch.Tensor) -> torch.BoolTensor:
        """Compare probabilities `(..., labels)` with the threshold, or thresholds, of the model."""
        return probabilities >= torch.tensor(self.model.config.decision_threshold, dtype=probabilities.dtype)

    def _report(self, before: Mapping[str, int]) -> None:
        """Say how many codes were not read as what they are."""
        after = self.processor.code_tokenizer.statistics
        counts = {name: after[name] - before[name] for name in after}
        if unknown := counts["unknown"] + counts["unknown_placed"]:
            logger.warning(
                f"{self.task_name}: {unknown} of {counts['codes']} codes are not in the vocabulary "
                f"({counts['unknown_placed']} placed on an ontology node, {counts['unknown']} as unknown)"
            )
        if cut := counts["truncated_codes"]:
            logger.warning(
                f"{self.task_name}: {cut} codes of {counts['truncated_visits']} visits were cut off"
            )

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save model and processor, and with them the code files."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)
        target = Path(save_directory, Path(__file__).name)
        if not target.is_file():  # a model that was opened from a folder has not this file at hand
            shutil.copyfile(__file__, target)
            entry = {"impl": f"{target.stem}.{type(self).__name__}", "pt": [MODEL_FACTORY]}
            self.model.config.custom_pipelines = {self.task_name: entry}
            self.model.config.save_pretrained(save_directory)


class MedMPLMReadmissionPipeline(MedMPLMVisitPipeline):
    """Will the patient come back within 30 days? `{"probability", "decision"}` for each visit."""

    task_name = "medm-plm-readmission"
    model_name = "MedMPLMForReadmissionPrediction"

    def _check_model(self) -> None:
        super()._check_model()
        label = str(self.model.config.id2label[0])
        if label in ("readmission", "mortality") and not self.task_name.endswith(label):
            raise ValueError(f"{self.task_name}: the model predicts {label}; use medm-plm-{label}")

    def postprocess(self, probabilities: torch.Tensor, top_k: int | None = None) -> dict[str, Any]:
        return {"probability": float(probabilities[0]), "decision": bool(self.decide(probabilities)[0])}


class MedMPLMMortalityPipeline(MedMPLMReadmissionPipeline):
    """Will the patient die in hospital? Reads `admission_note` and `first_day_medication_codes`."""

    task_name = "medm-plm-mortality"


class MedMPLMICDCodingPipeline(MedMPLMVisitPipeline):
    """Which diagnoses does a visit have? Reads its note and medications, never its diagnoses."""

    task_name = "medm-plm-icd-coding"
    predicts_medications = False

    def _check_model(self) -> None:
        super()._check_model()
        labels = self.model.config.id2label.values()
        if all(str(label).startswith("ATC:") for label in labels) != self.predicts_medications:
            kind, other = "diagnoses", "medm-plm-icd-coding"
            if not self.predicts_medications:
                kind, other = "medications", "medm-plm-medication-prediction"
            raise ValueError(f"{self.task_name}: the model predicts {kind}; use {other}")


class MedMPLMMedicationPredictionPipeline(MedMPLMICDCodingPipeline):
    """Which medications does a visit have? Reads its note and diagnoses, never its medications."""

    task_name = "medm-plm-medication-prediction"
    predicts_medications = True


class MedMPLMMedicationRecommendationPipeline(MedMPLMVisitPipeline):
    """Which medications will the last of a patient's visits need?

    Of the last visit its diagnoses are read, and its `admission_note` if the model was trained to; of the
    earlier ones everything.
    """

    task_name = "medm-plm-medication-recommendation"
    model_name = "MedMPLMForMedicationRecommendation"

    def _is_one(self, inputs: Any) -> bool:
        if isinstance(inputs, Mapping):
            return True
        is_list = isinstance(inputs, Sequence) and not isinstance(inputs, str) and len(inputs) > 0
        return is_list and all(isinstance(visit, Mapping) and "visits" not in visit for visit in inputs)

    def preprocess(self, patient: Sequence[Visit] | Mapping[str, Sequence[Visit]]) -> Encoded:
        """Turn the visits of one patient into ids without padding."""
        visits = patient.get("visits") if isinstance(patient, Mapping) else patient
        if isinstance(visits, str | Mapping) or not isinstance(visits, Sequence) or len(visits) < 2:
            raise ValueError(
                "expected the visits of a patient in the order of time, at least one earlier visit and the "
                "one whose medications are asked for"
            )
        *earlier, last = visits
        nothing = self._encode({NOTE: ""}, {"text": NOTE})
        # The last visit is history for nobody, and of the earlier ones no medications are asked for.
        encoded = [*(self._encode(visit, FIELDS_OF_TASK[self.task_name]) for visit in earlier), nothing]
        known = [*(nothing for _ in earlier), self._encode(last, self._fields_of_last())]
        names = ["code_input_ids", "code_token_type_ids"]
        names += ["input_ids"] if self.model.config.use_current_note else []
        joined = [
            {**visit, **{f"current_{name}": current[name] for name in names}}
            for visit, current in zip(encoded, known, strict=True)
        ]
        return {"visits": joined, "length": max(len(visit["input_ids"]) for visit in encoded)}

    def _fields_of_last(self) -> dict[str, str]:
        fields = {"diagnosis_codes": DIAGNOSES}
        if not self.model.config.use_current_note:
            return fields
        return {**fields, "text": self._note_field(CURRENT_NOTE)}

    def collate(self, examples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        visits = [visit for example in examples for visit in example["visits"]]
        flat = {**super().collate(visits), **self._pad_codes(visits, "current_")}
        if "current_input_ids" in visits[0]:
            flat |= self._pad_notes(visits, "current_")
        lengths = [len(example["visits"]) for example in examples]
        real = _pad([[1] * length for length in lengths], 0)  # (batch, visits)
        batch = {name: rows.new_zeros((*real.shape, rows.shape[1])) for name, rows in flat.items()}
        for name, rows in flat.items():
            batch[name][real.bool()] = rows
        return {**batch, "visit_mask": real}

    def _forward(self, model_inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits = self.model(**model_inputs).logits.float()  # (batch, visits, labels)
        last = model_inputs["visit_mask"].sum(dim=1) - 1
        return {"logits": logits[torch.arange(len(last), device=last.device), last]}


PIPELINES: dict[str, type[MedMPLMVisitPipeline]] = {
    kind.task_name: kind
    for kind in (
        MedMPLMMedicationRecommendationPipeline,
        MedMPLMReadmissionPipeline,
        MedMPLMMortalityPipeline,
        MedMPLMICDCodingPipeline,
        MedMPLMMedicationPredictionPipeline,
    )
}
"""By the name that `transformers.pipeline` takes."""


def _pad(rows: Sequence[Sequence[int]], value: int) -> torch.LongTensor:
    """Lists of ids as `(rows, longest)`, filled up on the right."""
    padded = torch.full((len(rows), max(1, *map(len, rows))), value, dtype=torch.long)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return padded


def _check_count(task: str, name: str, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"{task}: {name} is {value!r}, expected at least 1".replace("\n", " "))


def _given(inputs: Mapping[str, Any], name: str) -> Any:
    return [] if inputs.get(name) is None else inputs[name]


def _check_visit(visit: Any, fields: Mapping[str, str], task: str) -> None:
    """Refuse what is no visit and names that are slips of the pen; say what is not read."""
    if not isinstance(visit, Mapping):
        raise TypeError(f"expected a visit as a dictionary, received {type(visit).__name__}")
    known = [NOTE, DIAGNOSES, MEDICATIONS, CURRENT_NOTE, "first_day_medication_codes"]
    for name in visit:
        near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.88)
        if near and name not in known:
            raise ValueError(f"a visit has no field {name!r}; did you mean {near[0]!r}?")
    if not any(field in visit for field in fields.values()):
        raise ValueError(f"the visit has none of the fields that are read: {', '.join(fields.values())}")
    for name in (DIAGNOSES, MEDICATIONS):
        is_read = name in FIELDS_OF_TASK[task].values()
        if not is_read and hasattr(visit.get(name), "__len__") and len(visit[name]):
            logger.warning_once(f"{task}: {name} are not read, because they are or may tell the answer")


def _write_names_again(config: Any) -> None:
    """Undo that `pipeline()` puts classes into the configuration, which could not be printed any more."""
    for entry in (getattr(config, "custom_pipelines", None) or {}).values():
        entry["pt"] = [getattr(name, "__name__", name) for name in entry.get("pt", ())]


__all__ = [
    "FIELDS_OF_TASK",
    "PIPELINES",
    "MedMPLMICDCodingPipeline",
    "MedMPLMMedicationPredictionPipeline",
    "MedMPLMMedicationRecommendationPipeline",
    "MedMPLMMortalityPipeline",
    "MedMPLMReadmissionPipeline",
    "MedMPLMVisitPipeline",
]
