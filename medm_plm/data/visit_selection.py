"""Selections of visits that several tasks share: a split, the first day, frequent codes, equal classes."""

from __future__ import annotations

import hashlib

import polars as pl

from medm_plm.data.schema import (
    ADMISSION_NOTE,
    FIRST_DAY_MEDICATION_CODES,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    SPLIT,
    SPLITS,
)
from medm_plm.errors import InputError

NO_CODES = pl.lit([], dtype=pl.List(pl.String))
"""An empty list of codes, as an expression."""


def of_split(visits: pl.DataFrame, split: str) -> pl.DataFrame:
    """Select the visits of a split.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        split (`str`): "train", "validation" or "test".

    Returns:
        Its visits, in their order.

    Raises:
        InputError: if there is no such split.
    """
    if split not in SPLITS:
        raise InputError("unknown split", received=repr(split), expected=" or ".join(SPLITS))
    return visits.filter(pl.col(SPLIT) == split)


def is_known(visits: pl.DataFrame, column: str) -> bool:
    """Tell whether the source says anything in a column: whether any visit has a value there.

    Args:
        visits (`polars.DataFrame`): visits.
        column (`str`): one that may be null.

    Returns:
        False where every value is null.
    """
    return visits[column].null_count() < visits.height


def on_first_day(visits: pl.DataFrame) -> pl.DataFrame:
    """Put what was known on the first day in the place of note and medications.

    Args:
        visits (`polars.DataFrame`): prepared visits.

    Returns:
        The visits with the note known at admission and the medications of the first day; where the source
        cannot tell, there is none.
    """
    return visits.with_columns(
        pl.col(ADMISSION_NOTE).fill_null("").alias(NOTE),
        pl.col(FIRST_DAY_MEDICATION_CODES).fill_null([]).alias(MEDICATION_CODES),
    )


def frequent_codes(visits: pl.DataFrame, column: str, top_k: int | None) -> list[str]:
    """List the codes of the training split.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        column (`str`): a list of codes.
        top_k (`int`, *optional*): how many; `None` keeps all.

    Returns:
        Qualified codes, most frequent first, ties in the order of the code.

    Raises:
        InputError: if none are asked for.
    """
    if top_k is not None and top_k < 1:
        raise InputError("number of labels is impossible", received=f"top_k={top_k}", expected="1 or more")
    codes = of_split(visits, "train").select(pl.col(column).list.explode().alias("code"))
    counts = codes.drop_nulls().group_by("code").len().sort(["len", "code"], descending=[True, False])
    return counts["code"].head(counts.height if top_k is None else top_k).to_list()


def balanced_sample(labelled: pl.DataFrame, column: str, seed: int) -> pl.DataFrame:
    """Sample the larger of two classes down to the smaller one.

    Args:
        labelled (`polars.DataFrame`): visits without a null in the column.
        column (`str`): the label, true or false.
        seed (`int`): chooses the sample; the choice does not depend on the row order.

    Returns:
        As many visits of either kind, in their order.
    """
    num_positive = int(labelled[column].sum())
    num_each = min(num_positive, labelled.height - num_positive)
    draw = labelled[HADM_ID].map_elements(lambda hadm_id: _draw(hadm_id, seed), return_dtype=pl.String)
    rank = pl.col("draw").rank("ordinal").over(column)
    return labelled.with_columns(draw.alias("draw")).filter(rank <= num_each).drop("draw")


def _draw(hadm_id: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{hadm_id}".encode()).hexdigest()
