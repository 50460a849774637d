"""The privacy report of a trained model: attacks on its patients, and the exposure of its canaries."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from transformers.utils import SAFE_WEIGHTS_NAME

from medm_plm.command_line import quiet_library
from medm_plm.data.files import fingerprint
from medm_plm.data.schema import SPLIT, SUBJECT_ID, VISITS_FILE, VOCABULARY_FILE, read_visits
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.privacy.attacks import likelihood_ratio_attack, loss_threshold_attack, mean_by_patient
from medm_plm.privacy.canaries import (
    as_visits,
    draw_canaries,
    exposure,
    exposure_record,
    is_canary,
    read_canaries,
)
from medm_plm.privacy.losses import DESCRIPTIONS, each_code_losses, masked_losses, task_losses
from medm_plm.rivals import OWN_ARCHITECTURE
from medm_plm.training.arguments import NER_TASK, FinetuningArguments
from medm_plm.training.evaluation import METRICS_FILE
from medm_plm.training.library_errors import one_line_errors
from medm_plm.training.models import MODEL_CLASSES
from medm_plm.training.pretraining_examples import pretraining_visits
from medm_plm.training.processors import load_processor, require_same_codes
from medm_plm.training.task_data import run_examples, task_data
from medm_plm.training.task_examples import TaskExamples, training_share

PRETRAINING = "pretraining"
HELD_OUT = ("validation", "test")
NUM_CANDIDATES = 1023


def measure_privacy(
    model: str | Path,
    data: str | Path,
    references: Sequence[str | Path] = (),
    canaries: str | Path | None = None,
    num_masks: int = 4,
    num_candidates: int = NUM_CANDIDATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Attack a trained model.

    Args:
        model (`str` or `Path`): folder of `run_pretraining.py` or `run_finetuning.py`.
        data (`str` or `Path`): the prepared folder it was trained on.
        references (`Sequence`): folders of models of the same kind that were trained on none of these
            patients, with the same code vocabulary.
        canaries (`str` or `Path`, *optional*): `canaries.json` of the data, for a pre-trained model.
        num_masks (`int`, defaults to 4): drawings of hidden codes for each visit.
        num_candidates (`int`, defaults to 1023): candidates among which a canary is ranked.
        seed (`int`, defaults to 0): of drawings and resampling.

    Returns:
        The report: numbers alone, without patients, visits or canaries. `canaries_of_references` is the
        exposure in models that have not seen the canaries: what chance gives.

    Raises:
        InputError: if a folder does not fit the others, or the data are not those of the model's run.
    """
    metrics = _metrics_of(model)
    task = str(metrics["task"])
    if task == NER_TASK or metrics.get("predictor", OWN_ARCHITECTURE) != OWN_ARCHITECTURE:
        raise InputError(
            "privacy is measured for MedM-PLM's pre-training and tasks over visits",
            file=model,
            received=f"{task} with {metrics.get('predictor')}",
        )
    _require_own_data(model, data, metrics)
    losses = _patient_losses(model, data, metrics, num_masks, seed)
    attacks = {"loss_threshold": loss_threshold_attack(*losses, seed)}
    if references:
        others = []
        for folder in references:
            _require_comparable(model, folder, task)
            members, rest = _patient_losses(folder, data, metrics, num_masks, seed)
            others.append({**members, **rest})
        attacks["likelihood_ratio"] = likelihood_ratio_attack(*losses, others, seed)
    report: dict[str, Any] = {
        "task": task,
        "seed": seed,
        "data_sha256": metrics["data_sha256"],
        "weights_sha256": _weights_of(model),
        "loss": DESCRIPTIONS[PRETRAINING if task == PRETRAINING else "task"],
        "references": len(references),
        "attacks": {name: attack.record() for name, attack in attacks.items()},
    }
    if canaries is not None:
        if task != PRETRAINING:
            raise InputError("canaries are looked for in pre-trained models only", file=model, received=task)
        report["canaries"] = canary_exposures(model, data, canaries, num_candidates)
        report["canaries_of_references"] = [
            row for folder in references for row in canary_exposures(folder, data, canaries, num_candidates)
        ]
        report["candidates"] = num_candidates
        report["highest_exposure"] = math.log2(num_candidates + 1)
    return report


def canary_exposures(
    model: str | Path, data: str | Path, canaries: str | Path, num_candidates: int = NUM_CANDIDATES
) -> list[dict[str, Any]]:
    """Rank each planted canary among random candidates of the same form.

    Args:
        model, data, canaries, num_candidates: see `measure_privacy`.

    Returns:
        A row for each number of insertions.
    """
    planted, seed = read_canaries(canaries)
    vocabulary = CodeVocabulary.load(Path(data) / VOCABULARY_FILE)
    found = set(_planted_notes(data))
    if any(canary.note not in found for canary in planted):
        raise InputError("the data do not hold these canaries", file=data, remedy="give the audited folder")
    loaded, processor = _load(PRETRAINING, model)
    known = {
        kind: [vocabulary.tokens[code] for code in processor.code_tokenizer.code_ids(kind)] for kind in (1, 2)
    }
    candidates = draw_canaries(known[1], known[2], num_candidates, seed, "candidates")
    losses = each_code_losses(loaded, processor, as_visits([*planted, *candidates]))
    of_planted, of_candidates = losses[: len(planted)], losses[len(planted) :]
    return exposure_record(planted, [exposure(float(loss), of_candidates) for loss in of_planted])


