"""The options of a run in a file that may be shared: numbers, switches and plain names.

It stands in for the library's pickle of its arguments, which holds the Hub token in clear and local paths.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

SETTINGS_FILE = "training_settings.json"

_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}(-[A-Za-z0-9_]{1,39})?")
_SECRET = re.compile(r"^(hf|api_org|gh[pousr]|github_pat|sk)_|^sk-", re.IGNORECASE)
_PRIVATE_OPTIONS = re.compile(
    r"token|key|dir$|path|file|cache$|^hub_|^push_|^run_name$|^project$|^trackio_|^resume_|^logging_dir|^local_rank"
    r"|^log_level|^report_to$|^ddp_|^fsdp|^deepspeed|^accelerator_config$|^use_cpu$|^disable_tqdm$|^_"
)


def write_settings(path: Path, args: TrainingArguments) -> None:
    """Write the options of a run without tokens, places and names of the user's own.

    Args:
        path (`Path`): the file.
        args (`TrainingArguments`): options of the run.
    """
    path.write_text(json.dumps(shareable_settings(args), indent=2) + "\n", encoding="utf-8")


def shareable_settings(args: TrainingArguments) -> dict[str, Any]:
    """Take the options that may be shared: of text, only what is a plain name.

    Args:
        args (`TrainingArguments`): options of the run.

    Returns:
        Their names and values, sorted.
    """
    values = {name: value for name, value in args.to_dict().items() if not _PRIVATE_OPTIONS.search(name)}
    return {name: value for name, value in sorted(values.items()) if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return _PLAIN_NAME.fullmatch(value) is not None and not _SECRET.search(value)
    if isinstance(value, list):
        return bool(value) and all(_is_plain(item) for item in value)
    return isinstance(value, bool | int | float)
