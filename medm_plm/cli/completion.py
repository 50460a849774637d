"""Print a shell completion script; it is static, so that pressing TAB starts no Python.

    medm-plm completion bash > ~/.local/share/bash-completion/completions/medm-plm
    medm-plm completion zsh > ~/.zfunc/_medm-plm

Needs the extra `[completion]`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from medm_plm.cli.commands import COMMANDS, Command
from medm_plm.cli.dispatch import PROGRAM
from medm_plm.command_line import PlainParser, option_parser
from medm_plm.errors import InputError

SHELLS = ("bash", "zsh")
FOLDERS = ("data", "model", "output_dir", "folder", "frozen_text_cache", "split_ids", "reference")
FILES = (
    "config",
    "input",
    "output",
    "predictions",
    "titles",
    "privacy",
    "canaries",
    "drug_map",
    "label_file",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the script.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
    """
    options = build_parser().parse_args(argv)
    if find_spec("shtab") is None:
        raise InputError("the package shtab is missing", remedy='pip install "medm-plm[completion]"')
    shtab = import_module("shtab")
    sys.stdout.write(shtab.complete(whole_parser(shtab), options.shell) + "\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of this command."""
    parser = PlainParser(description=__doc__)
    parser.add_argument("shell", choices=SHELLS, help="which shell")
    return parser


def whole_parser(shtab: Any) -> argparse.ArgumentParser:
    """Put the options of all commands into one parser; this imports all of them.

    Args:
        shtab: the package, which says how files are completed.

    Returns:
        A parser with a command for each of `COMMANDS`.
    """
    parser = argparse.ArgumentParser(prog=PROGRAM)
    parser.add_argument("--version", action="store_true", help="print the version")
    places = parser.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        places.add_parser(
            name,
            parents=[child] if (child := _parser_of(command)) is not None else [],
            add_help=False,
            help=command.summary,
        )
    for child in places.choices.values():
        for action in child._actions:
            if action.dest in FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif action.dest in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser


def _parser_of(command: Command) -> argparse.ArgumentParser | None:
    if not command.options:
        return None
    if command.options.islower():
        built: argparse.ArgumentParser = getattr(import_module(command.module), command.options)()
        return built
    classes = []
    for word in command.options.split(","):
        module, _, name = word.rpartition(":")
        classes.append(getattr(import_module(module or command.module), name))
    return option_parser(*classes)
