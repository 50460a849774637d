"""Spellings of a route meet in one group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medm_plm.ontologies.routes import (
    FORM_WORDS,
    ROUTE_GROUPS,
    ROUTE_STEMS,
    WIDER_GROUP,
    form_group,
    route_group,
)


@pytest.mark.parametrize(
    ("route", "group"),
    [
        ("PO/NG", "oral"),
        ("Oral", "oral"),
        ("PO (oral)      ", "oral"),
        ("PER G TUBE", "oral"),
        ("SL", "oral"),
        ("J-Tube", "oral"),
        ("IV", "vein"),
        ("IV DRIP", "vein"),
        ("IntraVENOUS", "vein"),
        ("INTRAVENOU", "vein"),
        ("IVPB", "vein"),
        ("SUB-Q", "injection"),
        ("subCUT", "injection"),
        ("Intra-arterial", "injection"),
        ("IH", "lung"),
        ("NEBULIZATION", "lung"),
        ("Tracheal Tube", "lung"),
        ("BOTH EYES", "eye"),
        ("OU", "eye"),
        ("RIGHT EAR", "ear"),
        ("NU", "nose"),
        ("EACH NARE", "nose"),
        ("Mouth/Throat", "mouth"),
        ("PR", "rectum"),
        ("VG", "vagina"),
        ("TP", "skin"),
        ("Topical (topical)   ", "skin"),
        ("TRANSDERMA", "patch"),
        ("TD", "patch"),
        ("DWELL", "lock"),
        ("Hemodialysis", "lock"),
        ("ED", "spine"),
        ("IRR", "irrigation"),
        ("MISC", None),
        (".ROUTE", None),
        ("", None),
        (None, None),
    ],
)
def test_recorded_routes(route, group):
    assert route_group(route) == group


def test_dosage_forms_tell_the_route():
    assert form_group(["CIPROFLOXACIN", "0", "3", "OPHTH", "SOLN"]) == "eye"
    assert form_group(["LIDOCAINE", "5", "EX", "PTCH"]) == "patch"
    assert form_group(["ASPIRIN"]) is None


def test_the_tables_speak_of_the_same_groups():
    assert set(FORM_WORDS) | set(ROUTE_STEMS) | set(WIDER_GROUP) | set(WIDER_GROUP.values()) <= set(
        ROUTE_GROUPS
    )


@given(st.text())
def test_any_text_has_a_known_group_or_none(text):
    assert route_group(text) in {None, *ROUTE_GROUPS}
