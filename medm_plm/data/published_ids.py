"""Published lists of admission ids, such as those of CAML, and the visits they choose for ICD coding.

A list is a text file with one admission id a line. CAML has two sets of three: `train_50_hadm_ids.csv`,
`dev_50_hadm_ids.csv`, `test_50_hadm_ids.csv` and the same with `full` for `50`. A folder holds one set.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from medm_plm.data.schema import HADM_ID, SPLIT, SPLITS, SUBJECT_ID
from medm_plm.errors import InputError

FILE_WORD_OF_SPLIT = {"train": "train", "validation": "dev", "test": "test"}
SETS = ("50", "full")
_ID = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class PublishedVisits:
    """The visits of published lists that a task uses, and what became of the ids.

    Args:
        visits (`polars.DataFrame`): listed visits; `split` is that of their list.
        listed (`int`): ids in the lists.
        unknown (`int`): ids that no prepared visit has.
        left_out (`int`): visits whose patient has another one in a later list (test comes after validation,
            validation after train), so that no patient stands on both sides.
    """

    visits: pl.DataFrame
    listed: int
    unknown: int
    left_out: int

    @property
    def facts(self) -> dict[str, int]:
        """The counts alone."""
        return {name: getattr(self, name) for name in ("listed", "unknown", "left_out")}


def read_published_ids(folder: str | Path) -> dict[str, frozenset[str]]:
    """Read the three lists of a folder.

    Args:
        folder (`str` or `Path`): folder with one set of files.

    Returns:
        Admission ids by split.

    Raises:
        InputError: if a file is missing, both sets are there, a line is no id, a list is empty, or an id
            stands in two lists.
    """
    paths = _files(Path(folder))
    ids_by_split = {split: _read_ids(path) for split, path in paths.items()}
    total = len(frozenset().union(*ids_by_split.values()))
    if (num_repeated := sum(map(len, ids_by_split.values())) - total) > 0:
        raise InputError(
            "admission ids stand in several lists",
            file=folder,
            received=f"{num_repeated} repeated ids",
            expected="each in one list",
        )
    return ids_by_split


def published_visits(visits: pl.DataFrame, ids_by_split: Mapping[str, Collection[str]]) -> PublishedVisits:
    """Choose the visits of published lists.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        ids_by_split (`Mapping[str, Collection[str]]`): from `read_published_ids`.

    Returns:
        The chosen visits in their order, with the counts.

    Raises:
        InputError: if no listed admission is among the visits.
    """
    split_of = {hadm_id: split for split, ids in ids_by_split.items() for hadm_id in ids}
    list_split = pl.col(HADM_ID).replace_strict(split_of, default=None, return_dtype=pl.String)
    listed = visits.with_columns(list_split.alias(SPLIT)).filter(pl.col(SPLIT).is_not_null())
    if listed.is_empty():
        raise InputError(
            "none of the published admissions is among the prepared visits",
            received=f"{len(split_of)} ids",
            remedy="give lists that belong to the prepared source",
        )
    order = pl.col(SPLIT).replace_strict({split: i for i, split in enumerate(SPLITS)}, return_dtype=pl.Int8)
    chosen = listed.filter(order == order.max().over(SUBJECT_ID))
    return PublishedVisits(
        chosen, len(split_of), len(split_of) - listed.height, listed.height - chosen.height
    )


def held_out_ids(ids_by_split: Mapping[str, Collection[str]]) -> list[str]:
    """List the admissions that the published lists keep for validation and test, sorted."""
    return sorted(hadm_id for split, ids in ids_by_split.items() if split != "train" for hadm_id in ids)


def _files(folder: Path) -> dict[str, Path]:
    """The three files of the one set that the folder holds."""
    if not folder.is_dir():
        raise InputError("folder of published admission ids is missing", file=folder)
    sets = {
        name: {split: folder / f"{word}_{name}_hadm_ids.csv" for split, word in FILE_WORD_OF_SPLIT.items()}
        for name in SETS
    }
    found = [name for name, paths in sets.items() if any(path.is_file() for path in paths.values())]
    if len(found) > 1:
        raise InputError(
            "folder holds two sets of published admission ids",
            file=folder,
            remedy="copy the three files of one set into a folder of their own",
        )
    paths = sets[found[0] if found else SETS[0]]
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise InputError(f"{' and '.join(missing)} missing", file=folder, remedy="give all three lists")
    return paths


def _read_ids(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError("file cannot be read as text", file=path) from None
    rows = [(row, line.strip()) for row, line in enumerate(lines, 1) if line.strip()]
    if rows and rows[0][1].lower() == HADM_ID:
        rows = rows[1:]
    for row, line in rows:
        if not _ID.fullmatch(line):
            raise InputError("line is no admission id", file=path, row=row, expected="one admission id")
    if not rows:
        raise InputError("list of admission ids is empty", file=path)
    return frozenset(line for _, line in rows)
