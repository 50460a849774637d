"""One patient-level hold-out, shared by pre-training and every task.

Section 7 of the method: which split a patient belongs to follows from the patient's number and a seed alone,
so it can be rebuilt anywhere, does not depend on the order or number of rows, and never parts the visits of
one patient.
"""

from __future__ import annotations

import hashlib

import polars as pl

from medm_plm.data.schema import SPLIT, SPLITS, SUBJECT_ID

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