def _patient_losses(
    folder: str | Path, data: str | Path, metrics: dict[str, Any], num_masks: int, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean loss of each training patient, and of each held-out patient; canaries are neither."""
    task = str(metrics["task"])
    model, processor = _load(task, folder)
    visits = read_visits(data)
    if task == PRETRAINING:
        parts = {split: pretraining_visits(visits, split) for split in ("train", *HELD_OUT)}
        parts = {split: part.filter(~is_canary()) for split, part in parts.items()}
        rows = {
            split: (part[SUBJECT_ID].to_list(), masked_losses(model, processor, part, num_masks, seed))
            for split, part in parts.items()
        }
    else:
        rows = {
            split: task_losses(task, model, processor, part)
            for split, part in _task_examples(task, data, visits, metrics, model).items()
        }
    means = {split: mean_by_patient(names, loss[:, 0], loss[:, 1]) for split, (names, loss) in rows.items()}
    return means["train"], {patient: loss for split in HELD_OUT for patient, loss in means[split].items()}


def _task_examples(
    task: str, data: str | Path, visits: pl.DataFrame, metrics: dict[str, Any], model: Any
) -> dict[str, TaskExamples]:
    """Build the examples of the run once more, from what it noted."""
    labels = [str(label) for label in model.config.id2label.values()]
    settings = metrics.get("settings") or {}
    options = FinetuningArguments(
        task=task,
        data=str(data),
        training_ratio=float(metrics.get("training_ratio", 1.0)),
        **({"top_k_labels": len(labels)} if task == "icd_coding" else {}),
        **{name: value for name, value in settings.items() if name in ("medication_window", "current_note")},
    )
    built = task_data(options, visits, CodeVocabulary.load(Path(data) / VOCABULARY_FILE))
    if built.labels != labels:
        raise InputError(
            "the model predicts other labels than the data give",
            file=data,
            remedy="give the folder it was trained on; --label_file and --split_ids are not supported",
        )
    seed = int(metrics["seed"])
    examples = {split: run_examples(options, built, split, seed) for split in ("train", *HELD_OUT)}
    by = SUBJECT_ID if task == "medication_recommendation" else "hadm_id"
    examples["train"] = training_share(examples["train"], options.training_ratio, seed, by)
    return {
        split: part.filter(~part.visits.select(is_canary()).to_series().to_numpy())
        for split, part in examples.items()
    }


def _load(task: str, folder: str | Path) -> tuple[Any, Any]:
    processor = load_processor(folder)
    with one_line_errors(f"the model in {folder} cannot be loaded"), quiet_library():
        return MODEL_CLASSES[task].from_pretrained(folder).eval(), processor


def _metrics_of(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / METRICS_FILE
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        metrics["task"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("no finished run", file=path, expected="a folder of run_pretraining.py") from None
    return metrics


def _require_own_data(model: str | Path, data: str | Path, metrics: dict[str, Any]) -> None:
    """Patients whom the model has never seen would count as its training patients, and it would look safe."""
    if fingerprint(Path(data) / VISITS_FILE) != metrics.get("data_sha256"):
        raise InputError(
            "the model was trained on other visits than these",
            file=data,
            remedy=f"give the prepared folder that {Path(model).name} was trained on",
        )


def _weights_of(model: str | Path) -> str | None:
    """SHA-256 of the weights, by which a card tells that the report is that of its model."""
    path = Path(model) / SAFE_WEIGHTS_NAME
    return fingerprint(path) if path.is_file() else None


def _require_comparable(model: str | Path, reference: str | Path, task: str) -> None:
    """Refuse a reference model whose losses mean something else, or that knows the same patients."""
    own, other = _metrics_of(model), _metrics_of(reference)
    if other["task"] != task:
        raise InputError(
            "the reference model has another task", file=reference, received=other["task"], expected=task
        )
    if own.get("data_sha256") == other.get("data_sha256"):
        raise InputError(
            "the reference model was trained on the very same visits",
            file=reference,
            remedy="train it on `reference` of `run_privacy.py plan`",
        )
    require_same_codes(load_processor(model), reference)


def _planted_notes(data: str | Path) -> list[str]:
    return read_visits(data).filter(is_canary() & (pl.col(SPLIT) == "train"))["note"].to_list()
