"""What a finished run remembers of its data, settings and cost, so that its card needs no hand-filling.

Counts, versions and chosen numbers only: no path, no user or machine name, nothing of a patient.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from medm_plm.data.schema import REPORT_FILE
from medm_plm.errors import InputError
from medm_plm.training.arguments import RunArguments
from medm_plm.training.evaluation import METRICS_FILE

SETTINGS = (
    *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("learning_rate", "text_learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay"),
    *("optim", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "label_smoothing_factor"),
    *("early_stopping_patience", "load_best_model_at_end", "metric_for_best_model"),
    *("bf16", "fp16", "torch_compile", "seed"),
)
"""Options of the library and of ours that decide what is learnt."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def run_record(
    args: RunArguments,
    data: str | Path | None = None,
    model: str | Path | None = None,
    text_model: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Collect what a card tells of a run apart from its metrics.

    Args:
        args (`RunArguments`): options of the run.
        data (`str` or `Path`, *optional*): the prepared folder.
        model (`str` or `Path`, *optional*): folder of the model the run started from.
        text_model (`str`, *optional*): folder or Hub id of the published text encoder it started from.
        settings: further numbers and names that decided what was learnt.

    Returns:
        `finished` (a date), `medm_plm_version`, `preparation`, `pretraining`, `text_encoder`, `training` and
        `resources`; what is not known is None.
    """
    return {
        "finished": datetime.now(UTC).date().isoformat(),
        "medm_plm_version": _package_version(),
        "preparation": preparation_facts(data),
        "pretraining": pretraining_facts(model),
        "text_encoder": text_encoder_name(text_model),
        "training": {**_plain_settings(args), **settings},
        "resources": resources(args),
    }


def read_run_record(folder: str | Path) -> dict[str, Any]:
    """Read what a run noted down beside its model.

    Args:
        folder (`str` or `Path`): folder of a model.

    Returns:
        The content of `metrics.json`; nothing if the model came alone.

    Raises:
        InputError: if the file is damaged.
    """
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError("the file is no valid JSON", file=path) from None
    return record if isinstance(record, dict) else {}


def preparation_facts(folder: str | Path | None) -> dict[str, Any] | None:
    """Take source, rules, counts and fingerprint from the report of a prepared folder.

    Args:
        folder (`str` or `Path`, *optional*): what `run_preparation.py` wrote.

    Returns:
        The facts; None without a folder or a report.
    """
    report = None if folder is None else _read(Path(folder) / REPORT_FILE)
    if report is None:
        return None
    rules, medications = report.get("rules", {}), report.get("medications", {})
    checks = report.get("leakage", {}).values()
    return {
        "source": report.get("source", {}).get("name"),
        "fingerprint": report.get("fingerprint"),
        "rows_read": {name: table["rows_in"] for name, table in report.get("tables", {}).items()},
        "rows_dropped": {
            name: sum(table["rows_dropped"].values()) for name, table in report.get("tables", {}).items()
        },
        "cohort": rules.get("cohort"),
        "readmission_policy": rules.get("readmission_policy"),
        "diagnosis_system": rules.get("diagnosis_system"),
        "visits": report.get("visits"),
        "medications": {name: medications.get(name) for name in ("rows", "rows_mapped")},
        "lengths": report.get("lengths"),
        "splits": {
            name: {key: part[key] for key in ("patients", "visits")}
            for name, part in report.get("splits", {}).items()
            if "patients" in part
        },
        "leakage": {
            "checks": len(checks),
            "violations": sum(check["violations"] for check in checks),
        },
    }


def pretraining_facts(folder: str | Path | None) -> dict[str, Any] | None:
    """Say what the model a run started from was trained on, as far as its own folder tells.

    Args:
        folder (`str` or `Path`, *optional*): the model's folder.

    Returns:
        `source`, `fingerprint`, `data_sha256` and `text_encoder` of its own run; None without a folder.
    """
    if folder is None:
        return None
    metrics = _read(Path(folder) / METRICS_FILE) or {}
    preparation = metrics.get("preparation") or {}
    return {
        "source": preparation.get("source"),
        "fingerprint": preparation.get("fingerprint"),
        "data_sha256": metrics.get("data_sha256"),
        "text_encoder": metrics.get("text_encoder"),
        "epochs": (metrics.get("training") or {}).get("num_train_epochs"),
    }


def text_encoder_name(text_model: str | None) -> str | None:
    """Name a published text encoder by its Hub id; a folder of this machine has no name for others.

    Args:
        text_model (`str`, *optional*): folder or Hub id.

    Returns:
        The Hub id, `"local"` for a folder, None for a text encoder that started from random weights.
    """
    if text_model is None:
        return None
    is_id = _HUB_ID.fullmatch(text_model) is not None and not Path(text_model).exists()
    return text_model if is_id else "local"


def resources(args: RunArguments) -> dict[str, Any]:
    """Say what the run computed on and how much memory it took at most.

    Args:
        args (`RunArguments`): options of the run.

    Returns:
        `device`, `processes`, `threads`, `peak_memory_gb` of this process and, on a GPU,
        `peak_gpu_memory_gb`.
    """
    on_gpu = args.device.type == "cuda"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(args.device) if on_gpu else args.device.type,
        "processes": args.world_size,
        "threads": torch.get_num_threads(),
        "peak_memory_gb": round(peak * (1 if sys.platform == "darwin" else 1024) / 1e9, 2),
    }
    if on_gpu:
        found["peak_gpu_memory_gb"] = round(torch.cuda.max_memory_allocated(args.device) / 1e9, 2)
    return found


def _plain_settings(args: RunArguments) -> dict[str, Any]:
    values = {name: getattr(args, name, None) for name in SETTINGS}
    plain = {name: getattr(value, "value", value) for name, value in values.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _package_version() -> str | None:
    try:
        return version("medm-plm")
    except PackageNotFoundError:  # a clone that was not installed
        return None


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
