"""The 8-bit form of an exported model: weights as integers, activations rounded batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from medm_plm.errors import InputError
from medm_plm.export.requirements import require

QUANTIZED_OPERATORS = ("MatMul",)
"""The linear layers over tokens, where the time goes. Embeddings and heads keep their precision."""


def quantize_onnx(source: str | Path, target: str | Path) -> Path:
    """Quantise the linear layers of an exported model dynamically, no data needed.

    Args:
        source (`str` or `Path`): what `export_onnx` wrote.
        target (`str` or `Path`): the file to be written.

    Returns:
        The file.

    Raises:
        InputError: if the source is missing or the extra is not installed.
    """
    quantization = require("onnxruntime.quantization")
    source, target = Path(source), Path(target)
    if not source.is_file():
        raise InputError("no exported model", file=source, remedy="export the model first")
    staging = target.with_name(f".{target.name}.{uuid4().hex}.staging")
    try:
        with _quiet():
            quantization.quantize_dynamic(
                source,
                staging,
                op_types_to_quantize=list(QUANTIZED_OPERATORS),
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,  # one scale for each output, which costs nothing and keeps small weights
            )
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    return target


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the hint that the model could be prepared first, which brings these graphs nothing."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
