"""Pairs of medications that are known to interact, from a file of the user's.

A text file with one pair a line, two ATC codes with a comma, semicolon or tab between them; lines that begin
with `#` are comments. Codes that are narrower than the labels of a run stand for their group: a run whose
labels are of the third level (`N02A`) reads `N02AX02` as `N02A`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medm_plm.errors import InputError
from medm_plm.metrics.checks import BoolArray
from medm_plm.ontologies import atc
from medm_plm.ontologies.codes import normalize_code, split_qualified

SYSTEM = "ATC"


def read_interactions(path: str | Path, labels: Sequence[str]) -> tuple[BoolArray, dict[str, int]]:
    """Read pairs of medications into a table of the labels.

    Args:
        path (`str` or `Path`): the file.
        labels (`Sequence[str]`): qualified codes of the medications that are predicted.

    Returns:
        Table `(labels, labels)`, True where the pair interacts, symmetric; and counts: `pairs` of the file,
        and of those `pairs_without_label`, one of whose codes belongs to no label, and `pairs_within_label`,
        whose two codes belong to the same.

    Raises:
        InputError: if the file is missing, a line is no pair of ATC codes, or no pair fits the labels.
    """
    path = Path(path)
    index_of_code = {split_qualified(label)[1]: index for index, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)), np.bool_)
    facts = {"pairs": 0, "pairs_without_label": 0, "pairs_within_label": 0}
    for first, second in _pairs(path):
        facts["pairs"] += 1
        one, other = (_index_of_group(code, index_of_code) for code in (first, second))
        if one is None or other is None:
            facts["pairs_without_label"] += 1
        elif one == other:
            facts["pairs_within_label"] += 1
        else:
            table[one, other] = table[other, one] = True
    if not table.any():
        raise InputError(
            "no pair of interacting medications fits the labels",
            file=path,
            received=f"{facts['pairs']} pairs",
            remedy="give pairs of ATC codes",
        )
    return table, facts


def _pairs(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError("file of interacting pairs is missing", file=path) from None
    except (OSError, UnicodeDecodeError):
        raise InputError("file cannot be read as text", file=path) from None
    pairs = []
    for row, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        codes = [normalize_code(word) for word in re.split("[,;\t]", line)]
        if len(codes) != 2 or not all(map(atc.level, codes)):
            expected = "two ATC codes with a comma between them, such as B01A,M01A"
            raise InputError("line is no pair of codes", file=path, row=row, expected=expected)
        pairs.append((codes[0], codes[1]))
    return pairs


def _index_of_group(code: str, index_of_code: dict[str, int]) -> int | None:
    """Find the label that a code is or belongs to, the narrowest first."""
    return next((index_of_code[name] for name in (code, *atc.groups(code)) if name in index_of_code), None)
