"""Check the installation and this machine, and a data or a model folder if one is given.

    medm-plm doctor
    medm-plm doctor --data prepared --model readmission --json

Each line says what was looked at and what was found; a problem says how to mend it. The exit status is 1 if
there is a problem. Nothing is sent anywhere, and no code of a model folder is run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from medm_plm import __version__
from medm_plm.command_line import PlainParser
from medm_plm.doctor.findings import OK, PROBLEM, WARNING, Finding
from medm_plm.doctor.installation import check_installation
from medm_plm.doctor.machine import check_machine

MARKS = {OK: "ok     ", WARNING: "warning", PROBLEM: "PROBLEM"}


def main(argv: Sequence[str] | None = None) -> None:
    """Check and print.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.

    Raises:
        SystemExit: with status 1 if there is a problem.
    """
    options = build_parser().parse_args(argv)
    findings = [*check_installation(), *check_machine(options.output)]
    if options.data is not None:
        findings += _checked(options.data, "data_folders", "check_data")
    if options.model is not None:
        findings += _checked(options.model, "model_folders", "check_model")
    problems = [finding for finding in findings if finding.status == PROBLEM]
    if options.json:
        content = {"version": __version__, "is_well": not problems, "findings": list(map(asdict, findings))}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        sys.stdout.write(_as_text(findings))
    if problems:
        raise SystemExit(1)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; it needs nothing but Python, as the rest may be what is broken."""
    parser = PlainParser(description=__doc__)
    parser.add_argument("--data", metavar="FOLDER", help="prepared data, or the tables of a source")
    parser.add_argument("--model", metavar="FOLDER", help="a saved model")
    parser.add_argument("--output", metavar="FOLDER", default=".", help="where runs are to write to")
    parser.add_argument("--json", action="store_true", help="print JSON in place of text")
    return parser


def _checked(folder: str, module: str, function: str) -> list[Finding]:
    """Import what checks a folder; that fails where a package is missing, which has been said above."""
    from importlib import import_module

    try:
        check: Any = getattr(import_module(f"medm_plm.doctor.{module}"), function)
    except ImportError as error:
        return [Finding(folder, PROBLEM, f"not checked: {error.name} cannot be imported", "see above")]
    found: list[Finding] = check(folder)
    return found


def _as_text(findings: Sequence[Finding]) -> str:
    width = max(len(finding.area) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{MARKS[finding.status]}  {finding.area:<{width}}  {finding.message}")
        if finding.remedy:
            lines.append(f"{' ' * (len(MARKS[OK]) + width + 4)}-> {finding.remedy}")
    counts = [sum(finding.status == status for finding in findings) for status in (PROBLEM, WARNING)]
    lines.append(f"\n{counts[0]} problems, {counts[1]} warnings")
    return "\n".join(lines) + "\n"
