"""Text files of a corpus, line by line as their annotations count the lines."""

from __future__ import annotations

from pathlib import Path

from medm_plm.errors import InputError


def read_lines(path: Path) -> list[str]:
    """Read a UTF-8 file and divide it at line feeds alone.

    `str.splitlines` would also divide at form feeds and the like, and every later annotation, which names its
    line by number, would then stand a line too high.

    Args:
        path (`Path`): the file; a byte order mark and carriage returns at line ends are dropped.

    Returns:
        The lines; nothing after the last line feed is no line.

    Raises:
        InputError: if the file is missing or no UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"file cannot be read: {error.strerror}", file=path) from None
    except UnicodeDecodeError as error:
        row = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError("no UTF-8 text", file=path, row=row, remedy="convert the file to UTF-8") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]
