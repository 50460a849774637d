"""One process at a time trains in a folder: a second one would remove what the first is about to save."""

from __future__ import annotations

import errno
import os
import platform
from pathlib import Path

from transformers.utils import logging

from medm_plm.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.get_logger(__name__)

# The library uploads nothing whose name begins with an underscore.
LOCK_FILE = "_run.lock"
_TAKEN = (errno.EACCES, errno.EAGAIN)
_opened: dict[Path, int] = {}


def lock_run_folder(folder: Path) -> None:
    """Keep other processes from training in a folder for as long as this process lives.

    The operating system takes the lock back when the process ends, however it ends; the file stays and means
    nothing by itself. The lock belongs to this process alone: workers of a data loader, which may outlive a
    killed run by seconds, do not hold it. Where the system or the disk knows no locks, there is none.

    Args:
        folder (`Path`): folder of the checkpoints; may be locked again by the same process.

    Raises:
        InputError: if another process trains there, or the folder is not writable.
    """
    if fcntl is None:
        return
    path = folder.resolve() / LOCK_FILE
    try:
        descriptor = _open(path)
    except OSError as error:
        raise InputError(
            f"file cannot be written: {error.strerror}", file=path, remedy="check space and rights"
        ) from None
    try:
        # Not `flock`, which the processes forked from this one would hold as well.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _TAKEN:
            logger.warning(f"{folder} cannot be locked ({error.strerror}): start no second run there")
            return
        raise InputError(
            "another process trains in this folder",
            file=folder,
            received=os.pread(descriptor, 100, 0).decode(errors="replace").strip() or None,
            remedy="wait for it or end it, or choose another --output_dir",
        ) from None
    _sign(descriptor)


def _open(path: Path) -> int:
    """Open the file once: closing any descriptor of it would give the lock back."""
    if path in _opened:
        opened = os.fstat(_opened[path])
        if path.exists() and os.path.samestat(opened, path.stat()):
            return _opened[path]
        os.close(_opened.pop(path))  # the folder was removed and made anew
    _opened[path] = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    return _opened[path]


def _sign(descriptor: int) -> None:
    """Write down who holds the lock, for those who ask in vain."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
    except OSError:  # a full disk: the lock holds all the same
        pass
