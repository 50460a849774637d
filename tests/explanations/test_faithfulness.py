"""Deleting what a toy model answers by costs more than deleting at random; the numbers equal hand counts."""

import numpy as np
import pytest

from medm_plm.errors import InputError
from medm_plm.explanations.faithfulness import (
    LEAST,
    MOST,
    RANDOM,
    deletion_order,
    measure_faithfulness,
)
from medm_plm.explanations.importance import Importance
from medm_plm.explanations.prediction import Prediction
from medm_plm.explanations.visits import CODES, WORDS, Code, EncodedVisit, VisitInputs, words_of

NOTE = "the patient came home with pain in one leg today"


def toy_model(visits):
    """The answer hangs on one word and, less, on one code."""
    return np.array([[0.1 + 0.6 * ("pain" in v.note) + 0.2 * ("b" in v.medication_codes)] for v in visits])


def toy_visit(note=NOTE):
    spans, start = [(0, 0)], 0
    for word in note.split():
        spans.append((start, start + len(word)))
        start += len(word) + 1
    codes = (Code("a", "a", False, 1), Code("b", "b", True, 2), Code("c", "c", True, 3))
    return EncodedVisit(VisitInputs(note, ("a",), ("b", "c")), {}, words_of(note, spans), codes)


def toy_explanation(visit, signed=False, probability=0.9, **weights):
    found = {WORDS: np.array([float(text == "pain") for text in visit.texts()]), CODES: np.array([0, 1, 0.0])}
    prediction = Prediction("readmission", ("readmission",), np.array([probability]), (0.5,), 0)
    return visit, prediction, [Importance("attention", {**found, **weights}, {}, signed)]


def by_order(results, part, share):
    return {
        r.order: (r.comprehensiveness, r.sufficiency) for r in results if (r.part, r.share) == (part, share)
    }


def test_the_right_word_costs_more_than_chance():
    results = measure_faithfulness(
        toy_model, [toy_explanation(toy_visit())], shares=[0.1, 0.5], num_random=200
    )
    words = by_order(results, WORDS, 0.1)
    assert words[MOST] == pytest.approx((0.6, 0.0))
    assert words[LEAST] == pytest.approx((0.0, 0.6))
    assert words[RANDOM] == pytest.approx((0.06, 0.54), abs=0.05)
    assert by_order(results, WORDS, 0.5)[RANDOM] == pytest.approx((0.3, 0.3), abs=0.08)
    codes = by_order(results, CODES, 0.1)
    assert codes[MOST] == pytest.approx((0.2, 0.0))
    assert codes[RANDOM] == pytest.approx((0.2 / 3, 0.4 / 3), abs=0.03)


def test_the_mean_is_over_shares_and_visits():
    visits = [
        toy_explanation(toy_visit()),
        toy_explanation(toy_visit("no pain here but elsewhere"), probability=0.8),
    ]
    results = measure_faithfulness(toy_model, visits, shares=[0.2, 1.0])
    first, last = by_order(results, WORDS, 0.2)[MOST], by_order(results, WORDS, 1.0)[MOST]
    assert first[0] == pytest.approx((0.6 + 0.5) / 2)
    assert last[1] == pytest.approx((0.0 - 0.1) / 2)
    assert by_order(results, WORDS, None)[MOST] == pytest.approx(tuple(np.mean([first, last], axis=0)))
    assert {r.num_visits for r in results} == {2}


def test_an_answer_no_is_read_the_other_way_round():
    """Weights against the label speak for the answer; losing "pain" makes "no" less sure, not more."""

    def no_pain(visits):
        return 0.9 - toy_model(visits)

    visit = toy_visit()
    signed = -np.array([float(text == "pain") for text in visit.texts()])
    explained = toy_explanation(visit, signed=True, probability=0.0, words=signed)
    assert by_order(measure_faithfulness(no_pain, [explained], shares=[0.1]), WORDS, 0.1)[
        MOST
    ] == pytest.approx((0.6, 0.0))


def test_equal_weights_are_ordered_by_chance_and_seed():
    weights = np.zeros(50)
    first, again, other = (deletion_order(weights, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()
    assert first.tolist() != sorted(first.tolist())
    assert deletion_order(np.array([1.0, 3.0, 2.0]), np.random.default_rng(0)).tolist() == [1, 2, 0]


def test_the_same_seed_gives_the_same_table():
    visits = [toy_explanation(toy_visit())]
    first, again, other = (
        measure_faithfulness(toy_model, visits, shares=[0.3], num_random=40, seed=s) for s in (0, 0, 3)
    )
    assert first == again != other


@pytest.mark.parametrize("options", [{"shares": []}, {"shares": [0.0]}, {"shares": [1.5]}, {"num_random": 0}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(InputError, match="expected shares"):
        measure_faithfulness(toy_model, [toy_explanation(toy_visit())], **options)


def test_nothing_to_delete_is_said():
    with pytest.raises(InputError, match="no visit has two"):
        measure_faithfulness(toy_model, [])


def test_methods_are_compared_with_the_same_drawings():
    visit, prediction, (first,) = toy_explanation(toy_visit())
    second = Importance("label_attention", {WORDS: np.arange(10.0)}, {})
    results = measure_faithfulness(toy_model, [(visit, prediction, [first, second])], shares=[0.3])
    random = [r for r in results if r.part == WORDS and r.order == RANDOM and r.share == 0.3]
    assert [r.method for r in random] == ["attention", "label_attention"]
    assert random[0].comprehensiveness == random[1].comprehensiveness != 0
