"""Signatures estimate the exact similarity, and copies across patients and splits are found, however many."""

import hashlib
import math
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medm_plm.data import eicu, near_duplicates
from medm_plm.data.near_duplicates import (
    DUPLICATE_SCHEMA,
    MINIMA,
    MINIMUM_WORDS,
    NUM_BINS,
    SIGNATURE_TYPE,
    TEXT_HASH,
    find_duplicates,
    note_signatures,
)
from medm_plm.data.splits import with_splits
from medm_plm.errors import InputError

STANDARD_ERRORS = 4.5  # one false alarm in 150,000 comparisons


def shingles(note):
    words = note.split(" ")
    return {" ".join(words[place : place + 5]) for place in range(len(words) - 4)}


def exact_similarity(first, second):
    first, second = shingles(first), shingles(second)
    return len(first & second) / len(first | second)


def estimated_similarity(first, second):
    minima = note_signatures(pl.Series([first, second]), 5).struct.field(MINIMA).to_numpy()
    return float(near_duplicates._similarities(minima, np.array([0]), np.array([1]))[0])


def mixed(value):
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def reference_hash(text):
    base = 0x9E3779B97F4A7C15
    total = 0
    for place, byte in enumerate(text.encode()):
        total += mixed((byte + 1) * base % 2**64) * pow(base, place, 2**64)
    return mixed(total % 2**64)


def reference_signature(note):
    """The signature by plain loops over whole numbers; it also holds the constants fast."""
    minima = [2**32 - 1] * NUM_BINS
    for run in shingles(note):
        value = reference_hash(run)
        minima[value >> 57] = min(minima[value >> 57], value % 2**32, 2**32 - 2)
    return {TEXT_HASH: mixed(reference_hash(note) ^ len(note.encode())), MINIMA: minima}


def invent_note(rng, num_words=600, num_known=5000):
    return " ".join(f"w{word}" for word in rng.integers(0, num_known, num_words))


def with_changed_words(rng, note, share):
    words = note.split(" ")
    for place in rng.choice(len(words), round(share * len(words)), replace=False):
        words[place] = f"changed{rng.integers(10**9)}"
    return " ".join(words)


def visits_of(notes, splits, patients=None, minimum_words=MINIMUM_WORDS):
    patients = [f"p{number}" for number in range(len(notes))] if patients is None else patients
    return pl.DataFrame(
        {
            "subject_id": patients,
            "hadm_id": [f"h{number:06d}" for number in range(len(notes))],
            "split": splits,
            "signature": note_signatures(pl.Series(notes, dtype=pl.String), minimum_words),
        },
        schema_overrides={"subject_id": pl.String, "hadm_id": pl.String, "split": pl.String},
    )


def pairs_of(found):
    return set(found.select("hadm_id", "other_hadm_id").iter_rows())


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("num_words", [100, 600, 3000])
def test_the_estimate_is_within_its_standard_error_of_the_exact_similarity(share, num_words):
    rng = np.random.default_rng([num_words, round(share * 100)])
    errors = []
    for _ in range(20):
        note = invent_note(rng, num_words)
        changed = with_changed_words(rng, note, share)
        exact = exact_similarity(note, changed)
        error = estimated_similarity(note, changed) - exact
        assert abs(error) <= STANDARD_ERRORS * math.sqrt(exact * (1 - exact) / NUM_BINS) + 1e-12
        errors.append(error)
    assert abs(np.mean(errors)) <= STANDARD_ERRORS * math.sqrt(0.25 / NUM_BINS / 20)  # no bias


def test_notes_of_one_run_of_words_differ_wholly_or_not_at_all():
    assert estimated_similarity("a b c d e", "a b c d e") == 1.0
    assert estimated_similarity("a b c d e", "a b c d f") == 0.0


def test_signatures_of_missing_empty_and_short_notes_are_null():
    words = [f"w{number}" for number in range(MINIMUM_WORDS)]
    notes = [None, "", " ", "a", " ".join(words[1:]), " ".join(words), " ".join([*words, "more"])]
    signatures = note_signatures(pl.Series(notes))
    assert signatures.dtype == SIGNATURE_TYPE
    assert signatures.name == "signature"
    assert signatures.is_null().to_list() == [True] * 5 + [False] * 2
    assert note_signatures(pl.Series([], dtype=pl.String)).dtype == SIGNATURE_TYPE
    assert note_signatures(pl.Series([None, None], dtype=pl.String)).null_count() == 2
    with pytest.raises(InputError, match="minimum number of words is too small; received 4"):
        note_signatures(pl.Series(["a b c d e"]), 4)


