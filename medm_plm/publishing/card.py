"""What the card of a model must say before the model may be public."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from medm_plm.errors import InputError

GATE_PROMPT = "extra_gated_prompt"

_HEADER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_PLACEHOLDERS = re.compile(
    r"[\W_]*(?:none|null|nan|n ?/? ?a|not applicable.*|unknown|unnamed|unspecified|undisclosed"
    r"|tbd|tba|todo|fixme|x+|(?:more )?information needed|placeholder|example|sample|test|foo|bar"
    r"|(?:(?:my|your|the|a|some|our|user|owner|org|name)[\W_]*)*"
    r"(?:private |training |clinical )?(?:data|dataset|datasets|data set|dataset[\W_]*name|data[\W_]*name)"
    r"|(?:your|my|private)[\W_].*)?[\W_]*",
    re.IGNORECASE,
)
_CREDENTIALED = re.compile(r"mimic|eicu|n2c2|i2b2|physionet|credentialed", re.IGNORECASE)
_OPEN = re.compile(r"demo|synthetic", re.IGNORECASE)


def read_metadata(content: bytes | None, file: Path) -> dict[str, Any]:
    """Read the YAML header of a card.

    Args:
        content (`bytes`, *optional*): the whole card; None if there is none.
        file (`Path`): for messages.

    Returns:
        Its keys and values; nothing without a card or a header.

    Raises:
        InputError: if the header is no YAML mapping.
    """
    header = _HEADER.match((content or b"").decode("utf-8", errors="replace"))
    if header is None:
        return {}
    try:
        metadata = yaml.safe_load(header[1])
    except (yaml.YAMLError, RecursionError):
        metadata = ()
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise InputError(
            "the header between the two lines of dashes is no YAML of the form 'key: value'",
            file=file,
            remedy="mend it, or write the card again",
        )
    return metadata


def named_datasets(metadata: dict[str, Any]) -> list[str]:
    """Take the data that a card names; words that stand for a name do not count.

    Args:
        metadata (`dict`): header of the card.

    Returns:
        The names; nothing if one of the entries is no name.
    """
    entries = metadata.get("datasets")
    entries = entries if isinstance(entries, list) else [entries]
    names = [entry.strip() for entry in entries if isinstance(entry, str)]
    if len(names) < len(entries) or any(_PLACEHOLDERS.fullmatch(name) for name in names):
        return []
    return names


def needs_gate(metadata: dict[str, Any]) -> bool:
    """Tell whether the card names data that may be used after signing an agreement only."""
    entries = metadata.get("datasets")
    entries = entries if isinstance(entries, list) else [entries]
    return any(_CREDENTIALED.search(str(entry)) and not _OPEN.search(str(entry)) for entry in entries)


def is_gated(metadata: dict[str, Any]) -> bool:
    """Tell whether the card asks readers to agree to something before they get the files."""
    prompt = metadata.get(GATE_PROMPT)
    return isinstance(prompt, str) and bool(prompt.strip())


def require_public_card(metadata: dict[str, Any], file: Path) -> None:
    """Refuse a card with which a model must not be public.

    Args:
        metadata (`dict`): header of the card.
        file (`Path`): the card.

    Raises:
        InputError: if it names no data, or credentialed data without a gate.
    """
    if not named_datasets(metadata):
        raise InputError(
            "the card does not name the data the model was trained on, so the model cannot be public",
            file=file,
            expected="'datasets:' in its header, with a name",
            remedy="write the card by run_card.py, or publish privately",
        )
    if needs_gate(metadata) and not is_gated(metadata):
        raise InputError(
            "the card names data under a data-use agreement, so the model cannot be public without a gate",
            file=file,
            expected=f"'{GATE_PROMPT}:' in its header, with the terms readers agree to",
            remedy="add it, or publish privately; ask the owner of the data first",
        )
