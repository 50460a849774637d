"""The invented course of illness follows the probabilities that the generator states."""

import numpy as np
import pytest

from medm_plm.data.synthetic import knowledge as k
from medm_plm.data.synthetic.drugs import DRUGS, MEDICATION_CLASSES
from medm_plm.data.synthetic.patient_facts import CIRCUMSTANCES, TRAITS
from medm_plm.data.synthetic.prescribing import (
    class_probabilities,
    draw_options,
    option_probabilities,
    update_last_option,
)
from medm_plm.data.synthetic.readmission import readmission_probability
from medm_plm.data.synthetic.simulation import simulate
from medm_plm.data.synthetic.visit_block import (
    MAX_VISITS,
    NEVER,
    READMISSION_WINDOW_HOURS,
    STOPPED,
    UNCHANGED,
)

NUM_CONDITIONS, NUM_DECISIONS = len(k.CONDITIONS), len(k.DECISION_START)


@pytest.fixture(scope="module")
def cohort():
    return simulate(3000, np.random.default_rng(5))[1]


def classes_given(visits):
    per_class = np.zeros((len(visits), len(MEDICATION_CLASSES)), dtype=bool)
    row, option = np.nonzero(visits.given)
    per_class[row, k.CLASS_OF_OPTION[option]] = True
    return per_class


def a_visit(*conditions, traits=(), last=NEVER):
    active = np.zeros((1, NUM_CONDITIONS), dtype=bool)
    active[0, [k.CONDITION_INDEX[key] for key in conditions]] = True
    known = np.array([[trait.key in traits for trait in TRAITS]])
    return active, np.zeros_like(active), known, np.full((1, NUM_DECISIONS), last)


def chance_of(name, *conditions, **facts):
    chances = class_probabilities(option_probabilities(*a_visit(*conditions, **facts)))
    return chances[0, MEDICATION_CLASSES.index(name)]


def test_visits_are_ordered_and_most_patients_have_one(cohort):
    visits = np.bincount(cohort.patient)
    assert 0.55 < (visits == 1).mean() < 0.75
    assert (visits >= 2).mean() > 0.25
    assert visits.max() <= MAX_VISITS
    same = cohort.patient[1:] == cohort.patient[:-1]
    assert (cohort.number[1:][same] == cohort.number[:-1][same] + 1).all()
    assert (cohort.age[1:][same] > cohort.age[:-1][same]).all()


def test_readmissions_follow_their_stated_probability(cohort):
    readmitted = cohort.gap_hours < READMISSION_WINDOW_HOURS
    assert 0.14 < readmitted.mean() < 0.21
    assert (cohort.readmission_probability[cohort.died] == 0).all()
    assert not readmitted[cohort.died].any()
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 1.0)):
        inside = (cohort.readmission_probability >= low) & (cohort.readmission_probability < high)
        stated = cohort.readmission_probability[inside]
        error = np.sqrt((stated * (1 - stated)).sum()) / inside.sum()
        assert abs(readmitted[inside].mean() - stated.mean()) < 4 * error


def test_medication_classes_follow_their_stated_probabilities(cohort):
    given, stated = classes_given(cohort), cohort.class_probability
    error = np.sqrt((stated * (1 - stated)).sum(axis=0)) + 1e-9
    assert (np.abs(given.sum(axis=0) - stated.sum(axis=0)) < 5 * error + 1).all()
    sure = stated > 0.9
    assert given[sure].mean() == pytest.approx(stated[sure].mean(), abs=0.01)


def test_sex_limits_illness(cohort):
    sex, visits = simulate(400, np.random.default_rng(2))
    breast, prostate = k.CONDITION_INDEX["breast_cancer"], k.CONDITION_INDEX["prostate_enlargement"]
    assert (sex[visits.patient[visits.active[:, breast]]] == "F").all()
    assert (sex[visits.patient[visits.active[:, prostate]]] == "M").all()


def test_every_visit_has_an_illness_and_a_code(cohort):
    assert cohort.active.any(axis=1).all()
    assert cohort.recorded.any(axis=1).all()
    assert not (cohort.recorded & ~cohort.active).any()
    assert not (cohort.mention[~cohort.active]).any()


def test_options_of_a_decision_exclude_each_other():
    rng = np.random.default_rng(0)
    probabilities = option_probabilities(*a_visit("sepsis", "pneumonia", "heart_failure"))
    drawn = draw_options(np.repeat(probabilities, 500, axis=0), rng)
    per_decision = np.add.reduceat(drawn.astype(int), k.DECISION_START, axis=1)
    assert per_decision.max() == 1
    assert drawn.mean(axis=0) == pytest.approx(probabilities[0], abs=0.1)


