"""The gate reads the cards that this project writes."""

import json
from pathlib import Path

import pytest

from medm_plm.cards.reading import FinishedRun
from medm_plm.cards.sources import SOURCES
from medm_plm.errors import InputError
from medm_plm.publishing import publish
from medm_plm.publishing.card import is_gated, named_datasets, read_metadata, require_public_card
from medm_plm.publishing.provenance import has_read_closed_data

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


@pytest.mark.parametrize(
    "name",
    [
        *("mimic-iii-demo", "eicu-demo-2.0.1", "synthetic cohort", "MIMIC-IV Clinical Database Demo 2.2"),
        *("medm-plm-synthetic", "eicu-collaborative-research-database-demo", "Medm-PLM synthetic cohort"),
    ],
)
def test_names_of_open_data_are_names(name):
    require_public_card({"datasets": name}, CARD)
    assert named_datasets({"datasets": name}) == [name]


@pytest.mark.parametrize(
    "header",
    [
        "datasets: [mimic-iv-demographics]",
        "datasets: [MIMIC-III (not synthetic)]",
        "datasets: [m\u0456mic-iii-demo]",
        "datasets: [\uff2d\uff29\uff2d\uff29\uff23-III]",
        "datasets: [mi-mic-iii]",
        "datasets: [Medical Information Mart for Intensive Care III]",
        "datasets: [uk-biobank]",
        "datasets: [lab/asthma-2024]",
        "datasets: [St Mary Hospital 2020]",
        "datasets: [synthetic, uk-biobank]",
        "datasets: [mimic-iii]\nextra_gated_prompt: '.'",
        "datasets: [mimic-iii]\nextra_gated_prompt: yes yes",
        "datasets: [synthetic]\nlicense_name: physionet-credentialed-health-data-license-1.5.0",
        "datasets: [synthetic]\nmodel-index:\n- results:\n  - dataset: {type: x, name: MIMIC-III}",
        "datasets: [synthetic]\nmodel-index: [{results: [{dataset: {type: mimic-iv}}]}]",
    ],
)
def test_what_is_not_known_to_be_open_needs_a_gate(header):
    metadata = read_metadata(f"---\n{header}\n---\n".encode(), CARD)
    with pytest.raises(InputError, match="without a gate"):
        require_public_card(metadata, CARD)
    require_public_card({**metadata, "extra_gated_prompt": "I have signed the agreement."}, CARD)


def test_a_measurement_on_open_data_needs_none():
    results = [{"dataset": {"type": "mimic-iii-demo", "name": "MIMIC-III Clinical Database Demo 1.4"}}]
    require_public_card({"datasets": ["synthetic"], "model-index": [{"results": results}]}, CARD)


def test_a_key_given_twice_is_refused():
    with pytest.raises(InputError, match="each key once"):
        read_metadata(b"---\ndatasets: [mimic-iii]\ndatasets: [synthetic]\n---\n", CARD)


RUNS = {
    "synthetic": {"preparation": {"source": "synthetic"}},
    "mimic3": {"preparation": {"source": "mimic3"}},
    "unknown": {"preparation": {"source": "table"}},
    "no report": {},
    "pre-trained on invented data": {
        "preparation": {"source": "synthetic"},
        "pretraining": {"source": "synthetic"},
    },
    "pre-trained on credentialed data": {
        "preparation": {"source": "synthetic"},
        "pretraining": {"source": "mimic4"},
    },
    "pre-trained on something": {"preparation": {"source": "synthetic"}, "pretrained": True},
    "encoder of a folder": {"preparation": {"source": "synthetic"}, "text_encoder": "local"},
    "encoder of a folder, before": {
        "preparation": {"source": "synthetic"},
        "pretraining": {"source": "synthetic", "text_encoder": "local"},
    },
    "published encoder": {
        "preparation": {"source": "synthetic"},
        "text_encoder": "emilyalsentzer/Bio_ClinicalBERT",
    },
}


@pytest.mark.parametrize("case", RUNS)
def test_the_gate_and_the_card_read_the_same_from_a_run(case, tmp_path):
    metrics = {"task": "icd_coding", **RUNS[case]}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert has_read_closed_data(tmp_path) == (FinishedRun(metrics, {}).restricted is not None)


def test_a_run_speaks_louder_than_the_card(model_folder):
    public = {"public": True, "confirm_public": "h/m", "dry_run": True}
    path = model_folder / "metrics.json"
    path.write_text(json.dumps({"task": "icd_coding", **RUNS["synthetic"]}))
    assert publish(model_folder, "h/m", **public).is_public
    path.write_text(json.dumps({"task": "icd_coding", **RUNS["mimic3"]}))
    with pytest.raises(InputError, match="whatever the card names"):
        publish(model_folder, "h/m", **public)
    for damaged in ("{", "[1]", '{"preparation": {"source": "synthetic"}, "pretraining": 3}'):
        path.write_text(damaged)
        with pytest.raises(InputError, match="metrics of the run cannot be read"):
            publish(model_folder, "h/m", **public)
    assert not publish(model_folder, "h/m", dry_run=True).is_public


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
