"""ATC: a medication group carries its ancestors in its letters.

Of the constants known for the tree of the authors' code one holds for ours: a third-level code is at once
leaf and group, so it must be one node with the path third level, second level, first level, root, not two.
"""

import csv
from collections import Counter

import networkx
import pytest

from medm_plm.ontologies import get_ontology
from medm_plm.ontologies.atc import LEVELS, MAIN_GROUPS, groups, level


@pytest.fixture(scope="module")
def published_codes(test_data_folder):
    with (test_data_folder / "atc-2009-debian" / "atc_only-utf8.csv").open(
        encoding="utf-8", newline=""
    ) as file:
        return [row[0] for row in csv.reader(file)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("N02A", ["N02A", "N02", "N", "root"]),
        ("n02a", ["N02A", "N02", "N", "root"]),
        ("N02BE01", ["N02BE01", "N02BE", "N02B", "N02", "N", "root"]),
        ("N02", ["N02", "N", "root"]),
        ("N", ["N", "root"]),
        ("N02A0", ["N02A0", "N02A", "N02", "N", "root"]),  # misspelt after the third level
        ("N0", ["N0", "root"]),
        ("QN02A", ["QN02A", "root"]),  # for animals
        ("X02A", ["X02A", "root"]),
        ("NONE", ["NONE", "root"]),
        ("N\u0660\u0662A", ["N\u0660\u0662A", "root"]),  # digits of another script
    ],
)
def test_paths_checked_by_hand(code, expected):
    assert get_ontology("ATC").path(code) == tuple(f"ATC:{name}" for name in expected)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("N", "atc1"),
        ("N02", "atc2"),
        ("N02A", "atc3"),
        ("N02BE", "atc4"),
        ("N02BE01", "atc5"),
        ("N0", None),
        ("", None),
    ],
)
def test_levels(code, expected):
    assert level(code) == expected


def test_groups_are_well_formed_and_narrowest_first():
    assert groups("N02BE01") == ("N02BE", "N02B", "N02", "N")
    assert groups("") == ()
    assert all(level(group) for group in groups("N02BE01"))


def test_every_published_code_hangs_under_the_published_groups(published_codes):
    published = set(published_codes)
    assert len(published_codes) == 5469
    assert Counter(level(code) for code in published_codes) == {
        "atc1": 14,
        "atc2": 94,
        "atc3": 267,
        "atc4": 872,
        "atc5": 4222,
    }
    assert {code for code in published if len(code) == 1} == set(MAIN_GROUPS)
    for code in published_codes:
        assert len(groups(code)) == list(LEVELS).index(len(code))
    # The published list holds three substances of C09DB but forgot the group.
    assert {group for code in published_codes for group in groups(code)} - published == {"C09DB"}


def test_third_level_codes_become_one_tree_without_duplicates(published_codes):
    codes = [code for code in published_codes if level(code) == "atc3"]
    graph = get_ontology("ATC").graph(codes)
    assert networkx.is_arborescence(graph)
    assert graph.number_of_edges() == graph.number_of_nodes() - 1
    assert {len(get_ontology("ATC").path(code)) for code in codes} == {4}
    assert {node for node, degree in graph.out_degree() if degree == 0} == {f"ATC:{code}" for code in codes}
    above = {code[:3] for code in codes} | {code[0] for code in codes}
    assert graph.number_of_nodes() == len(codes) + len(above) + 1


def test_every_mapped_drug_of_the_demos_is_a_third_level_code(test_data_folder):
    with (test_data_folder / "drug2atc3-demo" / "drug2atc3.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    column = next(name for name in rows[0] if name.startswith("atc"))
    codes = {code for row in rows for code in row[column].replace(";", " ").split()}
    assert len(codes) > 50
    assert {level(code) for code in codes} == {"atc3"}
