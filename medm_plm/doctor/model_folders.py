"""A folder of a saved model: are its files whole and harmless, does it load, does it predict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoProcessor, AutoTokenizer
from transformers.utils import logging

import modeling_medm_plm
from medm_plm import register_auto_classes
from medm_plm.command_line import quiet_library
from medm_plm.doctor.findings import OK, PROBLEM, WARNING, Finding, as_problem
from medm_plm.errors import InputError
from medm_plm.prediction import load_pipeline
from medm_plm.prediction.loading import unknown_codes, unknown_words
from medm_plm.publishing.contents import check_file
from medm_plm.publishing.folder import take_inventory
from medm_plm.publishing.leaks import KnownSecrets
from medm_plm.publishing.names import CARD_FILE, CODE_FILES, CONFIG_FILE, is_weights
from pipeline_medm_plm import FIELDS_OF_TASK

ADAPTER_FILE = "adapter_config.json"
"""A file beside the weights that makes the library open another repository."""
INVENTED_VISIT: dict[str, Any] = {
    "note": "An invented patient was admitted with swollen legs and short of breath.",
    "admission_note": "Swollen legs, short of breath.",
    "diagnosis_codes": ["428.0"],
    "medication_codes": ["C03C"],
    "first_day_medication_codes": ["C03C"],
}
_AGAIN = "save the model again, or copy the folder again from where it came from"


def check_model(folder: str | Path) -> list[Finding]:
    """Check the folder of a model; no code of it is run.

    Args:
        folder (`str` or `Path`): what `save_pretrained`, `run_pretraining.py` or `run_finetuning.py` wrote.

    Returns:
        What was found.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [Finding("model", PROBLEM, f"{folder} is no folder", "check the path")]
    findings = check_files(folder)
    if any(finding.status == PROBLEM for finding in findings):
        return [*findings, Finding("forward pass", WARNING, "not tried, because of the above")]
    register_auto_classes()
    logging.disable_progress_bar()
    with as_problem("model", findings), _one_line("the model"), quiet_library():
        model, loaded = _load(folder)
        findings += loaded
        findings += _predict(folder, model)
    return findings


def check_files(folder: Path) -> list[Finding]:
    """Look through the files: JSON and weights whole, code that of this package, no pickle, nothing private.

    Args:
        folder (`Path`): folder of the model.
    """
    findings: list[Finding] = []
    with as_problem("files", findings):
        inventory = take_inventory(folder)
        missing = [
            what
            for what, there in (
                (CONFIG_FILE, CONFIG_FILE in inventory.shared),
                ("model.safetensors", any(map(is_weights, inventory.shared))),
            )
            if not there
        ]
        if missing:
            raise InputError(f"{' and '.join(missing)} missing", file=folder, remedy="give a saved model")
        known = KnownSecrets.of_this_machine(folder)
        for name in inventory.shared:
            with as_problem(_area_of(name), findings):
                check_file(folder, name, known)
    if (folder / ADAPTER_FILE).exists():
        message = f"{ADAPTER_FILE} makes the library open the repository that it names"
        findings.append(
            Finding("files", PROBLEM, message, "move it and its weights to a folder of their own")
        )
    if not findings:
        findings.append(
            Finding("files", OK, f"{len(inventory.shared)} files are whole; no pickle, token or local path")
        )
        code = [name for name in CODE_FILES if name in inventory.shared]
        findings.append(Finding("code", OK, f"{len(code)} files, byte for byte those of this package"))
    if not (folder / CARD_FILE).is_file():
        findings.append(Finding("card", WARNING, "there is no README.md", f"medm-plm card {folder}"))
    return findings


def _area_of(name: str) -> str:
    if name in CODE_FILES:
        return "code"
    return "weights" if is_weights(name) else name


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Whatever a library raises over a damaged folder is one problem."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"{what} cannot be used: {type(error).__name__}: {reason}", remedy=_AGAIN) from None


def _load(folder: Path) -> tuple[Any, list[Finding]]:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    name = (config.architectures or ["none"])[0]
    model_class = getattr(modeling_medm_plm, name, None) if name.startswith("MedMPLM") else None
    if model_class is None:
        return None, [Finding("model", WARNING, f"{name} is no class of this project; it was not opened")]
    model, report = model_class.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # they are in the report, which says more than the error
        output_loading_info=True,
    )
    for kind, meaning in (
        ("missing_keys", "are missing and would be random"),
        ("mismatched_keys", "have another shape than the configuration says"),
        ("unexpected_keys", "have no place in the model"),
    ):
        if keys := report.get(kind):
            example = min(map(str, keys))
            raise InputError(
                f"{len(keys)} weights {meaning}, {example} among them", file=folder, remedy=_AGAIN
            )
    bad = [key for key, value in model.state_dict().items() if not torch.isfinite(value).all()]
    if bad:
        raise InputError(
            f"{len(bad)} weights hold NaN or infinity, {bad[0]} among them", remedy="train again"
        )
    size = sum(value.numel() for value in model.parameters())
    return model.float().eval(), [Finding("model", OK, f"{name}, {size:,} weights, all finite")]


def _predict(folder: Path, model: Any) -> list[Finding]:
    if model is None:
        return []
    is_tagger = type(model).__name__ == "MedMPLMForTokenClassification"
    opener = AutoTokenizer if is_tagger else AutoProcessor
    reader = opener.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    findings = [_check_vocabulary(reader, is_tagger, model.config)]
    if findings[0].status == PROBLEM:
        return findings  # it cannot be opened as a pipeline
    task = next(iter(modeling_medm_plm.pipelines_of(model.config, type(model).__name__)), None)
    if task is not None:
        visit = {name: INVENTED_VISIT[name] for name in FIELDS_OF_TASK[task].values()}
        found = load_pipeline(folder, device="cpu")([visit, visit] if "recommendation" in task else visit)
        numbers = [entry["probability"] for entry in (found if isinstance(found, list) else [found])]
        is_right = bool(numbers) and all(0.0 <= number <= 1.0 for number in numbers)
        said = f"{len(numbers)} probabilities for an invented visit"
    else:
        with torch.inference_mode():
            outputs = model(**_inputs(reader, not is_tagger), return_dict=True)
        tensors = [value for value in outputs.values() if isinstance(value, torch.Tensor)]
        is_right = bool(tensors) and all(bool(torch.isfinite(value).all()) for value in tensors)
        said = f"{len(tensors)} outputs for an invented visit"
    if not is_right:
        return [*findings, Finding("forward pass", PROBLEM, f"{said}, not all of them finite", "train again")]
    return [*findings, Finding("forward pass", OK, said)]


def _check_vocabulary(reader: Any, is_tagger: bool, config: Any) -> Finding:
    tokenizer = reader if is_tagger else reader.tokenizer
    wrong = unknown_words(tokenizer, config.text_config)
    if wrong is None and not is_tagger:
        wrong = unknown_codes(reader.code_tokenizer, config.code_config)
    if wrong is not None:
        return Finding("processor", PROBLEM, wrong, _AGAIN)
    return Finding("processor", OK, f"loads; {len(tokenizer)} word pieces")


def _inputs(reader: Any, reads_codes: bool) -> Any:
    if not reads_codes:
        return reader([INVENTED_VISIT["note"]], return_tensors="pt", truncation=True)
    return reader(
        text=[INVENTED_VISIT["note"]],
        diagnosis_codes=[INVENTED_VISIT["diagnosis_codes"]],
        medication_codes=[INVENTED_VISIT["medication_codes"]],
        return_tensors="pt",
        padding=True,
    )
