"""Files that hold records of patients: private, and never half-written."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from medm_plm.errors import InputError

_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700
_CHUNK_BYTES = 4 << 20


def make_private_folder(folder: str | Path) -> Path:
    """Create a folder that only its owner can enter; one that exists is left as it is.

    Args:
        folder (`str` or `Path`): folder to create, with its parents.

    Returns:
        Its path.

    Raises:
        InputError: if it cannot be created or is a file.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise InputError(
            f"output folder cannot be made: {reason}", file=folder, remedy="choose another"
        ) from None
    return folder


def fingerprint(path: str | Path) -> str:
    """Take the SHA-256 of a file, or of the files of a folder together with their names.

    Args:
        path (`str` or `Path`): file or folder.

    Returns:
        Hexadecimal digits.

    Raises:
        InputError: if it does not exist or cannot be read.
    """
    path = Path(path)
    digest = hashlib.sha256()
    try:
        for file in _files_of(path):
            if file != path:
                name = os.fsencode(file.relative_to(path).as_posix())  # which may be no text
                digest.update(name + f"\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
    except OSError as error:
        raise InputError(f"file cannot be read: {error.strerror}", file=path) from None
    return digest.hexdigest()


def stored_bytes(path: Path) -> int:
    """Tell the size of a file, or of all files of a folder.

    Args:
        path (`Path`): file or folder.

    Returns:
        Bytes.
    """
    return sum(file.stat().st_size for file in _files_of(path))


def _files_of(path: Path) -> list[Path]:
    return sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]


def write_private(path: Path, write: Callable[[Path], object]) -> str:
    """Write a file completely or not at all, readable by its owner only.

    It is written under another name, flushed to the disk and renamed, so a killed run leaves the old file or
    none.

    Args:
        path (`Path`): the file.
        write (`Callable`): writes the content to the path it is given.

    Returns:
        SHA-256 of the content, in hexadecimal digits.

    Raises:
        InputError: if the disk is full or the folder is not writable.
    """
    staging = path.with_name(f".{path.name}.{uuid4().hex}.staging")
    try:
        os.close(os.open(staging, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE_FILE))
        write(staging)
        staging.chmod(_PRIVATE_FILE)
        with staging.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        flush(staging)
        staging.replace(path)
        flush(path.parent)
    except OSError as error:
        staging.unlink(missing_ok=True)
        raise InputError(
            f"file cannot be written: {error.strerror}", file=path, remedy="check space and rights"
        ) from None
    return digest


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON completely or not at all; a number that is not finite becomes null.

    Args:
        path (`Path`): the file.
        content (`Mapping`): nested mappings, lists, numbers and text.

    Raises:
        InputError: if the disk is full or the folder is not writable.
    """
    text = json.dumps(_plain(content), indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, lambda staging: staging.write_text(text, encoding="utf-8"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def flush(path: Path) -> None:
    """Wait until a file, or the list of a folder's files, has reached the disk.

    Args:
        path (`Path`): file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
