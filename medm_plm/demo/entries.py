"""What a person hands to the page, checked by the function that uses it and not by the page alone.

Widgets limit what a browser sends; whoever calls the address behind them is not bound by that. Messages name
the field and the limit and never quote what was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medm_plm.demo.codes import CodeList
from medm_plm.errors import InputError

MAX_NOTE_CHARACTERS = 50_000
MAX_CODES = 100


@dataclass(frozen=True)
class Entry:
    """A visit, and the diagnoses of the visit after it.

    Args:
        note (`str`): discharge summary of the visit.
        diagnosis_codes, medication_codes (`tuple[str, ...]`): its codes.
        next_diagnosis_codes (`tuple[str, ...]`): diagnoses of the next visit, for which medications are
            recommended.
    """

    note: str = ""
    diagnosis_codes: tuple[str, ...] = ()
    medication_codes: tuple[str, ...] = ()
    next_diagnosis_codes: tuple[str, ...] = ()

    @property
    def visit(self) -> dict[str, object]:
        """The visit as pipelines take it."""
        return {
            "note": self.note,
            "diagnosis_codes": list(self.diagnosis_codes),
            "medication_codes": list(self.medication_codes),
        }


def checked_entry(
    note: object,
    diagnosis_codes: object,
    medication_codes: object,
    next_diagnosis_codes: object,
    diagnoses: CodeList,
    medications: CodeList,
) -> Entry:
    """Check what was sent.

    Args:
        note, diagnosis_codes, medication_codes, next_diagnosis_codes (`object`): what was sent; None where a
            field was left empty.
        diagnoses, medications (`CodeList`): the codes that can be picked.

    Returns:
        The entry.

    Raises:
        InputError: if a part is too long, is no text or no list of known codes, or all of it is empty.
    """
    entry = Entry(
        _checked_note(note),
        _checked_codes("diagnoses", diagnosis_codes, diagnoses),
        _checked_codes("medications", medication_codes, medications),
        _checked_codes("diagnoses of the next visit", next_diagnosis_codes, diagnoses),
    )
    if not entry.note.strip() and not entry.diagnosis_codes and not entry.medication_codes:
        raise InputError("there is nothing to read yet", remedy="paste a note, or pick codes of the visit")
    return entry


def _checked_note(note: object) -> str:
    if note is None:
        return ""
    if not isinstance(note, str):
        raise InputError("note", received=type(note).__name__, expected="text")
    if len(note) > MAX_NOTE_CHARACTERS:
        raise InputError(
            "the note is too long",
            received=f"{len(note):,} characters",
            expected=f"at most {MAX_NOTE_CHARACTERS:,}",
        )
    # Half of a character pair is no text, and tokenizers refuse it.
    return note.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")


def _checked_codes(field: str, codes: object, known: CodeList) -> tuple[str, ...]:
    if codes is None:
        return ()
    if isinstance(codes, str) or not isinstance(codes, Sequence):
        raise InputError(field, received=type(codes).__name__, expected="a list of codes")
    if len(codes) > MAX_CODES:
        raise InputError(f"too many {field}", received=len(codes), expected=f"at most {MAX_CODES}")
    if any(not isinstance(code, str) or code not in known for code in codes):
        raise InputError(f"{field}: a code that cannot be picked", expected="codes of the list")
    return tuple(dict.fromkeys(codes))
