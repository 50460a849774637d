"""Access tokens and places of this machine in text that is about to be shared.

What is found is named by its kind alone; a message that repeated it would leak it once more.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from huggingface_hub import get_token

from medm_plm.errors import InputError

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
    rf"(?<![\w./\\])/(?:{_ROOTS})/[\w.@+-]"
    r"|(?<![A-Za-z0-9])[A-Za-z]:\\+[\w.]"
    r"|(?<![A-Za-z0-9])[A-Za-z]:/(?=[\w.]+/)"
    r"|(?<!\\)\\\\[\w.-]+\\+[\w$]"
    r"|file://"
)
_PLACES_IN_PROSE = re.compile(
    r"(?<![\w./])(?<!\]\()/[\w.@+-]+/[\w.@+-]+/[\w.@+-]"  # three parts, and no link within the Hub
    r"|(?<![\w:/])//[\w.-]+/[\w$]"
    r"|(?<![\w/])~(?:[A-Za-z_][\w.-]*)?/[\w.]|\$\{?HOME\b|%USERPROFILE%"
    r"|(?<![\w./])(?<!\]\()\.\./[\w.]"
    r"|(?<![A-Za-z0-9])[A-Za-z]:/\w"
    r"|\w://[^/\s@]+@"  # a user, perhaps with a password
    r"|(?i:\b(?:smb|cifs|s3[an]?|gs|abfss?|wasbs?|hdfs|dbfs|sftp|scp|nfs|ssh)://)"
)
_WHOLE_PATH = re.compile(r"/[^\s/]+(/[^\s/]+)+/?")
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SHORTEST_SECRET, _SHORTEST_HOST = 8, 4
_FEWEST_PARTS = 3  # a root and two names


@dataclass(frozen=True)
class KnownSecrets:
    """What must not appear whatever it looks like.

    Args:
        tokens (`tuple[str, ...]`): the tokens in use.
        places (`tuple[str, ...]`): folders of this machine.
        host (`str`, *optional*): name of this machine, if it is no common word; looked for in prose only.
    """

    tokens: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    host: str | None = None

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
        real = Path(os.path.realpath(folder))
        folders = (Path.home(), Path.cwd(), folder.absolute(), real, Path(tempfile.gettempdir()))
        places = {str(place) for place in folders if len(place.parts) >= _FEWEST_PARTS}
        return cls(
            tuple({word for word in tokens if word and len(word) >= _SHORTEST_SECRET}),
            tuple(sorted(places)),
            _telling_host(socket.gethostname()),
        )


def _telling_host(name: str) -> str | None:
    is_telling = len(name) >= _SHORTEST_HOST and not name.isalpha() and not name.startswith("localhost")
    return name if is_telling else None


def leak_in(text: str, known: KnownSecrets, is_prose: bool = False) -> str | None:
    """Look for a token or a place of this machine.

    Args:
        text (`str`): what would be shared.
        known (`KnownSecrets`): words that must not appear in it.
        is_prose (`bool`, defaults to False): whether it is a text or a setting, in which whatever looks like
            a place is one; a vocabulary may hold any string of signs.

    Returns:
        The kind of what was found first, or None.
    """
    if any(token in text for token in known.tokens) or _TOKENS.search(text):
        return TOKEN
    if any(place in text for place in known.places) or _PLACES.search(text):
        return PLACE
    if is_prose and (_PLACES_IN_PROSE.search(text) or _names_host(text, known.host)):
        return PLACE
    return None


def _names_host(text: str, host: str | None) -> bool:
    return host is not None and re.search(rf"(?<![\w-]){re.escape(host)}(?![\w-])", text, re.I) is not None


def leak_in_lines(text: str, known: KnownSecrets, is_prose: bool = False) -> tuple[str, int] | None:
    """Look for a token or a place, line by line.

    Args:
        text (`str`): what would be shared.
        known (`KnownSecrets`): words that must not appear in it.
        is_prose (`bool`, defaults to False): see `leak_in`.

    Returns:
        Kind and number of the line, counted from 1, or None.
    """
    whole = leak_in(text, known, is_prose)
    if whole is None:
        return None
    for number, line in enumerate(text.splitlines(), start=1):
        if (kind := leak_in(line, known, is_prose)) is not None:
            return kind, number
    return whole, 1


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
        kind = leak_in(word, known, has_settings)
        if kind is None and has_settings and is_value and _is_path(word):
            kind = PLACE
        if kind is not None:
            shown = (name if leak_in(name, known, is_prose=True) is None else "..." for name in names)
            return kind, ".".join(shown)
    return None


def leak_error(path: Path, kind: str, *, row: int | None = None, place: str | None = None) -> InputError:
    """Make the error for a leak that was found; it repeats nothing of it.

    Args:
        path (`Path`): the file.
        kind (`str`): what was found.
        row (`int`, *optional*): its line.
        place (`str`, *optional*): names that lead to it.

    Returns:
        The error, to be raised.
    """
    at = f" at {place}" if place else ""
    remedy = "take it out of the file, or save the model again"
    return InputError(f"the file holds {kind}{at}", file=path, row=row, remedy=remedy)


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
