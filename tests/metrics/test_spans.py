"""Strict span scores equal seqeval's, for every sequence of labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2, Entities

from medm_plm.errors import InputError
from medm_plm.metrics.spans import span_metrics, spans_of

LABELS = ("O", "B-drug", "I-drug", "B-test", "I-test", "I-two-words")
PAIRS = st.lists(
    st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=12),
    min_size=1,
    max_size=5,
)
STRICT = {"mode": "strict", "scheme": IOB2, "zero_division": 0}


@given(PAIRS)
def test_scores_equal_those_of_seqeval(pairs):
    """Random labels, most of them no valid IOB2."""
    truth, guess = ([[pair[side] for pair in sentence] for sentence in pairs] for side in (0, 1))
    found = span_metrics(guess, truth)
    kinds = Entities([*truth, *guess], IOB2).unique_tags
    assert {name[len("span_f1_") :] for name in found if name.startswith("span_f1_")} == kinds
    if not kinds:  # seqeval fails where there is nothing to count
        assert (found["span_f1"], found["num_spans"]) == (0.0, 0)
        return
    assert found["span_f1"] == pytest.approx(f1_score(truth, guess, average="micro", **STRICT))
    assert found["span_precision"] == pytest.approx(precision_score(truth, guess, average="micro", **STRICT))
    assert found["span_recall"] == pytest.approx(recall_score(truth, guess, average="micro", **STRICT))
    of_kinds = f1_score(truth, guess, average=None, **STRICT)
    for kind, value in zip(sorted(kinds), of_kinds, strict=True):
        assert found[f"span_f1_{kind}"] == pytest.approx(value)


@given(st.lists(st.sampled_from(LABELS), max_size=12))
def test_entities_equal_those_of_seqeval(labels):
    expected = [(e.tag, e.start, e.end - 1) for e in Entities([labels], IOB2).entities[0]]
    assert spans_of(labels) == expected


def test_half_an_entity_is_wrong():
    found = span_metrics([["B-x", "O", "B-x"]], [["B-x", "I-x", "B-x"]])
    assert found == {
        "span_f1": 0.5,
        "span_precision": 0.5,
        "span_recall": 0.5,
        "span_f1_x": 0.5,
        "num_spans": 2,
    }


def test_sentences_of_different_lengths_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        span_metrics([["O"]], [["O", "O"]])
