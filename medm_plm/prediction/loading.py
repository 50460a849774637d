"""Open a saved model as a pipeline, by the code that is installed and never by the folder's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import HFValidationError, validate_repo_id
from transformers import AutoConfig, pipeline

from medm_plm.command_line import quiet_library
from medm_plm.errors import InputError
from modeling_medm_plm import pipelines_of
from pipeline_medm_plm import PIPELINES, MedMPLMVisitPipeline

_LEAST_SHARE = 0.9
"""Encoders have a few rows more than words, to reach a round number."""
_SAVED_MODEL = "the folder of a model that run_finetuning.py wrote"


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
        InputError: if there is no such model, it was not fine-tuned for the task, or for any that has a
        pipeline, its tokenizer does not know its words, or device or precision do not exist.

    Example:
        >>> predict = load_pipeline("demo-output/icd_coding")
        >>> predict({"note": "swollen legs", "medication_codes": ["C03C"]}, top_k=3)
    """
    _check_dtype(kwargs.get("dtype"))
    _check_place(model)
    revision = {"revision": kwargs["revision"]} if "revision" in kwargs else {}
    try:
        with quiet_library():
            config = _read_config(str(model), revision)
            name = _task_of(config, model, task)
            predict = pipeline(
                name,
                model=str(model),
                pipeline_class=PIPELINES[name],
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
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if not os.path.exists(model):
            reason = f"there is no such folder, and as a name on the Hub: {reason}"
        raise InputError(
            f"the model cannot be opened: {reason}", file=model, remedy=f"give {_SAVED_MODEL}"
        ) from None
    processor, config = predict.processor, predict.model.config
    wrong = unknown_words(processor.tokenizer, config.text_config)
    wrong = wrong or unknown_codes(processor.code_tokenizer, config.code_config)
    if wrong is not None:
        remedy = "see that tokenizer.json and tokenizer_config.json of both tokenizers are there and whole"
        raise InputError(f"the model cannot be opened: {wrong}", file=model, remedy=remedy)
    return predict


def unknown_words(tokenizer: Any, text_config: Any) -> str | None:
    """Compare the words that a tokenizer knows with the rows of the text encoder.

    Without its vocabulary file the library makes an empty tokenizer, to which every word is unknown.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): text tokenizer of a saved model.
        text_config (`PretrainedConfig`): configuration of its text encoder.

    Returns:
        What is wrong; None if they fit.
    """
    known, rows = len(tokenizer), text_config.vocab_size
    if not _LEAST_SHARE * rows <= known <= rows:
        return f"the text tokenizer knows {known} word pieces, the model has {rows}"
    if tokenizer.pad_token_id is None:
        return "the text tokenizer has no padding token, as if tokenizer_config.json were missing"
    return None


def unknown_codes(code_tokenizer: Any, code_config: Any) -> str | None:
    """Compare the codes that a tokenizer knows with those that the model can predict.

    Args:
        code_tokenizer (`MedMPLMCodeTokenizer`): code tokenizer of a saved model.
        code_config (`MedMPLMCodeConfig`): configuration of its code encoder.

    Returns:
        What is wrong; None if they fit.
    """
    if code_tokenizer.num_codes == code_config.vocab_size:
        return None
    return (
        f"the code tokenizer knows {code_tokenizer.num_codes} codes, the model has {code_config.vocab_size}"
    )


def _check_place(model: str | Path) -> None:
    """Refuse what is no folder and no likely name on the Hub either, before the Hub is asked for it."""
    if os.path.exists(model):  # unlike that of Path, it is False for a name that is too long
        return
    try:
        validate_repo_id(str(model))
        is_mistyped = "/" in str(model) and os.path.isdir(
            os.path.dirname(model)
        )  # the folder above it is there
    except HFValidationError:
        is_mistyped = True
    if is_mistyped:
        raise InputError(
            "the model cannot be opened: there is no such folder",
            file=model,
            expected=f"{_SAVED_MODEL}, or its name on the Hub",
        )


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


def _task_of(config: Any, model: str | Path, task: str | None) -> str:
    """The task of a model; another name for it is refused."""
    if task is not None and task not in PIPELINES:
        raise InputError("unknown task", received=task, expected=", ".join(sorted(PIPELINES)))
    class_name = (config.architectures or ["none"])[0]
    names = pipelines_of(config, class_name) if config.model_type == "medm_plm" else {}
    if not names:
        raise InputError(
            "there is no pipeline for this model",
            file=model,
            received=class_name,
            expected=f"a model that was fine-tuned for one of {', '.join(sorted(PIPELINES))}",
        )
    own = next(iter(names))
    if task not in (None, own):
        raise InputError("the model is for another task", file=model, received=task, expected=own)
    return own
