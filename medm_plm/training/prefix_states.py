"""What the frozen text layers say about notes: its name, its size, and how it is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers

from medm_plm.data.collators import attention_mask_of, pad_sequences
from medm_plm.errors import InputError

TOKENS_PER_BATCH = 8192
"""Padded tokens that are run at once."""

FIELDS_WITHOUT_EFFECT = (
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "return_dict",
    "transformers_version",
)
"""Fields of a text configuration that change with saving and loading, but not what the layers compute."""


def prefix_fingerprint(model: Any, dtype: torch.dtype) -> str:
    """Name the frozen text layers by their content.

    Args:
        model (`MedMPLMModel`): the base model.
        dtype (`torch.dtype`): precision of the kept states.

    Returns:
        A hash of the frozen weights, the shape of the text encoder, the precision and the version of the
        library. The tokenizer has no part in it, because a note is named after its ids (`note_name`).
    """
    config = model.config.text_config.to_dict()
    shape = sorted((name, repr(value)) for name, value in config.items() if name not in FIELDS_WITHOUT_EFFECT)
    facts = (transformers.__version__, model.config.num_frozen_text_layers, dtype, shape)
    digest = hashlib.sha256(repr(facts).encode())
    for module in model.frozen_text_modules():
        for name, tensor in module.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def note_name(input_ids: Sequence[int] | np.ndarray, config: Any) -> str:
    """Name a note by its token ids, and by where it is cut if it has several chunks.

    Another tokenizer or another text makes another name; a note of one chunk is the same for all models.

    Args:
        input_ids (`Sequence[int]`): ids of the note.
        config (`MedMPLMConfig`): the length of chunks.
    """
    digest = hashlib.sha256(np.asarray(input_ids, dtype=np.int32).tobytes())
    if config.max_note_chunks > 1 and len(input_ids) > config.chunk_length:
        digest.update(f"chunks of {config.chunk_length}".encode())
    return digest.hexdigest()[:32]


def bytes_per_token(model: Any, dtype: torch.dtype) -> int:
    """Return what the states of one token take."""
    return model.config.text_config.hidden_size * dtype.itemsize


def compute_states(
    model: Any, notes: Mapping[str, np.ndarray], padding_id: int, dtype: torch.dtype, bytes_at_once: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Run the frozen layers over notes, short ones first.

    Args:
        model (`MedMPLMModel`): the base model.
        notes (`Mapping[str, np.ndarray]`): ids of each note, by its name.
        padding_id (`int`): id of the text tokenizer's padding token.
        dtype (`torch.dtype`): precision of the states.
        bytes_at_once (`int`): a part of this size is given out as soon as it is complete.

    Yields:
        States `(words, hidden)` of some notes, real tokens only, by their names.

    Raises:
        InputError: if a state is too large for the precision, or not a number.
    """
    part: dict[str, torch.Tensor] = {}
    size = 0
    for names in _batches(notes):
        rows = [notes[name] for name in names]
        text = {"input_ids": pad_sequences(rows, padding_id), "attention_mask": attention_mask_of(rows)}
        device = next(model.text_model.parameters()).device
        states = model.encode_text_prefix(**{name: ids.to(device) for name, ids in text.items()})
        states = states.to(dtype).cpu()
        for name, row, note in zip(names, rows, states, strict=True):
            part[name] = _checked(note[: len(row)].clone())
            size += part[name].nbytes
        if size >= bytes_at_once:
            yield part
            part, size = {}, 0
    if part:
        yield part


def _checked(states: torch.Tensor) -> torch.Tensor:
    """Refuse what would turn every loss into NaN: pre-norm encoders have large states."""
    if states.isfinite().all():
        return states
    if states.dtype == torch.float16 and not states.isnan().any():
        raise InputError(
            f"states of the frozen text layers do not fit into {states.dtype}",
            remedy="set --frozen_text_cache_dtype bfloat16",
        )
    raise InputError(
        "states of the frozen text layers are not finite",
        received=f"NaN or infinity in {states.dtype}",
        remedy="look at the weights of the text model",
    )


def _batches(notes: Mapping[str, np.ndarray]) -> Iterator[list[str]]:
    """Notes of about one length, as many as `TOKENS_PER_BATCH` allows."""
    batch: list[str] = []
    for name in sorted(notes, key=lambda name: (len(notes[name]), name)):
        if batch and (len(batch) + 1) * len(notes[name]) > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(name)
    if batch:
        yield batch
