"""Folders that any Auto class opens, with and without the project, bit for bit."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, BertConfig, BertModel

import modeling_medm_plm
from modeling_medm_plm import (
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMForReadmissionPrediction,
    MedMPLMForTokenClassification,
    MedMPLMModel,
)
from strangers import run_stranger
from tiny_models import NODE_PARENTS, build, tiny_config, visit_inputs
from tiny_processors import tiny_processor

HEADS = (
    MedMPLMModel,
    MedMPLMForPreTraining,
    MedMPLMForReadmissionPrediction,
    MedMPLMForICDCoding,
    MedMPLMForMedicationRecommendation,
    MedMPLMForTokenClassification,
)

STRANGER = """
import torch
from transformers import AutoConfig, AutoModel, AutoModelForPreTraining, AutoProcessor, AutoTokenizer
folder, inputs, out = sys.argv[1:]
assert AutoConfig.from_pretrained(folder, trust_remote_code=True).model_type == "medm_plm"
assert AutoTokenizer.from_pretrained(folder, trust_remote_code=True)("a note")["input_ids"]
assert AutoProcessor.from_pretrained(folder, trust_remote_code=True)("a note", diagnosis_codes=["428.0"])
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
with torch.no_grad():
    result = model(**torch.load(inputs, weights_only=True)).text_augmented_output
torch.save(result, out)
other = AutoModelForPreTraining.from_pretrained(folder, trust_remote_code=True)
assert type(other).__name__ == "MedMPLMForPreTraining"
model.save_pretrained(folder + "-again")
again = AutoModel.from_pretrained(folder + "-again", trust_remote_code=True).eval()
with torch.no_grad():
    assert torch.equal(again(**torch.load(inputs, weights_only=True)).text_augmented_output, result)
"""


@pytest.mark.parametrize("model_class", HEADS)
def test_every_saved_folder_names_all_auto_classes(model_class, tmp_path):
    build(model_class).save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert set(auto_map) == set(modeling_medm_plm.AUTO_MAP)
    for reference in auto_map.values():
        module, name = reference.split(".")
        assert (tmp_path / f"{module}.py").exists()
        assert f"class {name}(" in (tmp_path / f"{module}.py").read_text()
    others = {MedMPLMModel, MedMPLMForPreTraining, MedMPLMForTokenClassification}
    expected = MedMPLMForICDCoding if model_class in others else model_class
    assert auto_map["AutoModelForSequenceClassification"].endswith(f".{expected.__name__}")


def test_a_fine_tuned_model_brings_its_pipelines(tmp_path):
    build(MedMPLMForICDCoding).save_pretrained(tmp_path)
    project_file = Path(modeling_medm_plm.__file__).with_name("pipeline_medm_plm.py")
    assert (tmp_path / "pipeline_medm_plm.py").read_bytes() == project_file.read_bytes()


def test_saved_folder_holds_safetensors_json_and_code_only(tmp_path):
    build(MedMPLMModel).save_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__") == [
        "config.json",
        "configuration_medm_plm.py",
        "model.safetensors",
        "modeling_medm_plm.py",
    ]
    for name in ("configuration_medm_plm.py", "modeling_medm_plm.py"):
        project_file = Path(modeling_medm_plm.__file__).with_name(name)
        assert (tmp_path / name).read_bytes() == project_file.read_bytes()


def test_folder_opens_where_the_project_is_not_importable(tmp_path):
    """The stranger's case: transformers and torch only, `trust_remote_code=True`."""
    folder, inputs, out = tmp_path / "model", tmp_path / "inputs.pt", tmp_path / "out.pt"
    model = build(MedMPLMForICDCoding)
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    torch.save(visit_inputs(), inputs)
    run_stranger(tmp_path, STRANGER, folder, inputs, out)
    with torch.no_grad():
        expected = model.model(**visit_inputs()).text_augmented_output
    assert torch.equal(torch.load(out, weights_only=True), expected)


@pytest.mark.parametrize("model_class", HEADS)
def test_loaded_model_equals_the_saved_one(model_class, tmp_path):
    model = build(model_class, num_frozen_text_layers=1)
    model.save_pretrained(tmp_path)
    loaded = model_class.from_pretrained(tmp_path)
    weights, loaded_weights = model.state_dict(), loaded.state_dict()
    assert weights.keys() == loaded_weights.keys()
    assert all(torch.equal(weights[name], loaded_weights[name]) for name in weights)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    assert {name for name, p in loaded.named_parameters() if not p.requires_grad} == frozen


def test_heads_load_the_weights_of_the_pretrained_body(tmp_path):
    pretrained = build(MedMPLMForPreTraining)
    pretrained.save_pretrained(tmp_path)
    head = MedMPLMForICDCoding.from_pretrained(tmp_path, num_labels=4)
    body, loaded = pretrained.model.state_dict(), head.model.state_dict()
    assert all(torch.equal(body[name], loaded[name]) for name in body)
    assert "code_model.embeddings.word_embeddings.node_parents" in body
    assert body["code_model.embeddings.word_embeddings.node_parents"].tolist() == NODE_PARENTS


def test_buffers_are_rebuilt_when_a_checkpoint_lacks_them(tmp_path):
    """Trap: models are made on the meta device, and a missing buffer would be uninitialised memory."""
    model = build(MedMPLMModel)
    weights = {n: v.clone() for n, v in model.state_dict().items() if not n.endswith("node_parents")}
    model.save_pretrained(tmp_path, state_dict=weights)
    loaded = MedMPLMModel.from_pretrained(tmp_path)
    assert set(loaded.code_model.embeddings.word_embeddings.node_parents.tolist()) == {-1}
    assert loaded.text_model.embeddings.position_ids.tolist() == [list(range(40))]


def test_published_encoder_goes_into_the_text_tower(tmp_path):
    torch.manual_seed(0)
    published = BertModel(BertConfig(**tiny_config().text_config.to_dict() | {"num_hidden_layers": 3}))
    published.save_pretrained(tmp_path)
    model = MedMPLMForPreTraining.from_text_pretrained(
        str(tmp_path), code_config=tiny_config().code_config, node_parents=NODE_PARENTS, text_pooling="mean"
    )
    weights = published.state_dict()
    for name, value in model.model.text_model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert model.config.num_frozen_text_layers == 1
    assert not model.model.text_model.encoder.layer[0].output.dense.weight.requires_grad
    inputs = visit_inputs()
    published.eval()
    expected = published(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    torch.testing.assert_close(model(**inputs).text_last_hidden_state, expected)


def test_other_architectures_are_refused_for_the_text_tower(tmp_path):
    AutoConfig.for_model("gpt2", n_layer=1, n_embd=8, n_head=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"text_config\.model_type"):
        MedMPLMModel.from_text_pretrained(str(tmp_path))
