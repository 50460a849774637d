"""From the first word of the command line to the script it names."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from medm_plm import __version__
from medm_plm.cli.commands import COMMANDS, load_main
from medm_plm.command_line import nearest, run_main

PROGRAM = "medm-plm"
_USAGE = f"usage: {PROGRAM} COMMAND [options]"


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.

    Raises:
        SystemExit: with status 2 if there is no such command, otherwise as the command has it.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if not words:
        _refuse("a command is missing")
    if words[0] in ("-h", "--help"):
        _write(help_text())
    elif words[0] == "--version":
        _write(f"{PROGRAM} {__version__}\n")
    elif words[0] not in COMMANDS:
        kind = "option" if words[0].startswith("-") else "command"
        known = ("--help", "--version") if kind == "option" else COMMANDS
        _refuse(f"unknown {kind} {words[0]}", nearest(words[0], known))
    else:
        _run(words[0], words[1:])


def help_text() -> str:
    """List the commands."""
    width = max(map(len, COMMANDS))
    lines = [_USAGE, "", "Language models over the notes and codes of hospital visits.", "", "commands:"]
    lines += [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    lines += [
        "",
        f"`{PROGRAM} COMMAND --help` lists the options of one. Most take `--config FILE`, a YAML file of",
        "options; what stands on the command line wins over it.",
    ]
    return "\n".join(lines) + "\n"


def _run(name: str, words: list[str]) -> None:
    before = sys.argv
    # Parsers take their name from the first word of the process.
    sys.argv = [f"{PROGRAM} {name}", *words]
    try:
        run_main(lambda: load_main(name)())
    except BrokenPipeError:
        # The reader, `head` for instance, has gone; Python would say so once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    finally:
        sys.argv = before


def _write(text: str) -> None:
    sys.stdout.write(text)


def _refuse(message: str, suggestion: str | None = None) -> NoReturn:
    remedy = f"did you mean {suggestion}?" if suggestion else f"see {PROGRAM} --help for the commands"
    sys.stderr.write(f"{PROGRAM}: error: {message}; {remedy}\n")
    raise SystemExit(2)
