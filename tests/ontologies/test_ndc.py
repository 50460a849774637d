"""One package number has one spelling, and what names no package has none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medm_plm.ontologies.ndc import NDC_DIGITS, normalize_ndc


@pytest.mark.parametrize(
    ("recorded", "normalized"),
    [
        ("1234-5678-90", "01234567890"),  # 4-4-2
        ("12345-678-90", "12345067890"),  # 5-3-2
        ("12345-6789-0", "12345678900"),  # 5-4-1
        ("12345-6789-01", "12345678901"),  # 5-4-2
        ("012345-6789-01", "12345678901"),
        ("12345-*678-90", "12345067890"),
        ("*1234-5678-90", "01234567890"),
        ("12345-6789-*1", "12345678901"),
        ("12345678901", "12345678901"),
        (" 12345678901 ", "12345678901"),
        ("012345678901", "12345678901"),
        ("234567890", "00234567890"),  # a spreadsheet took the leading zeros
        ("234567890.0", "00234567890"),  # and a data frame made it a float
        ("2456789", "00002456789"),
    ],
)
def test_spellings(recorded, normalized):
    assert normalize_ndc(recorded) == normalized


@pytest.mark.parametrize(
    "recorded",
    [
        None,
        "",
        "  ",
        "0",
        "00000000000",
        "0.0",
        "-",
        "0000-0000-00",
        "unknown",
        "12345-6789",
        "1-2-3-4",
        "123456",
        "1234567890123",
        "123456-6789-01",
        "12345-67890-01",
        "2.3E+08",
        "\uff11234-5678-90",
    ],
)
def test_no_package(recorded):
    assert normalize_ndc(recorded) is None


@given(st.one_of(st.text(), st.from_regex(r"[0-9*-]{0,15}", fullmatch=True)))
def test_any_text_gives_eleven_digits_or_nothing_and_stays(text):
    normalized = normalize_ndc(text)
    if normalized is not None:
        assert len(normalized) == NDC_DIGITS
        assert normalized.isdigit()
        assert normalize_ndc(normalized) == normalized
