"""Lines of a note that may open a section, and what the table of headings says of their first words."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from medm_plm.data.sections.headings import SectionName, begins_like_known, may_be_known, recognise
from medm_plm.data.sections.plain_form import is_beginning
from medm_plm.data.sections.unknown_headings import MOST_WORDS

# A line that may open a section: some words before a colon, a short line, or words before running text, which
# are in capitals or have a dash behind them. The literal line break in front keeps the search fast.
_OPEN = (
    r"[A-Z]{2,}+(?:[ /][A-Z]{2,}+(?![a-z]))*+(?= +(?:[-\u2013] +)?(?:[A-Z]?[a-z]|[A-Z] |\d))"
    r"|[A-Z][A-Za-z]*+(?: [A-Za-z]++){0,3}+(?= [-\u2013] )|(?:ADDENDUM|Addendum)\b"
)
# The two looks ahead, for a colon and for the end of the line, spare most lines a slow count of letters.
LINE = re.compile(
    r"\n[ \t]*((?:[#*=_>\u2022-]{1,3}|\(?\d{1,2}[.)])[ \t]*)?"
    r"(?:([A-Za-z](?=.{0,69}:)[^\n:]*+"
    r"|[A-Z](?=.{0,59}+(?:\n|\Z))[^\n:,;\d]*+(?<![.])(?=\n|\Z))(:?)"
    rf"|({_OPEN}))"
)
_OPEN_HEADING = re.compile(_OPEN)


class LineReading(NamedTuple):
    """What the table says of the words at the beginning of a line.

    Args:
        name (`SectionName`, *optional*): the section; none where only both lines of a
            wrapped heading can tell.
        length (`int`): characters of the heading.
        may_wrap (`bool`): whether the heading may go on in the next line.
        may_be_prose (`bool`): whether the words may as well be the end of a wrapped sentence.
    """

    name: SectionName | None
    length: int
    may_wrap: bool
    may_be_prose: bool


@lru_cache(maxsize=1 << 16)
def read_line(phrase: str, colon: str | None) -> LineReading | None:
    """Read a phrase that ends with a colon or the line: as a whole, or its beginning.

    Args:
        phrase (`str`): the words.
        colon (`str`, *optional*): ":" or "".

    Returns:
        What the table says, or `None` where it knows nothing.
    """
    if not begins_like_known(phrase) or not may_be_known(phrase):
        return None
    words = phrase.rstrip()
    may_wrap = False
    if words.count(" ") <= MOST_WORDS:
        may_wrap = not colon and is_beginning(words)
        name = recognise(words)
        if name is not None and (colon or (words[0].isupper() and words[-1] not in ".,;")):
            may_be_prose = not words.isupper() and not (colon and words[0].isupper())
            return LineReading(name, len(phrase) + 1 if colon else len(words), may_wrap, may_be_prose)
    opening = _OPEN_HEADING.match(phrase)
    name = recognise(opening[0]) if opening else None
    if opening and name is not None:
        return LineReading(name, opening.end(), may_wrap, may_be_prose=False)
    return LineReading(None, len(words), may_wrap, may_be_prose=False) if may_wrap else None
