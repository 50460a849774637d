"""What of a folder may be shared, what stays, and what forbids sharing at all."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medm_plm.errors import InputError
from medm_plm.publishing import names
from medm_plm.publishing.contents import CheckedFile, check_file
from medm_plm.publishing.leaks import KnownSecrets

_RUN_FOLDERS = ("checkpoints", "__pycache__", "logs", "runs", "wandb", "mlruns")
"""Folders of a run; what they hold stays whatever it is."""


@dataclass(frozen=True)
class Inventory:
    """The files of a model folder, sorted.

    Args:
        shared (`list[str]`): names on the list of what may be shared.
        left_out (`list[str]`): everything else; what lies in folders is counted.
    """

    shared: list[str]
    left_out: list[str]


def shareable_files(folder: str | Path) -> list[str]:
    """List the files of a model folder whose names allow sharing; nothing is opened.

    Args:
        folder (`str` or `Path`): folder of the model.

    Returns:
        Paths within the folder, sorted.

    Raises:
        InputError: if it is no folder, holds pickles, or a link leads out of it.
    """
    return take_inventory(Path(folder)).shared


def take_inventory(folder: Path) -> Inventory:
    """Sort the files of a model folder by their names.

    Args:
        folder (`Path`): folder of the model.

    Returns:
        What may be shared, and what is left out.

    Raises:
        InputError: if it is no folder, holds pickles, or a link leads out of it.
    """
    if not folder.is_dir():
        raise InputError("no folder of a model", file=folder, remedy="name the folder a model was saved into")
    shared, left_out, counts = [], [], Counter[str]()
    for place, folders, files in os.walk(folder):
        here = Path(place).relative_to(folder)
        for name in list(folders):
            if (Path(place) / name).is_symlink() or (here == Path() and name in _RUN_FOLDERS):
                folders.remove(name)
                _refuse_link(folder, here / name)
                left_out.append(f"{(here / name).as_posix()}/")
        for name in files:
            inner = (here / name).as_posix()
            if names.is_shareable(inner):
                _refuse_link(folder, here / name)
                shared.append(inner)
            elif names.may_hold_pickle(name):
                raise InputError(
                    "the folder holds a pickle, which runs code when it is opened",
                    file=folder / inner,
                    remedy="remove it; the weights belong into model.safetensors",
                )
            elif here == Path():
                left_out.append(name)
            else:
                counts[here.parts[0]] += 1
    left_out += [f"{name}/ ({count} files)" for name, count in counts.items()]
    return Inventory(sorted(shared), sorted(left_out))


def _refuse_link(folder: Path, name: Path) -> None:
    path = folder / name
    # Unlike `Path.resolve` this also answers for a link that leads to itself, which cannot be read later on.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise InputError("a link leads out of the folder", file=path, remedy="put the file itself there")
    if path.is_dir() and name.parts[0] not in _RUN_FOLDERS:
        raise InputError("a folder is a link", file=path, remedy="put the folder itself there")
    if path.exists() and not path.is_dir() and not path.is_file():
        raise InputError("this is no ordinary file", file=path, remedy="remove it")


def check_folder(folder: Path, known: KnownSecrets) -> tuple[list[CheckedFile], list[str]]:
    """Look through everything of a model folder that would be shared.

    Args:
        folder (`Path`): folder of the model.
        known (`KnownSecrets`): words that must not appear.

    Returns:
        The files that may be sent, and the names of what is left out.

    Raises:
        InputError: if the folder holds no whole model, or a file that must not be shared.
    """
    inventory = take_inventory(folder)
    files = [check_file(folder, name, known) for name in inventory.shared]
    _check_model(folder, {file.name: file for file in files})
    return files, inventory.left_out


def _check_model(folder: Path, files: dict[str, CheckedFile]) -> None:
    weights = {name for name in files if names.is_weights(name)}
    if names.CONFIG_FILE not in files or not weights:
        raise InputError(
            "the folder holds no saved model",
            file=folder,
            expected="config.json and model.safetensors, whole or in numbered parts",
        )
    _check_processor(folder, files)
    parts = weights - {"model.safetensors"}
    if not parts:
        return
    index = files.get(names.INDEX_FILE)
    try:
        named = set(json.loads(index.content or b"")["weight_map"].values()) if index else set()
    except (ValueError, KeyError, TypeError, AttributeError):
        named = set()
    if named != parts or parts != weights:
        raise InputError(
            "the parts of the weights are not those that the index names",
            file=folder / names.INDEX_FILE,
            received=f"{len(weights)} files",
            expected=f"{len(named)}",
            remedy="save the model again into an empty folder",
        )


def _check_processor(folder: Path, files: dict[str, CheckedFile]) -> None:
    """Refuse our models without all files of what reads notes and codes for them."""
    try:
        config = json.loads(files[names.CONFIG_FILE].content or b"")
        reads_codes = "MedMPLMForTokenClassification" not in (config.get("architectures") or [])
        is_ours = config.get("model_type") == "medm_plm"
    except (ValueError, TypeError, AttributeError):
        return  # who opens it will be told what is wrong with it
    needed = names.PROCESSOR_FILES if reads_codes else names.NOTE_TOKENIZER_FILES
    missing = [name for name in needed if name not in files]
    if is_ours and missing:
        raise InputError(
            "the folder holds no whole processor, without which nobody can use the model",
            file=folder,
            received=f"no {', no '.join(missing)}",
            remedy="save the processor into it: processor.save_pretrained",
        )
