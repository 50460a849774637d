"""The packages of the extra `[onnx]`, asked for when they are needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from medm_plm.errors import InputError


def require(name: str) -> ModuleType:
    """Import a module of the extra.

    Args:
        name (`str`): its dotted name.

    Returns:
        The module.

    Raises:
        InputError: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise InputError(
            f"{package} is not installed", remedy='install the extra: pip install "medm-plm[onnx]"'
        ) from None
