"""Open a saved model as a pipeline, by the code that is installed and never by the folder's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, pipeline

from medm_plm.command_line import quiet_library
from medm_plm.errors import InputError
from modeling_medm_plm import pipelines_of
from pipeline_medm_plm import PIPELINES, MedMPLMVisitPipeline


def load_pipeline(model: str | Path, task: str | None = None, **kwargs: Any) -> MedMPLMVisitPipeline:
    """Open a fine-tuned model; no code of its folder is run.

    `transformers.pipeline(task, model=..., trust_remote_code=True)` does the same by the code in the folder.
    The Auto classes must know MedM-PLM (`medm_plm.register_auto_classes()`), as they do after
    `from medm_plm import load_pipeline`.

    Args:
        model (`str` or `Path`): folder of a fine-tuned model, or its name on the Hub.
        task (`str`, *optional*): such as `medm-plm-icd-coding`; that of the model by default.
        kwargs: as `transformers.pipeline` takes them (`device`, `dtype`, `batch_size`, `revision`, `top_k`).

    Returns:
        The pipeline.

    Raises:
        InputError: if there is no such model, it was not fine-tuned for a task that has a pipeline, or device
        or precision do not exist.

    Example:
        >>> predict = load_pipeline("demo-output/icd_coding")
        >>> predict({"note": "swollen legs", "medication_codes": ["C03C"]}, top_k=3)
    """
    _check_dtype(kwargs.get("dtype"))
    revision = {"revision": kwargs["revision"]} if "revision" in kwargs else {}
    try:
        with quiet_library():
            config = _read_config(str(model), revision)
            name = task or _task_of(config, model)
            return pipeline(
                name,
                model=str(model),
                pipeline_class=_class_of(name),
                trust_remote_code=False,
                **kwargs,
            )
    except AssertionError as error:  # what torch raises without CUDA
        raise InputError(
            f"the device cannot be used: {(str(error).splitlines() or ['none'])[0]}",
            received=str(kwargs.get("device")),
            remedy="use cpu",
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the model cannot be opened: {(str(error).splitlines() or [type(error).__name__])[0]}",
            file=model,
            remedy="give the folder of a model that run_finetuning.py wrote",
        ) from None


def _check_dtype(dtype: Any) -> None:
    if (
        isinstance(dtype, str)
        and dtype != "auto"
        and not isinstance(getattr(torch, dtype, None), torch.dtype)
    ):
        raise InputError("unknown precision", received=dtype, expected="float32, bfloat16 or float16")


def _read_config(model: str, revision: dict[str, Any]) -> Any:
    """Read the configuration; what the library makes of a damaged file is one kind of error."""
    try:
        return AutoConfig.from_pretrained(model, trust_remote_code=False, **revision)
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"its configuration is damaged ({type(error).__name__})") from error


def _task_of(config: Any, model: str | Path) -> str:
    class_name = (config.architectures or ["none"])[0]
    names = pipelines_of(config, class_name) if config.model_type == "medm_plm" else {}
    if not names:
        raise InputError(
            "there is no pipeline for this model",
            file=model,
            received=class_name,
            expected=f"a model that was fine-tuned for one of {', '.join(sorted(PIPELINES))}",
        )
    return next(iter(names))


def _class_of(task: str) -> type[MedMPLMVisitPipeline]:
    if task not in PIPELINES:
        raise InputError("unknown task", received=task, expected=", ".join(sorted(PIPELINES)))
    return PIPELINES[task]
