"""Logistic regression on words and codes: what it reads, learns, chooses and leaves alone."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from medm_plm.baselines import LinearBaseline, VisitExample, build_baseline
from medm_plm.errors import InputError
from medm_plm.metrics.ranking import rank_auroc

FILLER = [f"word{index}" for index in range(40)]


def cohort(size, seed):
    """Visits with three labels: one stands in the note, one in the codes, one needs a pair of words."""
    generator = np.random.default_rng(seed)
    labels = generator.random((size, 3)) < 0.4
    examples = []
    for in_note, in_codes, in_pair in labels:
        words = list(generator.choice(FILLER, 12))
        words += ["failure"] if in_note and generator.random() < 0.9 else []
        words += ["no", "fever", "some", "pain"] if in_pair else ["no", "pain", "some", "fever"]
        codes = [f"ICD9CM:{code}" for code in generator.integers(100, 120, 4)]
        codes += ["ATC:C03C"] if in_codes and generator.random() < 0.9 else []
        examples.append(VisitExample(" ".join(words), codes, np.array([in_note, in_codes, in_pair], float)))
    return examples


TRAIN, VALIDATION, TEST = cohort(300, 0), cohort(80, 1), cohort(200, 2)


def areas(baseline):
    truth = np.stack([example.labels for example in TEST]) > 0
    return rank_auroc(baseline.predict_proba(TEST).T, truth.T)


def test_each_baseline_finds_what_its_inputs_hold():
    text = areas(build_baseline("linear_text").fit(TRAIN, VALIDATION))
    codes = areas(build_baseline("linear_codes").fit(TRAIN, VALIDATION))
    both = areas(build_baseline("linear").fit(TRAIN, VALIDATION))
    assert (text > 0.9).tolist() == [True, False, True]
    assert (codes > 0.9).tolist() == [False, True, False]
    assert (both > 0.9).all()


def test_validation_decides_whether_pairs_of_words_are_read():
    assert build_baseline("linear_text").fit(TRAIN, VALIDATION).setting.use_pairs
    without_pairs = [VisitExample(e.note, e.codes, e.labels[:1]) for e in TRAIN]
    held_out = [VisitExample(e.note, e.codes, e.labels[:1]) for e in VALIDATION]
    assert not build_baseline("linear_text").fit(without_pairs, held_out).setting.use_pairs


def test_without_validation_it_is_the_regression_of_scikit_learn():
    baseline = build_baseline("linear_text").fit(TRAIN)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    inputs = vectorizer.fit_transform([example.note for example in TRAIN])
    for label in range(3):
        regression = LogisticRegression(C=3.0, max_iter=1000)
        regression.fit(inputs, [example.labels[label] for example in TRAIN])
        expected = regression.predict_proba(vectorizer.transform([example.note for example in TEST]))[:, 1]
        np.testing.assert_allclose(baseline.predict_proba(TEST)[:, label], expected, atol=1e-2)


def test_outputs_are_probabilities_that_fit_the_frequencies():
    probabilities = build_baseline("linear").fit(TRAIN, VALIDATION).predict_proba(TRAIN)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    frequencies = np.stack([example.labels for example in TRAIN]).mean(axis=0)
    np.testing.assert_allclose(probabilities.mean(axis=0), frequencies, atol=2e-3)  # an unpenalised intercept


def test_labels_without_two_sides_keep_their_frequency():
    train = [VisitExample(e.note, e.codes, np.array([0.0, e.labels[0], 1.0])) for e in TRAIN]
    probabilities = build_baseline("linear").fit(train, train[:50]).predict_proba(TEST)
    assert np.unique(probabilities[:, 0]).tolist() == [0.0]
    assert np.unique(probabilities[:, 2]).tolist() == [1.0]
    assert len(np.unique(probabilities[:, 1])) > 100
    only_empty = [VisitExample(e.note, e.codes, np.zeros(2)) for e in TRAIN]
    assert not build_baseline("linear").fit(only_empty, only_empty).predict_proba(TEST).any()


def test_empty_notes_unknown_words_and_unknown_codes_are_no_error(recwarn):
    strange = [VisitExample("", [], np.zeros(3)), VisitExample("qqq zzz", ["ATC:X99X"], np.zeros(3))]
    probabilities = build_baseline("linear").fit(TRAIN).predict_proba(strange)
    np.testing.assert_array_equal(probabilities[0], probabilities[1])  # nothing known of either
    assert len(recwarn) == 0
    assert build_baseline("linear").fit(TRAIN).predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("name", ["linear", "linear_text", "linear_codes"])
def test_training_visits_without_any_input_leave_the_frequencies(name):
    blank = [VisitExample("", [], example.labels) for example in TRAIN]
    probabilities = build_baseline(name).fit(blank, blank).predict_proba(TEST)
    frequencies = np.stack([example.labels for example in TRAIN]).mean(axis=0)
    np.testing.assert_allclose(probabilities, np.tile(frequencies, (len(TEST), 1)))


def test_two_fits_give_the_same_numbers():
    first, second = (build_baseline("linear").fit(TRAIN, VALIDATION).predict_proba(TEST) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_cannot_work_is_refused():
    with pytest.raises(InputError, match="reads nothing"):
        LinearBaseline(use_note=False, use_codes=False)
    with pytest.raises(InputError, match="received 2 in validation, expected 3"):
        build_baseline("linear").fit(TRAIN, [VisitExample("a", [], np.zeros(2))])
