"""ICD-10-CM: blocks and chapters, and the categories that end in a letter."""

import csv
import gzip
import json
from itertools import pairwise

import networkx
import pytest

from medm_plm.ontologies import get_ontology
from medm_plm.ontologies.icd10 import BLOCK_OF_CATEGORY, CHAPTERS, category

SPECIAL = "chapter:U00-U85"


def names(code):
    """Path of a code without the system and the root."""
    path = get_ontology("ICD10CM").path(code)
    assert path[-1] == "ICD10CM:root"
    return [key.removeprefix("ICD10CM:") for key in path[:-1]]


def has_block_and_chapter(code):
    kinds = [name.partition(":")[0] for name in names(code)]
    return kinds[-2:] == ["block", "chapter"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("I50.9", ["I509", "I50", "block:I30-I5A", "chapter:I00-I99"]),
        ("I10", ["I10", "block:I10-I1A", "chapter:I00-I99"]),
        ("E11.9", ["E119", "E11", "block:E08-E13", "chapter:E00-E89"]),
        ("A04.72", ["A0472", "A04", "block:A00-A09", "chapter:A00-B99"]),
        ("C81.00", ["C8100", "C81", "block:C81-C96", "chapter:C00-D49"]),
        ("D64.9", ["D649", "D64", "block:D60-D64", "chapter:D50-D89"]),
        ("H60.0", ["H600", "H60", "block:H60-H62", "chapter:H60-H95"]),
        ("S72.001A", ["S72001A", "S72", "block:S70-S79", "chapter:S00-T88"]),
        ("T14.91XA", ["T1491XA", "T14", "block:T14-T14", "chapter:S00-T88"]),
        ("V10.0XXA", ["V100XXA", "V10", "block:V10-V19", "chapter:V00-Y99"]),
        ("X93.XXXA", ["X93XXXA", "X93", "block:X92-Y09", "chapter:V00-Y99"]),
        ("Y04.0XXA", ["Y040XXA", "Y04", "block:X92-Y09", "chapter:V00-Y99"]),
        ("U07.1", ["U071", "U07", "block:U00-U49", SPECIAL]),
        ("U09.9", ["U099", "U09", "block:U00-U49", SPECIAL]),
        ("U50", ["U50", SPECIAL]),
    ],
)
def test_paths_checked_by_hand(code, expected):
    assert names(code) == expected


@pytest.mark.parametrize(
    ("code", "block", "chapter"),
    [
        ("C4A.0", "C43-C44", "C00-D49"),  # Merkel cell carcinoma stands among the tumours of the skin
        ("C7A.00", "C7A-C7A", "C00-D49"),  # and not in C76-C80, which surrounds it in the order of letters
        ("C7B.1", "C7B-C7B", "C00-D49"),
        ("D3A.0", "D3A-D3A", "C00-D49"),  # likewise in D37-D48
        ("I1A.0", "I10-I1A", "I00-I99"),
        ("I5A", "I30-I5A", "I00-I99"),
        ("J4A.0", "J40-J4A", "J00-J99"),
        ("M1A.00X0", "M05-M14", "M00-M99"),
        ("O9A.11", "O94-O9A", "O00-O9A"),
        ("QA0.0", "QA0-QA0", "Q00-QA0"),
        ("Z3A.40", "Z30-Z39", "Z00-Z99"),
    ],
)
def test_categories_ending_in_a_letter(code, block, chapter):
    assert names(code)[-3:] == [code[:3], f"block:{block}", f"chapter:{chapter}"]


@pytest.mark.parametrize(
    "code", ["C45", "C49", "C50", "C76", "C80", "D37", "D48", "D49", "M14", "M20", "Z39", "Z40"]
)
def test_their_neighbours_stay_in_the_block_around_them(code):
    first, last = names(code)[1].removeprefix("block:").split("-")
    assert first <= code <= last


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("D95.1", ["D951", "D95"]),  # between the chapters
        ("F00", ["F00"]),  # of the WHO's classification only
        ("T98.3", ["T983", "T98"]),
        ("4280", ["4280"]),
        ("NULL", ["NULL"]),
        ("I5", ["I5"]),
    ],
)
def test_what_no_chapter_covers_hangs_under_the_root(code, expected):
    assert names(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [("I509", "I50"), ("C4A0", "C4A"), ("QA00", "QA0"), ("I5", None), ("4280", None), ("", None)],
)
def test_a_category_is_the_first_three_characters(code, expected):
    assert category(code) == expected


def test_chapters_follow_each_other_and_hold_their_blocks():
    limits = [chapter.split("-") for chapter in sorted(CHAPTERS)]
    assert len(limits) == 22
    assert all(last < first for (_, last), (first, _) in pairwise(limits))
    for chapter, (_, blocks) in CHAPTERS.items():
        first_of_chapter, last_of_chapter = chapter.split("-")
        for block in blocks.split():
            first, last = block.split("-")
            assert first_of_chapter <= first <= last <= last_of_chapter


def test_only_single_categories_stand_inside_another_block():
    blocks = [block.split("-") for _, blocks in CHAPTERS.values() for block in blocks.split()]
    assert len(blocks) == len({first for first, _ in blocks}) == 285
    overlapping = {
        inner[0]
        for outer in blocks
        for inner in blocks
        if inner != outer and outer[0] <= inner[0] and inner[0] <= outer[1]
    }
    assert overlapping == {"C7A", "C7B", "D3A"}


def test_exceptions_name_blocks_of_the_table():
    blocks = {block for _, blocks in CHAPTERS.values() for block in blocks.split()}
    assert set(BLOCK_OF_CATEGORY.values()) <= blocks


def test_every_diagnosis_of_the_mimic4_demo_has_a_block_and_a_chapter(test_data_folder):
    path = test_data_folder / "mimic4-demo-2.2" / "hosp" / "diagnoses_icd.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        codes = {row["icd_code"] for row in csv.DictReader(file) if row["icd_version"].strip() == "10"}
    assert len(codes) == 734
    assert [code for code in codes if not has_block_and_chapter(code)] == []
    assert networkx.is_arborescence(get_ontology("ICD10CM").graph(codes))


def test_every_diagnosis_of_the_synthetic_encounters_has_a_chapter(test_data_folder):
    path = test_data_folder / "clinosim-400" / "encounters.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        codes = {code for line in file for code in json.loads(line)["icd10cm"]}
    assert len(codes) > 50
    assert [code for code in codes if not has_block_and_chapter(code)] == []
