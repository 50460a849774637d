"""Exported graphs: what they say is what the model says, over shapes they have never seen."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")

import run_export
from medm_plm.data.collators import VisitCollator
from medm_plm.errors import InputError
from medm_plm.export import (
    MAX_DIFFERENCE,
    OnnxModel,
    check_parity,
    export_folder,
    folded_ontology,
    quantize_onnx,
)
from medm_plm.export import exporting as exporting_module
from medm_plm.export.graph import Axes, example_inputs, most_words
from medm_plm.training.models import new_token_classifier
from prepared_cohort import invent_visits, tiny_model, tiny_model_options, tiny_processor
from tiny_predictors import save_predictor, tiny_predictor

LABEL_ATTENTION = {"classifier": "label_attention"}


def head(task: str, **fields):
    """A model and its processor by the name of its task."""
    if task == "ner":
        processor = tiny_processor(invent_visits())
        torch.manual_seed(0)
        return new_token_classifier(
            processor.tokenizer, tiny_model_options(), True, num_labels=5
        ).eval(), processor
    if task == "pretraining":
        return tiny_model(task, invent_visits()).eval(), tiny_processor(invent_visits())
    return tiny_predictor(task, **fields)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, dict]:
    """An ICD coding model with label attention, exported by the script, and what was recorded."""
    base = tmp_path_factory.mktemp("export")
    model = save_predictor("icd_coding", base / "model", **LABEL_ATTENTION)
    run_export.main(["--model", str(model), "--output", str(base / "onnx")])
    return base / "onnx", json.loads((base / "onnx" / "export.json").read_text())


def test_the_script_writes_a_checked_graph_with_free_axes(exported):
    folder, record = exported
    assert record["largest_difference"]["model.onnx"] <= MAX_DIFFERENCE
    assert record["class"] == "MedMPLMForICDCoding"
    assert record["inputs"]["input_ids"] == ["batch", "words"]
    assert record["inputs"]["code_input_ids"] == ["batch", "codes"]
    assert {path.name for path in folder.iterdir()} >= {"model.onnx", "model_int8.onnx", "config.json"}
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.onnx"])
def test_a_file_tells_nothing_of_the_machine_that_wrote_it(name, exported):
    content = (exported[0] / name).read_bytes()
    root = Path(run_export.__file__).resolve().parent
    for place in (str(root), str(Path.cwd()), sys.prefix, str(Path(torch.__file__).parent), str(Path.home())):
        assert content.count(place.encode()) == 0
    for sign in (b".py", b"modeling_medm_plm", b"stack_trace", b"line "):
        assert content.count(sign) == 0
    assert OnnxModel(exported[0] / name).least_words == 1


def test_a_graph_predicts_visits_as_the_model_does(exported):
    model, processor = tiny_predictor("icd_coding", **LABEL_ATTENTION)
    rows = invent_visits().head(5).to_dicts()
    examples = [dict(processor(text=r["note"], medication_codes=r["medication_codes"])) for r in rows]
    graph = OnnxModel(exported[0] / "model.onnx")
    for size in (1, 2, 5):
        batch = VisitCollator.from_processor(processor)(examples[:size])
        with torch.no_grad():
            expected = model(**batch).logits.numpy()
        found = graph(**batch)["logits"]
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_the_check_sees_a_difference(exported):
    model, _ = tiny_predictor("icd_coding", **LABEL_ATTENTION)
    graph = OnnxModel(exported[0] / "model.onnx")
    assert check_parity(model, graph).holds
    with torch.no_grad():
        model.classifier.bias[0] += 1e-3
    assert not check_parity(model, graph).holds


def test_the_eight_bit_form_is_close_and_smaller(exported):
    record = exported[1]
    assert MAX_DIFFERENCE < record["largest_difference"]["model_int8.onnx"] < 0.2
    assert record["bytes"]["model_int8.onnx"] < record["bytes"]["model.onnx"]


def test_mistakes_get_one_line(exported, tmp_path):
    graph = OnnxModel(exported[0] / "model.onnx")
    with pytest.raises(InputError, match="inputs are missing"):
        graph(input_ids=torch.ones(1, 2))
    with pytest.raises(InputError, match="no exported model"):
        OnnxModel(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="no exported model"):
        quantize_onnx(tmp_path / "none.onnx", tmp_path / "small.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="is no ONNX model"):
        OnnxModel(tmp_path / "bad.onnx")
    with pytest.raises(InputError, match="no saved model"):
        run_export.main(["--model", str(tmp_path), "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        run_export.main(["--model", str(tmp_path), "--output", str(exported[0])])


def test_a_graph_that_does_not_agree_is_removed(tmp_path, monkeypatch, exported):
    model, processor = tiny_predictor("icd_coding")

    def wrong_graph(_, path):
        path.write_bytes((exported[0] / "model.onnx").read_bytes())
        return path

    monkeypatch.setattr(exporting_module, "export_onnx", wrong_graph)
    with pytest.raises(InputError, match="does not agree"):
        export_folder(model, processor, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("medm_plm.export.requirements.import_module", missing)
    with pytest.raises(InputError, match=r"medm-plm\[onnx\]"):
        export_folder(*tiny_predictor("icd_coding"), tmp_path)


def test_the_folded_table_changes_nothing_and_is_taken_out_again():
    model, _ = tiny_predictor("icd_coding")
    batch = example_inputs(model, Axes())
    names = [type(module).__name__ for module in model.modules()]
    with torch.no_grad():
        expected = model(**batch).logits
        with folded_ontology(model):
            assert "MedMPLMOntologyGAT" not in {type(module).__name__ for module in model.modules()}
            assert torch.equal(model(**batch).logits, expected)
    assert [type(module).__name__ for module in model.modules()] == names


def test_example_inputs_have_every_axis_apart_and_keep_to_the_limits():
    model, _ = tiny_predictor("medication_recommendation", use_current_note=True)
    lengths = {
        name: tuple(values.shape)
        for name, values in example_inputs(model, Axes(2, 3, 10_000, 5, 6, 10_000)).items()
    }
    longest = most_words(model)
    assert lengths["input_ids"] == (2, 3, longest)
    assert lengths["current_input_ids"] == (2, 3, longest)
    assert lengths["current_code_token_type_ids"] == (2, 3, 6)
    assert lengths["visit_mask"] == (2, 3)


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("medication_recommendation", {}),
        ("ner", {}),
        pytest.param("readmission", {}, marks=pytest.mark.slow),
        pytest.param("readmission", {"classifier_token_weights": True}, marks=pytest.mark.slow),
        pytest.param("icd_coding", {}, marks=pytest.mark.slow),
        pytest.param("icd_coding", {"max_note_chunks": 3, "chunk_length": 16}, marks=pytest.mark.slow),
        pytest.param("pretraining", {}, marks=pytest.mark.slow),
        pytest.param("medication_recommendation", LABEL_ATTENTION, marks=pytest.mark.slow),
        pytest.param("medication_recommendation", {"use_current_note": True}, marks=pytest.mark.slow),
    ],
)
def test_every_head_can_be_exported(task, fields, tmp_path):
    record = export_folder(*head(task, **fields), tmp_path, int8=False)
    assert record["largest_difference"]["model.onnx"] <= MAX_DIFFERENCE
