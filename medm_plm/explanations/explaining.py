"""Explain what a fine-tuned model says of one visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medm_plm.data.schema import HADM_ID
from medm_plm.errors import InputError
from medm_plm.explanations import page
from medm_plm.explanations.importance import Importance, available_methods, importances
from medm_plm.explanations.prediction import Prediction, medication_window_of, predict, task_of
from medm_plm.explanations.visits import EncodedVisit, VisitInputs, encode_visit, task_inputs
from modeling_medm_plm import MedMPLMVisitClassifier
from tokenization_medm_plm import MedMPLMProcessor


@dataclass(frozen=True)
class VisitExplanation:
    """A visit, what a model says of it, and what its words and codes weigh.

    Args:
        visit (`EncodedVisit`): the visit as the model reads it.
        prediction (`Prediction`): the answer that is explained.
        importances (`list[Importance]`): by method.
        titles (`Mapping[str, str]`): titles of codes that the user has.
        visit_id (`str`, *optional*): name of the visit.
    """

    visit: EncodedVisit
    prediction: Prediction
    importances: list[Importance]
    titles: Mapping[str, str] = field(default_factory=dict)
    visit_id: str | None = None

    def to_html(self) -> str:
        """Show the explanation as one page without scripts that loads nothing.

        The page holds the note and the codes of a patient. `medm_plm.data.files.write_private` writes it so
        that only its owner can read it.

        Returns:
            HTML.
        """
        return page.to_html(self.visit, self.prediction, self.importances, self.titles, self.visit_id)


def explain_visit(
    model: MedMPLMVisitClassifier,
    processor: MedMPLMProcessor,
    visit: Mapping[str, Any],
    *,
    task: str | None = None,
    label: str | None = None,
    methods: Sequence[str] | None = None,
    medication_window: str | None = None,
    titles: Mapping[str, str] | None = None,
) -> VisitExplanation:
    """Say which words and codes of a visit count for what a fine-tuned model predicts.

    The model reads of the visit what its task may read, and nothing else: for ICD coding no diagnoses, for
    mortality what was known on the first day (`medm_plm.data.tasks.PREDICTION_TIMES`).

    Args:
        model (`MedMPLMForReadmissionPrediction` or `MedMPLMForICDCoding`): a fine-tuned model.
        processor (`MedMPLMProcessor`): its processor.
        visit (`Mapping`): `note`, `diagnosis_codes`, `medication_codes` and, for mortality and medications of
            the first day, `admission_note` and `first_day_medication_codes`: a row of `visits.parquet`.
        task (`str`, *optional*): `readmission`, `mortality`, `icd_coding` or `medication_prediction`; that of
            the model by default.
        label (`str`, *optional*): the label to explain, such as `ICD9CM:4280`; the most probable one by
            default.
        methods (`Sequence[str]`, *optional*): `attention`, `label_attention`, `integrated_gradients` (needs
            captum); by default the attention that the model has.
        medication_window (`str`, *optional*): which medications the model was trained to predict; by default
            those that its configuration tells.
        titles (`Mapping[str, str]`, *optional*): titles of codes beside the packaged ones.

    Returns:
        The explanation; its `to_html()` is a page.

    Raises:
        InputError: if the model or the task cannot be explained, or a method has not what it needs.

    Example:
        >>> explanation = explain_visit(model, processor, {"note": "chest pain", "diagnosis_codes": []})
        >>> page = explanation.to_html()
    """
    visit_id = visit.get(HADM_ID)
    window = medication_window or medication_window_of(model)
    inputs = task_inputs(checked_task(model, task), visit, window)
    return explain_inputs(
        model,
        processor,
        inputs,
        label=label,
        methods=methods,
        titles=titles,
        visit_id=None if visit_id is None else str(visit_id),
    )


def explain_inputs(
    model: MedMPLMVisitClassifier,
    processor: MedMPLMProcessor,
    inputs: VisitInputs,
    *,
    label: str | None = None,
    methods: Sequence[str] | None = None,
    titles: Mapping[str, str] | None = None,
    visit_id: str | None = None,
) -> VisitExplanation:
    """As `explain_visit`, of inputs that hold nothing that the task may not read."""
    task = task_of(model)
    methods = available_methods(model) if methods is None else list(methods)
    if not methods:
        raise InputError(
            "the model has no attention to show", remedy="ask for integrated_gradients, which every model has"
        )
    encoded = encode_visit(processor, inputs)
    prediction = predict(model, processor, inputs, task, label)
    weights = importances(model, processor, encoded, prediction.explained, methods)
    return VisitExplanation(encoded, prediction, weights, titles or {}, visit_id)


def checked_task(model: MedMPLMVisitClassifier, task: str | None) -> str:
    """Return the task of a model; refuse another name for it.

    Args:
        model (`MedMPLMVisitClassifier`): a fine-tuned model.
        task (`str`, *optional*): what the user calls it.

    Returns:
        The name of the task.

    Raises:
        InputError: if the model is for another task.
    """
    own = task_of(model)
    if task not in (None, own):
        raise InputError("the model is for another task", received=task, expected=own)
    return own
