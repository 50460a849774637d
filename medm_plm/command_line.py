"""What every script shares: options from a file and the command line, one-line errors, a closing table.

The options of a script are the fields of its dataclasses, read by the `HfArgumentParser` of transformers.
What that parser leaves open is settled here: a `--config` file, one-line errors with the nearest right name,
and values that are converted by the type of their option wherever they were written.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin, get_type_hints

import yaml

from medm_plm.errors import InputError

if TYPE_CHECKING:
    from transformers import HfArgumentParser

_NULL_WORDS = ("", "null", "Null", "NULL", "~")
_EXPECTED: dict[object, str] = {int: "a whole number", float: "a number", Path: "a path"}
_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


def parse_arguments(
    *dataclass_types: type,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
    description: str | None = None,
) -> tuple[Any, ...]:
    """Read the options of a run from a YAML file and the command line.

    `--config FILE` names a YAML file whose keys are option names; an option on the command line wins over
    the file, and the file over the default. The type of an option decides what a word of the file means, so
    `5e-4` is a number for a number option and `no` is text for a text option. `null` stands for "not set".

    Args:
        dataclass_types (`type`): dataclasses (for example `TrainingArguments`) whose fields are the options.
        argv (`Sequence[str]`, *optional*): words of the command line; defaults to those of the process.
        prog (`str`, *optional*): name of the script in messages; defaults to the name it was started by.
        description (`str`, *optional*): first lines of the help text.

    Returns:
        One instance of each dataclass, in the order given.

    Raises:
        SystemExit: with status 2 and one line on the standard error stream, if an option is unknown,
            missing, given twice in the file, or of the wrong type; with status 0 after `--help`.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = _build_parser(dataclass_types, prog=prog, description=description)
    options = {action.dest: action for action in reversed(parser._actions)}
    _refuse_unknown_flags(parser, argv)
    if (config := _config_path(argv)) is not None:
        _read_config(parser, options, config)
    namespace, unused = parser.parse_known_args(argv)
    if unused:
        parser.error(f"unexpected argument {unused[0]!r}; every option is written --name value")
    return tuple(_instantiate(parser, dataclass_type, namespace) for dataclass_type in dataclass_types)


class PlainParser(argparse.ArgumentParser):
    """A parser of `argparse` for scripts with positional words, with the manners of `parse_arguments`.

    Options are written in full, a mistake is one line with the nearest right name and exit status 2, and the
    description keeps its lines.
    """

    def __init__(self, **kwargs: Any) -> None:
        manners = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(**{**manners, **kwargs})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; an unknown option is refused here, where the nearest one is known."""
        words = sys.argv[1:] if args is None else list(args)
        if self._subparsers is None:  # with commands below, most options are theirs
            _refuse_unknown_flags(self, words)
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Say it in one line."""
        self.exit(2, f"{self.prog}: error: {_one_line(message)}\n")


