"""The card of a run: whole, valid for the Hub, closed where the data are, and silent about the machine."""

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from safetensors.torch import load_file

import run_card
from medm_plm.cards import Emissions, Publisher, model_card, write_card
from medm_plm.cards.applied import GROUPS, METRIC_FIELDS
from medm_plm.cards.model_cards import checked
from medm_plm.cards.reading import num_parameters
from medm_plm.errors import InputError
from medm_plm.training.results import Decision, store_decision
from prepared_cohort import invent_visits, tiny_model, tiny_processor

RUN = Path(__file__).parent / "invented_run"
SNAPSHOT = Path(__file__).parent / "snapshots" / "icd_coding.md"
PUBLISHER = Publisher("The Invented Hospital", "cards@invented.example", "an invented grant")
EMISSIONS = Emissions(watts=100.0, grams_per_kwh=400.0, region="Nowhere")

# Headings of the model card template of huggingface_hub; "[optional]" is no part of their names.
HUB_SECTIONS = (
    *("Model Details", "Model Description", "Model Sources", "Uses", "Direct Use", "Downstream Use"),
    *("Out-of-Scope Use", "Bias, Risks, and Limitations", "Recommendations"),
    *("How to Get Started with the Model", "Training Details", "Training Data", "Training Procedure"),
    *("Preprocessing", "Training Hyperparameters", "Speeds, Sizes, Times", "Evaluation"),
    *("Testing Data, Factors & Metrics", "Testing Data", "Factors", "Metrics", "Results", "Summary"),
    *("Model Examination", "Environmental Impact", "Technical Specifications"),
    *("Model Architecture and Objective", "Compute Infrastructure", "Hardware", "Software", "Citation"),
    *("Glossary", "More Information", "Model Card Authors", "Model Card Contact"),
)


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(RUN, tmp_path / "run"))


def change(run: Path, **fields: object) -> Path:
    """Overwrite fields of the metrics."""
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, **fields}))
    return run


def open_run(run: Path) -> Path:
    """The same run, made of invented patients."""
    metrics = json.loads((run / "metrics.json").read_text())
    both = {name: {**metrics[name], "source": "synthetic"} for name in ("preparation", "pretraining")}
    return change(run, **both)


def test_the_whole_card():
    """To renew the snapshot after a deliberate change: WRITE_SNAPSHOT=1 pytest tests/cards."""
    text = model_card(RUN, publisher=PUBLISHER, emissions=EMISSIONS)
    if os.environ.get("WRITE_SNAPSHOT"):
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8")


def test_every_section_of_the_hub_is_there_and_filled():
    bodies = sections(model_card(RUN))
    assert set(HUB_SECTIONS) <= bodies.keys()
    assert not [name for name in HUB_SECTIONS if not bodies[name] and not has_children(name)]


def test_the_sections_are_those_of_the_installed_template():
    import huggingface_hub

    template = Path(huggingface_hub.__file__).parent / "templates" / "modelcard_template.md"
    named = re.findall(r"^#{2,6} (.+?)(?: \[optional\])?$", template.read_text(), re.MULTILINE)
    assert set(named) <= set(HUB_SECTIONS)


def test_every_field_of_the_applied_model_card_is_filled_or_says_why_not():
    text = model_card(RUN)
    for group, names in GROUPS.items():
        body = sections(text)[group]
        for name in names or METRIC_FIELDS:
            (value,) = re.findall(rf"^- \*\*{re.escape(name)}:\*\* (.+)$", body, re.MULTILINE)
            assert value.strip() not in ("", "None")
    assert "[More Information Needed]" not in text
    for reason in re.findall(r"not applicable(.*)", text):
        assert re.match(r": \w.{5,}", reason), reason
    text = re.sub("```.*?```", "", text.split("---", 2)[2], flags=re.DOTALL)
    assert not re.search(r"\b(TODO|None|nan)\b|\$\w", text)


