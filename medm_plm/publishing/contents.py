"""What a file that may be shared must look like inside: of its kind, and with nothing of this machine."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medm_plm.errors import InputError
from medm_plm.publishing import names
from medm_plm.publishing.leaks import KnownSecrets, leak_error, leak_in, leak_in_lines, leak_in_values
from medm_plm.publishing.weights import check_weights

_LARGEST_TEXT = 256 << 20
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ", b"\x93NUMPY", b"\x89HDF")
_WORD_LISTS = ("vocab.txt", "merges.txt", "code_tokenizer/vocab.txt", "code_tokenizer/merges.txt")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json", names.INDEX_FILE)


@dataclass(frozen=True)
class CheckedFile:
    """A file that has been looked through.

    Args:
        name (`str`): its path within the folder, with slashes.
        path (`Path`): where it lies.
        size (`int`): bytes.
        content (`bytes`, *optional*): what was read; what is sent is this, not what lies there later. None
            for weights, which stay on the disk.
        stamp (`tuple`): identity, size and time of the file when it was looked through.
    """

    name: str
    path: Path
    size: int
    content: bytes | None
    stamp: tuple[int, ...]

    def is_unchanged(self) -> bool:
        """Tell whether the file on the disk is still the one that was looked through."""
        try:
            return stamp_of(self.path) == self.stamp
        except OSError:
            return False


def stamp_of(path: Path) -> tuple[int, ...]:
    """Take what changes when a file is written or replaced."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def check_file(folder: Path, name: str, known: KnownSecrets) -> CheckedFile:
    """Look through one file.

    Args:
        folder (`Path`): folder of the model.
        name (`str`): path of the file within it.
        known (`KnownSecrets`): words that must not appear.

    Returns:
        The file, with its content unless it holds weights.

    Raises:
        InputError: if it is not what its name says, or holds a token, a place of this machine, or a reference
            to code that is not ours.
    """
    path = folder / name
    try:
        before = stamp_of(path)
        if names.is_weights(name):
            check_weights(path, known)
            return CheckedFile(name, path, before[2], None, before)
        if before[2] > _LARGEST_TEXT:
            raise InputError("the file is too large for what its name says", file=path, received=before[2])
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"file cannot be read: {error.strerror}", file=path) from None
    if (len(content), before) != (before[2], stamp_of(path)):
        raise InputError("the file is being written", file=path, remedy="wait for it and start again")
    _check_content(folder, name, content, known)
    return CheckedFile(name, path, len(content), content, before)


def _check_content(folder: Path, name: str, content: bytes, known: KnownSecrets) -> None:
    path = folder / name
    if _runs_code_when_opened(content):
        raise InputError("the file holds a pickle or an archive", file=path, remedy="leave it out")
    if name in names.CODE_FILES:
        _check_code(path, name, content)
    elif name.endswith(".model"):  # a binary vocabulary
        if (kind := leak_in(content.decode("latin-1"), known)) is not None:
            raise leak_error(path, kind)
    elif name.endswith(".json"):
        _check_json(folder, name, _text(path, content), known)
    else:
        text = _text(path, content)
        if (found := leak_in_lines(text, known, name not in _WORD_LISTS)) is not None:
            raise leak_error(path, found[0], row=found[1])
        if name.endswith(".yaml"):
            _check_yaml(path, text, known)


def _runs_code_when_opened(content: bytes) -> bool:
    return (content[:1] == b"\x80" and content[1:2] in b"\x01\x02\x03\x04\x05") or content.startswith(
        _ARCHIVES
    )


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError("the file is no UTF-8 text", file=path)
    return text


def _check_json(folder: Path, name: str, text: str, known: KnownSecrets) -> None:
    path = folder / name
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("the file is no valid JSON", file=path) from None
    has_settings = os.path.basename(name) not in _VOCABULARIES
    if (found := leak_in_values(content, known, has_settings)) is not None:
        raise leak_error(path, found[0], place=found[1])
    if (hidden := leak_in(text, KnownSecrets(known.tokens))) is not None:
        raise leak_error(path, hidden)  # a key given twice, of which JSON keeps the last
    _check_references(folder, name, content)


def _check_yaml(path: Path, text: str, known: KnownSecrets) -> None:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        raise InputError("the file is no valid YAML", file=path) from None
    if (found := leak_in_values(content, known, has_settings=True)) is not None:
        raise leak_error(path, found[0], place=found[1])


def _check_references(folder: Path, name: str, content: Any) -> None:
    """Refuse a file that names code other than the files that travel with it, which lie at the top."""
    for reference in _references(content):
        module = reference.rpartition(".")[0] if isinstance(reference, str) else ""
        if f"{module}.py" not in names.CODE_FILES:
            raise InputError(
                "the file names code that is not part of this project",
                file=folder / name,
                expected="the modules " + ", ".join(name.removesuffix(".py") for name in names.CODE_FILES),
            )
        if not (folder / f"{module}.py").is_file():
            raise InputError(
                f"the file names {module}.py, which is not in the folder",
                file=folder / name,
                remedy="save the model again",
            )


def _references(content: Any) -> list[Any]:
    """Every class that `auto_map` and `custom_pipelines` name, at any depth."""
    found: list[Any] = []
    if isinstance(content, list):
        for item in content:
            found += _references(item)
    if not isinstance(content, dict):
        return found
    for key, value in content.items():
        if key == "auto_map":
            entries = value.values() if isinstance(value, dict) else [value]
            for entry in entries:
                found += [item for item in entry if item is not None] if isinstance(entry, list) else [entry]
        elif key == "impl":
            found.append(value)
        else:
            found += _references(value)
    return found


def _check_code(path: Path, name: str, content: bytes) -> None:
    spec = importlib.util.find_spec(name.removesuffix(".py"))
    if spec is None or spec.origin is None or Path(spec.origin).read_bytes() != content:
        raise InputError(
            "the file differs from the one of this installation",
            file=path,
            remedy="save the model again with the installed version",
        )
