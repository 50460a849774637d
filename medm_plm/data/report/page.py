"""The report as one page that a person can read, print and pass on: no script, nothing loaded from elsewhere.

Made from `report.json` alone. An entry that a report does not have is left out of the page; one that the page
does not know is shown as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medm_plm.data.report import page_sections as sections
from medm_plm.data.report.page_parts import text

Section = Callable[[Mapping[str, Any]], str]

# Title of each section, the entries of the report that it shows, and how.
SECTIONS: tuple[tuple[str, tuple[str, ...], Section], ...] = (
    ("Summary", ("visits", "vocabulary"), sections.summary),
    ("Warnings", ("warnings",), sections.warnings),
    ("Beside the paper", ("paper_tables",), sections.paper_tables),
    ("From visits read to visits prepared", ("exclusions",), sections.exclusions),
    ("Rows of each table", ("tables",), sections.row_accounts),
    ("Distributions", ("histograms", "lengths"), sections.distributions),
    ("Medications", ("medications", "medication_coverage"), sections.medications),
    ("Codes", ("codes", "repeated_codes", "top_codes"), sections.codes),
    ("Splits and tasks", ("splits",), sections.splits),
    ("Readmission", ("visits", "readmission_policies"), sections.readmission),
    ("Leakage checks", ("leakage",), sections.leakage),
    ("Rules", ("rules",), sections.rules),
    ("Fingerprints", ("source", "fingerprint", "output"), sections.fingerprints),
)
_KNOWN = {name for _, names, _ in SECTIONS for name in names}

# Should a value ever slip through as markup, the browser still loads and runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: #111; background: #fff }
h1 { font-size: 1.7rem; line-height: 1.2 } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem;
  border-bottom: 2px solid #111 }
nav ul { columns: 3 12rem; padding-left: 1.2rem } a { color: inherit }
.frame { overflow-x: auto; margin: 1rem 0 1.5rem } table { border-collapse: collapse; font-size: .9rem }
caption, figcaption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #bbb }
th[scope=row] { font-weight: 400; min-width: 9rem } thead th { border-bottom: 2px solid #111 }
.long { overflow-wrap: anywhere; min-width: 12rem }
.number { text-align: right; font-variant-numeric: tabular-nums } td.number { white-space: nowrap }
.figures { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(min(26rem,100%),1fr)) }
figure { margin: 1.5rem 0 } svg { display: block; width: 100%; font-size: 13px }
svg text { fill: #111 } .bar { fill: #555 } .box { fill: #fff; stroke: #111 } .last { stroke-width: 2.5 }
.line { fill: none; stroke: #111 } .tip { fill: #111 }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt } nav { display: none } .frame { overflow: visible }
  h2, caption, figcaption { break-after: avoid } tr, figure { break-inside: avoid }
  thead { display: table-header-group; break-after: avoid } .bar { print-color-adjust: exact } }
"""


def to_html(report: Mapping[str, Any]) -> str:
    """Show a report as one self-contained page.

    Args:
        report (`Mapping`): what `report.json` holds.

    Returns:
        HTML; the same for the same report.
    """
    title = " ".join(("Preparation report:", str(report.get("source", {}).get("name", "visits"))))
    parts = list(_parts(report))
    contents = "".join(
        f'<li><a href="#s{number}">{text(name)}</a></li>' for number, (name, _) in enumerate(parts)
    )
    body = "\n".join(
        f'<section id="s{number}"><h2>{text(name)}</h2>\n{part}</section>'
        for number, (name, part) in enumerate(parts)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style></head>\n"
        f'<body>\n<h1>{text(title)}</h1>\n<nav aria-label="Contents"><ul>{contents}</ul></nav>\n'
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _parts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, entries, section in SECTIONS:
        if any(entry in report for entry in entries):
            yield name, section(report)
    if unknown := {name: entry for name, entry in report.items() if name not in _KNOWN}:
        yield "Further entries", sections.as_it_stands(unknown)
