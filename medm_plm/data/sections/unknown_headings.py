"""What looks like a heading although no table knows it.

Only sections of admission ask: they have to end there, so that nothing written at discharge comes in behind a
heading that somebody made up. Sub-headings that go on with such a section are named, not guessed.
"""

from __future__ import annotations

import re
from functools import lru_cache

from medm_plm.data.sections.headings import SectionName, may_be_known
from medm_plm.data.sections.plain_form import plain_form

MOST_WORDS = 8  # of a heading
# Words whose presence makes any short line a heading: these speak of the stay or of its end.
_OF_THE_STAY = frozenset({
    "discharge", "course", "issue", "plan", "disposition", "instruction", "addendum", "summary",
    "hospitalization", "assessment",
})  # fmt: skip
# Words that do so before a colon.
_BEFORE_COLON = _OF_THE_STAY | frozenset({
    "complication", "consult", "consultation", "diet", "activity", "prognosis", "management", "outcome",
    "event", "today", "transfer", "postoperative", "postop", "intraoperative", "update",
})  # fmt: skip
# Sub-headings that go on with the section.
_CONTINUING = frozenset({
    "tobacco", "smoking", "cigarette", "alcohol", "etoh", "drug", "illicit", "ivdu", "occupation",
    "marital", "employment", "living", "married", "mother", "father", "brother", "sister", "sibling",
    "parent", "child", "note", "ed", "cabg", "pacing", "pci", "onset", "duration", "severity",
})  # fmt: skip
_OF_EXAMINATION = frozenset({
    "general", "gen", "appearance", "vital", "sign", "vs", "t", "temp", "temperature", "bp", "hr", "rr",
    "pulse", "weight", "height", "spo2", "o2", "sat", "skin", "head", "eye", "ear", "nose", "throat",
    "mouth", "heent", "neck", "chest", "breast", "lung", "pulm", "pulmonary", "resp", "respiratory", "cv",
    "cardiac", "heart", "cardiovascular", "cor", "abd", "abdomen", "abdominal", "gi", "gu",
    "genitourinary", "rectal", "back", "spine", "extremity", "ext", "vascular", "lymph", "node",
    "lymphatic", "musculoskeletal", "msk", "neuro", "neurological", "neurologic", "psych", "psychiatric",
    "mental", "status", "motor", "sensory", "sensation", "reflex", "gait", "coordination", "cranial",
    "nerve", "strength", "tone", "genital",
})  # fmt: skip
_SYSTEMS = frozenset({
    "cv", "cardiac", "cardiovascular", "cards", "resp", "respiratory", "pulm", "pulmonary", "gi",
    "gastrointestinal", "gu", "renal", "fen", "id", "heme", "hematology", "endo", "endocrine", "neuro",
    "neurologic", "neurology", "psych", "psychiatric", "onc", "oncology", "ppx", "prophylaxis",
    "infectious", "disease", "access", "code", "communication", "dispo", "surgical",
})  # fmt: skip
_SENTENCE_OPENERS = frozenset({"in", "at", "per", "of", "from"})


def speaks_of_the_stay(phrase: str, colon: str) -> bool:
    """Tell whether a line has a word that stands for the stay in hospital or for its end.

    Args:
        phrase (`str`): the line up to its colon or its end.
        colon (`str`): ":" or "".

    Returns:
        Whether there is one: "issues", "discharge".
    """
    words = _BEFORE_COLON if colon else _OF_THE_STAY
    return not words.isdisjoint(plain_form(phrase).split())


def looks_like_heading(phrase: str, mark: str, colon: str, is_alone: bool, within: SectionName) -> bool:
    """Tell whether a line that the table does not know has the form of a heading.

    Args:
        phrase (`str`): the line up to its colon or its end.
        mark (`str`): what stands before it: "#", "1." or "".
        colon (`str`): ":" or "".
        is_alone (`bool`): whether nothing else stands on the line.
        within (`SectionName`): the section in which the line stands.

    Returns:
        Whether it is to be read as a heading.
    """
    if mark and not mark.startswith("#") and not speaks_of_the_stay(phrase, colon):
        return False  # an item of a list; these are many, and rarely two alike
    return _has_form_of_heading(phrase, mark, colon, is_alone, within)


@lru_cache(maxsize=1 << 16)
def _has_form_of_heading(phrase: str, mark: str, colon: str, is_alone: bool, within: SectionName) -> bool:
    is_of_the_stay = speaks_of_the_stay(phrase, colon)
    if not colon and not phrase.isupper() and not (is_of_the_stay and may_be_known(phrase)):
        return False
    phrase = phrase.strip()
    words = re.findall(r"[A-Za-z][A-Za-z'/-]*", phrase)
    if not words or len(words) > MOST_WORDS or not phrase[0].isupper():
        return mark.startswith("#") and colon == ":"
    is_titled = all(word[0].isupper() for word in words if len(word) > 3)
    if is_of_the_stay and (colon or is_titled or len(words) <= 4):
        return True
    if mark.strip():
        return mark.startswith("#") and colon == ":"
    lower = set(plain_form(phrase).split())
    if not colon:
        return (
            phrase.isupper() and len(words) > 1 and len(phrase) > 8 and re.search(r"[\d,;.]", phrase) is None
        )
    if within is SectionName.ADMISSION_PHYSICAL_EXAMINATION and not lower.isdisjoint(_OF_EXAMINATION):
        return False
    if words[0].lower() in _SENTENCE_OPENERS or not lower.isdisjoint(_CONTINUING):
        return False
    return (
        lower <= _SYSTEMS
        or (phrase.isupper() and len(phrase) > 3)
        or (is_alone and (is_titled or within is SectionName.MEDICATIONS_ON_ADMISSION))
    )
