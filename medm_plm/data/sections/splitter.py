"""Clinical notes cut into sections, and the part of a discharge summary that was known at admission.

A heading stands at the beginning of a line, with a colon, with a dash, alone on its line, or in capitals
before running text. `headings` knows what it opens. All of this works on the text as it was written,
line breaks included, so it comes before `notes.cleaned`.

Sections of admission are read strictly, because whatever slips into them tells a model what it has to
predict: they end at every line that looks like a heading even if no table knows it (`unknown_headings`), and
at "Discharge ...:" or "On discharge" in the middle of a line. An examination or a list of medications belongs
to admission only if the note says so. Behind an addendum nothing counts. The price is text of admission that
is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from medm_plm.data.sections.headings import SectionName
from medm_plm.data.sections.reader import ADMISSION_SECTIONS, read_sections


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
    return [Section(name, note[heading:body], body, end) for name, heading, body, end in read_sections(note)]


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
    for name, heading, body, end in read_sections(note):
        if name in ADMISSION_SECTIONS:
            text = note[body:end]
            if text and not text.isspace():
                texts.append(note[heading:end].strip())
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
