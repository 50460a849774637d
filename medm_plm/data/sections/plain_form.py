"""The plain form of a heading, in which the table of `headings` knows it.

Lower case, abbreviations written out, little words and plurals gone, one slip of the keyboard mended for each
longer word, and the blanks put back into the usual headings.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Brought to words before anything else; the keys are whole words, in lower case.
ABBREVIATIONS = {
    "hx": "history", "meds": "medication", "med": "medication", "dx": "diagnosis", "diagnoses": "diagnosis",
    "dc": "discharge", "discharged": "discharge", "followup": "follow up", "exam": "examination",
    "exams": "examination", "labs": "laboratory", "lab": "laboratory", "laboratories": "laboratory",
    "pmhx": "pmh", "pshx": "psh", "sochx": "social history", "shx": "social history",
    "famhx": "family history", "fhx": "family history", "dispo": "disposition", "preadmission": "admission",
    "admitting": "admission",
    "admit": "admission", "analyses": "analysis", "sx": "symptom", "soc": "social", "psych": "psychiatric",
    "phx": "past history", "preadmit": "admission",
}  # fmt: skip
_LETTER_PAIRS = (
    (r"\bd\s?/\s?c\b", "discharge"),
    (r"\bf\s?/\s?u\b", "follow up"),
    (r"\ba\s?[/&]\s?p\b", "ap"),
)
_WORD = re.compile("[a-z0-9]+")
_LITTLE_WORDS = frozenset({
    "a", "an", "the", "of", "and", "or", "on", "at", "upon", "to", "for", "in", "with", "by", "from",
    "as", "per", "time", "day", "patient", "s", "his", "her", "your", "list", "brief", "concise",
    "detailed", "including", "include", "current",
})  # fmt: skip
# Words whose slips are mended.
VOCABULARY = frozenset({
    "allergy", "admission", "chief", "complaint", "condition", "course", "diagnosis", "discharge",
    "disposition", "examination", "family", "follow", "history", "hospital", "illness", "instruction",
    "invasive", "laboratory", "major", "medical", "medication", "past", "pertinent", "physical",
    "present", "procedure", "result", "review", "service", "social", "summary", "surgical", "system",
    "addendum", "hospitalization",
})  # fmt: skip
# Headings that wrap over two lines or lose their blanks, in the plain form.
_COMMON = frozenset({
    "chief complaint", "history present illness", "past medical history", "past surgical history",
    "social history", "family history", "review system", "physical examination", "pertinent result",
    "major surgical invasive procedure", "hospital course", "hospital course system",
    "hospital course system pertinent laboratory data", "summary hospital course", "medication admission",
    "admission medication", "home medication", "medication discharge", "discharge medication",
    "discharge diagnosis", "discharge condition", "condition discharge", "discharge disposition",
    "discharge instruction", "follow up instruction", "follow up appointment",
    "physical examination discharge", "physical examination admission",
})  # fmt: skip
SQUEEZED = {phrase.replace(" ", ""): phrase for phrase in _COMMON}
_PREFIXES = frozenset(
    " ".join(phrase.split()[:length]) for phrase in _COMMON for length in range(1, len(phrase.split()))
)


@lru_cache(maxsize=1 << 16)
def plain_form(heading: str) -> str:
    """Bring a heading to the form in which the table knows it.

    Args:
        heading (`str`): the heading as it was written.

    Returns:
        Words in lower case without little words, plurals, abbreviations and slips.
    """
    text = heading.lower()
    if "/" in text or "&" in text:
        for pattern, replacement in _LETTER_PAIRS:
            text = re.sub(pattern, replacement, text)
    plain = " ".join([word for word in map(_word, _WORD.findall(text)) if word])
    return SQUEEZED.get(plain.replace(" ", ""), plain)


def is_common(heading: str) -> bool:
    """Tell whether a heading is one of the usual ones that a line break may cut in two."""
    return plain_form(heading) in _COMMON


def is_beginning(heading: str) -> bool:
    """Tell whether the words may be the first line of a usual heading that wraps: "History of Present"."""
    return plain_form(heading) in _PREFIXES


@lru_cache(maxsize=1 << 16)
def _word(word: str) -> str:
    """Bring one word to its plain form, "" for a little word."""
    if word in _LITTLE_WORDS:
        return ""
    if word in ABBREVIATIONS:
        return ABBREVIATIONS[word]
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "is", "us")) and len(word) > 3:
        word = word[:-1]
    if len(word) < 5 or word in VOCABULARY or not word.isalpha():
        return word
    near = [known for form in _shortened(word) for known in NEAR.get(form, ())]
    return next((known for known in near if _one_slip_apart(word, known)), word)


def _shortened(word: str) -> list[str]:
    """The word, whole and without each of its letters; words one slip apart have one of these in common."""
    return [word, *(word[:place] + word[place + 1 :] for place in range(len(word)))]


def _one_slip_apart(word: str, known: str) -> bool:
    """Tell whether one letter is missing, added or wrong, or two neighbours are swapped."""
    if len(word) != len(known):
        return min(word, known, key=len) in _shortened(max(word, known, key=len))
    wrong = [place for place in range(len(word)) if word[place] != known[place]]
    if len(wrong) == 2:
        first, second = wrong
        return second == first + 1 and word[first] == known[second] and word[second] == known[first]
    return len(wrong) == 1


NEAR: dict[str, list[str]] = {}
for _known in sorted(VOCABULARY):
    for _form in _shortened(_known):
        NEAR.setdefault(_form, []).append(_known)
