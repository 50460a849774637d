"""What a rival gets to see of the prepared visits."""

from __future__ import annotations

import polars as pl

from medm_plm.data.schema import DIAGNOSIS_CODES, MEDICATION_CODES, NOTE
from medm_plm.rivals.configuration import ARCHITECTURES


def reads_text(architecture: str) -> bool:
    """Tell whether an architecture reads notes; MedM-PLM reads both."""
    return architecture not in ARCHITECTURES or ARCHITECTURES[architecture].text_encoder is not None


def reads_codes(architecture: str) -> bool:
    """Tell whether an architecture reads codes; MedM-PLM reads both."""
    return architecture not in ARCHITECTURES or ARCHITECTURES[architecture].code_encoder is not None


def has_frozen_text(architecture: str) -> bool:
    """Tell whether an architecture has a text encoder whose first layers may be frozen."""
    return architecture not in ARCHITECTURES or ARCHITECTURES[architecture].has_frozen_text


def visible_visits(visits: pl.DataFrame, architecture: str) -> pl.DataFrame:
    """Empty the modality that an architecture does not read, before anything is tokenised.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        architecture (`str`): `medm_plm` or a name of `ARCHITECTURES`.

    Returns:
        The same visits.
    """
    if not reads_text(architecture):
        visits = visits.with_columns(pl.lit("").alias(NOTE))
    if not reads_codes(architecture):
        nothing = pl.lit([], dtype=pl.List(pl.String))
        visits = visits.with_columns(nothing.alias(DIAGNOSIS_CODES), nothing.alias(MEDICATION_CODES))
    return visits
