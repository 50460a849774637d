"""Which section a heading of a discharge summary opens.

Headings are typed freely: "PMH:", "PAST MEDICAL HISTORY", "Past Medcial Hx". `recognise` brings them to a
plain form (`plain_headings`) and looks that up in a table of patterns, of which the first that fits counts.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

from medm_plm.data.sections.plain_form import ABBREVIATIONS, NEAR, SQUEEZED, VOCABULARY, plain_form


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
_TABLE_WORDS = re.findall("[a-z]{2,}", _ANY_HEADING.pattern)


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


def begins_like_known(line: str) -> bool:
    """Tell cheaply whether the table may know a line or its beginning; never wrong where it says no.

    A heading begins with a word of the table, or with letters of a usual heading that lost its blanks, if not
    with any word at all, before "discharge medications", "hospital course" or "addendum".
    """
    plain = plain_form(line)
    return (
        plain.partition(" ")[0] in _FIRST_WORDS
        or "discharge" in plain
        or "hospital course" in plain
        or "addendum" in plain
    )


def may_be_known(heading: str) -> bool:
    """Tell cheaply whether the words are worth a look into the table."""
    return not _BEGINNINGS.isdisjoint([word[:3] for word in re.findall("[a-z]+", heading.lower())])


# Every heading has a word that begins like one of these, slips included; most other lines have none and need
# no closer look.
_BEGINNINGS = frozenset(
    word[:3]
    for word in (
        *_TABLE_WORDS,
        *ABBREVIATIONS,
        *NEAR,
        *(known[1] + known[0] + known[2:] for known in VOCABULARY),
        *(known[0] + known[2] + known[1] for known in VOCABULARY),
        *("d", "f", "p"),  # d/c, f/u, a/p
    )
)
_FIRST_WORDS = frozenset(
    (*_TABLE_WORDS, "presenting", *(words[:length] for words in SQUEEZED for length in range(1, len(words))))
)
