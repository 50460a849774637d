"""The hidden course of invented patients: illnesses, drugs, circumstances, returns; a block at a time."""

import numpy as np

from medm_plm.data.synthetic import knowledge as k
from medm_plm.data.synthetic.drugs import MEDICATION_CLASSES
from medm_plm.data.synthetic.patient_facts import TRAITS
from medm_plm.data.synthetic.patients import Patients, advance, draw_patients
from medm_plm.data.synthetic.prescribing import (
    class_probabilities,
    draw_changes,
    draw_options,
    option_probabilities,
)
from medm_plm.data.synthetic.readmission import draw_gaps, readmission_probability
from medm_plm.data.synthetic.visit_block import HINTED, MAX_VISITS, NAMED, SILENT, VisitBlock

_DEATH_INTERCEPT = -4.3
_HINDERING_FACTOR = 0.1  # a trait below it makes a drug unsuitable, so the drug may bring the trait to light
_ELECTIVE, _ELECTIVE_READMISSION = 0.14, 0.04  # shares of admissions
_ALL_CLASSES = np.eye(len(MEDICATION_CLASSES))[k.CLASS_OF_OPTION]  # (options, classes)


def simulate(num_patients: int, rng: np.random.Generator) -> tuple[np.ndarray, VisitBlock]:
    """Let a block of invented patients fall ill, be treated and return.

    Args:
        num_patients (`int`): patients in the block.
        rng (`np.random.Generator`): source of chance.

    Returns:
        The patients' sex `(patients,)` and their visits.
    """
    patients = draw_patients(num_patients, rng)
    present = np.arange(num_patients)
    blocks = []
    for number in range(MAX_VISITS):
        block = _visit(patients, present, number, rng)
        blocks.append(block)
        returning = ~np.isnan(block.gap_hours)
        if not returning.any():
            break
        advance(patients, block.rows(returning), rng)
        present = present[returning]
    return patients.sex, VisitBlock.joined(blocks)


def _visit(patients: Patients, present: np.ndarray, number: int, rng: np.random.Generator) -> VisitBlock:
    count = present.size
    age, traits, home = patients.age[present], patients.traits[present], patients.last_option[present]
    active = _draw_acute(patients.chronic[present], age, rng)
    severe = patients.severe[present] & active
    recorded = _draw_recorded(active, rng)
    code_draw = patients.code_draw[present]
    code_draw[:, k.NUM_CHRONIC :] = rng.random((count, len(k.CONDITIONS) - k.NUM_CHRONIC))
    chances = option_probabilities(active, severe, traits, home)
    given = draw_options(chances, rng)
    events = _draw_events(traits, given, rng)
    circumstances = patients.circumstances[present]
    died = rng.random(count) < k.logistic(_DEATH_INTERCEPT + active @ k.DEATH_EFFECT + 0.02 * (age - 65.0))
    may_return = ~died & (number < MAX_VISITS - 1)
    num_classes = (given @ _ALL_CLASSES > 0).sum(axis=1)
    chance = readmission_probability(recorded, severe, circumstances, num_classes, age) * may_return
    return VisitBlock(
        patient=present,
        number=np.full(count, number),
        age=age,
        active=active,
        severe=severe,
        recorded=recorded,
        code_draw=code_draw,
        mention=_draw_mentions(active, rng),
        traits=traits,
        events=events,
        circumstances=circumstances,
        home=home,
        given=given,
        changes=draw_changes(active, traits | events, home, given, rng),
        class_probability=class_probabilities(chances),
        readmission_probability=chance,
        died=died,
        elective=rng.random(count) < np.where(patients.planned[present], _ELECTIVE, _ELECTIVE_READMISSION),
        stay_hours=24.0 * np.exp(rng.normal(1.45, 0.55, count)) + 10.0,
        gap_hours=draw_gaps(chance, may_return, rng),
    )


def _draw_acute(chronic: np.ndarray, age: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    acute = np.zeros((len(age), len(k.CONDITIONS) - k.NUM_CHRONIC), dtype=bool)
    active = np.concatenate([chronic, acute], axis=1)
    decades = (age - 65.0) / 10.0
    for index in range(k.NUM_CHRONIC, len(k.CONDITIONS)):
        odds = k.BASE_LOG_ODDS[index] + k.AGE_EFFECT[index] * decades + active @ k.CAUSES[:, index]
        active[:, index] = rng.random(len(age)) < k.logistic(odds)
    active[:, k.CONDITION_INDEX["syncope"]] |= ~active.any(axis=1)
    return active


def _draw_recorded(active: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    recorded = active & (rng.random(active.shape) < k.RECORDED)
    return np.where(recorded.any(axis=1, keepdims=True), recorded, active)


def _draw_mentions(active: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    uniform = rng.random(active.shape)
    mention = np.where(uniform < k.EXPLICIT, NAMED, np.where(uniform < k.EXPLICIT + k.VAGUE, HINTED, SILENT))
    return np.where(active, mention, SILENT)


def _draw_events(traits: np.ndarray, given: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hindered = np.log(_HINDERING_FACTOR) > k.OPTION_LOG_EFFECT  # (traits, options)
    exposed = given.astype(np.float64) @ hindered.T > 0
    chance = np.array([trait.event_probability if trait.event else 0.0 for trait in TRAITS])
    return exposed & ~traits & (rng.random(traits.shape) < chance)
