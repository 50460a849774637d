"""Tables of a card in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medm_plm.cards.metadata import Result

NOT_APPLICABLE = "not applicable"


def not_applicable(reason: str) -> str:
    """What stands in a field that has nothing to say."""
    return f"{NOT_APPLICABLE}: {reason}"


def sentence(text: str) -> str:
    """Begin with a capital letter and leave the others as they are."""
    return text[:1].upper() + text[1:]


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table.

    Args:
        columns (`Sequence[str]`): headings.
        rows (`Iterable[Sequence]`): cells; a fraction gets four decimals, None a dash.

    Returns:
        Markdown without a final line break.
    """
    lines = [columns, ["---"] * len(columns), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def results_table(results: Sequence[Result]) -> str:
    """Metrics of the test split beside the label frequency."""
    if not results:
        return not_applicable("the run had no test data")
    rows = []
    for result in results:
        interval = "-" if result.interval is None else f"{result.interval[0]:.4f} to {result.interval[1]:.4f}"
        rows.append([f"`{result.name}`", result.value, interval, result.frequency])
    return markdown_table(["metric", "test", "95 % interval", "label frequency"], rows)


def counts_table(preparation: Mapping[str, Any]) -> str:
    """Counts of the preparation's report.

    Args:
        preparation (`Mapping`): facts of `medm_plm.training.run_record.preparation_facts`.
    """
    visits = preparation.get("visits") or {}
    medications = preparation.get("medications") or {}
    rows: list[list[object]] = [
        ["visits read", visits.get("visits_read")],
        ["visits prepared", visits.get("visits_prepared")],
        ["patients prepared", visits.get("patients_prepared")],
        ["patients with several visits", visits.get("patients_with_several_visits")],
        ["visits with a note", visits.get("visits_with_note")],
        ["visits with diagnoses", visits.get("visits_with_diagnoses")],
        ["visits with medications", visits.get("visits_with_medications")],
        ["deaths in hospital", visits.get("deaths_in_hospital")],
        ["prescription rows with a medication class", medications.get("rows_mapped")],
        ["prescription rows", medications.get("rows")],
    ]
    readmissions = (visits.get("readmission") or {}).get("visits_prepared")
    if readmissions:
        rows.insert(8, ["readmissions", readmissions.get("positive")])
    for name, split in (preparation.get("splits") or {}).items():
        rows.append([f"{name}: patients / visits", f"{split['patients']} / {split['visits']}"])
    return markdown_table(["quantity", "count"], [row for row in rows if row[1] is not None])


def settings_table(training: Mapping[str, Any]) -> str:
    """Settings of the training."""
    if not training:
        return not_applicable("the run was made before runs noted their settings")
    return markdown_table(["option", "value"], [[f"`{name}`", value] for name, value in training.items()])


def privacy_table(report: Mapping[str, Any]) -> str:
    """Attacks and canaries of `run_privacy.py`."""
    parts = []
    attacks = report.get("attacks") or {}
    if attacks:
        rows = []
        for name, attack in attacks.items():
            low, high = attack["interval"]
            interval = None if low is None else f"{low:.4f} to {high:.4f}"
            row = [name.replace("_", " "), attack["auc"], interval, attack["members"], attack["others"]]
            rows.append(row)
        columns = ["attack", "AUC", "95 % interval", "training patients", "held-out patients"]
        parts.append(markdown_table(columns, rows))
    canaries = report.get("canaries") or []
    if canaries:
        rows = [
            [entry["insertions"], entry["canaries"], entry["mean_exposure"], entry["largest_exposure"]]
            for entry in canaries
        ]
        columns = ["times inserted", "canaries", "mean exposure (bits)", "largest"]
        parts.append(markdown_table(columns, rows))
        highest = report.get("highest_exposure")
        parts.append(
            f"The highest exposure that can be measured is {_cell(highest)} bits; chance gives about 1.44."
        )
    return "\n\n".join(parts) if parts else not_applicable("the privacy report is empty")


def _cell(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4f}" if cell == 0 or abs(cell) >= 1e-3 else f"{cell:.1e}"
    return str(cell).replace("|", "\\|").replace("\n", " ")
