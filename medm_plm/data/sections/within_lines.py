"""Where "Discharge ...:", "On discharge" or a hospital course begins in the middle of a line.

Only sections of admission ask: they have to end there, because not every note breaks the line before it goes
on with what happened later.
"""

from __future__ import annotations

import re

# All alternatives stay within one line, begin a word and have one of the hints in them.
_IN_LINE = re.compile(
    r"""
    \b(?=[A-Za-z])(?:
      (?:[Bb]rief\ |BRIEF\ )?(?:Hospital|HOSPITAL)\ (?i:course)\b(?:[^\n:]{0,40}:)?
    | (?<!ED\ )(?<!ER\ )(?:Course|COURSE)\b[^\n:.;]{0,30}:
    | Discharge\ (?:Med|Diag|Cond|Inst|Disp|Exam|Phys|Lab|Plan|Stat)[a-z]*:?
    | DISCHARGE\b(?:[^\n:.;]{0,40}:)?
    | (?:Discharge|D/C|Follow-?[Uu]p|FOLLOW-?UP)\b[^\n:.;]{0,40}:
    | (?:Addendum|ADDENDUM)\b:?
    | (?:[Mm]ed|[Cc]ondition|[Ee]xam|[Pp]hysical|[Dd]iagnos|[Ss]tatus|[Ll]ab)[a-z]*[^\n:.;]{0,30}
      \ (?i:discharge|d/c)\b[^\n:.;]{0,20}:
    | (?:MED|CONDITION|EXAM|PHYSICAL|DIAGNOS|STATUS|LAB)[^\n:.;]{0,30}\ D/C\b[^\n:.;]{0,20}:
    | (?:On|ON|At|AT|Upon|UPON|Prior\ to|PRIOR\ TO)(?:\ (?i:the))?(?:\ (?i:day|time)\ (?i:of))?
      \ (?:[Dd]ischarge|DISCHARGE|[Dd]/[Cc]|D/C)\b
    | (?<=\n)(?:discharge|hospital\ course|follow-?up|addendum)\b[^\n:.,;]{0,40}(?::|(?=\r?\n)|\Z)
    )
    """,
    re.VERBOSE,
)
_HINTS = ("discharge", "d/c", "course", "addendum", "followup", "follow-up")
# Letters that a pattern without regard to case takes for "i" and "s", but whose lower case is another.
_ODD_LETTERS = re.compile("[\u0130\u0131\u017f]")


def heading_within_lines(text: str, start: int, end: int) -> re.Match[str] | None:
    """Find the first heading of the stay or of discharge, wherever in a line it stands.

    Args:
        text (`str`): a note.
        start (`int`): where to begin.
        end (`int`): where to stop, as if the note ended there.

    Returns:
        The match, or `None`.
    """
    part = text[start:end]
    lower = part.lower()
    hints = [hint for hint in _HINTS if hint in lower]
    if not part.isascii() and _ODD_LETTERS.search(part):
        return _IN_LINE.search(text, start, end) if hints or "follow" in lower else None
    # The pattern is slow, and few lines have a hint.
    for first, last in _lines_with(lower, hints):
        match = _IN_LINE.search(text, start + first, start + last)
        if match:
            return match
    return None


def _lines_with(lower: str, hints: list[str]) -> list[tuple[int, int]]:
    """List the lines with one of the words: where they begin, and where they end, line break included."""
    lines = {}
    for hint in hints:
        place = lower.find(hint)
        while place >= 0:
            end = lower.find("\n", place) + 1 or len(lower)
            lines[lower.rfind("\n", 0, place) + 1] = end
            place = lower.find(hint, end)
    return sorted(lines.items())
