"""When invented patients come back, with the exact probability of a return within 30 days."""

import numpy as np

from medm_plm.data.synthetic import knowledge as k
from medm_plm.data.synthetic.patient_facts import CIRCUMSTANCES

_INTERCEPT = -4.85
_PER_YEAR_OF_AGE = 0.006
_RETURN_LATER = 0.26


def readmission_probability(
    recorded: np.ndarray,
    severe: np.ndarray,
    circumstances: np.ndarray,
    num_classes: np.ndarray,
    age: np.ndarray,
) -> np.ndarray:
    """Give the true chance of an admission within 30 days of a discharge alive.

    It uses only what the visit shows: the codes recorded, the number of medication classes, the age, and
    circumstances that the note always states. Some circumstances weigh more with some codes.

    Args:
        recorded (`np.ndarray` of shape `(visits, conditions)`): conditions coded at the visit.
        severe (`np.ndarray` of shape `(visits, conditions)`): which of them are severe.
        circumstances (`np.ndarray` of shape `(visits, circumstances)`): facts of the note.
        num_classes (`np.ndarray` of shape `(visits,)`): medication classes given.
        age (`np.ndarray` of shape `(visits,)`): years.

    Returns:
        Probabilities `(visits,)`.
    """
    odds = _INTERCEPT + _PER_YEAR_OF_AGE * (age - 65.0)
    odds = odds + (recorded * np.where(severe, k.SEVERE_BURDEN, k.BURDEN)).sum(axis=1)
    odds = odds + circumstances @ np.array([fact.effect for fact in CIRCUMSTANCES])
    for fact, keys, effect in k.INTERACTIONS:
        concerned = recorded[:, [k.CONDITION_INDEX[key] for key in keys]].any(axis=1)
        odds = odds + effect * (concerned & circumstances[:, k.CIRCUMSTANCE_INDEX[fact]])
    confused = circumstances[:, k.CIRCUMSTANCE_INDEX["poor_understanding"]]
    odds = odds + k.POLYPHARMACY_EFFECT * (confused & (num_classes >= k.POLYPHARMACY_CLASSES))
    return k.logistic(odds)


def draw_gaps(chance: np.ndarray, may_return: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the hours until the next admission: under 30 days with the given chance, else perhaps much later.

    Args:
        chance (`np.ndarray` of shape `(visits,)`): of a return within 30 days.
        may_return (`np.ndarray` of shape `(visits,)`): whether there can be a later visit at all.
        rng (`np.random.Generator`): source of chance.

    Returns:
        Hours `(visits,)`, NaN where the patient does not return.
    """
    count = len(chance)
    soon = rng.random(count) < chance
    later = ~soon & may_return & (rng.random(count) < _RETURN_LATER)
    # Both stay clear of the border, so that counting hours, whole days or dates gives the same label.
    soon_hours = 30.0 + 650.0 * rng.random(count) ** 1.2
    later_hours = 24.0 * (34.0 + rng.exponential(260.0, count))
    return np.where(soon, soon_hours, np.where(later, later_hours, np.nan))
