"""Tests of differences: DeLong against loops over all pairs, error rates by simulation, Holm by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from medm_plm.errors import InputError
from medm_plm.metrics.significance import delong, holm, paired_bootstrap


def slow_delong(scores_a, scores_b, labels, groups):
    """Obuchowski's variance (1997) from loops over all pairs of a positive and a negative."""
    positives, negatives = np.flatnonzero(labels), np.flatnonzero(labels == 0)
    m, n = len(positives), len(negatives)
    patients = sorted(set(groups))
    areas, by_positive, by_negative = [], [], []
    for scores in (scores_a, scores_b):
        wins = {
            (p, q): 1.0 if scores[p] > scores[q] else 0.5 if scores[p] == scores[q] else 0.0
            for p, q in itertools.product(positives, negatives)
        }
        areas.append(sum(wins.values()) / (m * n))
        by_positive.append({p: sum(wins[p, q] for q in negatives) / n for p in positives})
        by_negative.append({q: sum(wins[p, q] for p in positives) / m for q in negatives})

    def centred(parts, model, patient):
        own = [value for visit, value in parts[model].items() if groups[visit] == patient]
        return sum(own) - len(own) * areas[model]

    def covariance(r, s):
        count_10 = len({groups[p] for p in positives})
        count_01 = len({groups[q] for q in negatives})
        s_10 = s_01 = s_11 = s_11_turned = 0.0
        for patient in patients:
            s_10 += centred(by_positive, r, patient) * centred(by_positive, s, patient)
            s_01 += centred(by_negative, r, patient) * centred(by_negative, s, patient)
            s_11 += centred(by_positive, r, patient) * centred(by_negative, s, patient)
            s_11_turned += centred(by_positive, s, patient) * centred(by_negative, r, patient)
        s_10 *= count_10 / ((count_10 - 1) * m)
        s_01 *= count_01 / ((count_01 - 1) * n)
        factor = len(patients) / (len(patients) - 1)
        return s_10 / m + s_01 / n + factor * (s_11 + s_11_turned) / (m * n)

    variance = covariance(0, 0) + covariance(1, 1) - 2 * covariance(0, 1)
    return 2 * norm.sf(abs(areas[0] - areas[1]) / math.sqrt(variance))


def two_models(rng, num_visits=40, visits_per_patient=1, better=0.0, decimals=2):
    """Two models of the same quality, or a second that knows more; visits of a patient share their noise."""
    patients = np.repeat(np.arange(num_visits // visits_per_patient), visits_per_patient)
    labels = (np.arange(patients.max() + 1) % 2)[patients]
    noise = rng.normal(size=(3, patients.max() + 1))[:, patients] + 0.3 * rng.normal(size=(3, num_visits))
    scores_a = 0.8 * labels + noise[0] + noise[1]
    scores_b = (0.8 + better) * labels + noise[0] + noise[2]
    return *((1 / (1 + np.exp(-scores))).round(decimals) for scores in (scores_a, scores_b)), labels, patients


@pytest.mark.parametrize("visits_per_patient", [1, 4])
def test_delong_equals_loops_over_all_pairs(visits_per_patient):
    rng = np.random.default_rng(0)
    for _ in range(5):
        scores_a, scores_b, labels, groups = two_models(rng, 32, visits_per_patient, decimals=1)
        labels[:3] = 1 - labels[:3]  # patients with both outcomes
        expected = slow_delong(scores_a, scores_b, labels, groups)
        assert delong(scores_a, scores_b, labels, groups) == pytest.approx(expected, abs=1e-10)
        if visits_per_patient == 1:
            assert delong(scores_a, scores_b[:, None], labels) == pytest.approx(expected, abs=1e-10)


def test_delong_by_hand_of_its_extremes():
    labels = np.array([0, 0, 1, 1])
    perfect = np.array([0.1, 0.2, 0.8, 0.9])
    assert delong(perfect, perfect**2, labels) == 1.0  # the same order
    assert delong(perfect, 1 - perfect, labels) == 0.0
    assert math.isnan(delong(perfect, perfect, [0, 0, 0, 1]))


def test_false_alarms_are_as_frequent_as_they_should_be():
    """Equal models: a twentieth of the p-values below 0.05, unless dependent visits are taken for more."""
    rng = np.random.default_rng(1)
    alarms = {"delong": 0, "delong by patient": 0, "delong by visit": 0, "bootstrap": 0}
    runs = 300
    for _ in range(runs):
        scores_a, scores_b, labels, _ = two_models(rng, 100)
        alarms["delong"] += delong(scores_a, scores_b, labels) < 0.05
        scores_a, scores_b, labels, groups = two_models(rng, 200, 4)
        alarms["delong by patient"] += delong(scores_a, scores_b, labels, groups) < 0.05
        alarms["delong by visit"] += delong(scores_a, scores_b, labels) < 0.05
        p_value = paired_bootstrap("auroc", scores_a, scores_b, labels, groups, num_samples=200)
        alarms["bootstrap"] += p_value < 0.05
    rates = {name: count / runs for name, count in alarms.items()}
    for name in ("delong", "delong by patient", "bootstrap"):
        assert 0.01 <= rates[name] <= 0.11, rates
    assert rates["delong by visit"] > 0.2, rates


def test_a_real_difference_is_found():
    rng = np.random.default_rng(2)
    scores_a, scores_b, labels, groups = two_models(rng, 400, 2, better=1.5)
    assert delong(scores_a, scores_b, labels, groups) < 0.001
    assert paired_bootstrap("auroc", scores_a, scores_b, labels, groups) < 0.005

    def brier(scores, truth):
        return float(((scores - truth) ** 2).mean())

    assert paired_bootstrap(brier, scores_a, scores_b, labels, groups, num_samples=200) < 0.02


def test_the_bootstrap_finds_nothing_between_a_model_and_itself():
    scores_a, _, labels, groups = two_models(np.random.default_rng(3))
    assert paired_bootstrap("f1_macro", scores_a, scores_a, labels, groups, num_samples=20) == 1.0
    assert math.isnan(paired_bootstrap("auroc", [0.1, 0.2], [0.2, 0.1], [0, 0], [0, 1], num_samples=5))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    adjusted = holm([0.01, float("nan"), 0.03])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.03)


def test_mistakes_are_refused():
    with pytest.raises(InputError, match=r"groups do not fit; received shape \(2,\)"):
        delong([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], [0, 1])
    with pytest.raises(InputError, match="scores are no probabilities"):
        delong([0.1, 0.2], [0.1, 2.0], [0, 1])
