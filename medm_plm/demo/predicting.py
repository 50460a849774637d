"""The models of the page: one for each task, what they say of a visit, and what they looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medm_plm.command_line import quiet_library
from medm_plm.demo.entries import Entry
from medm_plm.errors import InputError
from medm_plm.explanations.explaining import explain_visit
from medm_plm.explanations.importance import (
    Importance,
    attention_of_codes,
    attention_of_words,
    available_methods,
)
from medm_plm.explanations.visits import CODES, WORDS, EncodedVisit, VisitInputs, encode_visit
from medm_plm.prediction.loading import load_pipeline
from pipeline_medm_plm import MedMPLMVisitPipeline
from tokenization_medm_plm import MedMPLMCodeTokenizer

TASKS = ("icd_coding", "readmission", "medication_recommendation")
NUM_CODES_SHOWN = 8


@dataclass(frozen=True)
class Line:
    """One label of an answer.

    Args:
        label (`str`): a code as `SYSTEM:CODE`, or the name of the task for a yes-or-no task.
        title (`str`, *optional*): its title.
        title_of (`str`, *optional*): the code, or the group above it, that bears the title.
        probability (`float`): after the temperature.
        threshold (`float`): from which the label counts as predicted.
        decision (`bool`): whether it does.
    """

    label: str
    title: str | None
    title_of: str | None
    probability: float
    threshold: float
    decision: bool


@dataclass(frozen=True)
class Answer:
    """What one model says.

    Args:
        task (`str`): a name of `TASKS`.
        lines (`list[Line]`): the most probable labels first; empty where the task had nothing to read.
        num_labels (`int`): how many labels the model has.
        num_predicted (`int`): how many of them it predicts.
        visit (`EncodedVisit`, *optional*): the visit as the model reads it.
        importances (`list[Importance]`): the kinds of attention that the model has, that of the label last.
    """

    task: str
    lines: list[Line] = field(default_factory=list)
    num_labels: int = 0
    num_predicted: int = 0
    visit: EncodedVisit | None = None
    importances: list[Importance] = field(default_factory=list)


class Predictors:
    """The models of the page.

    Args:
        pipelines (`Mapping[str, MedMPLMVisitPipeline]`): by task.
    """

    def __init__(self, pipelines: Mapping[str, MedMPLMVisitPipeline]) -> None:
        self.pipelines = {task: pipelines[task] for task in TASKS if task in pipelines}

    @classmethod
    def load(cls, folders: Iterable[str | Path]) -> Predictors:
        """Open the models.

        Args:
            folders (`Iterable[str]` or `Iterable[Path]`): folders of fine-tuned models, or folders that hold
                such folders, as `make demo` leaves one.

        Returns:
            One model for each task that has one.

        Raises:
            InputError: if there is none, there are two for one task, or one is for no task of the page.
        """
        pipelines: dict[str, MedMPLMVisitPipeline] = {}
        for folder in _model_folders(folders):
            pipeline = load_pipeline(folder)
            task = _task_of(pipeline)
            if task not in TASKS:
                raise InputError(
                    "the page has no such task", file=folder, received=task, expected=" or ".join(TASKS)
                )
            if task in pipelines:
                raise InputError(
                    f"a second model for {task}", file=folder, remedy="give one folder for each task"
                )
            pipelines[task] = pipeline
        return cls(pipelines)

    @property
    def code_tokenizers(self) -> list[MedMPLMCodeTokenizer]:
        """Code tokenizers of the models."""
        return [pipeline.processor.code_tokenizer for pipeline in self.pipelines.values()]

    def answers(self, entry: Entry) -> list[Answer]:
        """Ask every model.

        Args:
            entry (`Entry`): the visit, and the diagnoses of the next one.

        Returns:
            One answer for each model, in the order of `TASKS`.
        """
        return [
            self._recommend(pipeline, entry)
            if task == "medication_recommendation"
            else self._classify(task, pipeline, entry)
            for task, pipeline in self.pipelines.items()
        ]

    def _classify(self, task: str, pipeline: MedMPLMVisitPipeline, entry: Entry) -> Answer:
        # What the pipeline would drop with a warning is not handed over.
        visit = entry.visit if task == "readmission" else {**entry.visit, "diagnosis_codes": []}
        lines, num_predicted = _lines(pipeline, visit, task)
        inputs = VisitInputs(entry.note, tuple(visit["diagnosis_codes"]), entry.medication_codes)
        importances: list[Importance] = []
        if available_methods(pipeline.model):
            found = explain_visit(pipeline.model, pipeline.processor, visit)
            encoded, importances = found.visit, found.importances
        else:
            encoded = encode_visit(pipeline.processor, inputs)
        return Answer(task, lines, pipeline.model.config.num_labels, num_predicted, encoded, importances)

    def _recommend(self, pipeline: MedMPLMVisitPipeline, entry: Entry) -> Answer:
        task = "medication_recommendation"
        if not entry.next_diagnosis_codes:
            return Answer(task)
        visits = [entry.visit, {"diagnosis_codes": list(entry.next_diagnosis_codes)}]
        lines, num_predicted = _lines(pipeline, visits, task)
        inputs = VisitInputs(entry.note, entry.diagnosis_codes, entry.medication_codes)
        encoded = encode_visit(pipeline.processor, inputs)
        importances = []
        if pipeline.model.config.use_cross_modal:
            importances.append(_attention_of_earlier_visit(pipeline, visits, encoded))
        return Answer(task, lines, pipeline.model.config.num_labels, num_predicted, encoded, importances)


def _model_folders(folders: Iterable[str | Path]) -> list[Path]:
    found: list[Path] = []
    for folder in map(Path, folders):
        inner = [folder / task for task in TASKS if (folder / task / "config.json").is_file()]
        if not inner and not (folder / "config.json").is_file():
            raise InputError(
                "there is no fine-tuned model",
                file=folder,
                expected=f"a saved model, or a folder with one of {', '.join(TASKS)} in it",
                remedy="run `make demo` for models of an invented cohort",
            )
        found += inner or [folder]
    if not found:
        raise InputError("no model is given", remedy="give --models FOLDER")
    return found


def _task_of(pipeline: MedMPLMVisitPipeline) -> str:
    return pipeline.task_name.removeprefix("medm-plm-").replace("-", "_")


def _lines(pipeline: MedMPLMVisitPipeline, example: Any, task: str) -> tuple[list[Line], int]:
    """The most probable labels, and how many are predicted in all."""
    result = pipeline(example)
    threshold = pipeline.model.config.decision_threshold
    if isinstance(result, dict):
        line = Line(task, None, None, result["probability"], _scalar(threshold), result["decision"])
        return [line], int(line.decision)
    index = {str(label): place for place, label in pipeline.model.config.id2label.items()}
    lines = [
        Line(
            row["code"],
            row["title"],
            row["title_of"],
            row["probability"],
            threshold[index[row["code"]]] if isinstance(threshold, list | tuple) else float(threshold),
            row["decision"],
        )
        for row in result
    ]
    return lines[:NUM_CODES_SHOWN], sum(line.decision for line in lines)


def _scalar(threshold: Any) -> float:
    return float(threshold[0] if isinstance(threshold, list | tuple) else threshold)


def _attention_of_earlier_visit(
    pipeline: MedMPLMVisitPipeline, visits: list[dict[str, object]], encoded: EncodedVisit
) -> Importance:
    """Read the cross-modal attention of the one earlier visit off the recommending model itself."""
    batch = pipeline.collate([pipeline.preprocess(visits)])
    batch = {name: values.to(pipeline.model.device) for name, values in batch.items()}
    with torch.inference_mode(), quiet_library():
        output = pipeline.model(**batch, output_attentions=True)
    # One row for each visit that is history, here one; heads are averaged.
    to_words = output.note_token_attentions[0].mean(dim=0).double().cpu().numpy()
    to_codes = output.code_token_attentions[0].mean(dim=0).double().cpu().numpy()
    words, beside_words = attention_of_words(encoded, to_words)
    codes, beside_codes = attention_of_codes(encoded, to_codes)
    return Importance("attention", {WORDS: words, CODES: codes}, {WORDS: beside_words, CODES: beside_codes})
