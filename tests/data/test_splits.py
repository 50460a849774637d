"""One hold-out by patient: rebuilt from seed and number alone, in full size, in any order of the rows."""

import subprocess
import sys
from collections import Counter

import polars as pl

from medm_plm.data.splits import SHARES, assign_split, splits_from_ids, with_splits

NUM_PATIENTS = 20_000


def test_shares_are_eight_to_one_to_one():
    counts = Counter(assign_split(str(patient), seed=0) for patient in range(NUM_PATIENTS))
    assert set(counts) == {"train", "validation", "test"}
    for split, share in SHARES.items():
        assert abs(counts[split] / NUM_PATIENTS - share) < 0.01, split
    # The published code halved the validation set by a slice error (section 8.6).
    assert 0.9 < counts["validation"] / counts["test"] < 1.1


def test_visits_of_a_patient_stay_together_in_any_order():
    visits = pl.DataFrame({"subject_id": [str(number % 97) for number in range(500)]})
    split = with_splits(visits, seed=3)
    assert split.group_by("subject_id").agg(pl.col("split").n_unique())["split"].max() == 1
    backwards = with_splits(visits.reverse(), seed=3).reverse()
    assert split.equals(backwards)
    alone = with_splits(visits.head(1), seed=3)
    assert alone["split"][0] == split["split"][0], "other patients must not matter"


def test_the_seed_matters_and_the_process_does_not(project_root):
    here = [assign_split(str(patient), seed=1) for patient in range(50)]
    assert here != [assign_split(str(patient), seed=2) for patient in range(50)]
    code = (
        "from medm_plm.data.splits import assign_split\n"
        "print(*[assign_split(str(patient), seed=1) for patient in range(50)])"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project_root
    )
    assert there.stdout.split() == here


def published_case():
    visits = pl.DataFrame(
        {
            "subject_id": ["a", "a", "b", "b", "c", "c", "d", *(f"u{number}" for number in range(300))],
            "hadm_id": [str(number) for number in range(307)],
        }
    )
    # a: train alone; b: train and test; c: validation and a visit of no list; d: validation
    ids = {"train": {"0", "2", "999"}, "validation": {"4", "6"}, "test": {"3"}}
    return visits, ids


def test_published_lists_give_the_split_of_whole_patients():
    visits, ids = published_case()
    split, num_in_several = splits_from_ids(visits, ids, seed=3)
    assert split["split"][:7].to_list() == ["train", "train", "test", "test", *["validation"] * 3]
    assert num_in_several == 1
    assert split.drop("split").equals(visits)
    assert split.group_by("subject_id").agg(pl.col("split").n_unique())["split"].max() == 1


def test_patients_of_no_list_keep_their_own_hash():
    visits, ids = published_case()
    split, _ = splits_from_ids(visits, ids, seed=3)
    assert split[7:].equals(with_splits(visits, seed=3)[7:])
    empty, num_in_several = splits_from_ids(visits, {"train": {"no"}, "validation": (), "test": ()}, seed=3)
    assert empty.equals(with_splits(visits, seed=3))
    assert num_in_several == 0


def test_published_lists_do_not_depend_on_the_order_of_the_rows():
    visits, ids = published_case()
    forwards, _ = splits_from_ids(visits, ids, seed=3)
    backwards, _ = splits_from_ids(visits.reverse(), ids, seed=3)
    assert forwards.equals(backwards.reverse())


def test_an_admission_of_a_later_list_decides():
    visits = pl.DataFrame({"subject_id": ["a"] * 3 + ["b"] * 2, "hadm_id": list("12345")})
    ids = {"train": {"1", "4"}, "validation": {"2", "5"}, "test": {"3"}}
    split, num_in_several = splits_from_ids(visits, ids, seed=0)
    assert split["split"].to_list() == ["test"] * 3 + ["validation"] * 2
    assert num_in_several == 2