def sections(text: str) -> dict[str, str]:
    """Text below each heading, up to the next one."""
    text = text.split("---", 2)[2]
    outside = re.sub(r"```.*?```", lambda block: block.group().replace("\n#", "\n"), text, flags=re.DOTALL)
    parts = re.split(r"^#{1,6} (.+)$", outside, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def has_children(name: str) -> bool:
    """Whether a heading of the template only holds other headings."""
    parents = ("Model Details", "Uses", "Training Details", "Evaluation", "Training Procedure")
    return name in (*parents, "Testing Data, Factors & Metrics", "Technical Specifications")


def test_the_hub_reads_the_header_and_gets_the_results_back():
    card = ModelCard(model_card(RUN))
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.language) == (
        "transformers",
        "text-classification",
        "en",
    )
    assert data.datasets == ["mimic-iii"]
    assert data.base_model == "emilyalsentzer/Bio_ClinicalBERT"
    found = {result.metric_type: result for result in data.eval_results}
    assert found.keys() == {"f1_micro", "auroc_micro"}  # neither counts nor what is undefined
    assert found["f1_micro"].metric_value == 0.25
    assert found["f1_micro"].metric_args["interval"] == [0.125, 0.5]
    assert found["f1_micro"].dataset_revision == "d" * 64


def test_both_formats_of_results_say_the_same(run):
    write_card(run)
    (path,) = (run / ".eval_results").iterdir()
    entries = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    header = {
        result.metric_type: result.metric_value
        for result in ModelCard.load(run / "README.md").data.eval_results
    }
    assert {entry.task_id.split("/")[1]: entry.value for entry in entries} == header
    assert all(entry.dataset_id == "mimic-iii" and entry.date == "2026-11-22" for entry in entries)
    assert "0.1250 to 0.5000" in entries[0].notes


def test_weights_of_credentialed_data_are_gated_and_not_licensed_away():
    header = ModelCard(model_card(RUN)).data.to_dict()
    assert header["license"] == "other"
    assert header["license_name"].startswith("physionet-credentialed")
    assert "MIMIC-III" in header["extra_gated_prompt"]
    assert "checkbox" in header["extra_gated_fields"].values()
    assert "Keep the weights private, or gated" in model_card(RUN)


def test_weights_of_invented_data_are_open(run):
    header = ModelCard(model_card(open_run(run))).data.to_dict()
    assert (header["license"], header["datasets"]) == ("apache-2.0", ["medm-plm-synthetic"])
    assert not [name for name in header if name.startswith("extra_gated")]


@pytest.mark.parametrize(
    "fields",
    [
        {"preparation": None, "pretraining": None, "pretrained": False},
        {"preparation": {"source": "somewhere else"}, "pretraining": None, "pretrained": False},
        {"pretraining": {"source": "mimic3"}},
        {"pretraining": {"source": None}},
        {"pretraining": None, "pretrained": True},
    ],
)
def test_what_is_not_known_to_be_open_is_closed(run, fields):
    """Also where only the pre-training has seen such data."""
    header = ModelCard(model_card(change(open_run(run), **fields))).data.to_dict()
    assert header["license"] == "other"
    assert "extra_gated_prompt" in header
    assert header["datasets"]
    assert all(header["datasets"])


@pytest.mark.parametrize("encoder", ["local", "hospital/bert-of-our-notes"])
@pytest.mark.parametrize("place", ["run", "pretraining"])
def test_weights_that_grew_out_of_an_unknown_text_encoder_are_closed(run, encoder, place):
    """A hospital's own encoder has read its notes, whatever cohort came after."""
    pretraining = json.loads((open_run(run) / "metrics.json").read_text())["pretraining"]
    if place == "run":
        change(run, text_encoder=encoder)
    else:
        change(run, pretraining={**pretraining, "text_encoder": encoder})
    text = model_card(run)
    header = ModelCard(text).data.to_dict()
    assert header["license"] == "other"
    assert header["datasets"] == ["medm-plm-synthetic", "private-text-encoder"]
    assert "extra_gated_prompt" in header
    assert "may have read notes of patients" in text


def test_a_text_encoder_of_a_folder_is_no_base_model(run):
    metrics = json.loads((run / "metrics.json").read_text())
    change(run, pretraining={**metrics["pretraining"], "text_encoder": "local"})
    assert "base_model" not in ModelCard(model_card(run)).data.to_dict()


