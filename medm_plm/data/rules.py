"""Every choice of a preparation in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from medm_plm.data.cohort import CohortRules
from medm_plm.data.meds_events import MedsCodes


@dataclass(frozen=True)
class PreparationRules:
    """Every choice that changes the prepared visits.

    Args:
        cohort (`CohortRules`): which visits are kept.
        readmission_policy (`str`, *optional*, defaults to "paper"): a name of `cohort.READMISSION_POLICIES`.
        diagnosis_system (`str`, *optional*, defaults to "ICD9CM"): for sources that write each diagnosis in
            two.
        meds_codes (`MedsCodes`, *optional*): which codes of a MEDS dataset mean what, if not the usual.
        seed (`int`, *optional*, defaults to 0): chooses the split.
    """

    cohort: CohortRules = field(default_factory=CohortRules)
    readmission_policy: str = "paper"
    diagnosis_system: str = "ICD9CM"
    meds_codes: MedsCodes | None = None
    seed: int = 0