def run_main(main: Callable[[], None]) -> None:
    """Run a script: a mistake of the user's becomes one line, a defect of ours stays a traceback.

    Args:
        main (`Callable[[], None]`): the script.

    Raises:
        SystemExit: with status 1 after an `InputError`, 130 after an interrupt from the keyboard.
    """
    try:
        main()
    except InputError as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print the closing table of a script as plain text with aligned columns.

    Numbers stand to the right, text to the left; fractions get four decimals; an absent value is a dash.

    Args:
        title (`str`): line above the table.
        columns (`Sequence[str]`): heading of each column.
        rows (`Iterable[Sequence[object]]`): one sequence of cells for each row, as long as `columns`.

    Raises:
        ValueError: if a row has another number of cells than there are columns.
    """
    rows = [list(row) for row in rows]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table {title!r}: received a row of {len(row)} cells, expected {len(columns)}")
    cells = [[_format_cell(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    to_the_right = [_is_numeric([row[index] for row in rows]) for index in range(len(columns))]
    print(f"\n{title}")
    for line in (list(columns), ["-" * width for width in widths], *cells):
        aligned = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, to_the_right, strict=True)
        ]
        print("  ".join(aligned).rstrip())


def option_parser(*dataclass_types: type) -> argparse.ArgumentParser:
    """Build the parser of `parse_arguments` alone, to list its options.

    Args:
        dataclass_types (`type`): dataclasses whose fields are the options.

    Returns:
        The parser.
    """
    parser: argparse.ArgumentParser = _build_parser(dataclass_types, prog=None, description=None)
    return parser


def _build_parser(
    dataclass_types: Sequence[type], prog: str | None, description: str | None
) -> HfArgumentParser:
    # Imported here: transformers takes a second, and a table or an error needs none of it.
    from transformers.hf_argparser import HfArgumentParser

    class OptionParser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:
            # The usage text of a hundred options would hide the one line that helps.
            print(f"{self.prog}: error: {_one_line(message)}", file=sys.stderr)
            raise SystemExit(2)

    parser = OptionParser(dataclass_types, prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", help="YAML file of options; the command line wins")
    hints = {name: hint for kind in dataclass_types for name, hint in get_type_hints(kind).items()}
    for action in parser._actions:
        # A bare percent sign would break --help; "%%" and "%(default)s" stay what they are.
        action.help = action.help and re.sub(r"%%|%(?!\()", "%%", action.help)
        if action.dest in hints and action.type is not None:
            action.type = _Converter(action, hints[action.dest])
    return parser


class _Converter:
    """Turn what was written for one option, on the command line or in the file, into a value of its type."""

    def __init__(self, action: argparse.Action, hint: Any) -> None:
        self.convert: Any = action.type
        self.choices = action.choices
        self.takes_list = action.nargs == "+"
        kinds = get_args(hint) or (hint,)
        origins = {get_origin(kind) or kind for kind in (hint, *kinds)}
        self.admits_none = type(None) in origins
        self.admits_list = list in origins
        self.admits_mapping = dict in origins
        self.expected = self._describe(is_boolean=bool in origins)

    def _describe(self, is_boolean: bool) -> str:
        if self.choices is not None:
            return "one of " + ", ".join(map(str, self.choices))
        if is_boolean and self.convert is not str:
            return "true or false"
        return _EXPECTED.get(self.convert, "text")

    def __call__(self, word: str) -> object:
        """Convert one word; argparse calls this for the command line."""
        try:
            value = json.loads(word) if get_origin(self.convert) is dict else self.convert(word)
        except (ValueError, TypeError, argparse.ArgumentTypeError):
            raise self._refusal(repr(word)) from None
        if isinstance(value, float) and math.isnan(value):
            raise self._refusal(repr(word))
        if self.choices is not None and value not in self.choices:
            raise self._refusal(repr(word), _suggestion(word, map(str, self.choices), remedy=""))
        return value

    def from_file(self, value: str | list[Any] | dict[str, Any]) -> object:
        """Convert one value of the configuration file, in which lists and mappings can be written."""
        if isinstance(value, str) and value in _NULL_WORDS and self.admits_none:
            return None
        if isinstance(value, dict) and self.admits_mapping:
            return self(json.dumps(value))
        if isinstance(value, list) and self.admits_list:
            return [self(self._word(item)) for item in value]
        return [self(self._word(value))] if self.takes_list else self(self._word(value))

    def _word(self, value: str | list[Any] | dict[str, Any]) -> str:
        if isinstance(value, str):
            return value
        raise self._refusal("a list" if isinstance(value, list) else "a mapping")

    def _refusal(self, received: str, suggestion: str = "") -> argparse.ArgumentTypeError:
        return argparse.ArgumentTypeError(f"received {received}, expected {self.expected}{suggestion}")


def _refuse_unknown_flags(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    # Before argparse looks: it would report a misspelt required option as missing and not as misspelt.
    known = {flag for action in parser._actions for flag in action.option_strings}
    for word in argv:
        flag = word.split("=", 1)[0]
        if flag.startswith("--") and flag != "--" and flag not in known:
            parser.error(f"unknown option {flag}{_suggestion(flag, known)}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Find the name that was probably meant.

    Args:
        word (`str`): what was written.
        known (`Iterable[str]`): the names that there are.

    Returns:
        One of them, or None if none is near.
    """
    found = difflib.get_close_matches(word, sorted(known), n=1)
    return found[0] if found else None


def _suggestion(word: str, known: Iterable[str], remedy: str = "; see --help for the options") -> str:
    found = nearest(word, known)
    return f"; did you mean {found}?" if found else remedy


def _config_path(argv: Sequence[str]) -> Path | None:
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", nargs="?")
    config = finder.parse_known_args(argv)[0].config
    return Path(config) if config else None


def _read_config(parser: argparse.ArgumentParser, options: dict[str, argparse.Action], path: Path) -> None:
    """Make the values of a YAML file the defaults of the parser's options."""
    seen: set[str] = set()
    for line, key, value in _config_entries(parser, path):
        name, place = key.replace("-", "_"), f"{path}, line {line}"
        converter: object = options[name].type if name in options else None
        if not isinstance(converter, _Converter):
            names = [option for option, action in options.items() if isinstance(action.type, _Converter)]
            parser.error(f"{place}: unknown option {key}{_suggestion(name, names)}")
        if name in seen:
            parser.error(f"{place}: option {name} is given twice; keep one of the two lines")
        seen.add(name)
        try:
            options[name].default = converter.from_file(value)
        except argparse.ArgumentTypeError as error:
            parser.error(f"{place}: option {name}: {error}")
        options[name].required = False


def _config_entries(parser: argparse.ArgumentParser, path: Path) -> Iterator[tuple[int, str, Any]]:
    try:
        # BaseLoader leaves every scalar as the text that was written: the type of the option reads it.
        loader = yaml.BaseLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        parser.error(f"cannot read the configuration file {path}: {reason}; check the path after --config")
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        parser.error(f"{path}, line {line}: this is no valid YAML; write one 'option: value' in a line")
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        kind = type(node).__name__.removesuffix("Node").lower()
        parser.error(f"{path}: received a {kind}, expected lines of the form 'option: value'")
    for key, value in node.value:
        yield key.start_mark.line + 1, str(key.value), loader.construct_object(value, deep=True)


def _instantiate(parser: HfArgumentParser, dataclass_type: type, namespace: argparse.Namespace) -> Any:
    names = [field.name for field in fields(dataclass_type) if field.init]
    try:
        return dataclass_type(**{name: getattr(namespace, name) for name in names})
    except ValueError as error:  # a combination of options that the dataclass refuses
        parser.error(str(error))


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


def _format_cell(cell: object) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _is_numeric(cells: Iterable[object]) -> bool:
    return all(cell is None or isinstance(cell, int | float) for cell in cells)


@contextmanager
def quiet_library() -> Iterator[None]:
    """Hold back what transformers says while it does as it should: tables of weights, hints about speed."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
