"""How well headings of clinical notes are recognised, and how much of admission is kept.

    python benchmarks/sections.py [--speed 2000]

Prints precision and recall for each section, where a heading counts if both its place and its section are
right: for the invented discharge summaries of `tests/fixtures/sections` (those the rules were tuned on, and
those that were put aside), and for the visit notes of ACI-BENCH, if `MEDM_PLM_TEST_DATA` (or
`../shared/data`) holds them. For the discharge summaries, it also prints how many characters of admission are
kept, and how many of other sections come with them. `--speed` reads so many generated notes of 10 kB.

Fixtures mark headings in the text, `{{allergies|Allergies:}}`. `other` is marked only where an unknown
heading ends a section of admission; a sub-heading that goes on with its section is not marked.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # runs from a clone, installed or not

from medm_plm.command_line import print_table  # noqa: E402
from medm_plm.data.sections import ADMISSION_SECTIONS, Section, admission_text, split_sections  # noqa: E402

FIXTURES = ROOT / "tests" / "fixtures" / "sections"
FIXTURE_SETS = ("tuned", "held_out")
NUM_NOTES = 59_652  # discharge summaries of MIMIC-III
NOTE_LENGTH = 10_000  # characters

Heading = tuple[int, str]  # where it begins, and the section it opens

# The heading lines of the notes of ACI-BENCH, which stand alone on their line. "VITALS" is a part of the
# examination where it follows its heading, and is looked for elsewhere only.
ACI_BENCH_HEADINGS = {
    "CHIEF COMPLAINT": "chief_complaint",
    "CC:": "chief_complaint",
    "HISTORY OF PRESENT ILLNESS": "history_of_present_illness",
    "HPI:": "history_of_present_illness",
    "SUBJECTIVE": "history_of_present_illness",
    "PAST HISTORY": "past_medical_history",
    "MEDICAL HISTORY": "past_medical_history",
    "PAST MEDICAL HISTORY": "past_medical_history",
    "PAST MEDICAL HISTORY:": "past_medical_history",
    "SURGICAL HISTORY": "past_medical_history",
    "PAST SURGICAL HISTORY:": "past_medical_history",
    "BIRTH HISTORY": "past_medical_history",
    "SOCIAL HISTORY": "social_history",
    "FAMILY HISTORY": "family_history",
    "REVIEW OF SYSTEMS": "review_of_systems",
    "REVIEW OF SYMPTOMS": "review_of_systems",
    "ALLERGIES": "allergies",
    "MEDICATIONS": "medications",
    "CURRENT MEDICATIONS": "medications",
    "CURRENT MEDICATIONS:": "medications",
    "VITALS": "physical_examination",
    "VITALS REVIEWED": "physical_examination",
    "PHYSICAL EXAM": "physical_examination",
    "PHYSICAL EXAMINATION": "physical_examination",
    "EXAM": "physical_examination",
    "RESULTS": "results",
    "Results:": "results",
    "PROCEDURE": "procedures",
    "ASSESSMENT": "assessment_and_plan",
    "ASSESSMENT AND PLAN": "assessment_and_plan",
    "IMPRESSION": "assessment_and_plan",
    "PLAN": "assessment_and_plan",
    "ORDERS": "assessment_and_plan",
    "INSTRUCTIONS": "discharge_instructions",
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--speed", type=int, default=0, help="how many generated notes to read")
    options = parser.parse_args()
    for name in FIXTURE_SETS:
        notes = fixtures(name)
        print_scores(f"discharge summaries, {name}, {len(notes)} notes", notes)
        kept, missed, leaked = admission_characters(notes)
        print(f"characters of admission kept {kept}, missed {missed}; of other sections {leaked}\n")
    notes = aci_bench()
    if notes:
        print_scores(f"ACI-BENCH, {len(notes)} notes", notes)
    else:
        print("no ACI-BENCH: set MEDM_PLM_TEST_DATA to the folder that holds aci-bench")
    if options.speed:
        seconds = processor_seconds(options.speed)
        print(f"\n{options.speed} notes: {seconds:.2f} s of processor time, ", end="")
        print(f"{NUM_NOTES} notes: {seconds / options.speed * NUM_NOTES:.1f} s")


def fixtures(name: str) -> list[tuple[str, list[Heading]]]:
    """Read one set of the invented notes: texts without marks, and where their headings stand."""
    return [unmarked(path.read_bytes().decode()) for path in sorted((FIXTURES / name).glob("*.txt"))]


def unmarked(text: str) -> tuple[str, list[Heading]]:
    """Take the marks out of a note."""
    parts, headings, length = [], [], 0
    for index, part in enumerate(re.split(r"\{\{(\w+)\|(.*?)\}\}", text, flags=re.DOTALL)):
        if index % 3 == 1:
            headings.append((length, part))
        else:
            parts.append(part)
            length += len(part)
    return "".join(parts), headings


def aci_bench() -> list[tuple[str, list[Heading]]]:
    """Read the notes of ACI-BENCH and find the heading lines; empty where they are not."""
    folder = Path(os.environ.get("MEDM_PLM_TEST_DATA", ROOT.parent / "shared" / "data")) / "aci-bench"
    files = [path for path in sorted(folder.glob("*.csv")) if not path.stem.endswith("metadata")]
    notes = [note for path in files for note in pl.read_csv(path)["note"]]
    return [(note, heading_lines(note)) for note in notes]


def heading_lines(note: str) -> list[Heading]:
    """Find the lines of a note that are headings."""
    headings: list[Heading] = []
    for line in re.finditer(r"^[ \t]*(\S.*?)[ \t\r]*$", note, flags=re.MULTILINE):
        name = ACI_BENCH_HEADINGS.get(line[1])
        is_part = line[1].startswith("VITALS") and headings and headings[-1][1] == "physical_examination"
        if name and not is_part:
            headings.append((line.start(1), name))
    return headings


def found_headings(note: str) -> list[Heading]:
    """List what the splitter finds."""
    return [
        (heading_start(section), str(section.name)) for section in split_sections(note) if section.heading
    ]


def heading_start(section: Section) -> int:
    """Where the heading of a section begins."""
    return section.start - len(section.heading)


def print_scores(title: str, notes: Sequence[tuple[str, list[Heading]]]) -> None:
    """Print precision and recall of one set."""
    print_table(title, ("section", "headings", "precision", "recall"), score_rows(notes))


def score_rows(
    notes: Iterable[tuple[str, list[Heading]]],
) -> list[tuple[str, int, float | None, float | None]]:
    """Compute precision and recall for each section and for all headings together (the last row)."""
    marked: Counter[str] = Counter()
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for note, headings in notes:
        answers = found_headings(note)
        for counter, some in ((marked, headings), (found, answers), (right, set(headings) & set(answers))):
            counter.update(name for _, name in some)
            counter["all"] += len(some)
    names = [*sorted((marked | found).keys() - {"all"}), "all"]
    return [
        (name, marked[name], ratio(right[name], found[name]), ratio(right[name], marked[name]))
        for name in names
    ]


def ratio(part: int, whole: int) -> float | None:
    """Divide; absent where there is nothing to divide by."""
    return part / whole if whole else None


def admission_characters(notes: Iterable[tuple[str, list[Heading]]]) -> tuple[int, int, int]:
    """Count characters, without blanks: of admission that are kept, that are missed, and of others kept."""
    kept = missed = leaked = 0
    for note, headings in notes:
        truth = covered(note, [*headings, (len(note), "")])
        ends = [(heading_start(section), str(section.name)) for section in split_sections(note)]
        answer = covered(note, [*ends, (len(note), "")])
        kept += len(truth & answer)
        missed += len(truth - answer)
        leaked += len(answer - truth)
    return kept, missed, leaked


def covered(note: str, headings: Sequence[Heading]) -> set[int]:
    """The places of the characters that stand in sections of admission."""
    return {
        place
        for (start, name), (end, _) in pairwise(headings)
        if name in ADMISSION_SECTIONS
        for place in range(start, end)
        if not note[place].isspace()
    }


def processor_seconds(num_notes: int) -> float:
    """Time the column function on generated notes of 10 kB, all different."""
    frame = pl.DataFrame({"note": generated_notes(num_notes)})
    start = time.process_time()
    frame.select(admission_text(pl.col("note")))
    return time.process_time() - start


def generated_notes(num_notes: int, seed: int = 0) -> list[str]:
    """Spread lines of invented words, values and drugs over the longer fixtures, until notes are full."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("aeionrstlmdc", k=chance.randint(2, 10))) for _ in range(5000)]
    templates = [note.split("\n") for name in FIXTURE_SETS for note, _ in fixtures(name) if len(note) > 1200]
    notes = []
    for _ in range(num_notes):
        lines = list(chance.choice(templates))
        missing = NOTE_LENGTH - len("\n".join(lines))
        while missing > 0:
            line = generated_line(chance, words)
            lines.insert(chance.randint(1, len(lines)), line)
            missing -= len(line) + 1
        notes.append("\n".join(lines))
    return notes


def generated_line(chance: random.Random, words: Sequence[str]) -> str:
    """Write one line: wrapped prose mostly, else a drug, a value with its name, or a few words."""
    kind = chance.random()
    some = " ".join(chance.choices(words, k=11)).capitalize()
    if kind < 0.6:
        return some
    if kind < 0.75:
        return f"{chance.randint(1, 20)}. {some.split()[0].capitalize()} {chance.randint(1, 500)} mg PO DAILY"
    if kind < 0.9:
        return f"{some.split()[0].capitalize()}: {some[10:]}"
    return some[: chance.randint(10, 40)]


if __name__ == "__main__":
    main()