def test_blanks_around_words_make_no_words():
    plain, padded = note_signatures(pl.Series(["a b c d e f", "  a b c d e f "]), 6)
    assert plain[MINIMA] == padded[MINIMA]
    assert note_signatures(pl.Series(["a b c d e  "]), 6).null_count() == 1


def test_runs_of_words_do_not_reach_into_the_next_note():
    notes = ["a b c d e f", "g h i j k l"]
    together = note_signatures(pl.Series(notes), 5)
    assert [note_signatures(pl.Series([note]), 5)[0] for note in notes] == together.to_list()
    full = (together.struct.field(MINIMA).to_numpy() < 2**32 - 1).sum(axis=1)
    assert (full <= 2).all()  # two runs each


def test_a_repeated_run_of_words_counts_once():
    once, often = "a b c d e a b c d", " ".join(["a b c d e"] * 40)
    assert exact_similarity(once, often) == estimated_similarity(once, often) == 1.0
    hashes = note_signatures(pl.Series([once, often]), 5).struct.field(TEXT_HASH)
    assert hashes.n_unique() == 2


def test_the_text_hash_tells_any_change_apart():
    rng = np.random.default_rng(0)
    note = invent_note(rng, 200)
    words = note.split(" ")
    variants = {note, note + " ", " " + note, note.replace(" ", ".", 1), note[:-1]}
    for place in range(len(words) - 1):
        swapped = list(words)
        swapped[place : place + 2] = swapped[place : place + 2][::-1]
        variants.add(" ".join(swapped))
    hashes = note_signatures(pl.Series(sorted(variants)), 5).struct.field(TEXT_HASH)
    assert hashes.n_unique() == len(variants)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.none() | st.lists(st.text("aé漢🫀.:", min_size=1, max_size=3), max_size=30).map(" ".join),
        max_size=12,
    ),
    st.integers(1, 64),
    st.randoms(use_true_random=False),
)
def test_signatures_equal_the_reference_in_any_batch_chunk_and_order(notes, chunk_bytes, random):
    whole = note_signatures(pl.Series(notes, dtype=pl.String), 5).to_list()
    assert whole == [
        None if note is None or len(note.split(" ")) < 5 else reference_signature(note) for note in notes
    ]
    assert whole == [note_signatures(pl.Series([note], dtype=pl.String), 5)[0] for note in notes]
    order = list(range(len(notes)))
    random.shuffle(order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_CHUNK_BYTES", chunk_bytes)
        shuffled = note_signatures(pl.Series([notes[place] for place in order], dtype=pl.String), 5)
    assert shuffled.to_list() == [whole[place] for place in order]


def test_signatures_are_the_same_in_every_process():
    program = (
        "import hashlib, polars as pl\n"
        "from medm_plm.data.near_duplicates import note_signatures\n"
        "signature = note_signatures(pl.Series(['a é 漢 d e f g']), 5)[0]\n"
        "print(hashlib.sha256(repr(signature).encode()).hexdigest())"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    here = repr(note_signatures(pl.Series(["a é 漢 d e f g"]), 5)[0])
    assert result.stdout.strip() == hashlib.sha256(here.encode()).hexdigest()


def test_copies_in_another_split_are_found_from_both_sides():
    rng = np.random.default_rng(1)
    notes = [invent_note(rng) for _ in range(6)]
    notes[3] = notes[0]
    notes[4] = with_changed_words(rng, notes[1], 0.01)
    splits = ["train", "train", "train", "test", "validation", "test"]
    found = find_duplicates(visits_of(notes, splits))
    assert found.schema == DUPLICATE_SCHEMA
    assert found.drop("similarity").rows() == [
        ("h000000", "train", "h000003", "test", True),
        ("h000001", "train", "h000004", "validation", False),
        ("h000003", "test", "h000000", "train", True),
        ("h000004", "validation", "h000001", "train", False),
    ]
    exact = exact_similarity(notes[1], notes[4])
    assert found["similarity"].to_list() == pytest.approx([1, exact, 1, exact], abs=0.1)
    assert found["similarity"][1] == found["similarity"][3] == estimated_similarity(notes[1], notes[4])


def test_a_pair_within_one_patient_or_one_split_is_not_reported():
    note = invent_note(np.random.default_rng(2))
    near = with_changed_words(np.random.default_rng(3), note, 0.01)
    assert find_duplicates(visits_of([note, note, near], ["train"] * 3)).is_empty()
    one_patient = visits_of([note, note, near], ["train", "test", "validation"], ["p"] * 3)
    assert find_duplicates(one_patient).is_empty()


def test_copies_of_the_same_patient_do_not_hide_one_of_another():
    note = invent_note(np.random.default_rng(4))
    near = with_changed_words(np.random.default_rng(5), note, 0.01)
    patients = ["p", "p", "p", "p", "q"]
    identical = visits_of([note] * 5, ["train", "test", "test", "test", "test"], patients)
    assert pairs_of(find_duplicates(identical)) == {("h000000", "h000004"), ("h000004", "h000000")}
    similar = visits_of([note, near, near, near, near], ["train", "test", "test", "test", "test"], patients)
    assert pairs_of(find_duplicates(similar)) == {("h000000", "h000004"), ("h000004", "h000000")}


def test_the_most_similar_visit_of_each_other_split_is_named():
    rng = np.random.default_rng(6)
    note = invent_note(rng, 2000)
    notes = [note, *(with_changed_words(rng, note, share) for share in (0.02, 0.005, 0.005, 0.02))]
    found = find_duplicates(visits_of(notes, ["test", "train", "train", "validation", "validation"]))
    of_the_first = found.filter(pl.col("hadm_id") == "h000000")
    assert of_the_first["other_hadm_id"].to_list() == ["h000002", "h000003"]


def test_dissimilar_and_short_notes_are_not_reported():
    rng = np.random.default_rng(7)
    note = invent_note(rng)
    different = with_changed_words(rng, note, 0.1)  # similarity about 0.42
    assert find_duplicates(visits_of([note, different], ["train", "test"])).is_empty()
    short = "allergies: none. past history: no health problems."
    assert find_duplicates(visits_of([short, short, "", ""], ["train", "test", "train", "test"])).is_empty()
    assert find_duplicates(visits_of([short, short], ["train", "test"], minimum_words=5)).height == 2
    assert find_duplicates(visits_of([], [])).schema == DUPLICATE_SCHEMA


def test_the_threshold_decides():
    rng = np.random.default_rng(8)
    note = invent_note(rng, 1000)
    visits = visits_of([note, with_changed_words(rng, note, 0.02)], ["train", "test"])
    similarity = find_duplicates(visits, 0.5)["similarity"][0]
    assert 0.7 < similarity < 1
    assert find_duplicates(visits, similarity).height == 2
    assert find_duplicates(visits, similarity + 1e-9).is_empty()


def test_pairs_at_nine_tenths_are_found():
    rng = np.random.default_rng(9)
    notes, exact = [], []
    for number in range(400):
        note = invent_note(rng, 100 + 10 * (number % 90), num_known=50_000)
        notes += [note, with_changed_words(rng, note, 0.01)]
        exact.append(exact_similarity(*notes[-2:]))
    assert 0.88 < np.mean(exact) < 0.92
    # The threshold stands below the error of the estimate, so that this looks at the bands.
    found = find_duplicates(visits_of(notes, ["train", "test"] * 400), 0.7)
    wanted = {(f"h{2 * number:06d}", f"h{2 * number + 1:06d}") for number in range(400)}
    assert wanted <= pairs_of(found)
    assert found.height == 800


def test_five_thousand_identical_notes_take_no_time():
    rng = np.random.default_rng(10)
    notes = [invent_note(rng, 150)] * 5000
    visits = visits_of(notes, (["train"] * 8 + ["validation", "test"]) * 500)
    start = time.process_time()
    found = find_duplicates(visits)
    assert time.process_time() - start < 1
    assert found.height == 2 * 5000
    assert found["identical"].all()


def test_a_template_with_thousands_of_variants_is_searched_fast_and_fully():
    rng = np.random.default_rng(11)
    template = invent_note(rng, 300)
    notes = [with_changed_words(rng, template, 1 / 300) for _ in range(3000)]
    start = time.process_time()
    found = find_duplicates(visits_of(notes, (["train"] * 8 + ["validation", "test"]) * 300))
    assert time.process_time() - start < 10
    assert found.height == 2 * 3000
    assert not found["identical"].any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(["train", "validation", "test"])),
        max_size=14,
    ),
    st.randoms(use_true_random=False),
)
def test_the_search_agrees_with_all_pairs_in_any_order(cases, random):
    rng = np.random.default_rng(12)
    base = [invent_note(rng, 150) for _ in range(2)]
    texts = [*base, *(with_changed_words(rng, note, 0.007) for note in base)]
    minima = note_signatures(pl.Series(texts)).struct.field(MINIMA).to_numpy()
    left, right = np.divmod(np.arange(16), 4)
    similarities = near_duplicates._similarities(minima, left, right).reshape(4, 4)
    used = [text for text, _, _ in cases]
    patients, splits = [f"p{patient}" for _, patient, _ in cases], [split for _, _, split in cases]
    visits = visits_of([texts[text] for text in used], splits, patients)
    found = find_duplicates(visits)
    wanted = set()
    for number, (text, patient, split) in enumerate(zip(used, patients, splits, strict=True)):
        for other in set(splits) - {split}:
            candidates = [
                (-similarities[text, used[place]], text != used[place], f"h{place:06d}")
                for place in range(len(used))
                if splits[place] == other and patients[place] != patient
            ]
            similarity, differs, name = min(candidates, default=(0, True, ""))
            if similarity <= -0.8:
                wanted.add((f"h{number:06d}", split, name, other, -similarity, not differs))
    assert set(found.iter_rows()) == wanted
    order = list(range(len(used)))
    random.shuffle(order)
    assert find_duplicates(visits[order]).equals(found)


