"""Keep what the frozen text layers say about each note, so that no epoch and no task computes it again.

Frozen layers run in evaluation mode, so their output is a function of the note alone. It is computed once and
kept on disk in half precision, real tokens only, in files of some hundred notes that are memory-mapped. A
folder is named after the frozen weights, a note after its tokens: other weights or other notes never meet a
wrong state, runs share what they have in common, and a broken-off computation goes on where it stopped. The
states reveal the notes; the files are readable by their owner alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from transformers.utils import logging

from medm_plm.data.collators import attention_mask_of, pad_sequences
from medm_plm.errors import InputError

logger = logging.get_logger(__name__)

NOTES_PER_FILE = 512
NOTES_PER_BATCH = 16


def prefix_fingerprint(model: Any, dtype: np.dtype) -> str:
    """Name the frozen text layers by their content.

    Args:
        model (`MedMPLMModel`): the base model.
        dtype (`np.dtype`): precision of the kept states.

    Returns:
        A hash of the frozen weights, the shape of the text encoder and the precision.
    """
    digest = hashlib.sha256(model.config.text_config.to_json_string(use_diff=False).encode())
    digest.update(f"{model.config.num_frozen_text_layers} {np.dtype(dtype)}".encode())
    for module in model.frozen_text_modules():
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def add_prefix_states(
    model: Any,
    visits: Sequence[dict[str, Any]],
    folder: str | Path,
    text_padding_id: int = 0,
    dtype: str = "float16",
) -> None:
    """Give each tokenised visit the states of its note after the frozen text layers.

    Args:
        model (`MedMPLMModel`): the base model; its frozen layers are run for notes that are not kept yet.
        visits (`Sequence[dict]`): tokenised visits with `input_ids`; `text_prefix_states` is added, an array
            `(words, hidden)` that is read from disk when it is used.
        folder (`str` or `Path`): where states are kept; may be shared by runs and models.
        text_padding_id (`int`, defaults to 0): id of the text tokenizer's padding token.
        dtype (`str`, defaults to `"float16"`): precision of the kept states.

    Raises:
        InputError: if the text encoder has no frozen prefix.
    """
    config = model.config
    if not model.has_text_prefix:
        raise InputError(
            "option --frozen_text_cache has nothing to keep",
            received=f"{config.num_frozen_text_layers} frozen layers of {config.text_config.model_type}",
            remedy="set --num_frozen_text_layers to 1 or more, or leave the option out",
        )
    precision = np.dtype(dtype)
    kept = Path(folder) / prefix_fingerprint(model, precision)
    kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = [_note_name(visit["input_ids"]) for visit in visits]
    missing = dict(zip(names, visits, strict=True))
    for name in read_states(kept):
        missing.pop(name, None)
    new = list(missing.items())
    for start in logging.tqdm(range(0, len(new), NOTES_PER_FILE), desc="frozen text layers", leave=False):
        part = dict(new[start : start + NOTES_PER_FILE])
        states = _compute(model, list(part.values()), text_padding_id, precision)
        _write(kept, list(part), states)
    states_of_note = read_states(kept)
    for name, visit in zip(names, visits, strict=True):
        visit["text_prefix_states"] = states_of_note[name]


def read_states(kept: Path) -> dict[str, np.ndarray]:
    """Map all kept states into memory.

    Args:
        kept (`Path`): folder of one fingerprint.

    Returns:
        States `(words, hidden)` of each note, by its name; read from disk when they are used.
    """
    states = {}
    for index_file in sorted(kept.glob("*.json")):
        index = json.loads(index_file.read_text(encoding="utf-8"))
        rows = np.load(index_file.with_suffix(".npy"), mmap_mode="r")
        ends = np.cumsum(index["lengths"])
        states.update(zip(index["notes"], np.split(rows, ends[:-1]), strict=True))
    return states


def _note_name(input_ids: Sequence[int] | np.ndarray) -> str:
    return hashlib.sha256(np.asarray(input_ids, dtype=np.int32).tobytes()).hexdigest()[:32]


def _compute(
    model: Any, visits: Sequence[dict[str, Any]], padding_id: int, precision: np.dtype
) -> list[np.ndarray]:
    """States of the real tokens of each note, `(words, hidden)`."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    states: list[np.ndarray] = [np.empty((0, 0))] * len(visits)
    by_length = sorted(range(len(visits)), key=lambda index: len(visits[index]["input_ids"]))
    for start in range(0, len(by_length), NOTES_PER_BATCH):
        chosen = by_length[start : start + NOTES_PER_BATCH]
        rows = [visits[index]["input_ids"] for index in chosen]
        text = {"input_ids": pad_sequences(rows, padding_id), "attention_mask": attention_mask_of(rows)}
        output = model.encode_text_prefix(**{name: ids.to(device) for name, ids in text.items()})
        output = output.float().cpu().numpy().astype(precision)
        for index, row, note in zip(chosen, rows, output, strict=True):
            states[index] = note[: len(row)]
    model.train(was_training)
    return states


def _write(kept: Path, notes: list[str], states: list[np.ndarray]) -> None:
    """Write the states and then their index: an index that exists belongs to a whole file."""
    name = hashlib.sha256("".join(notes).encode()).hexdigest()[:32]
    _write_whole(kept / f"{name}.npy", lambda file: np.save(file, np.concatenate(states)))
    index = json.dumps({"notes": notes, "lengths": [len(rows) for rows in states]})
    _write_whole(kept / f"{name}.json", lambda file: file.write(index.encode()))


def _write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write under another name, to disk, then rename: no other process sees half a file."""
    staging = path.with_suffix(f"{path.suffix}.{os.getpid()}.part")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)
