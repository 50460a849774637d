"""The mathematics of the privacy report against slow loops and hand numbers."""

import math

import numpy as np
import polars as pl
import pytest

from medm_plm.data.checking import check_before_training
from medm_plm.data.schema import read_visits, validate_visits
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.privacy import Canary, exposure, likelihood_ratio_attack, loss_threshold_attack, plan_audit
from medm_plm.privacy.attacks import mean_by_patient
from medm_plm.privacy.canaries import (
    draw_canaries,
    exposure_record,
    is_canary,
    plant,
    read_canaries,
    write_canaries,
)
from prepared_cohort import invent_visits, write_prepared_folder

DIAGNOSES = [f"ICD9CM:{number}" for number in range(100, 140)]
MEDICATIONS = [f"ATC:A{number:02d}A" for number in range(20)]


def losses_of(prefix: str, count: int, shift: float, seed: int) -> dict[str, float]:
    values = np.random.default_rng(seed).normal(shift, 1.0, count).round(1)  # rounded, so that some are equal
    return {f"{prefix}{number}": float(value) for number, value in enumerate(values)}


def slow_auc(members: dict[str, float], others: dict[str, float]) -> float:
    """Share of pairs in which the training patient has the lower loss, a tie counting a half."""
    wins = 0.0
    for member in members.values():
        for other in others.values():
            wins += 1.0 if member < other else 0.5 if member == other else 0.0
    return wins / (len(members) * len(others))


def test_loss_threshold_attack_counts_pairs():
    members, others = losses_of("m", 40, -0.5, 0), losses_of("o", 25, 0.0, 1)
    attack = loss_threshold_attack(members, others)
    assert attack.auc == pytest.approx(slow_auc(members, others), abs=1e-12)
    assert (attack.members, attack.others) == (40, 25)
    low, high = attack.interval
    assert low < attack.auc < high


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_refused_and_not_ranked(bad):
    """Comparisons with it are false, which made the attack look better or worse than it is."""
    members, others = losses_of("m", 4, 0.0, 0), losses_of("o", 3, 0.0, 1)
    for wrong in ({**members, "m2": bad}, members):
        with pytest.raises(InputError, match="no finite numbers"):
            loss_threshold_attack(wrong, others if wrong is not members else {**others, "o1": bad})
    reference = {**members, **others, "o0": bad}
    with pytest.raises(InputError, match="no finite numbers"):
        likelihood_ratio_attack(members, others, [reference])


def test_the_interval_has_the_width_of_resampled_patients():
    members, others = losses_of("m", 60, -0.5, 2), losses_of("o", 40, 0.0, 3)
    low, high = loss_threshold_attack(members, others).interval
    generator, values = np.random.default_rng(5), []
    everyone = [(True, loss) for loss in members.values()] + [(False, loss) for loss in others.values()]
    for _ in range(400):
        drawn = [everyone[index] for index in generator.integers(len(everyone), size=len(everyone))]
        sides = [
            {str(i): loss for i, (kind, loss) in enumerate(drawn) if kind is side} for side in (True, False)
        ]
        values.append(slow_auc(*sides))
    assert low == pytest.approx(np.quantile(values, 0.025), abs=0.03)
    assert high == pytest.approx(np.quantile(values, 0.975), abs=0.03)


def test_likelihood_ratio_takes_out_what_is_hard_for_any_model():
    hardness = losses_of("m", 50, 0.0, 4) | losses_of("o", 50, 0.0, 5)
    members = {name: loss - 0.3 for name, loss in hardness.items() if name.startswith("m")}
    others = {name: loss for name, loss in hardness.items() if name.startswith("o")}
    assert likelihood_ratio_attack(members, others, [hardness]).auc == 1.0
    assert loss_threshold_attack(members, others).auc < 0.8


def test_several_references_are_averaged():
    members, others = losses_of("m", 9, 0.0, 6), losses_of("o", 8, 0.0, 7)
    references = [losses_of("m", 9, 0.0, seed) | losses_of("o", 8, 0.0, seed + 1) for seed in (8, 10, 12)]
    scores = {}
    for name, loss in {**members, **others}.items():
        total = 0.0
        for reference in references:
            total += reference[name]
        scores[name] = -(total / 3 - loss)
    expected = slow_auc({name: scores[name] for name in members}, {name: scores[name] for name in others})
    assert likelihood_ratio_attack(members, others, references).auc == pytest.approx(expected, abs=1e-12)


def test_what_makes_no_attack_is_refused():
    with pytest.raises(InputError, match="both kinds"):
        loss_threshold_attack({"a": 1.0}, {})
    with pytest.raises(InputError, match="among the others"):
        loss_threshold_attack({"a": 1.0}, {"a": 1.0})
    with pytest.raises(InputError, match="needs a reference"):
        likelihood_ratio_attack({"a": 1.0}, {"b": 1.0}, [])
    with pytest.raises(InputError, match="lacks losses"):
        likelihood_ratio_attack({"a": 1.0}, {"b": 1.0}, [{"a": 1.0}])


def test_losses_of_a_patient_are_weighted_by_what_was_hidden():
    means = mean_by_patient(
        ["p", "q", "p", "r"], np.array([4.0, 3.0, 1.0, 0.0]), np.array([2.0, 3.0, 3.0, 0.0])
    )
    assert means == {"p": 1.0, "q": 1.0}


