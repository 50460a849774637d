"""Published lists of the codes that ICD coding predicts, such as CAML's fifty.

One ICD-9-CM code a line, with its dot or without; lines that begin with `#` are comments. Published lists mix
diagnoses with procedures, which the prepared visits do not hold: two digits before a dot are a procedure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medm_plm.errors import InputError
from medm_plm.ontologies.codes import qualify

SYSTEM = "ICD9CM"
_DIAGNOSIS = re.compile(r"\d{3}(\.?\d{1,2})?|V\d{2}(\.?\d{1,2})?|E\d{3}(\.?\d)?")
_PROCEDURE = re.compile(r"\d{2}\.\d{1,2}")


@dataclass(frozen=True)
class PublishedLabels:
    """A list of labels.

    Args:
        codes (`tuple[str, ...]`): qualified diagnosis codes in the order of the file.
        num_procedures (`int`): procedure codes that were left out.
    """

    codes: tuple[str, ...]
    num_procedures: int


def read_published_labels(path: str | Path) -> PublishedLabels:
    """Read a list of labels.

    Args:
        path (`str` or `Path`): text file, one code a line.

    Returns:
        The diagnoses, and how many procedures stood among them.

    Raises:
        InputError: if the file is missing, a line is no ICD-9-CM code, a code stands there twice, or no
            diagnosis is left.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("list of labels is missing", file=path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError("file cannot be read as text", file=path) from None
    codes: dict[str, None] = {}
    num_procedures = 0
    for row, line in enumerate(lines, 1):
        word = line.strip().upper()
        if not word or word.startswith("#"):
            continue
        if _PROCEDURE.fullmatch(word):
            num_procedures += 1
            continue
        if not _DIAGNOSIS.fullmatch(word):
            expected = "one ICD-9-CM code, such as 428.0 or 4280"
            raise InputError("line is no code", file=path, row=row, expected=expected)
        if (code := qualify(SYSTEM, word)) in codes:
            raise InputError("code stands in the list twice", file=path, row=row, remedy="remove one")
        codes[code] = None
    if not codes:
        raise InputError(
            "list of labels holds no diagnosis code", file=path, received=f"{num_procedures} procedure codes"
        )
    return PublishedLabels(tuple(codes), num_procedures)
