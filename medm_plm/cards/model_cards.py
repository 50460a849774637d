"""The card of a finished model: every section of the Hub's template and of the applied model card, filled."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from medm_plm.cards import passages, tables
from medm_plm.cards.applied import applied_model_card
from medm_plm.cards.metadata import eval_results_file, header, language, license_name, test_results
from medm_plm.cards.reading import Emissions, FinishedRun, Publisher, read_run
from medm_plm.cards.tables import not_applicable, sentence
from medm_plm.cards.wording import TASKS, start_snippet
from medm_plm.data.files import write_private
from medm_plm.errors import InputError

CARD_FILE = "README.md"
RESULTS_FOLDER = ".eval_results"
_MODE = 0o644
_TEMPLATE = "model_card.md"
_LOCAL_PATH = re.compile(
    r"(?:^|[\s`'\"(=])((?:~|\.\.)?/(?:[\w.-]+/)+[\w.-]*|[A-Za-z]:\\[\w\\.-]+)", re.MULTILINE
)


def model_card(
    run_folder: str | Path,
    *,
    privacy: str | Path | None = None,
    publisher: Publisher | None = None,
    emissions: Emissions | None = None,
) -> str:
    """Write the card of a finished folder of `run_pretraining.py` or `run_finetuning.py`.

    Args:
        run_folder (`str` or `Path`): the folder.
        privacy (`str` or `Path`, *optional*): report of `run_privacy.py`; `privacy.json` of the folder by
            default, if there is one.
        publisher (`Publisher`, *optional*): who stands for the model.
        emissions (`Emissions`, *optional*): assumptions for an estimate of carbon emissions.

    Returns:
        The whole `README.md`, with its YAML header.

    Raises:
        InputError: if the folder holds no finished model, or the card would name a path of this machine.
    """
    run = read_run(run_folder, privacy)
    template = Template(files("medm_plm.cards").joinpath("templates", _TEMPLATE).read_text(encoding="utf-8"))
    return checked(template.substitute(card_fields(run, publisher or Publisher(), emissions)))


def write_card(
    run_folder: str | Path,
    *,
    privacy: str | Path | None = None,
    publisher: Publisher | None = None,
    emissions: Emissions | None = None,
) -> Path:
    """Write `README.md` and `.eval_results/*.yaml` into a finished folder; older ones are replaced.

    Args:
        run_folder, privacy, publisher, emissions: see `model_card`.

    Returns:
        Path of the card.

    Raises:
        InputError: as `model_card`, or if the folder cannot be written.
    """
    folder = Path(run_folder)
    text = model_card(folder, privacy=privacy, publisher=publisher, emissions=emissions)
    write_readable(folder / CARD_FILE, text)
    results = eval_results_file(read_run(folder, privacy))
    for old in (folder / RESULTS_FOLDER).glob("*.yaml"):
        old.unlink()
    if results is not None:
        name, content = results
        (folder / RESULTS_FOLDER).mkdir(exist_ok=True)
        write_readable(folder / RESULTS_FOLDER / name, content)
    return folder / CARD_FILE


def checked(text: str) -> str:
    """Refuse a card that names a folder of this machine.

    Args:
        text (`str`): the card.

    Returns:
        The same text.

    Raises:
        InputError: if it does.
    """
    found = _LOCAL_PATH.search(text)
    if found is not None or str(Path.home()) + "/" in text:
        raise InputError(
            "the card would name a folder of this machine",
            row=None if found is None else text[: found.start(1)].count("\n") + 1,
            remedy="take the path out of the options of run_card.py, or report this as a defect",
        )
    return text


def card_fields(run: FinishedRun, publisher: Publisher, emissions: Emissions | None) -> dict[str, str]:
    """Fill every field of the template.

    Args:
        run (`FinishedRun`): the run.
        publisher (`Publisher`): who stands for the model.
        emissions (`Emissions`, *optional*): assumptions for the estimate.

    Returns:
        Text by field.
    """
    wording, restricted = TASKS[run.task], run.restricted
    name = f"MedM-PLM, {wording.title}"
    predictor = run.metrics.get("predictor", "medm_plm")
    if predictor != "medm_plm":
        name = f"{predictor} (comparison with MedM-PLM), {wording.title}"
    resources, training = run.metrics.get("resources") or {}, run.metrics.get("training") or {}
    hardware = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in resources.items())
    rule = run.source.rule if restricted is None else restricted.rule
    fields: dict[str, str] = {
        "header": header(run, name, publisher),
        "name": name,
        "summary": f"{sentence(wording.title)}: reads {wording.inputs}, gives {wording.outputs}.",
        "description": _description(run),
        "developer": publisher.developer or _unstated("developer"),
        "funding": publisher.funding or _unstated("funding"),
        "shared_by": publisher.developer or _unstated("developer"),
        "model_type": f"`{run.config.get('model_type')}`, {', '.join(run.config.get('architectures') or [])}",
        "language": language(run, publisher),
        "license": license_name(restricted),
        "base_model": _base_model(run),
        "repository": not_applicable("the card lies in the repository it describes"),
        "paper": passages.PAPER,
        "demo": not_applicable("the run makes no demo"),
        "direct_use": f"{sentence(wording.use)}. Inputs are known at this moment: {wording.moment}.",
        "downstream_use": _downstream(run),
        "out_of_scope": passages.OUT_OF_SCOPE,
        "data_rule": rule,
        "limits": passages.limits_passage(run),
        "recommendations": passages.RECOMMENDATIONS,
        "snippet": start_snippet(run.task, run.config, predictor).rstrip(),
        "training_data": passages.data_passage(run),
        "procedure": _procedure(run),
        "preprocessing": passages.preprocessing_passage(run),
        "regime": _regime(training),
        "settings": tables.settings_table(training),
        "speeds": passages.speeds_passage(run),
        "testing_data": f"Test patients of the same preparation: {run.source.title}; no other hospital.",
        "factors": not_applicable("the run measures all test patients together and no subgroups"),
        "metric_notes": _metric_notes(run),
        "results": tables.results_table(test_results(run)),
        "calibration": passages.calibration_passage(run),
        "results_summary": passages.summary_of_results(run),
        "privacy": passages.privacy_passage(run),
        "examination": not_applicable("the run explains no prediction; `run_explanation.py` does"),
        "hardware": hardware or not_applicable("the run did not note its machine"),
        **passages.carbon_fields(run, emissions),
        "architecture": _architecture(run),
        "infrastructure": f"{resources.get('processes', 1)} process(es), by the Trainer of transformers.",
        "software": _software(run),
        "bibtex": passages.BIBTEX,
        "apa": passages.PAPER,
        "glossary": _GLOSSARY,
        "more": "`metrics.json` holds the metrics of all splits and the log of the training.",
        "authors": "written by `medm_plm.cards` from the files of the run",
        "contact": publisher.contact or _unstated("contact"),
    }
    fields["chai"] = applied_model_card(run, publisher, fields)
    return fields


_GLOSSARY = (
    "ICD: classification of diagnoses. ATC: classification of medications; its third level names a class. "
    "T2C, C2C: prediction of hidden codes from the note, and from the other codes. AUROC: chance that a case "
    "scores higher than a non-case. Calibration error: mean gap between predicted probability and observed "
    "share."
)


def _unstated(name: str) -> str:
    return not_applicable(f"the publisher stated none (`run_card.py --{name}`)")


def _base_model(run: FinishedRun) -> str:
    if run.text_encoder is None:
        return not_applicable("the text encoder started from random weights")
    if run.text_encoder == "local":
        return not_applicable("the text encoder came from a folder, whose origin the run does not know")
    return run.text_encoder


def _description(run: FinishedRun) -> str:
    origin = "has not been pre-trained"
    if run.metrics.get("pretrained") or run.metrics.get("pretraining"):
        origin = "was pre-trained by Text-to-Code and Code-to-Code prediction"
    if run.task == "pretraining":
        origin = "is the result of Text-to-Code and Code-to-Code prediction"
    return (
        "MedM-PLM reads the note of a hospital visit with a text encoder and its diagnosis and medication "
        "codes with a code encoder over the ICD and ATC trees, and lets the two inform each other. This "
        f"model {origin}. It is a research model."
    )


def _downstream(run: FinishedRun) -> str:
    if run.task == "pretraining":
        return "Fine-tuning by `run_finetuning.py`, with data of which no test patient was pre-trained on."
    return not_applicable("the model is fine-tuned for one task and one label list")


def _procedure(run: FinishedRun) -> str:
    if run.task == "pretraining":
        return (
            "Some of each visit's codes are hidden and predicted from the note (T2C) and from the others "
            "(C2C)."
        )
    return (
        "All weights that are not frozen are trained on the labels of the task; the epoch that is best on "
        "validation is kept."
    )


def _regime(training: dict[str, Any]) -> str:
    return next((name for name in ("bf16", "fp16") if training.get(name)), "fp32")


def _metric_notes(run: FinishedRun) -> str:
    intervals = "Intervals (95 %) come from resampling test patients with all their visits."
    if not any(result.interval for result in test_results(run)):
        intervals = f"Intervals: {not_applicable('the run computes none for this task')}."
    return (
        "The metrics of the field for this task, beside those of predicting the frequency of each label in "
        f"the training visits. {intervals}"
    )


def _architecture(run: FinishedRun) -> str:
    text, code = run.config.get("text_config") or {}, run.config.get("code_config") or {}
    parts = [
        f"text encoder `{text.get('model_type')}` ({text.get('num_hidden_layers')} layers of width "
        f"{text.get('hidden_size')}, {run.config.get('num_frozen_text_layers', 0)} frozen)"
    ]
    if run.task != "ner":
        parts.append(
            f"code encoder ({code.get('num_hidden_layers')} layers of width {code.get('hidden_size')}, "
            f"{code.get('vocab_size')} codes)"
        )
    if run.metrics.get("num_labels"):
        parts.append(f"{run.metrics['num_labels']} labels")
    return "; ".join(parts) + "."


def _software(run: FinishedRun) -> str:
    found = dict(run.metrics.get("versions") or {})
    if run.metrics.get("medm_plm_version"):
        found["medm-plm"] = run.metrics["medm_plm_version"]
    return ", ".join(f"{name} {number}" for name, number in found.items())


def write_readable(path: Path, text: str) -> None:
    """Write a card, which names nobody and is meant to be read by anyone who may read the folder."""
    write_private(path, lambda staging: staging.write_text(text, encoding="utf-8"))
    path.chmod(_MODE)
