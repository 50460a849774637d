"""The leakage checks on a prepared folder, by hand and at the start of training."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import polars as pl

from medm_plm.data import leakage
from medm_plm.data.files import fingerprint
from medm_plm.data.finishing import later_duplicates
from medm_plm.data.near_duplicates import SIGNATURE
from medm_plm.data.schema import REPORT_FILE, VISITS_FILE, VOCABULARY_FILE, read_visits
from medm_plm.data.visit_shards import outline
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError

_REMEDY = "prepare the data again"


def check_folder(folder: str | Path) -> pl.DataFrame:
    """Run every check on a prepared folder.

    Args:
        folder (`str` or `Path`): what a preparation wrote.

    Returns:
        The table of checks, all without violation.

    Raises:
        InputError: if the folder is damaged or leaks.
    """
    visits = read_visits(folder)
    vocabulary = CodeVocabulary.load(Path(folder) / VOCABULARY_FILE)
    table = leakage.check(visits, vocabulary, duplicates=_count_duplicates(visits))
    _refuse_other_files(Path(folder))
    return table


def check_before_training(
    folder: str | Path,
    visits: pl.DataFrame,
    vocabulary: CodeVocabulary | None = None,
    published_held_out: Collection[str] | None = None,
) -> pl.DataFrame:
    """Run the checks at the start of a run.

    The search for copied notes takes half a minute at the size of MIMIC-III; it is left out if the report
    says that the preparation has searched the very bytes that are there.

    Args:
        folder (`str` or `Path`): what a preparation wrote.
        visits (`polars.DataFrame`): its visits.
        vocabulary (`CodeVocabulary`, *optional*): its vocabulary.
        published_held_out (`Collection[str]`, *optional*): see `leakage.check`.

    Returns:
        The table of checks, all without violation.

    Raises:
        InputError: if the visits leak.
    """
    duplicates = None if _was_searched(Path(folder)) else _count_duplicates(visits)
    return leakage.check(visits, vocabulary, published_held_out=published_held_out, duplicates=duplicates)


def _refuse_other_files(folder: Path) -> None:
    """A file that is not the one of the report may hold what no check can see, such as labels of others."""
    try:
        output = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))["output"]
        changed = [name for name, sha256 in output.items() if fingerprint(folder / name) != sha256]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError("report is missing or damaged", file=folder, remedy=_REMEDY) from None
    if changed:
        raise InputError(
            f"{' and '.join(changed)} changed since the preparation",
            file=folder,
            remedy=_REMEDY,
        )


def _count_duplicates(visits: pl.DataFrame) -> tuple[int, int]:
    outlines = outline(visits)
    return outlines[SIGNATURE].count(), len(later_duplicates(outlines))


def _was_searched(folder: Path) -> bool:
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        return (
            leakage.COPIED_NOTE in report["leakage"]
            and fingerprint(folder / VISITS_FILE) == report["output"][VISITS_FILE]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
