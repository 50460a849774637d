"""Cleaning keeps what a clinician needs, above all decimals; pick-list phrases become sections."""

import polars as pl
import pytest

from medm_plm.data.notes import clean_note, cleaned, compose


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("Admission Date:  [**2101-1-1**]   Discharge Date: [**2101-1-2**]", ""),
        ("seen by Dr. [**Last\nName (STitle) 12**], M.D.", "seen by doctor , md"),
        ("1. Aspirin 81 mg\n2. Metoprolol 1.5 mg\n", "aspirin 81 mg metoprolol 1.5 mg"),
        ("1. 2. Both\n10.Last", "both last"),
        ("potassium 3.5. sodium 135. ph 7.35, 0.5 mg", "potassium 3.5. sodium 135. ph 7.35, 0.5 mg"),
        ("-----\n____ ==== x-ray a_b", "x-ray a_b"),
        ("drip. adr. xm.d.", "drip. adr. xm.d."),
        ("Line\r\nbreak\tand   BLANKS", "line break and blanks"),
        ("bracket [kept] here", "bracket [kept] here"),
        ("unclosed [** marker", "unclosed [** marker"),
        ("", ""),
    ],
)
def test_cleaning(note, expected):
    assert clean_note(note) == expected


def test_cleaning_a_column_gives_no_nulls():
    assert pl.DataFrame({"n": ["A\nB", None]}).select(cleaned(pl.col("n")))["n"].to_list() == ["a b", ""]


def test_cleaning_twice_changes_nothing():
    note = "1. Aspirin 1.5 mg [**x**] Dr. Y --- 2. B"
    assert clean_note(clean_note(note)) == clean_note(note)


def test_phrases_become_sections_in_order_without_repeats():
    rows = [
        ("v1", "t", 1, 5, "b", "beta", False, 1),
        ("v1", "t", 1, 2, "a", "alpha 1", True, 1),
        ("v1", "t", 1, 9, "a", "alpha 2", False, 1),
        ("v1", "t", 0, None, "z", "zeta", True, 0),
        ("v2", "t", 0, 1, "y", "ypsilon", False, 1),
    ]
    names = ["hadm_id", "table", "section", "order", "key", "phrase", "is_early", "num_rows"]
    sections = compose(pl.DataFrame(rows, names, orient="row"), ("first", "second"))
    assert sections.select("hadm_id", "position", "note", "num_rows").rows() == [
        ("v1", 0, "first: zeta.", 0),
        ("v1", 1, "second: alpha 1; beta.", 3),
        ("v2", 0, "first: ypsilon.", 1),
    ]
    assert sections["admission_note"].to_list() == ["first: zeta.", "second: alpha 1.", None]
