"""A folder of data: prepared visits, or the tables of a source."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from medm_plm.data.checking import check_folder
from medm_plm.data.preparation import SOURCES, source_layout
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import REPORT_FILE, VISITS_FILE, read_visits
from medm_plm.doctor.findings import OK, PROBLEM, WARNING, Finding, as_problem
from medm_plm.errors import InputError

AREA = "data"


def check_data(folder: str | Path) -> list[Finding]:
    """Check a data folder.

    Args:
        folder (`str` or `Path`): what `run_preparation.py` wrote, or tables that it can read.

    Returns:
        What was found.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return [Finding(AREA, PROBLEM, f"{folder} is no folder", "check the path")]
    findings = _prepared(folder) if (folder / VISITS_FILE).exists() else _source(folder)
    return [*findings, *check_rights(folder)]


def check_rights(folder: Path) -> list[Finding]:
    """Warn of a folder that other users of the machine can read.

    Args:
        folder (`Path`): a folder of patients' data.
    """
    rights = folder.stat().st_mode
    if rights & (stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH):
        message = "other users of this machine can enter the folder"
        return [Finding("rights", WARNING, message, f"chmod 700 {folder}, unless your rules allow it")]
    return [Finding("rights", OK, "only the owner can enter the folder")]


def _prepared(folder: Path) -> list[Finding]:
    findings: list[Finding] = []
    with as_problem(AREA, findings):
        visits = read_visits(folder)
        findings.append(Finding(AREA, OK, f"prepared folder, {visits.height} visits"))
    if findings[0].status != OK:
        return findings
    with as_problem("leakage", findings):
        checks = check_folder(folder)
        findings.append(Finding("leakage", OK, f"{checks.height} checks, no violation"))
    if not (folder / REPORT_FILE).is_file():
        message = f"{REPORT_FILE} is missing, so nothing says where the data come from"
        return [*findings, Finding("report", WARNING, message, "prepare the data again")]
    try:
        warnings = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))["warnings"]
    except (OSError, ValueError, LookupError, TypeError):
        return [*findings, Finding("report", PROBLEM, f"{REPORT_FILE} is damaged", "prepare the data again")]
    status, remedy = (WARNING, "read report.html") if warnings else (OK, None)
    return [*findings, Finding("report", status, f"{len(warnings)} warnings of the preparation", remedy)]


def _source(folder: Path) -> list[Finding]:
    """Find out which source the tables are of; each source names the tables that it lacks."""
    reasons = {}
    for source in SOURCES:
        try:
            layout = source_layout(source, folder, PreparationRules())
        except (InputError, OSError) as error:
            reasons[source] = " ".join(str(error).split())
            continue
        remedy = f"prepare them: medm-plm prepare --source {source} --input {folder} --output FOLDER"
        return [Finding(AREA, OK, f"tables of {source}: {', '.join(sorted(layout.tables))}", remedy)]
    return [
        Finding(
            AREA,
            PROBLEM,
            "neither a prepared folder nor the tables of a source; "
            + "; ".join(f"{source}: {reason}" for source, reason in reasons.items()),
            "give the folder that holds the tables (.csv, .csv.gz, .parquet); see docs/data.md",
        )
    ]
