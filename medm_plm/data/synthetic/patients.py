"""What stays with invented patients between visits, and how it changes from one visit to the next."""

from dataclasses import dataclass

import numpy as np

from medm_plm.data.synthetic import knowledge as k
from medm_plm.data.synthetic.patient_facts import CIRCUMSTANCES, TRAITS
from medm_plm.data.synthetic.prescribing import draw_options, option_probabilities, update_last_option
from medm_plm.data.synthetic.visit_block import NEVER, READMISSION_WINDOW_HOURS, UNCHANGED, VisitBlock

_SEVERE_SHARE = 0.35
_SEVERITY_PROGRESSION = 0.15
_INCIDENCE = 0.08  # of a condition's usual chance, between two visits
_TREATED_AT_HOME = 0.85  # share of the usual chance at which a known illness is treated before admission
_HOURS_PER_YEAR = 24 * 365.25


@dataclass
class Patients:
    """A block of patients; the arrays change in place as they age and fall ill.

    Args:
        sex (`np.ndarray` of shape `(patients,)`): "F" or "M".
        age (`np.ndarray` of shape `(patients,)`): years at the coming admission.
        chronic (`np.ndarray` of shape `(patients, chronic conditions)`): illnesses present.
        severe (`np.ndarray` of shape `(patients, conditions)`): severe, should the condition be present.
        traits (`np.ndarray` of shape `(patients, traits)`): allergies, intolerances, earlier responses.
        circumstances (`np.ndarray` of shape `(patients, circumstances)`): facts about the coming visit.
        code_draw (`np.ndarray` of shape `(patients, conditions)`): picks among a condition's codes.
        last_option (`np.ndarray` of shape `(patients, decisions)`): drug taken, or `NEVER`, `STOPPED`.
        planned (`np.ndarray` of shape `(patients,)`): whether the coming admission may well be elective.
    """

    sex: np.ndarray
    age: np.ndarray
    chronic: np.ndarray
    severe: np.ndarray
    traits: np.ndarray
    circumstances: np.ndarray
    code_draw: np.ndarray
    last_option: np.ndarray
    planned: np.ndarray


def draw_patients(count: int, rng: np.random.Generator) -> Patients:
    """Draw patients as they are before their first admission.

    Args:
        count (`int`): patients.
        rng (`np.random.Generator`): source of chance.

    Returns:
        The patients, with the drugs they take at home.
    """
    age = np.clip(rng.normal(66.0, 16.0, count), 18.2, 97.0)
    sex = np.where(rng.random(count) < 0.45, "F", "M")
    patients = Patients(
        sex=sex,
        age=age,
        chronic=_draw_chronic(age, _impossible(sex), rng),
        severe=(rng.random((count, len(k.CONDITIONS))) < _SEVERE_SHARE) & k.HAS_SEVERITY,
        traits=rng.random((count, len(TRAITS))) < np.array([trait.prevalence for trait in TRAITS]),
        circumstances=draw_circumstances(age, rng),
        code_draw=rng.random((count, len(k.CONDITIONS))),
        last_option=np.full((count, len(k.DECISION_START)), NEVER),
        planned=np.ones(count, dtype=bool),
    )
    _treat_at_home(patients, rng)
    return patients


def _impossible(sex: np.ndarray) -> np.ndarray:
    return np.where((sex == "F")[:, None], k.IMPOSSIBLE_FOR["F"], k.IMPOSSIBLE_FOR["M"])


def _draw_chronic(age: np.ndarray, impossible: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chronic = np.zeros((len(age), k.NUM_CHRONIC), dtype=bool)
    decades = (age - 65.0) / 10.0
    for index in range(k.NUM_CHRONIC):
        odds = k.BASE_LOG_ODDS[index] + k.AGE_EFFECT[index] * decades
        odds = odds + chronic @ k.CAUSES[: k.NUM_CHRONIC, index]
        chronic[:, index] = (rng.random(len(age)) < k.logistic(odds)) & ~impossible[:, index]
    return chronic


def _treat_at_home(patients: Patients, rng: np.random.Generator) -> None:
    acute = np.zeros((len(patients.age), len(k.CONDITIONS) - k.NUM_CHRONIC), dtype=bool)
    active = np.concatenate([patients.chronic, acute], axis=1)
    never = patients.last_option
    chances = option_probabilities(active, patients.severe, patients.traits, never, _TREATED_AT_HOME)
    patients.last_option = update_last_option(never, draw_options(chances, rng))


def draw_circumstances(age: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the facts about life and stay that bear on readmission.

    Args:
        age (`np.ndarray` of shape `(patients,)`): years.
        rng (`np.random.Generator`): source of chance.

    Returns:
        Which hold, `(patients, circumstances)`.
    """
    base = k.log_odds(np.array([fact.prevalence for fact in CIRCUMSTANCES]))
    slope = np.array([fact.age_effect for fact in CIRCUMSTANCES])
    chance = k.logistic(base + slope * ((age - 65.0) / 10.0)[:, None])
    return rng.random(chance.shape) < chance


def advance(patients: Patients, block: VisitBlock, rng: np.random.Generator) -> None:
    """Change the patients who will return: older, other drugs, new illnesses, intolerances, circumstances.

    Args:
        patients (`Patients`): changed in place.
        block (`VisitBlock`): the visits just made of those who return, one each.
        rng (`np.random.Generator`): source of chance.
    """
    who = block.patient
    patients.age[who] = block.age + (block.stay_hours + block.gap_hours) / _HOURS_PER_YEAR
    patients.planned[who] = block.gap_hours > READMISSION_WINDOW_HOURS
    patients.traits[who] |= block.events
    taken = update_last_option(block.home, block.given)
    patients.last_option[who] = np.where(block.changes == UNCHANGED, taken, block.changes)
    chronic = patients.chronic[who]
    odds = (k.BASE_LOG_ODDS + chronic @ k.CAUSES[: k.NUM_CHRONIC])[:, : k.NUM_CHRONIC]
    new = rng.random(odds.shape) < _INCIDENCE * k.logistic(odds)
    patients.chronic[who] = chronic | (new & ~_impossible(patients.sex[who])[:, : k.NUM_CHRONIC])
    patients.severe[who] |= (rng.random(block.severe.shape) < _SEVERITY_PROGRESSION) & k.HAS_SEVERITY
    lasting = np.array([fact.lasting for fact in CIRCUMSTANCES])
    fresh = draw_circumstances(patients.age[who], rng)
    patients.circumstances[who] = np.where(lasting, patients.circumstances[who], fresh)
