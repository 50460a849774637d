"""Notes that stand, word for word or nearly so, in two splits under the numbers of two patients.

A patient with two numbers, or a note that was copied from one record into another, carries test data into
training although no patient number is shared. Two notes are compared by the Jaccard similarity of their sets
of five consecutive words. Signatures of fixed size are made shard by shard (`note_signatures`); the search
over all visits needs nothing but them (`find_duplicates`).

The hash is arithmetic on the bytes of the notes modulo 2^64, with constants that stand here. Neither the
version of a library nor the process has a say in it, so shards may be summarised in different places.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from medm_plm.data.schema import HADM_ID, SPLIT, SUBJECT_ID
from medm_plm.errors import InputError

WORDS_PER_SHINGLE = 5
NUM_BINS = 128
# Shorter notes are alike without being copies: "allergies: no; ethanol use: none." is what many patients say.
MINIMUM_WORDS = 100
SIMILARITY_THRESHOLD = 0.8

SIGNATURE = "signature"
TEXT_HASH, MINIMA = "text_hash", "minima"
_MINIMA_TYPE = pl.Array(pl.UInt32(), NUM_BINS)
SIGNATURE_TYPE = pl.Struct({TEXT_HASH: pl.UInt64(), MINIMA: _MINIMA_TYPE})

OTHER_HADM_ID, OTHER_SPLIT = "other_hadm_id", "other_split"
SIMILARITY = "similarity"
IDENTICAL = "identical"
DUPLICATE_SCHEMA = pl.Schema(
    {
        HADM_ID: pl.String(),
        SPLIT: pl.String(),
        OTHER_HADM_ID: pl.String(),
        OTHER_SPLIT: pl.String(),
        SIMILARITY: pl.Float64(),  # estimated; 1.0 where the texts are identical
        IDENTICAL: pl.Boolean(),  # the whole texts are the same
    }
)

_Array = np.ndarray[Any, np.dtype[Any]]

_EMPTY_BIN = np.uint32(2**32 - 1)
_BLANK = 32
_CHUNK_BYTES = 1 << 18  # text that is hashed at a time, so that the intermediate arrays stay in the cache
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64

# A pair of similarity s shares a band with probability 1 - (1 - s^6)^21.
_ROWS_PER_BAND, _NUM_BANDS = 6, 21
_REACH = 4  # nearest visits of each other split, before and after, that a visit is compared with in a band
_PAIRS_AT_A_TIME = 8192

_TEXT, _OTHER, _OTHER_SUBJECT = "text", "other", "other_subject_id"


def note_signatures(notes: pl.Series, minimum_words: int = MINIMUM_WORDS) -> pl.Series:
    """Summarise each note by a hash of its text and a one-permutation MinHash of its runs of five words.

    A run of five words falls by its hash in one of 128 bins, and a bin keeps the smallest hash that it met.
    Bins that met none stay marked as empty and are left out of the estimate, so that a short note is judged
    by what it has.

    Args:
        notes (`polars.Series`): notes as `notes.cleaned` leaves them, on one line with single blanks; null is
            no note.
        minimum_words (`int`, *optional*, defaults to `MINIMUM_WORDS`): notes with fewer words get no
            signature, since equal texts say nothing about the patients there. At least 5.

    Returns:
        `SIGNATURE_TYPE` in the order of the notes, named "signature"; null for notes that are too short.

    Raises:
        InputError: if `minimum_words` is less than one run of words.
    """
    if minimum_words < WORDS_PER_SHINGLE:
        raise InputError(
            "the minimum number of words is too small",
            received=minimum_words,
            expected=f">= {WORDS_PER_SHINGLE}",
        )
    sizes = notes.str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
    text_hashes = np.zeros(len(notes), np.uint64)
    minima = np.full((len(notes), NUM_BINS), _EMPTY_BIN)
    known = np.zeros(len(notes), np.bool_)
    chunks = _chunks(sizes)
    powers = _powers(_BASE, max((int(sizes[chunk].sum() + len(sizes[chunk])) for chunk in chunks), default=0))
    inverses = _powers(pow(_BASE, -1, 2**64), len(powers) - 1)
    for chunk in chunks:
        joined = " ".join(notes[chunk].fill_null("").to_list()).encode()
        text = _HashedText(np.frombuffer(joined, np.uint8), powers, inverses)
        text_hashes[chunk] = text.whole_notes(sizes[chunk])
        known[chunk] = text.lower_minima(sizes[chunk], minimum_words, minima[chunk])
    frame = pl.DataFrame(
        {TEXT_HASH: text_hashes, MINIMA: minima}, {TEXT_HASH: pl.UInt64(), MINIMA: _MINIMA_TYPE}
    )
    signature = pl.when(pl.Series(known)).then(pl.struct(TEXT_HASH, MINIMA)).alias(SIGNATURE)
    return frame.select(signature)[SIGNATURE]


def find_duplicates(signatures: pl.DataFrame, threshold: float = SIMILARITY_THRESHOLD) -> pl.DataFrame:
    """Find the visits whose note stands in another split under another patient.

    Every visit is listed once for each other split that holds a duplicate, with the most similar visit there
    (of equals the first by number). So a pair is seen from both sides, and ten thousand copies of one text
    make ten thousand rows and not all their pairs. Identical texts are always found. Others must share one of
    21 bands of 6 bins, which pairs of similarity 0.7, 0.8, 0.85 and 0.9 do with probability 0.93, 0.998,
    0.99995 and 1 - 10^-7. In a band, a visit is compared with the eight nearest of each other split only, in
    the order of the bins that follow, so that the work grows with the visits even where thousands share a
    template. The comparison itself uses all bins; its standard error is at most sqrt(s (1 - s) / 128), 0.035
    for 0.8 and 0.027 for 0.9.

    Args:
        signatures (`polars.DataFrame`): columns `subject_id`, `hadm_id` (unique), `split` and `signature` (of
            `note_signatures`), in any order of rows; visits without a signature are left out.
        threshold (`float`, *optional*, defaults to `SIMILARITY_THRESHOLD`): least estimated similarity.

    Returns:
        Columns of `DUPLICATE_SCHEMA`, sorted by `hadm_id` and `other_split`.

    Raises:
        InputError: if a column is missing, the signatures are of another type, or the threshold is no
            similarity.
    """
    _check_request(signatures, threshold)
    known = signatures.select(SUBJECT_ID, HADM_ID, SPLIT, SIGNATURE).drop_nulls(SIGNATURE).unnest(SIGNATURE)
    visits = known.sort(HADM_ID).with_columns((pl.col(TEXT_HASH).rank("dense") - 1).alias(_TEXT))
    minima = visits.unique(_TEXT).sort(_TEXT)[MINIMA].to_numpy()
    visits = visits.select(SUBJECT_ID, HADM_ID, SPLIT, _TEXT)
    # Two patients speak for all visits of a split with one text: at most one of them is on the other side.
    deputies = visits.unique([_TEXT, SPLIT, SUBJECT_ID], keep="first", maintain_order=True)
    deputies = deputies.group_by(_TEXT, SPLIT, maintain_order=True).head(2).sort(HADM_ID)
    # Of the visits on the other side, row numbers and codes are enough until the best are known.
    others = deputies.with_row_index(_OTHER).select(
        _OTHER, _TEXT, pl.col(SUBJECT_ID, SPLIT).rank("dense").name.prefix("other_")
    )
    itself = others.with_columns(pl.lit(1.0).alias(SIMILARITY), pl.lit(True).alias(IDENTICAL))
    best = itself
    for left, right, similarity in _similar_pairs(others, minima, threshold):
        for a, b in ((left, right), (right, left)):
            near = itself[b].with_columns(
                others[a][_TEXT], pl.Series(SIMILARITY, similarity), pl.lit(False).alias(IDENTICAL)
            )
            best = _best_matches(pl.concat([best, near]))
    names = deputies.select(pl.all().exclude(_TEXT).name.prefix("other_")).with_row_index(_OTHER)
    matches = best.select(_TEXT, _OTHER, SIMILARITY, IDENTICAL).join(names, on=_OTHER)
    found = visits.join(matches, on=_TEXT).filter(
        pl.col(SPLIT) != pl.col(OTHER_SPLIT), pl.col(SUBJECT_ID) != pl.col(_OTHER_SUBJECT)
    )
    best_first = found.sort(
        pl.col(HADM_ID), pl.col(OTHER_SPLIT), -pl.col(SIMILARITY), ~pl.col(IDENTICAL), pl.col(_OTHER)
    )
    listed = best_first.unique([HADM_ID, OTHER_SPLIT], keep="first", maintain_order=True)
    return listed.select(DUPLICATE_SCHEMA.names())


class _HashedText:
    """Notes joined by blanks, in which the hash of any stretch of bytes is at hand.

    The hash of a stretch is its value as a polynomial; a prefix sum and a power of the base give it.
    """

    def __init__(self, joined: _Array, powers: _Array, inverses: _Array) -> None:
        self.prefix = np.zeros(len(joined) + 1, np.uint64)
        np.cumsum(_BYTE_VALUES[joined] * powers[: len(joined)], out=self.prefix[1:])
        self.inverses = inverses
        blank = np.ones(len(joined) + 2, np.bool_)
        np.equal(joined, _BLANK, out=blank[1:-1])
        edges = np.flatnonzero(blank[1:] != blank[:-1])
        self.word_starts, self.word_ends = edges[::2], edges[1::2]

    def hashes(self, starts: _Array, ends: _Array) -> _Array:
        """Hash the stretches between two places each."""
        return _mixed((self.prefix[ends] - self.prefix[starts]) * self.inverses[starts])

    def whole_notes(self, sizes: _Array) -> _Array:
        """Hash each note as a whole."""
        ends = np.cumsum(sizes + 1) - 1
        return _mixed(self.hashes(ends - sizes, ends) ^ sizes.astype(np.uint64))

    def lower_minima(self, sizes: _Array, minimum_words: int, minima: _Array) -> _Array:
        """Enter the runs of words in the bins, and say which notes were long enough."""
        note_ends = np.cumsum(sizes + 1)
        bounds = np.searchsorted(self.word_starts, np.concatenate([[0], note_ends]))
        num_words = np.diff(bounds)
        known = num_words >= minimum_words
        num_runs = np.where(known, num_words - WORDS_PER_SHINGLE + 1, 0)
        note = np.repeat(np.arange(len(sizes)), num_runs)
        # The first words of the runs: numbered through, and moved on over the words that no run begins with.
        first = np.arange(len(note)) + (bounds[:-1] - (np.cumsum(num_runs) - num_runs))[note]
        hashed = self.hashes(self.word_starts[first], self.word_ends[first + WORDS_PER_SHINGLE - 1])
        bins = note * NUM_BINS + (hashed >> np.uint64(57)).astype(np.int64)
        values = np.minimum(hashed.astype(np.uint32), _EMPTY_BIN - np.uint32(1))
        np.minimum.at(minima.reshape(-1), bins, values)
        return known


def _chunks(sizes: _Array) -> list[slice]:
    """Cut the notes into stretches of about equal size; a note is never parted."""
    chunk = np.cumsum(sizes) // _CHUNK_BYTES
    bounds = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(sizes)]
    return [slice(start, end) for start, end in pairwise(bounds) if end > start]


def _powers(base: int, highest: int) -> _Array:
    factors = np.full(highest + 1, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


def _mixed(values: _Array) -> _Array:
    """Spread every bit over all bits (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_BYTE_VALUES = _mixed(np.arange(1, 257, dtype=np.uint64) * np.uint64(_BASE))


def _check_request(signatures: pl.DataFrame, threshold: float) -> None:
    for name in (SUBJECT_ID, HADM_ID, SPLIT, SIGNATURE):
        if name not in signatures.columns:
            raise InputError(f"column {name} is missing", received=", ".join(signatures.columns))
    if signatures.schema[SIGNATURE] != SIGNATURE_TYPE:
        raise InputError(
            f"column {SIGNATURE} has a wrong type",
            received=signatures.schema[SIGNATURE],
            expected=SIGNATURE_TYPE,
            remedy="make the signatures again with this version",
        )
    if not 0 < threshold <= 1:
        raise InputError("the threshold is no similarity", received=threshold, expected="above 0, at most 1")


def _best_matches(matches: pl.DataFrame) -> pl.DataFrame:
    """Keep the two best visits, of different patients, for each text and other split."""
    best_first = matches.sort(SIMILARITY, IDENTICAL, _OTHER, descending=[True, True, False])
    by_patient = best_first.unique([_TEXT, OTHER_SPLIT, _OTHER_SUBJECT], keep="first", maintain_order=True)
    return by_patient.group_by(_TEXT, OTHER_SPLIT, maintain_order=True).head(2).select(matches.columns)


def _similar_pairs(
    others: pl.DataFrame, minima: _Array, threshold: float
) -> Iterator[tuple[_Array, _Array, _Array]]:
    """Yield, band by band, pairs of rows whose different texts are similar enough, and how similar."""
    text, split, subject = (others[name].to_numpy() for name in (_TEXT, OTHER_SPLIT, _OTHER_SUBJECT))
    filled = _filled(minima)
    for band in range(_NUM_BANDS):
        left, right = _candidates(filled, text, split, band * _ROWS_PER_BAND)
        wanted = (subject[left] != subject[right]) & (text[left] != text[right])
        left, right = left[wanted], right[wanted]
        similarity = _similarities(minima, text[left], text[right])
        similar = similarity >= threshold
        if similar.any():
            yield left[similar], right[similar], similarity[similar]


def _filled(minima: _Array) -> _Array:
    """Let each empty bin borrow from the first full one in an order of its own, the same for all notes.

    Two notes then agree in a bin with the probability of their similarity, borrowed or not
    (Shrivastava 2017).
    """
    bins = np.arange(NUM_BINS, dtype=np.uint64)
    order = np.argsort(_mixed(bins[:, None] * np.uint64(NUM_BINS) + bins[None, :] + np.uint64(_BASE)), axis=1)
    filled = minima.copy()
    rows = np.flatnonzero((minima == _EMPTY_BIN).any(axis=1))
    for attempt in range(NUM_BINS):
        if not len(rows):
            break
        part = filled[rows]
        part = np.where(part == _EMPTY_BIN, minima[rows][:, order[:, attempt]], part)
        filled[rows] = part
        rows = rows[(part == _EMPTY_BIN).any(axis=1)]
    return filled


def _candidates(filled: _Array, text: _Array, split: _Array, start: int) -> tuple[_Array, _Array]:
    """Pair each row with its nearest of every other split among those that share a band."""
    key = np.zeros(len(filled), np.uint64)
    for column in range(start, start + _ROWS_PER_BAND):
        key = _mixed((key ^ filled[:, column]) + np.uint64(_BASE))
    _, bucket, size = np.unique(key[text], return_inverse=True, return_counts=True)
    shared = np.flatnonzero(size[bucket] > 1)
    # Within a band, those that share the following bins as well come to stand side by side.
    following = [(start + _ROWS_PER_BAND + place) % NUM_BINS for place in reversed(range(_ROWS_PER_BAND))]
    rows = shared[np.lexsort([*(filled[text[shared], column] for column in following), bucket[shared]])]
    pairs = [np.zeros(0, np.int64)]
    for code in np.unique(split[rows]):
        places, elsewhere = np.flatnonzero(split[rows] == code), np.flatnonzero(split[rows] != code)
        nearest = np.searchsorted(places, elsewhere)
        for step in range(-_REACH, _REACH):
            inside = (nearest + step >= 0) & (nearest + step < len(places))
            left, right = rows[elsewhere[inside]], rows[places[(nearest + step)[inside]]]
            same = bucket[left] == bucket[right]
            pair = np.minimum(left, right) * len(text) + np.maximum(left, right)
            pairs.append(pair[same])
    unique = np.unique(np.concatenate(pairs))
    return unique // max(len(text), 1), unique % max(len(text), 1)


def _similarities(minima: _Array, left: _Array, right: _Array) -> _Array:
    """Estimate Jaccard similarities: equal bins over bins that are full in either note (Li et al. 2012)."""
    estimates = [np.zeros(0)]
    for start in range(0, len(left), _PAIRS_AT_A_TIME):
        first, second = minima[left[start:][:_PAIRS_AT_A_TIME]], minima[right[start:][:_PAIRS_AT_A_TIME]]
        equal, empty = first == second, (first == _EMPTY_BIN) & (second == _EMPTY_BIN)
        num_empty = empty.sum(axis=1)
        estimates.append((equal.sum(axis=1) - num_empty) / (NUM_BINS - num_empty))
    return np.concatenate(estimates)
