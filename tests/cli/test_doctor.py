"""`medm-plm doctor`: says what is wrong and how to mend it, and passes what is right."""

import json
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from safetensors.torch import load_file, save_file

from medm_plm.cli import main
from medm_plm.data.preparation import Preparation
from medm_plm.data.synthetic import DRUG_MAP_FILE, write_synthetic_tables
from medm_plm.doctor.data_folders import check_data
from medm_plm.doctor.findings import OK, PROBLEM, WARNING
from medm_plm.doctor.installation import check_installation, check_packages, check_python
from medm_plm.doctor.machine import check_disk, check_machine
from medm_plm.doctor.model_folders import check_model
from modeling_medm_plm import MedMPLMForPreTraining, MedMPLMForTokenClassification, MedMPLMModel
from prepared_cohort import write_prepared_folder
from tiny_models import build
from tiny_predictors import TASK_NAMES, save_predictor
from tiny_processors import tiny_processor

NEEDS = [
    Requirement(line)
    for line in ("torch>=2.10", "numpy>=2.1,<3", "onnx>=1.19; extra == 'onnx'", "ruff>=0.14; extra == 'dev'")
]


def versions(**installed: str):
    def version_of(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    return version_of


def found(findings, status: str) -> dict[str, str]:
    return {item.area: f"{item.message}; {item.remedy}" for item in findings if item.status == status}


def test_versions_in_the_bounds_are_well():
    findings = check_packages(NEEDS, versions(torch="2.13.0+cpu", numpy="2.4.6", onnx="1.23.2"))
    assert {item.status for item in findings} == {OK}
    assert [item.area for item in findings] == ["packages", "extra [onnx]"]


def test_a_missing_or_old_package_is_named_with_its_mending():
    findings = check_packages(NEEDS, versions(numpy="1.26.4"))
    problems = found(findings, PROBLEM)
    assert problems.keys() == {"torch", "numpy"}
    assert 'is not installed; pip install "torch>=2.10"' in problems["torch"]
    assert "version 1.26.4, expected" in problems["numpy"]
    assert "not installed: onnx" in found(findings, OK)["extra [onnx]"]


def test_an_extra_of_a_wrong_version_is_a_warning():
    findings = check_packages(NEEDS, versions(torch="2.13.0", numpy="2.4.6", onnx="1.2"))
    assert 'onnx>=1.19 (is 1.2); pip install "medm-plm[onnx]"' in found(findings, WARNING)["extra [onnx]"]


def test_python_outside_the_bounds_is_a_problem():
    assert check_python(">=3.11,<3.14", "3.12.1")[0].status == OK
    assert check_python(">=3.11,<3.14", "3.10.9")[0].status == PROBLEM


def test_a_package_that_is_not_installed_is_said():
    (finding,) = check_installation("no-such-distribution-as-this")
    assert finding.status == WARNING
    assert "pip install" in finding.remedy


def test_this_machine_is_described(tmp_path):
    areas = [item.area for item in check_machine(tmp_path / "not" / "there")]
    assert areas[0] == "cpu"
    assert {"memory", "disk"} <= set(areas)


def test_a_full_disk_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**12, 10**12, 10**8))
    assert check_disk(tmp_path).status == PROBLEM


# --- data folders


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("doctor")
    write_synthetic_tables(base / "tables", num_patients=60, seed=0)
    Preparation(
        "synthetic", base / "tables", base / "prepared", drug_map=base / "tables" / DRUG_MAP_FILE
    ).run()
    return base


def test_a_prepared_folder_is_well(prepared):
    findings = check_data(prepared / "prepared")
    assert found(findings, PROBLEM) == {}
    assert {"data", "leakage", "report", "rights"} == {item.area for item in findings}


def test_tables_of_a_source_are_recognised(prepared):
    findings = check_data(prepared / "tables")
    assert "tables of mimic3" in found(findings, OK)["data"]
    assert "medm-plm prepare --source mimic3" in found(findings, OK)["data"]


def test_a_folder_of_something_else_names_what_each_source_lacks(tmp_path):
    (tmp_path / "holiday.csv").write_text("a,b\n")
    message = found(check_data(tmp_path), PROBLEM)["data"]
    assert all(source in message for source in ("mimic3", "mimic4", "eicu", "meds", "table"))


def test_a_damaged_prepared_folder_is_a_problem(tmp_path):
    folder = write_prepared_folder(tmp_path / "prepared")
    (folder / "visits.parquet").write_bytes(b"PAR1 nothing")
    assert "cannot be read as parquet" in found(check_data(folder), PROBLEM)["data"]


def test_a_folder_that_others_can_enter_is_a_warning(tmp_path):
    tmp_path.chmod(0o755)
    assert "chmod 700" in found(check_data(tmp_path), WARNING)["rights"]
    tmp_path.chmod(0o700)
    assert "rights" not in found(check_data(tmp_path), WARNING)


