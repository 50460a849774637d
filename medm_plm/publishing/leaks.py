"""Access tokens and places of this machine in text that is about to be shared.

What is found is named by its kind alone; a message that repeated it would leak it once more.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from huggingface_hub import get_token

TOKEN, PLACE = "an access token", "an absolute path"

_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hf_[A-Za-z0-9]{12,}|api_org_[A-Za-z0-9]{12,}|hf_oauth_[\w.-]{12,}|hf_jwt_[\w.-]{12,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-(?:\w+-)?[A-Za-z0-9]{20,}"
    r"|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|(?i:authorization:\s*bearer\s+\w)"
)
_ROOTS = (
    "home|Users|root|mnt|media|data\\d*|tmp|var|opt|srv|usr|etc|work|workspace|scratch|gpfs|lustre|nfs|net"
    "|projects?|proj|storage|dbfs|content|kaggle|private|Volumes|cluster|hpc|share|shared"
)
_PLACES = re.compile(
    rf"(?<![\w.:/\\-])/(?:{_ROOTS})/[\w.@+-]"
    r"|(?<![A-Za-z0-9])[A-Za-z]:\\+[\w.]"
    r"|(?<![A-Za-z0-9])[A-Za-z]:/(?=[\w.]+/)"
    r"|(?<!\\)\\\\[\w.-]+\\+[\w$]"
    r"|file://"
)
_WHOLE_PATH = re.compile(r"/[^\s/]+(/[^\s/]+)+/?")
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SHORTEST_SECRET, _FEWEST_PARTS = 8, 3  # a root and two names


@dataclass(frozen=True)
class KnownSecrets:
    """What must not appear whatever it looks like.

    Args:
        tokens (`tuple[str, ...]`): the tokens in use.
        places (`tuple[str, ...]`): folders of this machine.
    """

    tokens: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    @classmethod
    def of_this_machine(cls, folder: Path, token: str | None = None) -> KnownSecrets:
        """Collect the tokens of the user and the folders he works in.

        Args:
            folder (`Path`): folder of the model.
            token (`str`, *optional*): a token given for this upload.

        Returns:
            Both.
        """
        tokens = (token, get_token(), *(os.environ.get(name) for name in _TOKEN_VARIABLES))
        folders = (Path.home(), Path.cwd(), folder.absolute(), folder.resolve(), Path(tempfile.gettempdir()))
        places = {str(place) for place in folders if len(place.parts) >= _FEWEST_PARTS}
        return cls(
            tuple({word for word in tokens if word and len(word) >= _SHORTEST_SECRET}), tuple(sorted(places))
        )


def leak_in(text: str, known: KnownSecrets) -> str | None:
    """Look for a token or a place of this machine.

    Args:
        text (`str`): what would be shared.
        known (`KnownSecrets`): words that must not appear in it.

    Returns:
        The kind of what was found first, or None.
    """
    if any(token in text for token in known.tokens) or _TOKENS.search(text):
        return TOKEN
    if any(place in text for place in known.places) or _PLACES.search(text):
        return PLACE
    return None


def leak_in_lines(text: str, known: KnownSecrets) -> tuple[str, int] | None:
    """Look for a token or a place, line by line.

    Args:
        text (`str`): what would be shared.
        known (`KnownSecrets`): words that must not appear in it.

    Returns:
        Kind and number of the line, counted from 1, or None.
    """
    if leak_in(text, known) is None:
        return None
    for number, line in enumerate(text.splitlines(), start=1):
        if (kind := leak_in(line, known)) is not None:
            return kind, number
    return leak_in(text, known) or TOKEN, 1


def leak_in_values(content: Any, known: KnownSecrets, has_settings: bool) -> tuple[str, str] | None:
    """Look for a token or a place among the keys and values of parsed JSON or YAML.

    Args:
        content (`Any`): what the file says.
        known (`KnownSecrets`): words that must not appear in it.
        has_settings (`bool`): whether its values are settings; a vocabulary may hold any string of signs.

    Returns:
        Kind, and the names that lead to it, joined by dots; or None.
    """
    for names, word, is_value in _words(content, ()):
        kind = leak_in(word, known)
        if kind is None and has_settings and is_value and _is_path(word):
            kind = PLACE
        if kind is not None:
            return kind, ".".join(name if leak_in(name, known) is None else "..." for name in names)
    return None


def _is_path(word: str) -> bool:
    return _WHOLE_PATH.fullmatch(word) is not None or PureWindowsPath(word).drive != ""


def _words(content: Any, names: Sequence[str]) -> Iterator[tuple[Sequence[str], str, bool]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield (*names, str(key)), str(key), False
            yield from _words(value, (*names, str(key)))
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _words(value, (*names, str(number)))
    elif isinstance(content, str):
        yield names, content, True
