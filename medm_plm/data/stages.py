"""Steps that may be killed at any moment and run again by anyone: files in, one finished folder out.

A stage writes into a staging folder, which is flushed to the disk and renamed when it is whole. A manifest
in it says what it was made from and what it holds. So a folder is there as a whole or not at all, and a stage
whose inputs are the same as last time is not run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from medm_plm.data.files import fingerprint, flush, make_private_folder
from medm_plm.errors import InputError

MANIFEST_FILE = "manifest.json"
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700
_STAGING = ".staging"
_OTHERS = 0o077  # rights of everybody but the owner


def run_stage(folder: Path, inputs: Mapping[str, object], make: Callable[[Path], None]) -> str:
    """Fill a folder, unless it was filled from the same inputs before.

    Args:
        folder (`Path`): what is there afterwards; its parents are made.
        inputs (`Mapping[str, object]`): everything the content depends on, in values that JSON can hold.
        make (`Callable`): writes the files to the folder it is given; equal inputs must give equal bytes.

    Returns:
        Fingerprint of the content, an input for the stages that read it.

    Raises:
        InputError: if the disk is full or the folder is not writable.
    """
    done = finished_stage(folder, inputs)
    if done is not None:
        return done
    make_private_folder(folder.parent)
    staging = folder.with_name(f".{folder.name}.{uuid4().hex}{_STAGING}")
    try:
        staging.mkdir(mode=_PRIVATE_FOLDER)
        with _private_files():
            make(staging)
        outputs = {}
        for path in sorted(staging.iterdir()):
            path.chmod(_PRIVATE_FILE)
            flush(path)
            outputs[path.name] = fingerprint(path)
        manifest = {"inputs": inputs, "outputs": outputs}
        path = staging / MANIFEST_FILE
        with _private_files():
            path.write_text(json.dumps(manifest, sort_keys=True, indent=1))
        path.chmod(_PRIVATE_FILE)
        flush(path)
        flush(staging)
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
        flush(folder.parent)
    except OSError as error:
        if (done := finished_stage(folder, inputs)) is not None:  # another process was faster
            return done
        raise InputError(
            f"folder cannot be written: {error.strerror or type(error).__name__}",
            file=folder,
            remedy="check space and rights, and that no other run writes there",
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return _digest(manifest)


def finished_stage(
    folder: Path, inputs: Mapping[str, object] | None = None, names: Collection[str] | None = None
) -> str | None:
    """Tell whether a folder is whole and undamaged.

    Args:
        folder (`Path`): folder of a stage.
        inputs (`Mapping[str, object]`, *optional*): what it must have been made from; any by default.
        names (`Collection[str]`, *optional*): files to be looked at; all by default.

    Returns:
        Fingerprint of what it was made from and holds, or `None` if the stage has to be run.
    """
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        # Through JSON, as the manifest went: tuples have become lists.
        # Through JSON, as the manifest went: tuples have become lists.
        if inputs is not None and manifest["inputs"] != json.loads(json.dumps(inputs)):
            return None
        outputs = manifest["outputs"]
        if any(fingerprint(folder / name) != outputs[name] for name in (outputs if names is None else names)):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return _digest(manifest)


def stage_inputs(folder: Path) -> Any:
    """Tell what a finished stage was made from.

    Args:
        folder (`Path`): folder of a stage.

    Returns:
        The inputs as JSON holds them.
    """
    return json.loads((folder / MANIFEST_FILE).read_text())["inputs"]


def remove_abandoned(folder: Path) -> None:
    """Delete what killed runs have left under way; no other run may be at work in the folder.

    Args:
        folder (`Path`): folder of stages.
    """
    for path in folder.rglob(f".*{_STAGING}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


_umask_lock = threading.Lock()
_umask_users = 0
_umask_before = 0


@contextmanager
def _private_files() -> Iterator[None]:
    """Let all new files of the process be its owner's alone from the first byte, whoever opens them."""
    global _umask_users, _umask_before
    with _umask_lock:
        _umask_users += 1
        if _umask_users == 1:
            _umask_before = os.umask(_OTHERS)
    try:
        yield
    finally:
        with _umask_lock:
            _umask_users -= 1
            if not _umask_users:
                os.umask(_umask_before)


def _digest(manifest: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
