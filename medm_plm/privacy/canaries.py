"""Canaries: invented, improbable visits that are planted in the training data and looked for in the model.

A canary is a random sentence with a random set of codes (Carlini et al., 2019). Nothing but the training data
can have told the model that they belong together, so a model that prefers them to other random sentences and
codes remembers them. Its exposure is how many bits of the guess the model saves the attacker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medm_plm.data.collators import keyed_generator
from medm_plm.data.files import write_json
from medm_plm.data.schema import (
    DIAGNOSIS_CODES,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    SPLIT,
    SUBJECT_ID,
    VISIT_NUMBER,
    VISIT_SCHEMA,
)
from medm_plm.errors import InputError

NUM_WORDS, NUM_DIAGNOSES, NUM_MEDICATIONS = 6, 3, 3
PREFIX = "canary"
_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni")
WORDS = tuple(first + second for first in _SYLLABLES for second in _SYLLABLES)


@dataclass(frozen=True)
class Canary:
    """An invented visit.

    Args:
        note (`str`): its sentence.
        diagnosis_codes, medication_codes (`tuple[str, ...]`): its codes.
        insertions (`int`, defaults to 0): how many patients were given it; 0 for a candidate of comparison.
    """

    note: str
    diagnosis_codes: tuple[str, ...]
    medication_codes: tuple[str, ...]
    insertions: int = 0


def draw_canaries(
    diagnosis_codes: Sequence[str], medication_codes: Sequence[str], count: int, *key: object
) -> list[Canary]:
    """Draw random visits of one form: every sentence and every set of codes is equally likely.

    Args:
        diagnosis_codes, medication_codes (`Sequence[str]`): codes to draw from, those of the vocabulary.
        count (`int`): how many.
        key: what the drawing depends on, a seed and a name.

    Returns:
        The canaries, all different.

    Raises:
        InputError: if there are too few codes.
    """
    if len(diagnosis_codes) < NUM_DIAGNOSES or len(medication_codes) < NUM_MEDICATIONS:
        raise InputError(
            "there are too few codes for canaries",
            received=f"{len(diagnosis_codes)} diagnosis and {len(medication_codes)} medication codes",
            expected=f"at least {NUM_DIAGNOSES} and {NUM_MEDICATIONS}",
        )
    generator = keyed_generator(*key, PREFIX)
    drawn: dict[Canary, None] = {}
    while len(drawn) < count:
        words = generator.choice(WORDS, NUM_WORDS)
        diagnoses = generator.choice(diagnosis_codes, NUM_DIAGNOSES, replace=False)
        medications = generator.choice(medication_codes, NUM_MEDICATIONS, replace=False)
        canary = Canary(
            f"the secret words are {' '.join(words.tolist())}",
            tuple(diagnoses.tolist()),
            tuple(medications.tolist()),
        )
        drawn[canary] = None
    return list(drawn)


def plant(visits: pl.DataFrame, canaries: Sequence[Canary]) -> pl.DataFrame:
    """Add each canary to the training visits, as often as it says, each time as a patient of its own.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        canaries (`Sequence[Canary]`): what is planted.

    Returns:
        All visits, the planted ones last.
    """
    start = datetime(2100, 1, 1)
    rows: list[dict[str, Any]] = []
    for number, canary in enumerate(canaries):
        for copy in range(canary.insertions):
            name = f"{PREFIX}-{number}-{copy}"
            row: dict[str, Any] = dict.fromkeys(VISIT_SCHEMA.names())
            row |= {SUBJECT_ID: name, HADM_ID: name, VISIT_NUMBER: 1, SPLIT: "train", NOTE: canary.note}
            row |= {"admission_time": start, "discharge_time": start + timedelta(days=2)}
            row |= {"died_in_hospital": False, "age": 60.0}
            row |= {DIAGNOSIS_CODES: list(canary.diagnosis_codes)}
            row |= {MEDICATION_CODES: list(canary.medication_codes)}
            rows.append(row)
    planted = pl.DataFrame(rows, schema=VISIT_SCHEMA)
    return pl.concat([visits.select(VISIT_SCHEMA.names()), planted])


def is_canary() -> pl.Expr:
    """Tell planted visits from those of the source."""
    return pl.col(SUBJECT_ID).str.starts_with(f"{PREFIX}-")


def as_visits(canaries: Sequence[Canary]) -> pl.DataFrame:
    """Write canaries as a table of visits, whose id is their place in the list."""
    return pl.DataFrame(
        {
            HADM_ID: [f"{PREFIX}-{number}" for number in range(len(canaries))],
            NOTE: [canary.note for canary in canaries],
            DIAGNOSIS_CODES: [list(canary.diagnosis_codes) for canary in canaries],
            MEDICATION_CODES: [list(canary.medication_codes) for canary in canaries],
        }
    )


def exposure(loss: float, candidate_losses: np.ndarray) -> float:
    """How much better than by chance the model ranks a canary among candidates of the same form, in bits.

    Args:
        loss (`float`): loss of the canary.
        candidate_losses (`np.ndarray` of shape `(candidates,)`): losses of candidates that were not planted.

    Returns:
        `log2(number of candidates) - log2(rank)`, the canary counted among the candidates; the best rank is
        1, and of equal losses the canary has the worst rank. About 1.44 on average for a model that remembers
        nothing.

    Raises:
        InputError: if there is no candidate, or a loss is not a number.
    """
    if not candidate_losses.size or math.isnan(loss) or np.isnan(candidate_losses).any():
        raise InputError("exposure needs losses that are numbers, and at least one candidate")
    rank = 1 + int((candidate_losses <= loss).sum())
    return math.log2(candidate_losses.size + 1) - math.log2(rank)


def exposure_record(canaries: Sequence[Canary], exposures: Sequence[float]) -> list[dict[str, Any]]:
    """Sum exposures up by the number of insertions.

    Args:
        canaries (`Sequence[Canary]`): what was planted.
        exposures (`Sequence[float]`): exposure of each.

    Returns:
        A row for each number of insertions.
    """
    rows: dict[int, list[float]] = {}
    for canary, bits in zip(canaries, exposures, strict=True):
        rows.setdefault(canary.insertions, []).append(bits)
    return [
        {
            "insertions": insertions,
            "canaries": len(bits),
            "mean_exposure": sum(bits) / len(bits),
            "largest_exposure": max(bits),
            "exposures": bits,
        }
        for insertions, bits in sorted(rows.items())
    ]


def write_canaries(path: Path, canaries: Sequence[Canary], seed: int) -> None:
    """Write what was planted, readable by the owner only: who has it can look for it in a model.

    Args:
        path (`Path`): a JSON file.
        canaries (`Sequence[Canary]`): the canaries.
        seed (`int`): what they were drawn with.
    """
    write_json(path, {"seed": seed, "canaries": [asdict(canary) for canary in canaries]})


def read_canaries(path: str | Path) -> tuple[list[Canary], int]:
    """Read what `write_canaries` wrote.

    Args:
        path (`str` or `Path`): the file.

    Returns:
        The canaries, and the seed.

    Raises:
        InputError: if the file is missing or holds something else.
    """
    try:
        content: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        canaries = [
            Canary(
                row["note"], tuple(row["diagnosis_codes"]), tuple(row["medication_codes"]), row["insertions"]
            )
            for row in content["canaries"]
        ]
        return canaries, int(content["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            "these are no canaries", file=path, expected="canaries.json of `run_privacy.py plan`"
        ) from None