def report_with(run: Path, **fields: object) -> Path:
    """Overwrite fields of the privacy report."""
    report = json.loads((run / "privacy.json").read_text())
    (run / "privacy.json").write_text(json.dumps({**report, **fields}))
    return run / "privacy.json"


@pytest.mark.parametrize(
    "fields", [{"task": "readmission"}, {"data_sha256": "0" * 64}, {"weights_sha256": "0" * 64}]
)
def test_a_privacy_report_of_another_model_is_not_printed(run, fields):
    report = report_with(run, **fields)
    text = model_card(run)
    assert "AUC 0.610" not in text
    assert "not applicable: the privacy report in the folder is that of another model" in text
    with pytest.raises(InputError, match="that of another model"):
        model_card(run, privacy=report)


def test_a_privacy_report_is_out_of_date_when_the_weights_change(run):
    (run / "model.safetensors").write_bytes(b"first")
    report_with(run, weights_sha256=hashlib.sha256(b"first").hexdigest())
    assert "AUC 0.610" in model_card(run)
    (run / "model.safetensors").write_bytes(b"again")
    assert "AUC 0.610" not in model_card(run)


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([(0.41, 0.7), (0.3, 0.5)], "Too few patients"),
        ([(0.41, 0.55), (0.3, 0.56)], "Too few patients"),
        ([(0.45, 0.55), (0.3, 0.5)], "Every interval ends at 0.55 or below"),
        ([(0.45, 0.5), (0.5001, 0.7)], "remembers its patients"),
        ([(None, None), (0.45, 0.5)], "Too few patients"),
    ],
)
def test_the_verdict_rests_on_the_interval_and_not_on_the_point(run, intervals, verdict):
    attacks = {
        name: {"auc": 0.56, "interval": ends, "members": 20, "others": 10}
        for name, ends in zip(("loss_threshold", "likelihood_ratio"), intervals, strict=True)
    }
    report_with(run, attacks=attacks)
    said = ("Too few patients", "Every interval ends", "remembers its patients")
    assert [words for words in said if words in sections(model_card(run))["Privacy"]] == [
        words for words in said if words in verdict
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"attacks": [1]},
        {"attacks": {"loss_threshold": {"auc": 0.5, "members": 1, "others": 1}}},
        {"attacks": {"loss_threshold": {"auc": "x", "interval": [0, 1], "members": 1, "others": 1}}},
        {"canaries": [{"insertions": 1}]},
        {"canaries": 5},
    ],
)
def test_a_damaged_privacy_report_gets_one_line(run, fields):
    with pytest.raises(InputError, match="no privacy report"):
        model_card(run, privacy=report_with(run, **fields))


def test_a_head_over_words_says_what_its_weights_tell(run):
    assert "whoever has the weights can read off" not in model_card(run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "classifier_token_weights": True}))
    assert "whoever has the weights can read off" in model_card(run)


def test_the_privacy_report_is_printed_with_its_verdict(run, tmp_path):
    assert "AUC 0.610" in model_card(run)
    assert "remembers its patients" in model_card(run)
    (run / "privacy.json").rename(tmp_path / "elsewhere.json")
    assert "not applicable: no privacy report" in model_card(run)
    assert "AUC 0.610" in model_card(run, privacy=tmp_path / "elsewhere.json")


def test_the_weights_of_one_file_and_of_several_are_counted(tmp_path):
    model = tiny_model("icd_coding", invent_visits(), num_labels=3)
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "several", max_shard_size="30KB")
    assert len(list((tmp_path / "several").glob("model-*.safetensors"))) > 2
    expected = sum(weights.numel() for weights in load_file(tmp_path / "one" / "model.safetensors").values())
    assert num_parameters(tmp_path / "one") == num_parameters(tmp_path / "several") == expected
    next((tmp_path / "several").glob("model-*.safetensors")).unlink()
    assert num_parameters(tmp_path / "several") is None


