"""The code vocabulary: the same ids for the same codes, and a tree above them."""

import dataclasses
import json
import random

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medm_plm.data.vocabulary import SPECIAL_TOKENS, CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.ontologies import ancestors, build_forest

DIAGNOSES = ["ICD9CM:4280", "ICD9CM:0389", "ICD9CM:428", "ICD9CM:E8500", "ICD10CM:I509", "ICD9CM:XYZ"]
MEDICATIONS = ["ATC:N02A", "ATC:A02B"]


@pytest.fixture
def vocabulary():
    return CodeVocabulary.from_codes(DIAGNOSES, MEDICATIONS)


def above(vocabulary, token):
    """Follow the parents of a token up to its root."""
    node, nodes = vocabulary.node_parents[vocabulary.tokens.index(token)], []
    while node != -1:
        nodes.append(vocabulary.tokens[node])
        node = vocabulary.node_parents[node]
    return tuple(nodes)


def test_order_of_the_ids(vocabulary):
    num_codes = vocabulary.num_codes
    assert vocabulary.tokens[:4] == SPECIAL_TOKENS
    assert vocabulary.tokens[4:10] == tuple(sorted(DIAGNOSES))
    assert vocabulary.tokens[10:num_codes] == tuple(sorted(MEDICATIONS))
    assert vocabulary.tokens[num_codes:] == tuple(sorted(vocabulary.tokens[num_codes:]))
    assert not set(vocabulary.tokens[num_codes:]) & {*DIAGNOSES, *MEDICATIONS}


def test_parents_are_those_of_the_ontologies(vocabulary):
    for token in vocabulary.tokens[4:]:
        assert above(vocabulary, token) == ancestors(token)


def test_special_tokens_and_roots_have_no_parent(vocabulary):
    orphans = [
        token
        for token, parent in zip(vocabulary.tokens, vocabulary.node_parents, strict=True)
        if parent == -1
    ]
    assert orphans == [*SPECIAL_TOKENS, "ATC:root", "ICD10CM:root", "ICD9CM:root"]


def test_it_is_the_forest_of_the_codes(vocabulary):
    edges = [
        (vocabulary.tokens[parent], token)
        for token, parent in zip(vocabulary.tokens, vocabulary.node_parents, strict=True)
        if parent != -1
    ]
    forest = build_forest([*DIAGNOSES, *MEDICATIONS])
    assert set(edges) == set(forest.edges)
    assert networkx.is_forest(networkx.DiGraph(edges))


def test_a_code_that_is_a_category_is_one_node(vocabulary):
    assert vocabulary.tokens.count("ICD9CM:428") == 1
    assert above(vocabulary, "ICD9CM:4280")[0] == "ICD9CM:428"
    assert vocabulary.tokens.index("ICD9CM:428") < vocabulary.num_codes


def test_max_depth(vocabulary):
    assert vocabulary.max_depth == max(len(ancestors(code)) for code in DIAGNOSES + MEDICATIONS) == 4
    assert CodeVocabulary.from_codes([], MEDICATIONS).max_depth == 3
    assert CodeVocabulary.from_codes([], []).max_depth == 0


@given(seed=st.integers(), repeats=st.integers(1, 3))
def test_order_and_repeats_do_not_matter(seed, repeats):
    shuffled = random.Random(seed).sample(DIAGNOSES * repeats, k=len(DIAGNOSES) * repeats)
    expected = CodeVocabulary.from_codes(DIAGNOSES, MEDICATIONS)
    assert CodeVocabulary.from_codes(iter(shuffled), set(MEDICATIONS)) == expected


def test_codes_are_normalised():
    vocabulary = CodeVocabulary.from_codes(["ICD9CM:428.0", "ICD9CM:4280"], ["ATC:n02a"])
    assert vocabulary.tokens[4:6] == ("ICD9CM:4280", "ATC:N02A")


@pytest.mark.parametrize(
    ("diagnoses", "medications", "message"),
    [
        (
            ["ATC:N02A"],
            [],
            "diagnosis_codes hold codes of another kind; received ATC, expected ICD9CM or ICD10CM",
        ),
        ([], ["ICD9CM:4280"], "medication_codes hold codes of another kind; received ICD9CM, expected ATC"),
        (["4280"], [], "without a known system"),
        (["ICD:4280"], [], "without a known system"),
        (["ICD9CM:"], [], "empty"),
    ],
)
def test_wrong_codes(diagnoses, medications, message):
    with pytest.raises(ValueError, match=message) as raised:
        CodeVocabulary.from_codes(diagnoses, medications)
    assert "4280" not in str(raised.value).replace("such as ICD9CM:4280", "")


def test_save_and_load(vocabulary, tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    vocabulary.save(first)
    loaded = CodeVocabulary.load(first)
    assert loaded == vocabulary
    loaded.save(second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"tokens": 3, "num_codes": 1, "node_parents": []}', "\x00"]
)
def test_a_file_that_is_something_else(tmp_path, content):
    file = tmp_path / "code_vocabulary.json"
    file.write_text(content)
    with pytest.raises(
        InputError, match=r"code_vocabulary\.json: is no code vocabulary; expected JSON with tokens"
    ):
        CodeVocabulary.load(file)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json: file is missing; run run_preparation\.py first"):
        CodeVocabulary.load(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="file cannot be read"):
        CodeVocabulary.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_codes": 3}, "has num_codes 3"),
        ({"num_codes": 99}, "has num_codes 99"),
        ({"tokens": ("ATC:N02A",)}, r"does not start with \[PAD\]"),
        ({"tokens": (*SPECIAL_TOKENS, "ATC:root", "ATC:root")}, "holds a token twice"),
        ({"node_parents": (-1, -1)}, "has 2 parents for 6 tokens"),
        ({"node_parents": (-1, -1, -1, -1, 5, 6)}, "names a parent that does not exist"),
        ({"node_parents": (-1, -1, -1, -1, 5, 4)}, "has a node above itself"),
        ({"node_parents": (-1, -1, -1, -1, 4, -1)}, "has a node above itself"),
    ],
)
def test_parts_must_fit(tmp_path, change, message):
    good = CodeVocabulary((*SPECIAL_TOKENS, "ATC:N", "ATC:root"), 5, (-1, -1, -1, -1, 5, -1))
    with pytest.raises(InputError, match=message):
        dataclasses.replace(good, **change)
    file = tmp_path / "code_vocabulary.json"
    file.write_text(json.dumps({**dataclasses.asdict(good), **change}))
    with pytest.raises(InputError, match=message):
        CodeVocabulary.load(file)
