"""The label frequency, the names of the baselines, and what they refuse."""

import numpy as np
import pytest

from medm_plm.baselines import BASELINES, VisitExample, build_baseline
from medm_plm.errors import InputError


def visits(*labels):
    return [VisitExample("note", ["ICD9CM:4280"], np.array(row)) for row in labels]


def test_every_visit_gets_the_frequencies_of_the_training_visits():
    baseline = build_baseline("frequency").fit(visits([1, 0, 1], [1, 0, 0]))
    unseen = [VisitExample("", [], np.zeros(3)), VisitExample("other", ["x"], np.ones(3))]
    np.testing.assert_array_equal(baseline.predict_proba(unseen), [[1.0, 0.0, 0.5], [1.0, 0.0, 0.5]])
    assert baseline.predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_baseline_says_what_is_missing(name):
    with pytest.raises(InputError, match="call fit first"):
        build_baseline(name).predict_proba(visits([1]))
    with pytest.raises(InputError, match="received no visit"):
        build_baseline(name).fit([])
    with pytest.raises(InputError, match=r"received \[1, 2\], expected one number of labels"):
        build_baseline(name).fit(visits([1], [0, 1]))


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="received 'linar', expected frequency or linear_text"):
        build_baseline("linar")
