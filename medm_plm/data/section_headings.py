"""Which section a heading of a discharge summary opens.

Headings are typed freely: "PMH:", "PAST MEDICAL HISTORY", "Past Medcial Hx". `recognise` brings them to a
plain form (lower case, abbreviations written out, little words and plurals gone, one slip of the keyboard
mended for each longer word) and looks that up in a table of patterns, of which the first that fits counts.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache


class SectionName(StrEnum):
    """What a section of a clinical note is about."""

    HEADER = "header"
    SERVICE = "service"
    ALLERGIES = "allergies"
    CHIEF_COMPLAINT = "chief_complaint"
    PROCEDURES = "procedures"
    HISTORY_OF_PRESENT_ILLNESS = "history_of_present_illness"
    PAST_MEDICAL_HISTORY = "past_medical_history"
    SOCIAL_HISTORY = "social_history"
    FAMILY_HISTORY = "family_history"
    REVIEW_OF_SYSTEMS = "review_of_systems"
    PHYSICAL_EXAMINATION = "physical_examination"  # the heading does not say when
    ADMISSION_PHYSICAL_EXAMINATION = "admission_physical_examination"
    DISCHARGE_PHYSICAL_EXAMINATION = "discharge_physical_examination"
    RESULTS = "results"
    ASSESSMENT_AND_PLAN = "assessment_and_plan"
    HOSPITAL_COURSE = "hospital_course"
    MEDICATIONS = "medications"  # the heading does not say when
    MEDICATIONS_ON_ADMISSION = "medications_on_admission"
    ADMISSION_DIAGNOSIS = "admission_diagnosis"
    DISCHARGE_MEDICATIONS = "discharge_medications"
    DISCHARGE_DIAGNOSIS = "discharge_diagnosis"
    DISCHARGE_CONDITION = "discharge_condition"
    DISCHARGE_DISPOSITION = "discharge_disposition"
    DISCHARGE_INSTRUCTIONS = "discharge_instructions"
    FOLLOW_UP = "follow_up"
    ADDENDUM = "addendum"
    OTHER = "other"
    # Sub-headings that mean a section only within another one; never the name of a section that is returned.
    EXAMINATION_PART = "examination_part"  # "Vitals:", a section of its own outside an examination
    ADMISSION_MARK = "admission_mark"  # "On admission:"
    DISCHARGE_MARK = "discharge_mark"  # "At discharge:"


# Brought to words before anything else; the keys are whole words, in lower case.
_ABBREVIATIONS = {
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
_LITTLE_WORDS = frozenset({
    "a", "an", "the", "of", "and", "or", "on", "at", "upon", "to", "for", "in", "with", "by", "from",
    "as", "per", "time", "day", "patient", "s", "his", "her", "your", "list", "brief", "concise",
    "detailed", "including", "include", "current",
})  # fmt: skip
# Words whose slips are mended.
_VOCABULARY = (
    "allergy", "admission", "chief", "complaint", "condition", "course", "diagnosis", "discharge",
    "disposition", "examination", "family", "follow", "history", "hospital", "illness", "instruction",
    "invasive", "laboratory", "major", "medical", "medication", "past", "pertinent", "physical",
    "present", "procedure", "result", "review", "service", "social", "summary", "surgical", "system",
    "addendum", "hospitalization",
)  # fmt: skip
# Headings that wrap over two lines or lose their blanks, in the plain form.
_COMMON = (
    "chief complaint", "history present illness", "past medical history", "past surgical history",
    "social history", "family history", "review system", "physical examination", "pertinent result",
    "major surgical invasive procedure", "hospital course", "hospital course system",
    "hospital course system pertinent laboratory data", "summary hospital course", "medication admission",
    "admission medication", "home medication", "medication discharge", "discharge medication",
    "discharge diagnosis", "discharge condition", "condition discharge", "discharge disposition",
    "discharge instruction", "follow up instruction", "follow up appointment",
    "physical examination discharge", "physical examination admission",
)  # fmt: skip
_SQUEEZED = {phrase.replace(" ", ""): phrase for phrase in _COMMON}
_PREFIXES = frozenset(
    " ".join(phrase.split()[:length]) for phrase in _COMMON for length in range(1, len(phrase.split()))
)

_ED = r"(?:ed|er|emergency|emergency room|emergency department)"
_HOME = r"(?:(?:prior|before|pre) )?(?:admission|home|outpatient|hospitalization|presentation)(?: hospital)?"
_EXAMINATION = (
    r"(?:(?:general|focused) )?(?:physical |neurologic |neurological )?"
    r"(?:examination|pe|vital|vital sign|physical)"
)
_PAST = (
    r"(?:past|previous|prior|medical|surgical|psychiatric|oncologic|oncological|oncology|onc|cardiac|"
    r"cardiovascular|obstetric|gynecologic|gynecological|ob|gyn|obgyn|neurologic|birth|prenatal|perinatal|"
    r"maternal|significant|other|transplant|pertinent)"
)
_RESULT = (
    r"(?:result|laboratory|data|study|finding|imaging|radiology|microbiology|value|test|report|diagnostic|"
    r"pathology)"
)
_QUALIFIER = (
    r"(?:pertinent|admission|discharge|relevant|significant|other|initial|hospital|outpatient|recommended|"
    r"pending|radiographic|radiologic|cardiac|blood|interval|key)"
)

# In this order: what was written at discharge first, so that "admission and discharge medications" never
# counts as known at admission. Each is matched against the whole plain form.
_PATTERNS: tuple[tuple[SectionName, str], ...] = (
    (SectionName.ADDENDUM, r"(?:\w+ )?addendum.*"),
    (SectionName.HISTORY_OF_PRESENT_ILLNESS, rf"{_ED} (?:hospital )?course"),
    (SectionName.HOSPITAL_COURSE, r".*\bhospital course\b.*"),
    (SectionName.HOSPITAL_COURSE, r"(?:micu |icu |sicu |ccu |nicu |clinical |postoperative |inpatient |"
                                  r"floor )?course(?: system| issue| problem| stay| hospitalization)*"),
    (SectionName.HOSPITAL_COURSE, r"summary (?:hospitalization|hospital stay)|hospitalization summary|"
                                  r"hospital (?:summary|stay)|transitional issue"),
    (SectionName.DISCHARGE_MEDICATIONS, r"(?:\w+ )?discharge medication(?: \w+)?"),
    (SectionName.DISCHARGE_MEDICATIONS, r"(?:\w+ )?medication (?:prior )?discharge(?: \w+)?"),
    (SectionName.DISCHARGE_CONDITION, r"condition(?: (?:prior )?discharge)?|(?:mental )?status discharge|"
                                      r"discharge (?:condition|status|mental status)"),
    (SectionName.DISCHARGE_DISPOSITION, r"(?:discharge )?disposition|disposition discharge"),
    (SectionName.DISCHARGE_PHYSICAL_EXAMINATION,
     rf"discharge {_EXAMINATION}|{_EXAMINATION} (?:prior )?discharge"),
    (SectionName.RESULTS,
     rf"(?:{_QUALIFIER} )*{_RESULT}(?: {_RESULT})*(?: admission| discharge| presentation)?"),
    (SectionName.DISCHARGE_DIAGNOSIS,
     r"(?:(?:primary|principal|secondary|final|other) )*(?:discharge )?diagnosis(?: discharge)?"),
    (SectionName.DISCHARGE_INSTRUCTIONS,
     r"(?:discharge )?(?:instruction|(?:care )?recommendation)(?: follow up)?|"
     r"discharge (?:plan|planning|diet|activity|order)"),
    (SectionName.FOLLOW_UP, rf"(?:{_QUALIFIER} )*follow up(?: (?:plan|instruction|appointment|care|visit|"
                            r"recommendation|provider))*|appointment"),
    (SectionName.ADMISSION_DIAGNOSIS, r"admission diagnosis|diagnosis admission"),
    (SectionName.MEDICATIONS_ON_ADMISSION,
     rf"(?:{_HOME} )+medication|medication (?:taken )?{_HOME}(?: only)?"),
    (SectionName.MEDICATIONS, r"medication(?: transfer)?|transfer medication"),
    (SectionName.HISTORY_OF_PRESENT_ILLNESS,
     r"(?:hpi|(?:history )?present(?:ing)? (?:illness|complaint)|(?:interval )?history|history physical|"
     r"subjective)(?: hpi| cc)?"),
    (SectionName.CHIEF_COMPLAINT, r"(?:chief |presenting )?complaint(?: cc)?|cc|presenting symptom|"
                                  r"(?:reason|indication) (?:admission|visit|hospitalization|presentation)"),
    (SectionName.FAMILY_HISTORY, r"(?:social )?family (?:(?:medical|psychiatric|social) )?history|fh"),
    (SectionName.SOCIAL_HISTORY, r"(?:social|psychosocial|personal|occupational|substance(?: use| abuse)?|"
                                 r"social developmental|developmental|sexual|travel) history|sh"),
    (SectionName.PAST_MEDICAL_HISTORY, rf"(?:{_PAST} )+history|(?:history )?past illness|pmh(?: psh)?|psh|"
                                       rf"cardiac risk factor"),
    (SectionName.ALLERGIES, r"(?:(?:drug|medication|known|food) )*allergy(?: (?:adverse|drug|reaction|"
                            r"intolerance|sensitivity|medication))*|adverse (?:drug )?reaction|all"),
    (SectionName.REVIEW_OF_SYSTEMS, r"review (?:system|symptom)(?: ros)?|system review|ros"),
    (SectionName.ADMISSION_PHYSICAL_EXAMINATION,
     rf"(?:admission|initial|presenting) {_EXAMINATION}|{_EXAMINATION} (?:admission|presentation)"),
    (SectionName.EXAMINATION_PART,
     r"vital(?: sign| reviewed)?|mental status(?: examination)?|"
     r"(?:general|neurologic|neurological) examination"),
    (SectionName.PHYSICAL_EXAMINATION, rf"{_EXAMINATION}(?: (?:examination|pe))?"),
    (SectionName.ASSESSMENT_AND_PLAN, r"assessment|impression|plan|(?:assessment|impression) plan|ap|order"),
    (SectionName.PROCEDURES, r"(?:(?:major|surgical|invasive|operative|other) )*procedure(?: performed)?|"
                             r"operation(?: performed)?"),
    (SectionName.SERVICE, r"service"),
    (SectionName.HEADER, r"name|unit no|(?:admission|discharge) date|date (?:birth|admission|discharge)|sex|"
                         r"attending|facility|attending (?:md|physician|provider)"),
    (SectionName.OTHER, r"dictated|completed|signed|dictated (?:md|physician)|job|end report"),
    (SectionName.ADMISSION_MARK, r"admission|presentation"),
    (SectionName.DISCHARGE_MARK, r"(?:prior )?discharge"),
)  # fmt: skip
_NAMES = tuple(name for name, _ in _PATTERNS)
_ANY_HEADING = re.compile("|".join(f"({pattern})" for _, pattern in _PATTERNS))  # one group for each


@lru_cache(maxsize=1 << 16)
def recognise(heading: str) -> SectionName | None:
    """Name the section that a heading opens.

    Args:
        heading (`str`): the heading as it was written, with or without its colon.

    Returns:
        The name, or `None` where the table does not know the heading.
    """
    match = _ANY_HEADING.fullmatch(plain_form(heading))
    return _NAMES[match.lastindex - 1] if match and match.lastindex else None


def may_be_known(heading: str) -> bool:
    """Tell cheaply whether the words are worth a look into the table."""
    return not _BEGINNINGS.isdisjoint([word[:3] for word in re.findall("[a-z]+", heading.lower())])


def is_common(heading: str) -> bool:
    """Tell whether a heading is one of the usual ones that a line break may cut in two."""
    return plain_form(heading) in _COMMON


def is_beginning(heading: str) -> bool:
    """Tell whether the words may be the first line of a usual heading that wraps: "History of Present"."""
    return plain_form(heading) in _PREFIXES


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
    words = [_word(word) for word in re.findall(r"[a-z0-9]+", text) if word not in _LITTLE_WORDS]
    plain = " ".join(words)
    return _SQUEEZED.get(plain.replace(" ", ""), plain)


@lru_cache(maxsize=1 << 16)
def _word(word: str) -> str:
    if word in _ABBREVIATIONS:
        return _ABBREVIATIONS[word]
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "is", "us")) and len(word) > 3:
        word = word[:-1]
    if len(word) < 5 or word in _VOCABULARY or not word.isalpha():
        return word
    near = [known for form in _shortened(word) for known in _NEAR.get(form, ())]
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


_NEAR: dict[str, list[str]] = {}
for _known in sorted(_VOCABULARY):
    for _form in _shortened(_known):
        _NEAR.setdefault(_form, []).append(_known)

# Every heading has a word that begins like one of these, slips included; most other lines have none and need
# no closer look.
_BEGINNINGS = frozenset(
    word[:3]
    for word in (
        *re.findall("[a-z]{2,}", _ANY_HEADING.pattern),
        *_ABBREVIATIONS,
        *_NEAR,
        *(known[1] + known[0] + known[2:] for known in _VOCABULARY),
        *(known[0] + known[2] + known[1] for known in _VOCABULARY),
        *("d", "f", "p"),  # d/c, f/u, a/p
    )
)
