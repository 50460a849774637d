"""Clinical notes cut into sections, and the part of a discharge summary that was known at admission.

A heading stands at the beginning of a line, with a colon, with a dash, alone on its line, or in capitals
before running text. `section_headings` knows what it opens. All of this works on the text as it was written,
line breaks included, so it comes before `notes.cleaned`.

Sections of admission are read strictly, because whatever slips into them tells a model what it has to
predict: they end at every line that looks like a heading even if no table knows it (`unknown_headings`), and
at "Discharge ...:" or "On discharge" in the middle of a line. An examination or a list of medications belongs
to admission only if the note says so. Behind an addendum nothing counts. The price is text of admission that
is lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import polars as pl

from medm_plm.data.section_headings import (
    SectionName,
    is_beginning,
    is_common,
    may_be_known,
    recognise,
)
from medm_plm.data.unknown_headings import MOST_WORDS, looks_like_heading, speaks_of_the_stay

ADMISSION_SECTIONS = frozenset(
    {
        SectionName.CHIEF_COMPLAINT,
        SectionName.HISTORY_OF_PRESENT_ILLNESS,
        SectionName.PAST_MEDICAL_HISTORY,
        SectionName.SOCIAL_HISTORY,
        SectionName.FAMILY_HISTORY,
        SectionName.ALLERGIES,
        SectionName.MEDICATIONS_ON_ADMISSION,
        SectionName.ADMISSION_PHYSICAL_EXAMINATION,
    }
)

_EXAMINATIONS = frozenset(
    {
        SectionName.PHYSICAL_EXAMINATION,
        SectionName.ADMISSION_PHYSICAL_EXAMINATION,
        SectionName.DISCHARGE_PHYSICAL_EXAMINATION,
    }
)
_MEDICATIONS = frozenset({SectionName.MEDICATIONS, SectionName.MEDICATIONS_ON_ADMISSION})
_AT_DISCHARGE = frozenset(
    {
        SectionName.DISCHARGE_MEDICATIONS,
        SectionName.DISCHARGE_INSTRUCTIONS,
        SectionName.DISCHARGE_CONDITION,
        SectionName.DISCHARGE_DISPOSITION,
        SectionName.FOLLOW_UP,
    }
)
# Within these, a heading of the same kind is a part of the section.
_HOLD_THEIR_OWN = frozenset(
    {
        SectionName.HEADER,
        SectionName.HISTORY_OF_PRESENT_ILLNESS,
        SectionName.RESULTS,
        SectionName.DISCHARGE_DIAGNOSIS,
    }
)

# A line that may open a section: some words before a colon, a short line, or words before running text, which
# are in capitals or have a dash behind them. The literal line break in front keeps the search fast.
_OPEN = (
    r"[A-Z]{2,}+(?:[ /][A-Z]{2,}+(?![a-z]))*+(?= +(?:[-\u2013] +)?(?:[A-Z]?[a-z]|[A-Z] |\d))"
    r"|[A-Z][A-Za-z]*+(?: [A-Za-z]++){0,3}+(?= [-\u2013] )|(?:ADDENDUM|Addendum)\b"
)
_LINE = re.compile(
    r"\n[ \t]*((?:[#*=_>\u2022-]{1,3}|\(?\d{1,2}[.)])[ \t]*)?"
    rf"(?:([A-Za-z][^\n:]{{0,69}}+(?=:)|[A-Z][^\n:,;\d]{{0,59}}+(?<![.])(?=\n|\Z))(:?)|({_OPEN}))"
)
_OPEN_HEADING = re.compile(_OPEN)
_DASH = re.compile(" [-\u2013]")
_BULLETS = frozenset("-\u2022>")
_NEXT_LINE = re.compile(r"\r?\n[ \t]*([A-Za-z][^\n:]{0,40})(:|(?=\n)|\Z)")
_TRAILING_MARKS = re.compile(r"[ \t]*[*=_-]+(?=[ \t]*\r?(?:\n|\Z))")

# Anywhere in a line, and only where a section of admission is being read.
_IN_LINE = re.compile(
    r"""
      (?:\b[Bb]rief\ |\bBRIEF\ )?\b(?:Hospital|HOSPITAL)\ (?i:course)\b(?:[^\n:]{0,40}:)?
    | (?<!ED\ )(?<!ER\ )\b(?:Course|COURSE)\b[^\n:.;]{0,30}:
    | \bDischarge\ (?:Med|Diag|Cond|Inst|Disp|Exam|Phys|Lab|Plan|Stat)[a-z]*:?
    | \bDISCHARGE\b(?:[^\n:.;]{0,40}:)?
    | \b(?:Discharge|D/C|Follow-?[Uu]p|FOLLOW-?UP)\b[^\n:.;]{0,40}:
    | \b(?:Addendum|ADDENDUM)\b:?
    | \b(?:[Mm]ed|[Cc]ondition|[Ee]xam|[Pp]hysical|[Dd]iagnos|[Ss]tatus|[Ll]ab)[a-z]*[^\n:.;]{0,30}
      \ (?i:discharge|d/c)\b[^\n:.;]{0,20}:
    | \b(?:MED|CONDITION|EXAM|PHYSICAL|DIAGNOS|STATUS|LAB)[^\n:.;]{0,30}\ D/C\b[^\n:.;]{0,20}:
    | \b(?:On|ON|At|AT|Upon|UPON|Prior\ to|PRIOR\ TO)(?:\ (?i:the))?(?:\ (?i:day|time)\ (?i:of))?
      \ (?:[Dd]ischarge|DISCHARGE|[Dd]/[Cc]|D/C)\b
    | (?<=\n)(?:discharge|hospital\ course|follow-?up|addendum)\b[^\n:.,;]{0,40}(?::|(?=\r?\n)|\Z)
    """,
    re.VERBOSE,
)
_IN_LINE_HINTS = ("discharge", "d/c", "course", "addendum", "follow")

_PROSE_LENGTH = 50  # characters of a line that ends because the paragraph was wrapped


@dataclass(frozen=True)
class Section:
    """A section of a note: `note[start:end]` is its body, and the heading stands right before it.

    Args:
        name (`SectionName`): what it is about.
        heading (`str`): its heading as written, with marks and colon; "" for the text before the first one.
        start (`int`): where its body begins.
        end (`int`): where its body ends, which is where the next heading begins.
    """

    name: SectionName
    heading: str
    start: int
    end: int


def split_sections(note: str) -> list[Section]:
    """Cut a note into its sections.

    Sections of admission end at unknown headings too, which become sections `OTHER`; within other sections
    an unknown heading is text. All that follows an addendum belongs to it.

    Args:
        note (`str`): a note as it was written, with its line breaks.

    Returns:
        Sections in their order; headings and bodies together are the note. Text before the first heading is
        a section `HEADER` without heading, present even if it is empty.
    """
    reader = _Reader(note)
    for match in _LINE.finditer(reader.text):
        _, phrase, colon, run = match.groups()
        known = _read(phrase or run, colon)
        # Most lines are neither known nor in a section that cares; they must cost next to nothing.
        if known is not None or (phrase and reader.name in ADMISSION_SECTIONS):
            reader.take(match, known)
            if reader.name is SectionName.ADDENDUM:
                break
    return reader.sections()


def admission_sections(note: str) -> str:
    """Take from a discharge summary what was known at admission.

    Section 7 of the method: the current visit's note may inform a prediction only by these sections.

    Args:
        note (`str`): a note as it was written, with its line breaks.

    Returns:
        The sections named in `ADMISSION_SECTIONS` that are not empty, with their headings, joined by line
        breaks; "" where there is none.
    """
    texts = []
    for section in split_sections(note):
        if section.name in ADMISSION_SECTIONS:
            body = note[section.start : section.end]
            if body and not body.isspace():
                texts.append((section.heading + body).strip())
    return "\n".join(texts)


def admission_text(text: pl.Expr) -> pl.Expr:
    """Take from a column of discharge summaries what was known at admission.

    The rules of `admission_sections`, for whole columns. Errs to the safe side: a line that looks like a
    heading ends a section of admission, known or not, and an addendum ends them all, so that nothing written
    at discharge comes in behind it.

    Args:
        text (`polars.Expr`): notes as they were written, before `notes.cleaned`.

    Returns:
        The text of the admission sections; "" where none is recognised, and for null.
    """
    return text.fill_null("").map_batches(_admission_series, return_dtype=pl.String, is_elementwise=True)


def _admission_series(notes: pl.Series) -> pl.Series:
    return pl.Series(notes.name, [admission_sections(note) for note in notes], dtype=pl.String)


class _Reading(NamedTuple):
    """What the table says of the words at the beginning of a line."""

    name: SectionName | None  # none where only both lines of a wrapped heading can tell
    length: int  # of the heading
    may_wrap: bool
    may_be_prose: bool


@lru_cache(maxsize=1 << 16)
def _read(phrase: str, colon: str | None) -> _Reading | None:
    """Read a phrase that ends with a colon or the line: as a whole, or its beginning."""
    if not may_be_known(phrase):
        return None
    words = phrase.rstrip()
    may_wrap = False
    if words.count(" ") <= MOST_WORDS:
        may_wrap = not colon and is_beginning(words)
        name = recognise(words)
        if name is not None and (colon or (words[0].isupper() and words[-1] not in ".,;")):
            may_be_prose = not words.isupper() and not (colon and words[0].isupper())
            return _Reading(name, len(phrase) + 1 if colon else len(words), may_wrap, may_be_prose)
    opening = _OPEN_HEADING.match(phrase)
    name = recognise(opening[0]) if opening else None
    if opening and name is not None:
        return _Reading(name, opening.end(), may_wrap, may_be_prose=False)
    return _Reading(None, len(words), may_wrap, may_be_prose=False) if may_wrap else None


class _Reader:
    """Goes through the lines of one note and remembers which section it is in."""

    def __init__(self, note: str) -> None:
        self.text = "\n" + note  # so that the first line begins like all others
        self.name = SectionName.HEADER
        self.found: list[tuple[SectionName, int, int]] = [(self.name, 1, 1)]  # name, heading, body
        self.searched = 1  # up to here there is no heading within a line
        self.read_until = 0

    def sections(self) -> list[Section]:
        """Close the last section and list all."""
        if self.name in ADMISSION_SECTIONS:
            self._search_lines(len(self.text))
        ends = [heading for _, heading, _ in self.found[1:]] + [len(self.text)]
        return [
            Section(name, self.text[heading:body], body - 1, end - 1)
            for (name, heading, body), end in zip(self.found, ends, strict=True)
        ]

    def take(self, match: re.Match[str], known: _Reading | None) -> None:
        """Look at a line that may open a section."""
        mark, phrase, _, _ = match.groups()
        if match.start() < self.read_until:
            return  # the second line of a heading
        is_admission = self.name in ADMISSION_SECTIONS
        is_unknown = is_admission and phrase is not None and self._is_unknown_heading(match)
        if known is None and not is_unknown:
            return
        first = match.start(2) if phrase else match.start(4)
        place = match.start(1) if mark else first
        if is_admission:
            self._search_lines(place)
            if self.name is SectionName.ADDENDUM:
                return
        name, end = None, match.end()
        if known is not None and not (mark and mark.strip() in _BULLETS):
            name, end = self._heading(known, match, first)
        if name is not None:
            name = self._in_context(name, place, end)
        elif is_unknown and self.name in ADMISSION_SECTIONS:
            name, end = SectionName.OTHER, match.end()
        if name is not None:
            self._open(name, place, end)

    def _heading(self, known: _Reading, match: re.Match[str], first: int) -> tuple[SectionName | None, int]:
        """Find the section that a line opens, and the end of its heading, which may be on the next line."""
        if known.may_wrap and (following := _NEXT_LINE.match(self.text, match.end())):
            both = f"{match[2]} {following[1]}"
            if is_common(both):
                return recognise(both), following.end()
        if known.may_be_prose:
            before = self._line_before(match.start()).rstrip()
            if len(before) >= _PROSE_LENGTH and not before.endswith((".", ":", ";")):
                return None, match.end()
        end = first + known.length
        dash = _DASH.match(self.text, end)
        return known.name, dash.end() if dash else end

    def _line_before(self, place: int) -> str:
        return self.text[self.text.rfind("\n", 0, place) + 1 : place] if place else ""

    def _in_context(self, name: SectionName, place: int, end: int) -> SectionName | None:
        """Settle what a known heading means where it stands; `None` if it opens nothing there."""
        if name is self.name and name in _HOLD_THEIR_OWN:
            return None
        if name is SectionName.EXAMINATION_PART:
            is_part = self.name in _EXAMINATIONS or self.name is SectionName.DISCHARGE_CONDITION
            return None if is_part else SectionName.PHYSICAL_EXAMINATION
        if name is SectionName.ASSESSMENT_AND_PLAN and self.name is SectionName.RESULTS:
            # A report of radiology has its own impression.
            return None if self.text[place:end].lower() == "impression:" else name
        if name is SectionName.ADMISSION_MARK:
            return self._by_context(
                SectionName.ADMISSION_PHYSICAL_EXAMINATION, SectionName.MEDICATIONS_ON_ADMISSION
            )
        if name is SectionName.DISCHARGE_MARK:
            return self._by_context(
                SectionName.DISCHARGE_PHYSICAL_EXAMINATION, SectionName.DISCHARGE_MEDICATIONS
            )
        if name is SectionName.MEDICATIONS_ON_ADMISSION and self._is_of_discharge(place, end):
            return None
        return name

    def _is_of_discharge(self, place: int, end: int) -> bool:
        """Tell "Home meds: restarted on the last day", a part of the course, from the list of admission."""
        if "admission" in self.text[place:end].lower():
            return False
        if self.name is SectionName.HOSPITAL_COURSE:
            return not _is_blank_until_line_end(self.text, end)
        return self.name in _AT_DISCHARGE

    def _by_context(self, examination: SectionName, medications: SectionName) -> SectionName | None:
        if self.name in _EXAMINATIONS:
            return examination
        if self.name in _MEDICATIONS:
            return medications
        return SectionName.OTHER if self.name in ADMISSION_SECTIONS else None

    def _is_unknown_heading(self, match: re.Match[str]) -> bool:
        """Tell whether a line ends the section of admission in which it stands, though no table knows it."""
        lead, phrase, colon, _ = match.groups()
        shape = (colon, not colon or _is_blank_until_line_end(self.text, match.end()))
        if not looks_like_heading(phrase, lead or "", *shape, self.name):
            return False
        if speaks_of_the_stay(phrase, colon):
            return True
        if not self.text[self.found[-1][2] : match.start()].strip():
            return False  # nothing stands in the section yet: a sub-heading
        return bool(colon) or not self._line_before(match.start()).strip()

    def _open(self, name: SectionName, place: int, end: int) -> None:
        marks = _TRAILING_MARKS.match(self.text, end)
        end = marks.end() if marks else end
        self.found.append((name, place, end))
        self.name, self.searched, self.read_until = name, end, end

    def _search_lines(self, until: int) -> None:
        """End the section of admission at a heading of discharge within a line."""
        if self.searched >= until:
            return
        text = self.text[self.searched : until].lower()
        if any(hint in text for hint in _IN_LINE_HINTS):
            match = _IN_LINE.search(self.text, self.searched, until)
            if match:
                name = recognise(match[0])
                # "On discharge" alone names no section.
                if name is None or name is SectionName.DISCHARGE_MARK or name in ADMISSION_SECTIONS:
                    name = SectionName.OTHER
                self._open(name, match.start(), match.end())
        self.searched = until


def _is_blank_until_line_end(text: str, place: int) -> bool:
    end = text.find("\n", place)
    return not text[place : end if end >= 0 else len(text)].strip()
