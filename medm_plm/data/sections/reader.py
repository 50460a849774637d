"""Reads a note line by line and finds where its sections begin; `sections` says what they are for."""

from __future__ import annotations

import re
from typing import NamedTuple

from medm_plm.data.sections.headings import SectionName, recognise
from medm_plm.data.sections.lines import LINE, LineReading, read_line
from medm_plm.data.sections.plain_form import is_common
from medm_plm.data.sections.unknown_headings import looks_like_heading, speaks_of_the_stay
from medm_plm.data.sections.within_lines import heading_within_lines

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
# What these mean depends on where they stand.
_BY_CONTEXT = frozenset(
    {
        SectionName.EXAMINATION_PART,
        SectionName.ASSESSMENT_AND_PLAN,
        SectionName.ADMISSION_MARK,
        SectionName.DISCHARGE_MARK,
        SectionName.MEDICATIONS_ON_ADMISSION,
    }
)
# By these names because an attribute of an enumeration takes long to find.
_HEADER, _OTHER, _ADDENDUM = SectionName.HEADER, SectionName.OTHER, SectionName.ADDENDUM

_DASHES = (" -", " \u2013")
_BULLETS = frozenset("-\u2022>")
_NEXT_LINE = re.compile(r"\r?\n[ \t]*([A-Za-z][^\n:]{0,40})(:|(?=\n)|\Z)")
_TRAILING_MARKS = re.compile(r"[ \t]*[*=_-]+(?=[ \t]*\r?(?:\n|\Z))")

_PROSE_LENGTH = 50  # characters of a line that ends because the paragraph was wrapped


class FoundSection(NamedTuple):
    """A section by its places in the note: `note[heading:body]` is its heading, `note[body:end]` its body.

    Args:
        name (`SectionName`): what it is about.
        heading (`int`): where its heading begins.
        body (`int`): where its body begins.
        end (`int`): where its body ends.
    """

    name: SectionName
    heading: int
    body: int
    end: int


def read_sections(note: str) -> list[FoundSection]:
    """Find the sections of a note.

    Args:
        note (`str`): a note as it was written, with its line breaks.

    Returns:
        Sections in their order, the text before the first heading first.
    """
    reader = _Reader(note)
    for match in LINE.finditer(reader.text):
        _, phrase, colon, run = match.groups()
        known = read_line(phrase or run, colon)
        # Most lines are neither known nor in a section that cares; they must cost next to nothing.
        if known is not None:
            reader.take_known(match, known)
            if reader.is_over:
                break
        elif phrase and reader.in_admission:
            reader.take_unknown(match)
            if reader.is_over:
                break
    return reader.sections()


class _Reader:
    """Goes through the lines of one note and remembers which section it is in."""

    def __init__(self, note: str) -> None:
        self.text = "\n" + note  # so that the first line begins like all others
        self.name = _HEADER
        self.in_admission = False
        self.is_over = False  # behind an addendum nothing counts
        self.found: list[tuple[SectionName, int, int]] = [(self.name, 1, 1)]  # name, heading, body
        self.searched = 1  # up to here there is no heading within a line
        self.read_until = 0

    def sections(self) -> list[FoundSection]:
        """Close the last section and list all."""
        if self.in_admission:
            self._search_lines(len(self.text))
        ends = [heading for _, heading, _ in self.found[1:]] + [len(self.text)]
        return [
            FoundSection(name, heading - 1, body - 1, end - 1)
            for (name, heading, body), end in zip(self.found, ends, strict=True)
        ]

    def take_unknown(self, match: re.Match[str]) -> None:
        """Look at a line in a section of admission of which the table knows nothing."""
        # What comes before is the second line of a heading.
        if match.start() >= self.read_until and self._is_unknown_heading(match):
            place = match.start(1) if match[1] else match.start(2)
            self._search_lines(place)
            if self.in_admission:
                self._open(_OTHER, place, match.end())

    def take_known(self, match: re.Match[str], known: LineReading) -> None:
        """Look at a line that begins with words of the table."""
        if match.start() < self.read_until:
            return
        mark, phrase, _, _ = match.groups()
        first = match.start(2) if phrase else match.start(4)
        place = match.start(1) if mark else first
        if self.in_admission:
            self._search_lines(place)
            if self.is_over:
                return
        name, end = None, match.end()
        if not (mark and mark.strip() in _BULLETS):
            name, end = self._heading(known, match, first)
        if name is not None:
            name = self._in_context(name, place, end)
        elif self.in_admission and phrase and self._is_unknown_heading(match):
            name, end = _OTHER, match.end()
        if name is not None:
            self._open(name, place, end)

    def _heading(
        self, known: LineReading, match: re.Match[str], first: int
    ) -> tuple[SectionName | None, int]:
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
        return known.name, end + 2 if self.text.startswith(_DASHES, end) else end

    def _line_before(self, place: int) -> str:
        return self.text[self.text.rfind("\n", 0, place) + 1 : place] if place else ""

    def _in_context(self, name: SectionName, place: int, end: int) -> SectionName | None:
        """Settle what a known heading means where it stands; `None` if it opens nothing there."""
        if name is self.name and name in _HOLD_THEIR_OWN:
            return None
        if name not in _BY_CONTEXT:
            return name
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
        return _OTHER if self.in_admission else None

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
        if not self.text.startswith("\n", end):
            marks = _TRAILING_MARKS.match(self.text, end)
            end = marks.end() if marks else end
        self.found.append((name, place, end))
        self.name, self.searched, self.read_until = name, end, end
        self.in_admission = name in ADMISSION_SECTIONS
        self.is_over = name is _ADDENDUM

    def _search_lines(self, until: int) -> None:
        """End the section of admission at a heading of discharge within a line."""
        if self.searched >= until:
            return
        match = heading_within_lines(self.text, self.searched, until)
        if match:
            name = recognise(match[0])
            # "On discharge" alone names no section.
            if name is None or name is SectionName.DISCHARGE_MARK or name in ADMISSION_SECTIONS:
                name = _OTHER
            self._open(name, match.start(), match.end())
        self.searched = until


def _is_blank_until_line_end(text: str, place: int) -> bool:
    end = text.find("\n", place)
    return not text[place : end if end >= 0 else len(text)].strip()
