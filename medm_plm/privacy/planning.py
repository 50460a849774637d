"""From a prepared folder to the data of an audit: half to train on, with canaries, half for a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from medm_plm.data.collators import keyed_generator
from medm_plm.data.files import make_private_folder, write_private
from medm_plm.data.schema import (
    DIAGNOSIS_CODES,
    MEDICATION_CODES,
    SPLIT,
    SUBJECT_ID,
    VISITS_FILE,
    VOCABULARY_FILE,
    read_visits,
)
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.privacy.canaries import draw_canaries, is_canary, plant, write_canaries

AUDITED, REFERENCE, CANARIES_FILE = "audited", "reference", "canaries.json"


def plan_audit(
    data: str | Path, output: str | Path, insertions: Sequence[int], num_canaries: int, seed: int = 0
) -> dict[str, int]:
    """Write the data of an audit.

    The training patients are halved by lot. One half and the canaries are what the audited model is trained
    on; the other half is what the reference model is trained on, which so knows neither the patients of the
    first half nor the held-out ones, nor the canaries. Both share the held-out patients and one code
    vocabulary, of the codes that both halves have.

    Args:
        data (`str` or `Path`): a prepared folder.
        output (`str` or `Path`): gets the folders `audited` and `reference`, and `canaries.json`.
        insertions (`Sequence[int]`): how often canaries are inserted, 1, 10 and 100 for instance.
        num_canaries (`int`): canaries for each of these numbers.
        seed (`int`, defaults to 0): draws halves and canaries.

    Returns:
        Counts of patients and planted visits.

    Raises:
        InputError: if a number is not positive, the data hold planted visits already, there are too few
            patients or codes, or the folder cannot be written.
    """
    if num_canaries < 1 or any(number < 1 for number in insertions):
        raise InputError("numbers of canaries and insertions", expected="1 or more")
    visits = read_visits(data)
    if visits.select(is_canary().any()).item():
        raise InputError("the data hold planted visits already", file=data)
    audited, reference = halves(visits, seed)
    train = [part.filter(pl.col(SPLIT) == "train") for part in (audited, reference)]
    shared = [
        sorted(set.intersection(*(set(part[column].explode().drop_nulls()) for part in train)))
        for column in (DIAGNOSIS_CODES, MEDICATION_CODES)
    ]
    vocabulary = CodeVocabulary.from_codes(*shared)
    drawn = draw_canaries(*shared, num_canaries * len(insertions), seed, "planted")
    canaries = [
        replace(canary, insertions=number)
        for canary, number in zip(drawn, np.repeat(list(insertions), num_canaries).tolist(), strict=True)
    ]
    folder = make_private_folder(output)
    for name, part in ((AUDITED, plant(audited, canaries)), (REFERENCE, reference)):
        place = make_private_folder(folder / name)
        write_private(place / VISITS_FILE, part.write_parquet)
        write_private(place / VOCABULARY_FILE, vocabulary.save)
    write_canaries(folder / CANARIES_FILE, canaries, seed)
    return {
        "audited training patients": train[0][SUBJECT_ID].n_unique(),
        "reference training patients": train[1][SUBJECT_ID].n_unique(),
        "held-out patients": visits.filter(pl.col(SPLIT) != "train")[SUBJECT_ID].n_unique(),
        "canaries": len(canaries),
        "planted visits": sum(canary.insertions for canary in canaries),
    }


def halves(visits: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide the training patients by lot; both parts keep all held-out patients.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        seed (`int`): of the lot.

    Returns:
        Two tables of visits.

    Raises:
        InputError: if there are fewer than two training patients.
    """
    patients = visits.filter(pl.col(SPLIT) == "train")[SUBJECT_ID].unique().sort().to_list()
    if len(patients) < 2:
        raise InputError("there are too few training patients", received=len(patients), expected="2 or more")
    order = keyed_generator(seed, "halves").permutation(len(patients))
    first = [patients[index] for index in order[: len(patients) // 2]]
    second = [patients[index] for index in order[len(patients) // 2 :]]
    is_train = pl.col(SPLIT) == "train"
    return (
        visits.filter(~is_train | pl.col(SUBJECT_ID).is_in(first)),
        visits.filter(~is_train | pl.col(SUBJECT_ID).is_in(second)),
    )
