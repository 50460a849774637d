"""Sections of the report page: which entries of a report stand in which table or picture.

Every function takes a whole report and shows what of its own entries is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medm_plm.data.report.page_parts import bars, bullets, flow, paragraph, percent, table

Report = Mapping[str, Any]

_HISTOGRAMS = {
    "words_of_note": "Words per note",
    "diagnosis_codes": "Diagnoses per visit",
    "medication_codes": "Medications per visit",
    "visits_of_patient": "Visits per patient",
    "age": "Age at admission (years)",
}
_SPLITS = ("train", "validation", "test")
_LABELS = ("positive", "negative", "none")


def summary(report: Report) -> str:
    """Show what was prepared, in a few numbers."""
    visits, vocabulary = report.get("visits", {}), report.get("vocabulary", {})
    counts = {**visits, **{f"vocabulary: {name}": value for name, value in vocabulary.items()}}
    rows = [(_words(name), value) for name, value in counts.items() if not isinstance(value, Mapping)]
    return table("What was read and prepared", ("Quantity", "Number"), rows)


def warnings(report: Report) -> str:
    """Show what the prepared folder cannot be used for."""
    return bullets(report["warnings"]) if report["warnings"] else paragraph("None.")


def paper_tables(report: Report) -> str:
    """Show Tables I and II of the paper with our numbers beside its own."""
    tables = report["paper_tables"]
    first = [(row["quantity"], row["paper"], row["ours"], row["definition"]) for row in tables["table_1"]]
    numbers = [(split, whose) for split in _SPLITS for whose in ("paper", "ours")]
    second = [(row["task"], *(row[whose][split] for split, whose in numbers)) for row in tables["table_2"]]
    heads = [f"{split}, {'paper' if whose == 'paper' else 'here'}".capitalize() for split, whose in numbers]
    return (
        paragraph(
            "Liu et al. (2022) prepared MIMIC-III; other sources have other numbers. What the paper counts "
            "is not always said, so each number of ours says what it counts."
        )
        + table("Table I: the data set", ("Quantity", "Paper", "Here", "What ours count"), first)
        + table("Table II: examples", ("Task", *heads), second)
        + bullets(f"{row['task']}, here: {row['definition']}" for row in tables["table_2"])
    )


def exclusions(report: Report) -> str:
    """Show which visits were left out, step by step."""
    entry = report["exclusions"]
    start, steps = _flow_of(entry)
    rows = [
        (step["reason"], step["visits_dropped"], step["visits_left"], step["patients_left"])
        for step in entry["steps"]
    ]
    columns = ("Step", "Visits left out", "Visits left", "Patients left")
    return flow("Flow of visits", start, steps) + table("Every step", columns, rows)


def row_accounts(report: Report) -> str:
    """Show what became of the rows of each source table."""
    rows = []
    for name, entry in report["tables"].items():
        reasons = [f"{count:,}: {reason}" for reason, count in entry["rows_dropped"].items()]
        dropped = sum(entry["rows_dropped"].values())
        rows.append((name, entry["rows_in"], entry["rows_out"], dropped, reasons))
    columns = ("Table", "Rows in", "Rows out", "Rows dropped", "Reasons")
    return table("Rows in are rows out and rows dropped", columns, rows)


def distributions(report: Report) -> str:
    """Show how long notes and lists are, how often patients come, and how old they are."""
    drawn = [
        bars(f"{_HISTOGRAMS.get(name, _words(name))}: number of {entry['counted']}", entry["bins"])
        for name, entry in report.get("histograms", {}).items()
    ]
    parts = [f'<div class="figures">{"".join(drawn)}</div>'] if drawn else []
    if lengths := report.get("lengths"):
        columns = list(next(iter(lengths.values())))
        rows = [(_words(name), *(entry[column] for column in columns)) for name, entry in lengths.items()]
        caption = "Lengths, over the visits that have any"
        parts.append(table(caption, ("Quantity", *map(_words, columns)), rows))
    return "".join(parts)


def medications(report: Report) -> str:
    """Show how much of the prescriptions is mapped, and what is not."""
    parts = []
    if entry := report.get("medications"):
        parts.append(table("Mapping of prescriptions", ("Quantity", "Value"), list(_flat(entry))))
    if coverage := report.get("medication_coverage"):
        parts += _coverage(coverage)
    return "".join(parts)


def codes(report: Report) -> str:
    """Show where codes stand in their trees, how many were repeated, and the most frequent ones."""
    parts = []
    if entry := report.get("codes"):
        columns = list(next(iter(entry.values()), {}))
        rows = [(system, *(counts[column] for column in columns)) for system, counts in entry.items()]
        parts.append(table("Distinct codes in their trees", ("System", *map(_words, columns)), rows))
    if entry := report.get("repeated_codes"):
        columns = list(next(iter(entry.values()), {}))
        rows = [(_words(kind), *(counts[column] for column in columns)) for kind, counts in entry.items()]
        caption = "Codes written more than once in a visit, which stand in it once"
        parts.append(table(caption, ("Kind", *map(_words, columns)), rows))
    if entry := report.get("top_codes"):
        for kind in ("diagnosis_codes", "medication_codes"):
            parts.append(_top_codes(kind, entry))
    return "".join(parts)


def splits(report: Report) -> str:
    """Show the size of each split and the examples of each task."""
    entry = report["splits"]
    flat = {split: dict(_flat(entry[split])) for split in _SPLITS if split in entry}
    names = list(dict.fromkeys(name for counts in flat.values() for name in counts))
    rows = [(name, *(counts.get(name) for counts in flat.values())) for name in names]
    labels = table("Labels of the tasks", ("Task", "Labels"), list(_flat(entry.get("number_of_labels", {}))))
    return table("Patients, visits and examples", ("Quantity", *flat), rows) + labels


def readmission(report: Report) -> str:
    """Show the readmission labels under each policy."""
    chosen = report.get("visits", {}).get("readmission", {})
    counts = report.get("readmission_policies") or {chosen["policy"]: chosen}
    rows = [
        (policy, _words(which), *(labels[name] for name in _LABELS), _prevalence(labels))
        for policy, entry in counts.items()
        for which, labels in entry.items()
        if isinstance(labels, Mapping)
    ]
    columns = ("Policy", "Among", "Readmitted", "Not readmitted", "No label", "Share readmitted")
    policy = paragraph(f"Policy of the prepared visits: {chosen.get('policy', 'not said')}.")
    return policy + table("Labels by policy", columns, rows)


def leakage(report: Report) -> str:
    """Show what was checked against leakage."""
    rows = [(name, entry["examined"], entry["violations"]) for name, entry in report["leakage"].items()]
    return table("Checks against leakage", ("Check", "Examined", "Violations"), rows)


def rules(report: Report) -> str:
    """Show every choice that changes the prepared visits."""
    return table("Rules of this preparation", ("Rule", "Value"), list(_flat(report["rules"])))


def fingerprints(report: Report) -> str:
    """Show the SHA-256 of what was read and written."""
    source = report.get("source", {})
    files = [(name, file["rows"], file["sha256"]) for name, file in source.get("files", {}).items()]
    parts = [table("Files read", ("File", "Rows", "SHA-256"), files)]
    if remarks := source.get("remarks"):
        parts.append(table("Remarks of the reader", ("Remark", "Number"), list(remarks.items())))
    if fingerprint := report.get("fingerprint"):
        rows = [("the inputs and every choice", fingerprint)]
        parts.append(table("This preparation", ("Of", "SHA-256"), rows))
    if output := report.get("output"):
        parts.append(table("Files written", ("File", "SHA-256"), list(output.items())))
    return "".join(parts)


def as_it_stands(entries: Report) -> str:
    """Show entries that have no section of their own."""
    return table("Entries of the report", ("Entry", "Value"), list(_flat(entries)))


def _coverage(entry: Report) -> Iterator[str]:
    at_least = entry["minimum_patients"]
    shares = [
        (
            "Rows that name a drug",
            entry["rows"] - entry["rows_without_drug"],
            entry["rows_mapped"],
            "share_of_rows_naming_a_drug",
        ),
        ("Distinct drug strings", entry["strings"], entry["strings_mapped"], "share_of_strings"),
    ]
    rows = [(name, number, mapped, percent(entry[share])) for name, number, mapped, share in shares]
    yield table("Coverage of the mapping", ("Counted by", "All", "Mapped", "Share"), rows)
    listed = [(row["drug"], row["rows_unmapped"], row["rows"], row["patients"]) for row in entry["unmapped"]]
    columns = ("Drug string", "Rows not mapped", "Rows", "Patients")
    yield table(f"Drug strings of {at_least} or more patients with rows that are not mapped", columns, listed)
    for key, which in (
        ("unmapped_of_fewer_patients", f"of fewer than {at_least} patients, not named here"),
        ("unmapped_beyond_the_list", "beyond the list"),
    ):
        if entry[key]["strings"]:
            strings, rows_unmapped = entry[key]["strings"], entry[key]["rows"]
            yield paragraph(f"Strings {which}: {strings:,}, with {rows_unmapped:,} rows that are not mapped.")
    if entry["rows_without_drug"]:
        yield paragraph(f"Rows that name no drug and are not mapped: {entry['rows_without_drug']:,}.")


def _flow_of(entry: Report) -> tuple[str, list[tuple[str, str]]]:
    """Turn the steps into words; a step that leaves nothing out only tells the patients."""
    start, steps = f"{entry['rows_read']:,} rows of the visit table", []
    for step in entry["steps"]:
        left = f"{step['visits_left']:,} visits"
        if step["patients_left"] is not None:
            left += f"\n{step['patients_left']:,} patients"
        if step["visits_dropped"]:
            steps.append((f"{step['visits_dropped']:,} left out: {step['reason']}", left))
        elif steps:
            steps[-1] = (steps[-1][0], left)
        else:
            start = left
    return start, steps


def _top_codes(kind: str, entry: Report) -> str:
    rows = [
        (row["code"], _title(row), row["visits"], percent(row["visits"], entry["training_visits"]))
        for row in entry[kind]
    ]
    caption = (
        f"Most frequent {_words(kind)} of the training split ({entry['minimum_patients']} or more patients)"
    )
    return table(caption, ("Code", "Title", "Visits", "Share of visits"), rows)


def _title(row: Report) -> str | None:
    if row["title"] is None or row["title_of"] == row["code"]:
        return row["title"]
    group = row["title_of"].split(":", 1)[1].replace(":", " ")
    return f"{row['title']} ({group})"


def _prevalence(labels: Mapping[str, int]) -> str | None:
    return percent(labels["positive"], labels["positive"] + labels["negative"])


def _flat(entry: Report, above: str = "") -> Iterator[tuple[str, object]]:
    """Name each value of nested entries by the whole way to it."""
    for name, value in entry.items():
        path = f"{above}{_words(name)}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}: ")
        else:
            yield path, [str(part) for part in value] if isinstance(value, list | tuple) else value


def _words(name: str) -> str:
    return str(name).replace("_", " ")