@pytest.mark.parametrize("seed", range(5))
def test_exposure_equals_a_sort(seed):
    losses = np.random.default_rng(seed).normal(size=63).round(1)
    loss = float(np.random.default_rng(seed + 100).normal())
    ordered = sorted([*losses.tolist(), loss])
    place = max(
        index for index, value in enumerate(ordered, start=1) if value == loss
    )  # the worst of equal ones
    assert exposure(loss, losses) == pytest.approx(math.log2(64) - math.log2(place))


def test_exposure_by_hand():
    candidates = np.array([1.0, 2.0, 3.0])
    assert exposure(0.5, candidates) == 2.0  # first of four
    assert exposure(2.0, candidates) == pytest.approx(math.log2(4 / 3))  # the equal one goes before
    assert exposure(9.0, candidates) == 0.0
    with pytest.raises(InputError):
        exposure(math.nan, candidates)
    with pytest.raises(InputError):
        exposure(1.0, np.array([]))


def test_exposure_of_what_is_not_remembered():
    generator = np.random.default_rng(0)
    bits = [exposure(generator.normal(), generator.normal(size=255)) for _ in range(4000)]
    assert np.mean(bits) == pytest.approx(1 / math.log(2), abs=0.06)  # 1.44


def test_exposures_are_summed_up_by_insertions():
    canaries = [Canary("a", (), (), 10), Canary("b", (), (), 1), Canary("c", (), (), 10)]
    rows = exposure_record(canaries, [3.0, 1.0, 5.0])
    assert [(row["insertions"], row["canaries"], row["mean_exposure"]) for row in rows] == [
        (1, 1, 1.0),
        (10, 2, 4.0),
    ]
    assert rows[1]["largest_exposure"] == 5.0


def test_canaries_are_of_one_form_and_repeatable():
    drawn = draw_canaries(DIAGNOSES, MEDICATIONS, 200, 7, "planted")
    assert drawn == draw_canaries(DIAGNOSES, MEDICATIONS, 200, 7, "planted")
    assert set(drawn).isdisjoint(draw_canaries(DIAGNOSES, MEDICATIONS, 200, 7, "candidates"))
    assert len(set(drawn)) == 200
    assert {len(canary.note.split()) for canary in drawn} == {len(drawn[0].note.split())}
    assert all(len(set(canary.diagnosis_codes)) == len(set(canary.medication_codes)) == 3 for canary in drawn)
    assert {code for canary in drawn for code in canary.diagnosis_codes} == set(DIAGNOSES)
    with pytest.raises(InputError, match="too few codes"):
        draw_canaries(DIAGNOSES[:2], MEDICATIONS, 1, 0)


def test_planted_visits_are_training_visits_of_patients_of_their_own():
    visits = invent_visits(12)
    canaries = [
        Canary("one", ("ICD9CM:4280",), ("ATC:C03C",), 1),
        Canary("two", ("ICD9CM:496",), ("ATC:R03A",), 3),
    ]
    planted = plant(visits, canaries)
    validate_visits(planted)
    assert planted.filter(~is_canary()).equals(visits)
    new = planted.filter(is_canary())
    assert new["note"].to_list() == ["one", "two", "two", "two"]
    assert new["subject_id"].n_unique() == new["hadm_id"].n_unique() == 4
    assert new["split"].unique().to_list() == ["train"]


def test_canaries_survive_their_file(tmp_path):
    canaries = [Canary("one", ("ICD9CM:4280",), ("ATC:C03C",), 2)]
    write_canaries(tmp_path / "canaries.json", canaries, 5)
    assert read_canaries(tmp_path / "canaries.json") == (canaries, 5)
    assert (tmp_path / "canaries.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="no canaries"):
        read_canaries(tmp_path / "nothing.json")


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    data = write_prepared_folder(folder / "prepared")
    counts = plan_audit(data, folder / "audit", [1, 4], num_canaries=2, seed=3)
    return data, folder / "audit", counts


def test_the_reference_half_knows_neither_members_nor_held_out_patients_nor_canaries(audit):
    data, folder, counts = audit
    visits = read_visits(data)
    parts = {name: read_visits(folder / name) for name in ("audited", "reference")}
    trained = {
        name: set(part.filter((pl.col("split") == "train") & ~is_canary())["subject_id"])
        for name, part in parts.items()
    }
    assert trained["audited"].isdisjoint(trained["reference"])
    assert trained["audited"] | trained["reference"] == set(
        visits.filter(pl.col("split") == "train")["subject_id"]
    )
    assert abs(len(trained["audited"]) - len(trained["reference"])) <= 1
    for part in parts.values():
        assert part.filter(pl.col("split") != "train").equals(visits.filter(pl.col("split") != "train"))
    assert parts["reference"].filter(is_canary()).is_empty()
    assert parts["audited"].filter(is_canary()).height == counts["planted visits"] == 2 * 1 + 2 * 4


def test_both_halves_pass_the_checks_before_training_with_one_vocabulary(audit):
    _, folder, _ = audit
    vocabularies = []
    for name in ("audited", "reference"):
        vocabulary = CodeVocabulary.load(folder / name / "code_vocabulary.json")
        check_before_training(folder / name, read_visits(folder / name), vocabulary)
        vocabularies.append(vocabulary)
    assert vocabularies[0] == vocabularies[1]


def test_an_audit_of_planted_data_is_refused(audit, tmp_path):
    with pytest.raises(InputError, match="planted visits already"):
        plan_audit(audit[1] / "audited", tmp_path, [1], 1)
    with pytest.raises(InputError, match="numbers of canaries"):
        plan_audit(audit[0], tmp_path, [0], 1)