def test_class_probabilities_equal_the_product_over_decisions():
    probabilities = option_probabilities(*a_visit("hypertension", "coronary_disease", "sepsis"))
    for index in range(0, len(MEDICATION_CLASSES), 7):
        none = 1.0
        for decision in range(NUM_DECISIONS):
            of_both = np.equal(k.OPTION_DECISION, decision) & np.equal(k.CLASS_OF_OPTION, index)
            none *= 1.0 - probabilities[0, of_both].sum()
        assert class_probabilities(probabilities)[0, index] == pytest.approx(1.0 - none, abs=1e-9)


def test_what_only_the_note_tells_decides_between_drugs():
    assert chance_of("J01C", "aspiration_pneumonia") > 0.3
    assert chance_of("J01C", "aspiration_pneumonia", traits=("penicillin_allergy",)) < 0.05
    assert chance_of("J01F", "aspiration_pneumonia", traits=("penicillin_allergy",)) > 0.5
    ace = k.CLASS_OF_OPTION.tolist().index(MEDICATION_CLASSES.index("C09A"))
    assert DRUGS[k.OPTION_DRUG[ace]].key == "lisinopril"
    assert chance_of("C09C", "hypertension") < 0.07
    assert chance_of("C09C", "hypertension", traits=("ace_intolerance",)) > 0.09


def test_a_running_treatment_continues_and_one_given_up_stays_away():
    thyroid = k.DECISION_CONDITION.tolist().index(k.CONDITION_INDEX["hypothyroidism"])
    active, severe, traits, last = a_visit("hypothyroidism")
    chances = {}
    for state in (NEVER, STOPPED, int(k.DECISION_START[thyroid])):
        last[0, thyroid] = state
        chances[state] = option_probabilities(active, severe, traits, last)[0, k.DECISION_START[thyroid]]
    running = chances.pop(int(k.DECISION_START[thyroid]))
    assert running > 0.9 > 0.5 > chances[NEVER] > chances[STOPPED]


def test_changes_at_discharge_reach_the_next_visit(cohort):
    following = np.flatnonzero(cohort.number > 0)
    before = following - 1
    changes = cohort.changes[before]
    taken = update_last_option(cohort.home[before], cohort.given[before])
    expected = np.where(changes == UNCHANGED, taken, changes)
    assert (cohort.home[following] == expected).all()
    assert (changes[:, ~k.DECISION_CHRONIC] == UNCHANGED).all()
    chosen = changes >= 0
    assert (k.OPTION_DECISION[changes[chosen]] == np.nonzero(chosen)[1]).all()
    assert (changes[chosen] != taken[chosen]).all()
    again = np.take_along_axis(cohort.given[following], np.maximum(changes, 0), axis=1)[chosen]
    still_there = cohort.active[following][:, k.DECISION_CONDITION.clip(max=NUM_CONDITIONS - 1)][chosen]
    assert again[still_there].mean() > 0.6


def test_medications_need_the_earlier_note_the_earlier_codes_and_the_diagnoses(cohort):
    rng = np.random.default_rng(0)
    now = np.flatnonzero(cohort.number > 0)
    others = rng.permutation(now)
    seen = update_last_option(np.full_like(cohort.home[now - 1], NEVER), cohort.given[now - 1])
    known = {
        "active": cohort.active[now],
        "severe": cohort.severe[now],
        "traits": cohort.traits[now],
        "last_option": cohort.home[now],
    }
    given = classes_given(cohort)[now]

    def surprise(**unknown):
        """Mean negative log-likelihood of the classes given, in nats per visit."""
        chance = class_probabilities(option_probabilities(**{**known, **unknown})).clip(1e-3, 1 - 1e-3)
        return -np.log(np.where(given, chance, 1 - chance)).sum(axis=1).mean()

    without_note = surprise(traits=cohort.traits[others], last_option=seen)
    without_earlier_codes = surprise(last_option=np.full_like(seen, NEVER))
    without_diagnoses = surprise(active=cohort.active[others], severe=cohort.severe[others])
    complete = surprise()
    assert without_note > 1.2 * complete
    assert without_earlier_codes > 1.2 * complete
    assert without_diagnoses > 1.5 * complete


def test_a_fact_weighs_more_together_with_a_code():
    def odds(facts, conditions):
        recorded = np.zeros((1, NUM_CONDITIONS), dtype=bool)
        recorded[0, [k.CONDITION_INDEX[key] for key in conditions]] = True
        held = np.array([[fact.key in facts for fact in CIRCUMSTANCES]])
        none = np.zeros(1)
        return k.log_odds(readmission_probability(recorded, recorded & False, held, none, none + 65.0))[0]

    base = odds((), ())
    fact = odds(("lives_alone",), ()) - base
    code = odds((), ("heart_failure",)) - base
    both = odds(("lives_alone",), ("heart_failure",)) - base
    assert fact > 0
    assert code > 0
    assert both == pytest.approx(fact + code + k.INTERACTIONS[0][2])
