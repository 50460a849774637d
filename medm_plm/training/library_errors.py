"""One clear line for what the libraries below say about impossible settings, missing files and full disks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from medm_plm.errors import InputError

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust name an error of the operating system."""


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Turn what the library says about an impossible setting or a missing file into one of our errors.

    Args:
        what (`str`): what was tried.
    """
    try:
        yield
    except (StrictDataclassError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        cause = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        raise InputError(f"{what}: {cause}") from error


@contextmanager
def readable_text_model(
    text_model: str, errors: tuple[type[Exception], ...] = (OSError, ValueError)
) -> Iterator[None]:
    """Say in our words that there is no text encoder; those of the Hub's client speak of repositories.

    Args:
        text_model (`str`): the value of the option.
        errors (`tuple`): errors of the library that mean this.
    """
    try:
        yield
    except errors as error:
        folder = Path(text_model)
        raise InputError(
            f"option --text_model {text_model}: no text encoder with its tokenizer can be read there",
            received="a folder without one of them" if folder.is_dir() else "no folder",
            expected="a folder that holds both, or the id of a model on the Hub",
            remedy="check the path; without a network only models in the local cache are found",
        ) from error


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Say in one line that files of the library cannot be written.

    Args:
        place (`Path`): the folder they go to.
    """
    try:
        yield
    except Exception as error:
        if not is_writing_error(error):
            raise
        raise InputError(
            f"it cannot be written: {reason_of(error)}", file=place, remedy="check space and rights"
        ) from None


def is_writing_error(error: Exception) -> bool:
    """Tell whether a file could not be written; only Python itself has an error of its own for it."""
    if isinstance(error, OSError | SafetensorError):
        return True
    if type(error) is Exception:  # tokenizers
        return _OS_ERROR.search(str(error)) is not None
    if isinstance(error, RuntimeError):  # PyTorch
        return any(word in str(error) for word in ("PytorchStreamWriter", "iostream", "unexpected pos"))
    return False


def reason_of(error: Exception) -> str:
    """Say in the words of the operating system why a file could not be written, if they are known."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    number = _OS_ERROR.search(str(error))
    return "the disk took no more data" if number is None else os.strerror(int(number[1]))
