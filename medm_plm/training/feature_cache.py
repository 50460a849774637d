"""Keep what the frozen text layers say about each note, so that no epoch computes it again.

Frozen layers run in evaluation mode, so their output is a function of the note alone. It is computed once and
kept on disk in half precision, real tokens only, in files of some hundred notes that are mapped into memory.
A file is named after the fingerprint of the frozen weights and of the notes it holds: other weights or other
notes never meet a wrong file, and a broken-off computation goes on where it stopped. The states reveal the
notes; the files are readable by their owner alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from medm_plm.data.collators import attention_mask_of, pad_sequences

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
        ValueError: if the text encoder has no frozen prefix.
    """
    precision = np.dtype(dtype)
    kept = Path(folder) / prefix_fingerprint(model, precision)
    kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    starts = range(0, len(visits), NOTES_PER_FILE)
    for start in logging.tqdm(starts, desc="frozen text layers", leave=False):
        part = visits[start : start + NOTES_PER_FILE]
        path = kept / f"{_notes_fingerprint(part)}.npy"
        if not path.exists():
            _write(path, _compute(model, part, text_padding_id, precision))
        states = np.load(path, mmap_mode="r")
        ends = np.cumsum([len(visit["input_ids"]) for visit in part])
        for visit, chunk in zip(part, np.split(states, ends[:-1]), strict=True):
            visit["text_prefix_states"] = chunk


def _notes_fingerprint(visits: Sequence[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for visit in visits:
        ids = np.asarray(visit["input_ids"], dtype=np.int32)
        digest.update(np.int32(len(ids)).tobytes() + ids.tobytes())
    return digest.hexdigest()[:32]


def _compute(
    model: Any, visits: Sequence[dict[str, Any]], padding_id: int, precision: np.dtype
) -> np.ndarray:
    """States of all real tokens of the notes, one note after the other, `(tokens, hidden)`."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    states: list[np.ndarray] = [np.empty(0)] * len(visits)
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
    return np.concatenate(states)


def _write(path: Path, states: np.ndarray) -> None:
    """Write under another name, to disk, then rename: a file that exists is whole."""
    staging = path.with_suffix(f".{os.getpid()}.part")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, states)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)
