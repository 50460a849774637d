"""What the card of a model must say before the model may be public."""

from __future__ import annotations

import re
import unicodedata
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
_OPEN = re.compile(
    r"(?:medm-plm-)?synthetic(?:-cohort)?"
    r"|(?:physionet/)?(?:mimic-?(?:iii|iv)(?:-clinical-database)?|eicu(?:-crd|-collaborative-research-database)?)"
    r"-demo(?:-v?[0-9]+(?:\.[0-9]+)*)?"
)
"""Data that anybody may have, in small letters and with hyphens. Whatever is not known counts as closed."""
_WORD = re.compile(r"[^\W\d_]{2,}")
_FEWEST_WORDS = 3  # of terms that somebody can agree to


class _EachKeyOnce(yaml.SafeLoader):
    """Reads YAML and refuses a key given twice, of which the Hub may take the other one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


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
        metadata = _EachKeyOnce(header[1]).get_single_data()
    except (yaml.YAMLError, RecursionError):
        metadata = ()
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise InputError(
            "the header between the two lines of dashes is no YAML of the form 'key: value', each key once",
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
    """Tell whether the card names data not known to be open, as what it was trained or measured on."""
    entries = metadata.get("datasets")
    entries = entries if isinstance(entries, list) else [entries]
    mentioned = [str(metadata.get("license_name")), *_measured_on(metadata.get("model-index"))]
    return not all(_is_open(str(entry)) for entry in entries) or any(
        _CREDENTIALED.search(unicodedata.normalize("NFKC", word)) and not _is_open(word) for word in mentioned
    )


def _is_open(name: str) -> bool:
    return name.isascii() and _OPEN.fullmatch(re.sub(r"[\s_-]+", "-", name.strip().lower())) is not None


def _measured_on(content: Any) -> list[str]:
    """Names of the data in `model-index`, at any depth."""
    if isinstance(content, list):
        return [word for item in content for word in _measured_on(item)]
    if not isinstance(content, dict):
        return []
    data = content.get("dataset")
    found = [str(data.get(key)) for key in ("type", "name")] if isinstance(data, dict) else [str(data)]
    return found + [word for value in content.values() for word in _measured_on(value)]


def is_gated(metadata: dict[str, Any]) -> bool:
    """Tell whether the card asks readers to agree to something before they get the files."""
    prompt = metadata.get(GATE_PROMPT)
    return isinstance(prompt, str) and len(_WORD.findall(prompt)) >= _FEWEST_WORDS


def require_public_card(metadata: dict[str, Any], file: Path, has_read_closed_data: bool = False) -> None:
    """Refuse a card with which a model must not be public.

    Args:
        metadata (`dict`): header of the card.
        file (`Path`): the card.
        has_read_closed_data (`bool`, defaults to False): what the run itself noted, whatever the card says.

    Raises:
        InputError: if it names no data, or data that are not known to be open without a gate.
    """
    if not named_datasets(metadata):
        raise InputError(
            "the card does not name the data the model was trained on, so the model cannot be public",
            file=file,
            expected="'datasets:' in its header, with a name",
            remedy="write the card by run_card.py, or publish privately",
        )
    if has_read_closed_data and not is_gated(metadata):
        raise InputError(
            "the run has read data that are not known to be open, whatever the card names, so the model "
            "cannot be public without a gate",
            file=file,
            expected=f"'{GATE_PROMPT}:' in its header, with the terms readers agree to",
            remedy="write the card by run_card.py, or publish privately; ask the owner of the data first",
        )
    if needs_gate(metadata) and not is_gated(metadata):
        raise InputError(
            "the card names data under a data-use agreement, or not known to be open, so the model cannot be "
            "public without a gate",
            file=file,
            expected=f"'{GATE_PROMPT}:' in its header, with the terms readers agree to",
            remedy="add it, or publish privately; ask the owner of the data first",
        )
