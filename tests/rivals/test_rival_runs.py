"""Rivals from the command line: fine-tuning, pre-training, what is loaded from where, and mistakes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import run_finetuning
import run_pretraining
from medm_plm.errors import InputError
from medm_plm.rivals import RivalConfig
from medm_plm.training.models import load_model, new_model
from medm_plm.training.prefix_states import prefix_fingerprint
from modeling_medm_plm import MedMPLMModel
from prepared_cohort import (
    invent_visits,
    pretrained_folder,
    smoke_options,
    tiny_model_options,
    tiny_processor,
    vocabulary_of,
    write_prepared_folder,
)

# Each rival and each of the five tasks at least once.
RUNS = [
    ("rnn", "medication_recommendation"),
    ("cnn", "readmission"),
    ("caml", "icd_coding"),
    ("gbert", "mortality"),
    ("med_bert", "icd_coding"),
    ("clinical_bert", "medication_prediction"),
    ("gbert_clinical_bert", "medication_recommendation"),
    ("med_bert_clinical_bert", "readmission"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_prepared_folder(tmp_path_factory.mktemp("rivals") / "prepared")


@pytest.fixture(scope="module")
def pretrained_gbert(tmp_path_factory, data) -> Path:
    folder = tmp_path_factory.mktemp("pretrained_gbert")
    run_pretraining.main(pretraining("gbert", data, folder, num_train_epochs=1))
    return folder


def words_of(options: dict[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def pretraining(architecture: str, data: Path, folder: Path, **more: object) -> list[str]:
    options = {"data": data, "output_dir": folder, "architecture": architecture, **more}
    return [*smoke_options("pretraining"), *words_of(options)]


def finetuning(task: str, data: Path, folder: Path, **more: object) -> list[str]:
    options = {"data": data, "output_dir": folder, "num_train_epochs": 1, **more}
    return [*smoke_options(task), *words_of(options)]


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize(("architecture", "task"), RUNS)
def test_a_rival_without_pretraining_leaves_what_the_model_leaves(architecture, task, data, tmp_path):
    run_finetuning.main(finetuning(task, data, tmp_path, architecture=architecture))
    content = metrics_of(tmp_path)
    assert (content["predictor"], content["pretrained"]) == (architecture, False)
    assert set(content["test"]["model"]) == set(content["test"]["frequency"])
    names = {path.name for path in tmp_path.iterdir()}
    assert {"model.safetensors", "predictions_validation.parquet", "predictions_test.parquet"} <= names
    assert RivalConfig.from_pretrained(tmp_path).architecture == architecture


@pytest.mark.parametrize("architecture", ["gbert", "med_bert"])
def test_pretraining_learns_codes_from_codes(architecture, tmp_path):
    """In these visits a diagnosis and its medication always stand together."""
    data = write_prepared_folder(tmp_path / "prepared", invent_visits(150))
    steps = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    run_pretraining.main(
        pretraining(architecture, data, tmp_path / "out", num_train_epochs=8, learning_rate=5e-3, **steps)
    )
    content = metrics_of(tmp_path / "out")
    assert content["predictor"] == architecture
    assert set(content["test"]["model"]) == {"loss", "c2c_accuracy", "c2c_recall_at_5", "c2c_recall_at_10"}
    test = content["test"]
    assert test["model"]["c2c_recall_at_5"] > 1.5 * test["frequency"]["prior_recall_at_5"]


def test_fine_tuning_goes_on_from_the_pretrained_code_encoder(pretrained_gbert, data, tmp_path):
    run_finetuning.main(
        finetuning(
            "readmission", data, tmp_path, architecture="gbert", model=pretrained_gbert, learning_rate=0.0
        )
    )
    before, after = (load_file(folder / "model.safetensors") for folder in (pretrained_gbert, tmp_path))
    encoder = {name for name in before if name.startswith("model.")}
    assert encoder
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    assert metrics_of(tmp_path)["pretrained"] is True


def test_g_bert_with_the_code_weights_of_medm_plm(tmp_path, tmp_path_factory):
    source = pretrained_folder(tmp_path_factory.getbasetemp())
    run_finetuning.main(
        finetuning(
            "medication_recommendation",
            source.parent / "prepared",
            tmp_path,
            architecture="gbert",
            model=source,
            learning_rate=0.0,
        )
    )
    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path))
    encoder = {name for name in before if name.startswith("model.code_model.")}
    assert encoder == {name for name in after if name.startswith("model.")}
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    ours = MedMPLMModel.from_pretrained(source).config.code_config
    theirs = RivalConfig.from_pretrained(tmp_path).code_config
    assert (theirs.num_attention_heads, theirs.hidden_act) == (ours.num_attention_heads, ours.hidden_act)
    assert theirs.hidden_dropout_prob == 0.4


def test_a_pair_takes_its_code_encoder_from_the_folder_and_words_from_the_notes(
    pretrained_gbert, data, tmp_path
):
    run_finetuning.main(
        finetuning(
            "medication_recommendation",
            data,
            tmp_path,
            architecture="gbert_clinical_bert",
            model=pretrained_gbert,
            learning_rate=0.0,
        )
    )
    before, after = (load_file(folder / "model.safetensors") for folder in (pretrained_gbert, tmp_path))
    encoder = {name for name in before if name.startswith("model.")}
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    assert any(name.startswith("model.text_model.") for name in after)
    tokenizers = [
        json.loads((folder / "tokenizer.json").read_text()) for folder in (pretrained_gbert, tmp_path)
    ]
    num_words = [len(tokenizer["model"]["vocab"]) for tokenizer in tokenizers]
    assert num_words[0] == 5 < num_words[1]  # a code-only rival never saw a note


def test_another_code_vocabulary_is_refused_for_a_pair(pretrained_gbert, tmp_path):
    visits = invent_visits()
    fewer = visits.filter(~visits["diagnosis_codes"].list.contains("ICD9CM:311"))
    data = write_prepared_folder(tmp_path / "prepared", fewer)
    more = {
        "model": pretrained_gbert,
        "pretrained_on_other_data": True,
        "architecture": "gbert_clinical_bert",
    }
    with pytest.raises(InputError, match="another code vocabulary"):
        run_finetuning.main(finetuning("medication_recommendation", data, tmp_path / "out", **more))


@pytest.mark.parametrize(
    ("architecture", "more", "message"),
    [
        ("med_bert", {"model": "gbert"}, "another architecture; received gbert, expected med_bert"),
        ("medm_plm", {"model": "gbert"}, "another architecture; received gbert, expected medm_plm"),
        ("clinical_bert", {"model": "medm_plm"}, "another architecture; received medm_plm"),
        ("gbert", {"model": "nowhere"}, "no saved model: config.json is missing"),
        ("gbert", {"baseline": "linear"}, "exclude each other"),
        ("gbert", {"current_note": "full"}, "which reads no notes"),
        ("caml", {}, "caml cannot learn task medication_recommendation"),
        ("gbert", {"use_cross_modal": True}, "use_cross_modal"),
    ],
)
def test_a_mistake_is_refused_in_one_line(
    architecture, more, message, pretrained_gbert, data, tmp_path, tmp_path_factory
):
    folders = {
        "gbert": lambda: pretrained_gbert,
        "medm_plm": lambda: pretrained_folder(tmp_path_factory.getbasetemp()),
        "nowhere": lambda: tmp_path / "nowhere",
    }
    if "model" in more:
        more = {**more, "model": folders[more["model"]](), "pretrained_on_other_data": True}
    words = finetuning("medication_recommendation", data, tmp_path / "out", architecture=architecture, **more)
    with pytest.raises(InputError, match=message) as error:
        run_finetuning.main(words)
    assert "\n" not in str(error.value)


def test_only_the_own_objective_of_a_rival_is_pretrained(data, tmp_path):
    with pytest.raises(InputError, match="pretraining_target"):
        run_pretraining.main(pretraining("gbert", data, tmp_path, pretraining_target="all"))
    with pytest.raises(InputError, match="no pre-training"):
        run_pretraining.main(pretraining("cnn", data, tmp_path))


def test_rivals_share_the_cache_of_the_frozen_layers_and_the_width_of_the_classifier(tmp_path):
    visits = invent_visits()
    vocabulary, processor = vocabulary_of(visits), tiny_processor(visits)
    own = new_model("readmission", vocabulary, processor, tiny_model_options(), num_labels=1)
    own.model.text_model.save_pretrained(tmp_path)
    options = {"text_model": str(tmp_path), "num_frozen_text_layers": 1}

    def build(architecture: str, task: str = "readmission") -> torch.nn.Module:
        arguments = tiny_model_options(architecture=architecture, **options)
        return new_model(task, vocabulary, processor, arguments, num_labels=1)

    names = ("medm_plm", "clinical_bert", "gbert_clinical_bert", "med_bert_clinical_bert")
    fingerprints = {prefix_fingerprint(build(name).model, torch.float16) for name in names}
    assert len(fingerprints) == 1
    for task in ("readmission", "medication_recommendation"):
        widths = {build(name, task).classifier[1].out_features for name in (*names, "rnn", "cnn", "gbert")}
        assert len(widths) == 1


def test_the_cache_gives_the_same_predictions(data, tmp_path):
    options = {"architecture": "gbert_clinical_bert", "num_frozen_text_layers": 1}
    cache = {"frozen_text_cache": tmp_path / "cache", "frozen_text_cache_dtype": "float32"}
    task = "medication_recommendation"
    run_finetuning.main(finetuning(task, data, tmp_path / "plain", **options))
    run_finetuning.main(finetuning(task, data, tmp_path / "cached", **options, **cache))
    plain, cached = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "cached"))
    for name in plain:
        torch.testing.assert_close(plain[name], cached[name], atol=1e-4, rtol=1e-3)
    assert list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_rival_without_frozen_text_passes_the_cache_over(data, tmp_path):
    run_finetuning.main(
        finetuning(
            "readmission", data, tmp_path / "out", architecture="cnn", frozen_text_cache=tmp_path / "c"
        )
    )
    assert not (tmp_path / "c").exists()


def test_a_whole_rival_is_loaded_again_for_the_same_task(data, tmp_path):
    run_finetuning.main(finetuning("readmission", data, tmp_path, architecture="rnn"))
    arguments = tiny_model_options(architecture="rnn", text_hidden_size=32)
    labels = {"id2label": {0: "readmission"}, "label2id": {"readmission": 0}}
    model = load_model("readmission", tmp_path, arguments, **labels)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(weight, saved[name]) for name, weight in model.state_dict().items())
