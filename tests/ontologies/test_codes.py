"""Codes are written one way and always with their system."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medm_plm.ontologies.codes import (
    CODE_TYPE_OF_SYSTEM,
    SYSTEMS,
    code_type,
    normalize_code,
    qualify,
    split_qualified,
)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("428.0", "4280"),
        (" 0389 ", "0389"),
        ("v10.3", "V103"),
        ("e850.0", "E8500"),
        ("n02 a", "N02A"),
        ("\t042\n", "042"),
        ("42\u00a08.0", "4280"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_a_code_is_written_in_upper_case_without_dots_and_blanks(written, normal):
    assert normalize_code(written) == normal


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.text(max_size=100))
def test_normalising_twice_changes_nothing_more(text):
    normal = normalize_code(text)
    assert normalize_code(normal) == normal


def test_every_single_character_reaches_its_normal_form_at_once():
    lower_case = [chr(number) for number in range(sys.maxunicode + 1) if chr(number).upper() != chr(number)]
    assert len(lower_case) > 1000
    unfinished = [char for char in lower_case if normalize_code(normalize_code(char)) != normalize_code(char)]
    assert unfinished == []


@pytest.mark.parametrize("code", [389, 38.9, None, float("nan"), b"0389"])
def test_a_number_is_refused_because_its_zeros_are_lost(code):
    with pytest.raises(TypeError, match="read code columns as text"):
        normalize_code(code)


def test_a_code_is_joined_to_its_system_and_taken_apart_again():
    assert qualify("ICD9CM", " 428.0") == "ICD9CM:4280"
    assert split_qualified("ICD9CM:4280") == ("ICD9CM", "4280")
    assert split_qualified("ICD9CM:block:420-429") == ("ICD9CM", "block:420-429")
    for system in SYSTEMS:
        assert split_qualified(qualify(system, "v10")) == (system, "V10")


def test_systems_do_not_mix():
    assert qualify("ICD9CM", "V10") != qualify("ICD10CM", "V10")


@pytest.mark.parametrize("system", ["ICD9", "icd9cm", "", "RXNORM"])
def test_an_unknown_system_is_refused_with_the_known_ones(system):
    with pytest.raises(ValueError, match="expected one of ICD9CM, ICD10CM, ATC"):
        qualify(system, "4280")


@pytest.mark.parametrize("code", ["", " ", ".", " . "])
def test_an_empty_code_is_refused(code):
    with pytest.raises(ValueError, match="empty ICD9CM code"):
        qualify("ICD9CM", code)


@pytest.mark.parametrize("text", ["4280", "", ":", "SECRET:4280", "ICD9:4280", " ICD9CM:4280"])
def test_a_code_without_a_known_system_is_refused_and_not_shown(text):
    with pytest.raises(ValueError, match="code without a known system") as caught:
        split_qualified(text)
    assert "SECRET" not in str(caught.value)


def test_a_system_without_a_code_is_refused():
    with pytest.raises(ValueError, match="empty ATC code"):
        split_qualified("ATC:")


def test_diagnoses_and_medications_have_their_code_types():
    assert set(CODE_TYPE_OF_SYSTEM) == set(SYSTEMS)
    assert code_type("ICD9CM:4280") == code_type("ICD10CM:I509") == 1
    assert code_type("ATC:N02A") == 2