@pytest.mark.parametrize(
    "header", [b"[]", b"3", b'{"a": 1}', b'{"a": {}}', b'{"a": {"shape": 2}}', b"{", b""]
)
def test_weights_with_a_strange_header_are_not_counted(header, tmp_path):
    assert num_parameters(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert num_parameters(tmp_path) is None


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "{"])
def test_weights_with_a_strange_index_are_not_counted(index, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert num_parameters(tmp_path) is None


def test_carbon_is_estimated_from_stated_assumptions_only():
    assert "about 80.0 g CO2eq" in model_card(RUN, emissions=EMISSIONS)  # 0.1 kW, 2 h, 400 g/kWh
    assert "not applicable: no power" in model_card(RUN)
    with pytest.raises(InputError, match="watts"):
        Emissions(watts=-1.0, grams_per_kwh=1.0)


@pytest.mark.parametrize(
    "place", ["/home/someone/model", "~/runs/x/model", r"C:\Users\someone\model", "../a/b"]
)
def test_a_folder_of_the_machine_is_refused(place):
    with pytest.raises(InputError, match="folder of this machine"):
        checked(f"some text\nfrom {place}\n")
    with pytest.raises(InputError, match="folder of this machine"):
        model_card(RUN, publisher=Publisher(developer=f"see {place}"))


def test_addresses_on_the_web_and_shares_are_no_folders():
    assert checked("https://physionet.org/content/mimiciii/1.4/ and 141 / 24, and/or g/kWh")


def test_a_folder_that_is_no_run_gets_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        model_card(tmp_path)
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(InputError, match="no mapping"):
        model_card(tmp_path)


def test_a_card_is_replaced_and_can_be_read_by_others(run):
    (run / "README.md").write_text("old")
    (run / ".eval_results").mkdir()
    (run / ".eval_results" / "old.yaml").write_text("old")
    path = write_card(run)
    assert path.read_text().startswith("---\n")
    assert [file.name for file in (run / ".eval_results").iterdir()] == ["mimic-iii-icd-coding.yaml"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_script(run, tmp_path, capsys):
    (run / "privacy.json").rename(tmp_path / "report.json")
    words = ["--privacy", str(tmp_path / "report.json"), "--developer", "Some Hospital"]
    run_card.main([str(run), *words, "--watts", "100", "--grams_per_kwh", "400"])
    text = (run / "README.md").read_text()
    for words in ("Some Hospital", "AUC 0.610", "80.0 g"):
        assert words in text
    assert "README.md" in capsys.readouterr().out
    with pytest.raises(InputError, match="belong together"):
        run_card.main([str(run), "--watts", "100"])


RUN_SNIPPETS = """
import os, runpy, sys
for folder in sys.argv[1:]:
    os.chdir(folder)
    print(os.path.basename(folder))
    runpy.run_path("snippet.py")
"""


def save_run(task: str, folder: Path) -> Path:
    """A tiny model of a task with its card, and the code of the card."""
    visits = invent_visits(12)
    names = {} if task == "pretraining" else {"id2label": {i: f"label {i}" for i in range(3)}}
    if task == "readmission":
        names = {"id2label": {0: "readmission"}, "label2id": {"readmission": 0}}
    tiny_model(task, visits, **names).save_pretrained(folder)
    tiny_processor(visits).save_pretrained(folder)
    store_decision(folder, Decision(1.0, 0.3))
    metrics = {"task": task, "seed": 1, "data_sha256": "0"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (code,) = re.findall(r"```python\n(.*?)```", write_card(folder).read_text(), re.DOTALL)
    # The library tells remote code by the name of its folder, and gives the second "." of a process the
    # classes of the first; so one snippet runs as it stands and the others name their folder.
    (folder / "snippet.py").write_text(
        code if task == "pretraining" else code.replace('"."', repr(str(folder)))
    )
    return folder


def test_the_snippets_run_in_the_saved_folders(tmp_path):
    """In a process that knows nothing of this project, without a network."""
    tasks = ("pretraining", "icd_coding", "readmission", "medication_recommendation", "medication_prediction")
    folders = [str(save_run(task, tmp_path / task)) for task in tasks]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": ""}
    command = [sys.executable, "-I", "-c", RUN_SNIPPETS, *folders]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    printed = done.stdout.splitlines()
    assert [line for line in printed if line in tasks] == list(tasks)
    assert len(printed) == len(tasks) + 1 + 3 + 1 + 3 + 3  # a pair of shapes, or a line for each label
