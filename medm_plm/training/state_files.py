"""Token states of notes in files that are mapped into memory.

A file holds the states of some notes, real tokens only, as safetensors, and is named after its content. It
comes into being whole, by a rename, and never changes, so any number of processes may write to and read from
one folder: what two of them compute alike becomes one file. States reveal the notes; the files are readable
by their owner alone.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from transformers.utils import logging

logger = logging.get_logger(__name__)

SUFFIX = ".safetensors"
STAGING_SUFFIX = ".part"
ABANDONED_SECONDS = 3600
"""A file takes seconds to write; a staging file older than this was left behind by a killed process."""


class StateFile:
    """A file of states, mapped into memory. Only what is read comes from the disk.

    Pickled by its path alone, so that it costs nothing to hand it to the workers of a data loader.

    Args:
        path (`Path`): the file.

    Raises:
        OSError, SafetensorError: if it cannot be opened, or its length does not fit its header.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mapping = safe_open(path, framework="pt")

    def __reduce__(self) -> tuple[type[StateFile], tuple[Path]]:
        return StateFile, (self.path,)

    def notes(self) -> dict[str, KeptNote]:
        """Return the notes of the file by their names; nothing but the header is read."""
        names = self._mapping.keys()
        return {name: KeptNote(self, name, self._mapping.get_slice(name).get_shape()[0]) for name in names}

    def read(self, name: str) -> torch.Tensor:
        """Return the states `(words, hidden)` of one note, a view of the mapped file."""
        return self._mapping.get_tensor(name)


@dataclass(frozen=True)
class KeptNote:
    """The states of one note, read from disk when they are asked for.

    Args:
        file (`StateFile`): where they are.
        name (`str`): the note.
        length (`int`): its number of tokens.
    """

    file: StateFile
    name: str
    length: int

    def __len__(self) -> int:
        return self.length

    def read(self) -> torch.Tensor:
        """Return the states, `(words, hidden)` in the precision they are kept in."""
        return self.file.read(self.name)


def open_states(folder: Path) -> dict[str, KeptNote]:
    """Map all files of a folder into memory.

    Args:
        folder (`Path`): folder of one fingerprint.

    Returns:
        The kept notes by their names, from the oldest file where several hold a note: its bits depend on the
        notes it was computed with. A file that another process has just removed is passed over.
    """
    notes: dict[str, KeptNote] = {}
    # The last one counts, so the oldest comes last: what others add later changes nothing for a resumed run.
    for _, path in sorted(((_age_mark(path), path) for path in folder.glob(f"*{SUFFIX}")), reverse=True):
        try:
            notes |= StateFile(path).notes()
        except (OSError, SafetensorError):
            continue
    return notes


def write_states(folder: Path, states: Mapping[str, torch.Tensor]) -> None:
    """Write the states of some notes as one file, unless it is there: it keeps its age.

    Args:
        folder (`Path`): folder of one fingerprint.
        states (`Mapping[str, torch.Tensor]`): `(words, hidden)` of each note, by its name.
    """
    content = save(dict(states))
    path = folder / f"{_digest(content)}{SUFFIX}"
    staging = path.with_name(f"{path.name}.{os.getpid()}{STAGING_SUFFIX}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not path.exists():
            os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def remove_damaged(folder: Path, process_index: int = 0, num_processes: int = 1) -> int:
    """Remove files whose content is not what their name says, so that they are computed again.

    Reads every file once from end to end, which also brings it into the memory of the operating system.

    Args:
        folder (`Path`): folder of one fingerprint.
        process_index, num_processes (`int`): each of several processes checks its share of the files.

    Returns:
        The number of removed files. One warning is written for all of them.
    """
    damaged = 0
    for path in folder.glob(f"*{SUFFIX}"):
        # By name and not by place in the list, which changes while others remove files.
        if zlib.crc32(path.name.encode()) % num_processes != process_index:
            continue
        try:
            whole = _digest_of_file(path) == path.stem
        except FileNotFoundError:  # another process found it first
            continue
        if not whole:
            path.unlink(missing_ok=True)
            damaged += 1
    for path in folder.glob(f"*{STAGING_SUFFIX}"):
        if time.time() - _age_mark(path) > ABANDONED_SECONDS:
            path.unlink(missing_ok=True)
    if damaged:
        logger.warning("%s: %d damaged files are removed and computed again", folder, damaged)
    return damaged


def folder_bytes(folder: Path) -> int:
    """Return how much the files below a folder take, those of other fingerprints among them."""
    total = 0
    for path in folder.rglob(f"*{SUFFIX}"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _age_mark(path: Path) -> float:
    """Time of the last change; now, if the file is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