def test_signatures_survive_a_file(tmp_path):
    note = invent_note(np.random.default_rng(13))
    visits = visits_of([note, note, "short"], ["train", "test", "test"])
    visits.write_parquet(tmp_path / "signatures.parquet")
    assert find_duplicates(pl.read_parquet(tmp_path / "signatures.parquet")).equals(find_duplicates(visits))


def test_wrong_requests():
    visits = visits_of(["a b c d e"], ["train"], minimum_words=5)
    with pytest.raises(InputError, match="column split is missing"):
        find_duplicates(visits.drop("split"))
    with pytest.raises(InputError, match="column signature has a wrong type; received Int"):
        find_duplicates(visits.with_columns(pl.lit(1).alias("signature")))
    for threshold in (0, 1.1):
        with pytest.raises(InputError, match=f"threshold is no similarity; received {threshold}"):
            find_duplicates(visits, threshold)


def test_no_long_note_of_the_demo_stands_under_two_patients(test_data_folder):
    tables = eicu.read(test_data_folder / "eicu-demo-2.0.1-part")
    notes = tables.notes.sort("position").group_by("hadm_id").agg(pl.col("note").str.join(" "))
    visits = with_splits(tables.visits.join(notes, on="hadm_id"), 0)

    def duplicates(minimum_words):
        signature = note_signatures(visits["note"], minimum_words)
        return find_duplicates(visits.with_columns(signature))

    assert duplicates(MINIMUM_WORDS).is_empty()
    assert duplicates(20).is_empty()
    assert not duplicates(5).is_empty()  # headings with one or two entries from a pick-list


def test_borrowed_bins_leave_none_empty_and_agree_as_often_as_the_notes_do():
    rng = np.random.default_rng(14)
    agreement, exact = [], []
    for _ in range(60):
        note = invent_note(rng, 100)
        changed = with_changed_words(rng, note, 0.02)
        minima = note_signatures(pl.Series([note, changed])).struct.field(MINIMA).to_numpy()
        filled = near_duplicates._filled(minima)
        assert (minima == 2**32 - 1).any(axis=1).all()
        assert (filled < 2**32 - 1).all()
        assert (filled[minima < 2**32 - 1] == minima[minima < 2**32 - 1]).all()
        agreement.append((filled[0] == filled[1]).mean())
        exact.append(exact_similarity(note, changed))
    assert np.mean(agreement) == pytest.approx(np.mean(exact), abs=0.03)
