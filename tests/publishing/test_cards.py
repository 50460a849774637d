"""The gate reads the cards that this project writes."""

from pathlib import Path

import pytest

from medm_plm.cards.sources import SOURCES
from medm_plm.errors import InputError
from medm_plm.publishing.card import is_gated, named_datasets, read_metadata, require_public_card

CARD = Path("README.md")


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_open_for_the_gate_if_it_is_for_the_card(name):
    source = SOURCES[name]
    metadata = {"datasets": [source.dataset_id]}
    if source.is_restricted:
        with pytest.raises(InputError, match="cannot be public"):
            require_public_card(metadata, CARD)
    else:
        require_public_card(metadata, CARD)


@pytest.mark.parametrize("name", ["mimic-iii-demo", "eicu-demo-2.0.1", "synthetic cohort", "lab/asthma-2024"])
def test_names_of_open_data_are_names(name):
    require_public_card({"datasets": name}, CARD)
    assert named_datasets({"datasets": name}) == [name]


def test_a_prompt_opens_credentialed_data_to_those_who_agree():
    metadata = {"datasets": ["mimic-iv"], "extra_gated_prompt": "I have signed the agreement."}
    require_public_card(metadata, CARD)
    assert is_gated(metadata)
    assert not is_gated({"extra_gated_prompt": True})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, {}),
        (b"", {}),
        (b"# No header\n---\na: 1\n---\n", {}),
        (b"---\n---\n", {}),
        (b"---\na: 1\n---", {"a": 1}),
        (b"\xef\xbb\xbf---\r\na: 1\r\n---\r\ntext", {"a": 1}),
        (b"---\na: |\n  ---b\n---\n", {"a": "---b"}),
    ],
)
def test_the_header_is_what_stands_between_the_first_two_lines_of_dashes(content, expected):
    assert read_metadata(content, CARD) == expected
