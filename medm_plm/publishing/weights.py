"""The header of safetensors files, which says of every byte behind it what it is: numbers, and no text."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from medm_plm.errors import InputError
from medm_plm.publishing.leaks import KnownSecrets, leak_error, leak_in, leak_in_values

_METADATA = "__metadata__"
_LARGEST_HEADER = 100 << 20  # as safetensors itself
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}
_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "BOOL": 1}
"""Bytes of a number. Models have no other kinds; a tensor of bytes could hold any text."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,300}")


def check_weights(path: Path, known: KnownSecrets) -> None:
    """Refuse a file of weights that holds anything but weights.

    Args:
        path (`Path`): the file.
        known (`KnownSecrets`): words that must not appear in its header.

    Raises:
        InputError: if it is no safetensors file, or its header or the bytes behind it hold something else.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        raw = stream.read(length) if 2 <= length <= min(_LARGEST_HEADER, size - 8) else b""
    try:
        text = raw.decode("utf-8")
        header = json.loads(text, object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise InputError("the file holds no safetensors weights", file=path)
    if (found := leak_in_values(header, known, has_settings=False)) is not None:
        raise leak_error(path, found[0], place=found[1])
    if (kind := leak_in(text, KnownSecrets(known.tokens))) is not None:
        raise leak_error(path, kind)
    if not _is_plain(header.pop(_METADATA, {})):
        raise InputError(
            "the header of the weights holds words that belong to no weight",
            file=path,
            expected='"format": "pt" alone',
            remedy="save the model again",
        )
    _check_entries(path, header, size - 8 - length)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key given twice: of the first one nobody would ever see the value."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _is_plain(metadata: Any) -> bool:
    if not isinstance(metadata, dict):
        return False
    return all(
        (name == "format" and value == "pt") or (name == "total_size" and str(value).isdecimal())
        for name, value in metadata.items()
    )


def _check_entries(path: Path, header: dict[str, Any], size: int) -> None:
    """The weights must cover all bytes, each as many as its shape needs, in names that are no sentences."""
    places = []
    for name, entry in header.items():
        if not _NAME.fullmatch(name) or not _is_entry(entry):
            raise InputError("the header of the weights has an entry that is no weight", file=path)
        begin, end = entry["data_offsets"]
        if end - begin != math.prod(entry["shape"]) * _SIZES[entry["dtype"]]:
            raise InputError("a weight has not the bytes that its shape needs", file=path)
        places.append((begin, end))
    covered = 0
    for begin, end in sorted(places):
        if begin != covered:
            raise InputError("the file holds bytes that belong to no weight", file=path)
        covered = end
    if not places or covered != size:
        raise InputError("the file holds bytes that belong to no weight", file=path)


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or entry.keys() != _ENTRY_KEYS:
        return False
    shape, offsets = entry["shape"], entry["data_offsets"]
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    are_counts = all(type(number) is int and number >= 0 for number in numbers)
    return isinstance(entry["dtype"], str) and entry["dtype"] in _SIZES and are_counts and len(offsets) == 2
