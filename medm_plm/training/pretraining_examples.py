"""Examples of pre-training: which visits, the fixed questions of an evaluation, the probes of both paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from medm_plm.data import tasks
from medm_plm.data.collators import IGNORED_LABEL, CodeMasker, keyed_generator
from medm_plm.data.schema import DIAGNOSIS_CODES, MEDICATION_CODES, SPLIT
from medm_plm.errors import InputError

NOTE_FIELDS = ("input_ids", "text_prefix_states")
CODE_FIELDS = ("code_input_ids", "code_token_type_ids")


def pretraining_visits(visits: pl.DataFrame, split: str) -> pl.DataFrame:
    """Select the visits of one split with at least one code.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train" to learn from; the others only to look at.

    Returns:
        The visits.

    Raises:
        InputError: if there is none.
    """
    if split == "train":
        chosen = tasks.pretraining_visits(visits)
    else:
        has_code = (pl.col(DIAGNOSIS_CODES).list.len() + pl.col(MEDICATION_CODES).list.len()) > 0
        chosen = visits.filter((pl.col(SPLIT) == split) & has_code)
    if chosen.is_empty():
        raise InputError(f"the {split} split holds no visit with a code", remedy="prepare more patients")
    return chosen


def fixed_masks(examples: Sequence[Mapping[str, Any]], masker: CodeMasker) -> list[dict[str, Any]]:
    """Hide codes once and for all, so that every evaluation asks the same questions.

    Args:
        examples (`Sequence[dict]`): tokenised visits.
        masker (`CodeMasker`): draws the hidden codes, keyed by its seed and the visit.

    Returns:
        The visits in which a code could be hidden, with `labels` as `PretrainingCollator` takes them.
    """
    fixed = []
    for example in examples:
        types = example["code_token_type_ids"]
        masked, labels = masker(example["code_input_ids"], types, "evaluation", example["example_id"])
        if (labels != IGNORED_LABEL).any():
            fixed.append({**example, "code_input_ids": masked, "labels": labels})
    return fixed


def exchange_modality(
    examples: Sequence[Mapping[str, Any]], fields: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Give each visit one modality of another visit and keep everything else, its labels above all.

    With `NOTE_FIELDS` a visit is read with another's note; with `CODE_FIELDS` with another's codes, of which
    that visit's own hidden ones stay hidden. The hidden codes to predict remain those of the visit itself.

    Args:
        examples (`Sequence[dict]`): visits with fixed masks.
        fields (`Sequence[str]`): `NOTE_FIELDS` or `CODE_FIELDS`.
        seed (`int`): draws who gives to whom.

    Returns:
        The visits; none keeps its own, if there are at least two.
    """
    order = keyed_generator(seed, "exchange").permutation(len(examples))
    donors = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    return [
        {**example, **{name: examples[donors[index]][name] for name in fields if name in example}}
        for index, example in enumerate(examples)
    ]


def code_counts(examples: Sequence[Mapping[str, Any]], masker: CodeMasker, num_codes: int) -> np.ndarray:
    """Count in how many visits each code stands, the frequency prior of pre-training.

    Args:
        examples (`Sequence[dict]`): tokenised training visits, unmasked.
        masker (`CodeMasker`): knows which codes can be asked for.
        num_codes (`int`): size of the vocabulary that is predicted.

    Returns:
        `np.ndarray` of shape `(num_codes,)`; zero for special tokens.
    """
    counts = np.zeros(num_codes, dtype=np.int64)
    for example in examples:
        codes = example["code_input_ids"]
        counts[codes[masker.eligible_positions(codes, example["code_token_type_ids"])]] += 1
    return counts