# --- model folders


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_fine_tuned_folder_is_well(task, tmp_path):
    findings = check_model(save_predictor(task, tmp_path / "model"))
    assert found(findings, PROBLEM) == {}
    assert found(findings, OK).keys() == {"files", "code", "model", "processor", "forward pass"}
    assert found(findings, WARNING).keys() == {"card"}


@pytest.mark.parametrize("model_class", [MedMPLMModel, MedMPLMForPreTraining, MedMPLMForTokenClassification])
def test_every_other_head_is_tried_too(model_class, tmp_path):
    processor = tiny_processor()
    rows, codes = {"vocab_size": len(processor.tokenizer)}, {"vocab_size": processor.code_tokenizer.num_codes}
    build(model_class, text_config=rows, code_config=codes).save_pretrained(tmp_path / "model")
    is_tagger = model_class is MedMPLMForTokenClassification
    (processor.tokenizer if is_tagger else processor).save_pretrained(tmp_path / "model")
    findings = check_model(tmp_path / "model")
    assert found(findings, PROBLEM) == {}
    assert "outputs for an invented visit" in found(findings, OK)["forward pass"]


def change_json(folder: Path, name: str, **fields: object) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **fields}))


def cut(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(
        weights, next(key for key in weights if key.endswith("text_model.embeddings.word_embeddings.weight"))
    )
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


DAMAGES = {
    "config.json missing": (lambda f: (f / "config.json").unlink(), "config.json missing"),
    "config.json cut": (lambda f: cut(f, "config.json"), "no valid JSON"),
    "weights missing": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors missing"),
    "weights cut": (lambda f: cut(f, "model.safetensors"), "belong to no weight"),
    "a pickle": (lambda f: (f / "pytorch_model.bin").write_bytes(b"x"), "pickle"),
    "code changed": (
        lambda f: (f / "modeling_medm_plm.py").write_text("print('hello')\n"),
        "differs from the one of this installation",
    ),
    "other code named": (
        lambda f: change_json(f, "config.json", auto_map={"AutoModel": "someone/else--modeling.Other"}),
        "names code that is not part of this project",
    ),
    "an adapter": (
        lambda f: (f / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}'),
        "open the repository",
    ),
    "a token": (lambda f: change_json(f, "config.json", note="hf_" + "a" * 30), "an access token"),
    "absurd size": (
        lambda f: change_json(f, "config.json", classifier_hidden_size=10**9),
        "classifier_hidden_size",
    ),
    "another width": (lambda f: change_json(f, "config.json", classifier_hidden_size=9), "shape"),
    "a weight gone": (lambda f: change_weights(f, lambda w, k: w.pop(k)), "are missing and would be random"),
    "a weight too many": (
        lambda f: change_weights(f, lambda w, k: w.update(extra=torch.zeros(2))),
        "have no place in the model",
    ),
    "NaN": (lambda f: change_weights(f, lambda w, k: w[k].fill_(float("nan"))), "hold NaN or infinity"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "word pieces, the model has"),
    "no tokenizer's settings": (lambda f: (f / "tokenizer_config.json").unlink(), "no padding token"),
    "no code tokenizer": (lambda f: shutil.rmtree(f / "code_tokenizer"), "no code vocabulary"),
    "no codes": (lambda f: (f / "code_tokenizer" / "tokenizer.json").unlink(), "no code vocabulary"),
    "no code tokenizer's settings": (
        lambda f: (f / "code_tokenizer" / "tokenizer_config.json").unlink(),
        "no code vocabulary",
    ),
    "codes of another model": (
        lambda f: change_json(f, "code_tokenizer/tokenizer_config.json", num_codes=5),
        "codes, the model has",
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_predictor("icd_coding", tmp_path_factory.mktemp("saved") / "model")


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found_and_has_a_remedy(damage, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "model")
    hurt, said = DAMAGES[damage]
    hurt(folder)
    problems = [item for item in check_model(folder) if item.status == PROBLEM]
    assert any(said in item.message for item in problems), problems
    assert all("\n" not in item.message for item in problems)
    assert "a" * 30 not in str(problems)


def test_a_tokenizer_without_its_words_is_a_problem_of_the_processor(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    assert found(check_model(folder), PROBLEM).keys() == {"processor"}


def test_status_and_json_tell_whether_something_is_wrong(saved, tmp_path, capsys):
    main(["doctor", "--model", str(saved), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["is_well"] is True
    folder = shutil.copytree(saved, tmp_path / "model")
    cut(folder, "model.safetensors")
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--model", str(folder)])
    assert stop.value.code == 1
    text = capsys.readouterr().out
    assert "PROBLEM  weights" in text
    assert "1 problems" in text
