"""One patient-level hold-out, shared by pre-training and every task.

Section 7 of the method: which split a patient belongs to follows from the patient's number and a seed alone,
so it can be rebuilt anywhere, does not depend on the order or number of rows, and never parts the visits of
one patient. Published lists of admission ids can take the place of the hash, still by patient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import polars as pl

from medm_plm.data.schema import HADM_ID, SPLIT, SPLITS, SUBJECT_ID

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def assign_split(subject_id: str, seed: int) -> str:
    """Say which split a patient belongs to.

    Args:
        subject_id (`str`): number of the patient.
        seed (`int`): chooses one of many equally good divisions.

    Returns:
        "train", "validation" or "test", in the shares 8:1:1.
    """
    digest = hashlib.sha256(f"{seed}:{subject_id}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for split in SPLITS[:-1]:
        place -= SHARES[split]
        if place < 0:
            return split
    return SPLITS[-1]


def with_splits(visits: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Give each visit the split of its patient.

    Args:
        visits (`polars.DataFrame`): visits with a column `subject_id`.
        seed (`int`): see `assign_split`.

    Returns:
        The visits with a column `split`.
    """
    patients = visits[SUBJECT_ID].unique().to_list()
    split_of = {patient: assign_split(patient, seed) for patient in patients}
    split = pl.col(SUBJECT_ID).replace_strict(split_of, return_dtype=pl.String)
    return visits.with_columns(split.alias(SPLIT))


def splits_from_ids(
    visits: pl.DataFrame, ids_by_split: Mapping[str, Collection[str]], seed: int
) -> tuple[pl.DataFrame, int]:
    """Give each visit the split that published lists of admissions give its patient.

    The lists name admissions, but the hold-out is one of patients: all visits of a patient with an admission
    in the test list go to the test split, else of one in the validation list to the validation split, else of
    one in the training list to the training split. Where the lists name none of a patient's admissions, the
    patient's own hash decides, as in `with_splits`.

    Args:
        visits (`polars.DataFrame`): visits with `subject_id` and `hadm_id`.
        ids_by_split (`Mapping[str, Collection[str]]`): admission ids by split, from
            `published_ids.read_published_ids`.
        seed (`int`): see `assign_split`.

    Returns:
        The visits with a column `split`, and how many patients have admissions in several lists.
    """
    lists_of: dict[str, set[str]] = {}
    for split in SPLITS:
        listed = visits.filter(pl.col(HADM_ID).is_in(list(ids_by_split.get(split, ()))))
        for patient in listed[SUBJECT_ID].unique():
            lists_of.setdefault(patient, set()).add(split)
    hashed = with_splits(visits, seed)
    split_of = {patient: max(lists, key=SPLITS.index) for patient, lists in lists_of.items()}
    if split_of:
        published = pl.col(SUBJECT_ID).replace_strict(split_of, default=None, return_dtype=pl.String)
        hashed = hashed.with_columns(published.fill_null(pl.col(SPLIT)).alias(SPLIT))
    return hashed, sum(len(lists) > 1 for lists in lists_of.values())
