"""Checkpoint folders that are complete or absent, and that can tell whether they are still what was written.

A checkpoint is written into a staging folder, flushed to the disk, given a manifest with the size and SHA-256
of each file, and renamed; a folder `checkpoint-N` therefore is whole or was damaged later, and the manifest
shows which. Nothing here knows of models: these are folders and files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from medm_plm.data.files import flush
from medm_plm.errors import InputError

MANIFEST_FILE = "manifest.json"
STATE_FILE = "trainer_state.json"
# The library uploads nothing whose name begins with an underscore.
STAGING_FOLDER = "_staging"
_REPLACED, _REMOVED, _SET_ASIDE = "_replaced-", "_removed-", "_of_another_run-"
_NAME = re.compile(r"checkpoint-(\d+)")
_SCHEDULER_FILE = "scheduler.pt"


def step_of(checkpoint: Path) -> int:
    """Return N of a folder `checkpoint-N`."""
    match = _NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match else -1


def checkpoints_in(folder: Path) -> list[Path]:
    """List the folders `checkpoint-N`, damaged ones among them, the newest first."""
    found = [path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of, reverse=True)


def seal(folder: Path, processes: int, needed: Collection[str] = ()) -> None:
    """Flush all files of a folder to the disk and write down what they are.

    Args:
        folder (`Path`): a complete checkpoint that nobody writes to any more.
        processes (`int`): number of processes that wrote it.
        needed (`Collection[str]`): names of files without which no run goes on from it.

    Raises:
        InputError: if one of the needed files is missing.
    """
    if missing := sorted(name for name in needed if not (folder / name).is_file()):
        raise InputError(
            f"the checkpoint lacks {', '.join(missing)}, which another process has written elsewhere",
            file=folder,
            remedy="let all machines see the same --output_dir",
        )
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST_FILE:
            flush(path)
            size = path.stat().st_size
            files[path.relative_to(folder).as_posix()] = {"bytes": size, "sha256": _sha256(path)}
    content = {"processes": processes, "files": files}
    manifest = folder / MANIFEST_FILE
    manifest.write_text(json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n", "utf-8")
    flush(manifest)
    for path in (*(part for part in folder.rglob("*") if part.is_dir()), folder):
        flush(path)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a checkpoint; None if it is missing or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        checksum = manifest.pop("checksum")
        return manifest if checksum == _checksum(manifest) else None
    except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return None


def damage(folder: Path, needs_state: bool = True) -> str | None:
    """Find out what is wrong with a checkpoint, before anything in it is opened.

    Args:
        folder (`Path`): a folder `checkpoint-N`.
        needs_state (`bool`, defaults to True): a checkpoint that holds only a model cannot be gone on from.

    Returns:
        The first thing that is wrong, in a few words, or None if each file is what was written.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{MANIFEST_FILE} is {'damaged' if (folder / MANIFEST_FILE).is_file() else 'missing'}"
    for name, facts in manifest["files"].items():
        path = folder / name
        try:
            if path.stat().st_size != facts["bytes"]:
                return f"{name} has another size than was written"
            if _sha256(path) != facts["sha256"]:
                return f"{name} has other content than was written"
        except OSError as error:
            return f"{name}: {error.strerror}"
    if needs_state and not {STATE_FILE, _SCHEDULER_FILE} <= manifest["files"].keys():
        return "it holds only a model (--save_only_model)"
    return None


def best_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint with the best evaluation so far, as an intact checkpoint names it.

    It is looked for beside the one that names it, so that a run's folder can be moved.
    """
    best = json.loads((folder / STATE_FILE).read_text(encoding="utf-8")).get("best_model_checkpoint")
    return folder.parent / Path(best).name if best else None


def publish(staged: Path, final: Path) -> None:
    """Give a sealed checkpoint its name in one step.

    Args:
        staged (`Path`): the sealed folder, on the same file system.
        final (`Path`): its name; an older folder there is removed after the new one is in its place.
    """
    replaced = final.with_name(_REPLACED + final.name)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        os.replace(final, replaced)
    os.replace(staged, final)
    flush(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def recover(folder: Path) -> None:
    """Clear away what a killed run left half done; a checkpoint about to be replaced comes back.

    Args:
        folder (`Path`): the folder of the checkpoints.
    """
    for replaced in folder.glob(f"{_REPLACED}checkpoint-*"):
        final = replaced.with_name(replaced.name.removeprefix(_REPLACED))
        if final.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.replace(replaced, final)
    for leftover in (folder / STAGING_FOLDER, *folder.glob(f"{_REMOVED}checkpoint-*")):
        shutil.rmtree(leftover, ignore_errors=True)


def rotate(folder: Path, current: Path, best: Path | None, limit: int | None) -> None:
    """Remove checkpoints beyond the limit, never the one just written nor the best one.

    Those with a higher number than the one just written either were passed over as damaged and go first, or
    are intact, because the run went on from an older one by its name; these neither go nor count.

    Args:
        folder (`Path`): the folder of the checkpoints.
        current (`Path`): the checkpoint just written.
        best (`Path`, *optional*): the one with the best evaluation.
        limit (`int`, *optional*): checkpoints to keep; all by default.
    """
    if not limit or limit < 0:
        return
    present = [
        path
        for path in checkpoints_in(folder)
        if step_of(path) <= step_of(current) or damage(path, needs_state=False) is not None
    ]
    kept = {path.name for path in (current, best) if path is not None}
    others = [path for path in present if path.name not in kept]
    others.sort(key=lambda path: (step_of(path) < step_of(current), step_of(path)))
    surplus = len(present) - max(limit, len(kept))
    for path in others[: max(0, surplus)]:
        # Renamed first: a checkpoint that is half removed must not look like a damaged one.
        removed = path.with_name(_REMOVED + path.name)
        os.replace(path, removed)
        shutil.rmtree(removed, ignore_errors=True)


def set_aside(checkpoints: Collection[Path]) -> list[Path]:
    """Rename checkpoints of another run, so that they are neither gone on from nor removed.

    Args:
        checkpoints (`Collection[Path]`): folders `checkpoint-N`.

    Returns:
        Their new names.
    """
    renamed = []
    for path in checkpoints:
        new, number = path.with_name(_SET_ASIDE + path.name), 1
        while new.exists():
            number += 1
            new = path.with_name(f"{_SET_ASIDE}{path.name}-{number}")
        os.replace(path, new)
        renamed.append(new)
    return renamed


def install(staged: Path, target: Path) -> None:
    """Move the files of a staging folder into a folder that holds other things too, each in one step.

    Args:
        staged (`Path`): a folder inside `target`; gone afterwards.
        target (`Path`): the folder that takes the files.
    """
    files = sorted(path for path in staged.rglob("*") if path.is_file())
    for path in files:
        flush(path)
    for path in files:
        final = target / path.relative_to(staged)
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, final)
    for parent in {(target / path.relative_to(staged)).parent for path in files}:
        flush(parent)
    shutil.rmtree(staged)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
