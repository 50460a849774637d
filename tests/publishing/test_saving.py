"""What is saved may be shared, and nothing uploads around the gate."""

import json
from pathlib import Path

import pytest
from transformers import BertConfig, BertModel, TrainingArguments

import configuration_medm_plm
import run_finetuning
import run_pretraining
from medm_plm.errors import InputError
from medm_plm.publishing import publish, shareable_files
from medm_plm.training.settings_file import SETTINGS_FILE, shareable_settings
from medm_plm.training.trainer import MedMPLMTrainer
from modeling_medm_plm import MedMPLMForICDCoding
from prepared_cohort import (
    PROJECT_ROOT,
    pretrained_folder,
    smoke_options,
    tiny_processor,
    write_prepared_folder,
)
from tiny_models import NODE_PARENTS, build, tiny_config
from tiny_processors import tiny_processor as other_processor
from tiny_trainers import VISITS, pretraining_trainer, run_arguments

REPO = "hospital/medm-plm"
TOKEN = "hf_" + "aB3dE5fG7h" * 3


def test_code_files_are_those_of_the_package(saved_model):
    for name in (name for name in shareable_files(saved_model) if name.endswith(".py")):
        assert (saved_model / name).read_bytes() == (PROJECT_ROOT / name).read_bytes()
    assert {"configuration_medm_plm.py", "modeling_medm_plm.py", "tokenization_medm_plm.py"} <= set(
        shareable_files(saved_model)
    )


def test_everything_that_is_saved_may_be_shared(saved_model):
    files = {
        path.relative_to(saved_model).as_posix()
        for path in saved_model.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(shareable_files(saved_model)) == files


def test_a_text_encoder_read_from_a_folder_leaves_no_trace_of_it(tmp_path):
    BertModel(BertConfig(**tiny_config().text_config.to_dict())).save_pretrained(tmp_path / "bert")
    model = MedMPLMForICDCoding.from_text_pretrained(
        str(tmp_path / "bert"), code_config=tiny_config().code_config, node_parents=NODE_PARENTS
    )
    model.save_pretrained(tmp_path / "model")
    other_processor().save_pretrained(tmp_path / "model")
    assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text()
    publish(tmp_path / "model", REPO, dry_run=True)


@pytest.mark.parametrize("make", [lambda: build(MedMPLMForICDCoding), other_processor, tiny_config])
def test_nothing_uploads_around_the_gate(make, tmp_path):
    saved = make()
    with pytest.raises(PermissionError, match=r"run_publishing\.py"):
        saved.push_to_hub(REPO)
    with pytest.raises(PermissionError, match=r"run_publishing\.py"):
        saved.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id=REPO)


def test_the_code_part_alone_does_not_either(tmp_path):
    with pytest.raises(PermissionError, match=r"run_publishing\.py"):
        configuration_medm_plm.MedMPLMCodeConfig().push_to_hub(REPO)
    with pytest.raises(PermissionError, match=r"run_publishing\.py"):
        other_processor().code_tokenizer.push_to_hub(REPO)


@pytest.fixture(scope="module")
def processor():
    return tiny_processor(VISITS)


def test_a_trainer_never_uploads_its_folder(processor, tmp_path):
    trainer = pretraining_trainer(processor, tmp_path)
    for upload in (trainer.push_to_hub, trainer.init_hf_repo):
        with pytest.raises(InputError, match="never uploaded"):
            upload()
    with pytest.raises(InputError, match="never uploaded"):
        trainer._push_from_checkpoint(str(tmp_path))


@pytest.mark.parametrize("strategy", ["end", "every_save", "checkpoint", "all_checkpoints"])
def test_plain_arguments_of_the_library_do_not_help(strategy, tmp_path):
    args = TrainingArguments(str(tmp_path), push_to_hub=True, hub_model_id=REPO, hub_strategy=strategy)
    args.early_stopping_patience = None
    with pytest.raises(InputError, match="never uploaded"):
        MedMPLMTrainer(args=args, model=build(MedMPLMForICDCoding))


def test_the_library_is_not_told_of_the_repository(tmp_path):
    args = run_arguments(tmp_path, push_to_hub=True, hub_model_id=REPO)
    assert (args.push_to_hub, args.publish_to) == (False, REPO)
    assert run_arguments(tmp_path, hub_model_id=REPO).publish_to is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--hub_model_id"),
        ({"hub_model_id": "medm-plm"}, "OWNER/NAME"),
        ({"hub_model_id": "a/b/c"}, "OWNER/NAME"),
        ({"hub_model_id": REPO, "hub_strategy": "every_save"}, "checkpoints are never uploaded"),
        ({"hub_model_id": REPO, "hub_strategy": "checkpoint"}, "checkpoints are never uploaded"),
        ({"hub_model_id": REPO, "hub_strategy": "all_checkpoints"}, "checkpoints are never uploaded"),
        ({"hub_model_id": REPO, "hub_private_repo": False}, "hub_private_repo"),
    ],
)
def test_options_that_would_upload_more_are_refused_before_the_run(options, words, tmp_path):
    with pytest.raises(InputError, match=words):
        run_arguments(tmp_path, push_to_hub=True, **options)


def test_settings_stand_in_for_the_pickle(processor, tmp_path):
    options = {"hub_token": TOKEN, "run_name": "ward 7", "frozen_text_cache": str(tmp_path / "cache")}
    trainer = pretraining_trainer(processor, tmp_path, learning_rate=0.003, **options)
    trainer.save_model(str(tmp_path / "model"))
    text = (tmp_path / "model" / SETTINGS_FILE).read_text()
    assert json.loads(text)["learning_rate"] == 0.003
    assert not list(tmp_path.rglob("training_args.bin"))
    for secret in (TOKEN, str(tmp_path), "ward 7", "<"):
        assert secret not in text


def test_settings_are_numbers_switches_and_plain_names(tmp_path):
    """Whatever the library's options are called tomorrow, text with blanks, dots or slashes stays here."""
    args = run_arguments(tmp_path)
    args.to_dict = lambda: {
        "a": "linear",
        "b": "x/y",
        "c": TOKEN,
        "d": "C:",
        "my_token": "x",
        "e": 1,
        "f": None,
    }
    assert shareable_settings(args) == {"a": "linear", "e": 1}


@pytest.mark.hub
def test_pretraining_publishes_its_finished_model_privately(hub_here, tmp_path_factory, tmp_path, capsys):
    data = write_prepared_folder(tmp_path / "prepared")
    words = ["--data", str(data), "--output_dir", str(tmp_path / "model"), "--num_train_epochs", "1"]
    words += ["--push_to_hub", "true", "--hub_model_id", REPO]
    run_pretraining.main([*smoke_options("pretraining"), *words])
    repo = hub_here.repo(REPO)
    assert repo.private
    assert len(repo.commits) == 2  # the empty one and the model; nothing while it was trained
    assert set(repo.head().files) == {".gitattributes", *shareable_files(tmp_path / "model")}
    assert {"README.md", SETTINGS_FILE, "model.safetensors"} <= set(repo.head().files)
    assert "checkpoints/" in capsys.readouterr().out
    sent = b"".join(blob.content for blob in repo.head().files.values())
    assert str(tmp_path).encode() not in sent


@pytest.mark.hub
def test_finetuning_publishes_its_finished_model_privately(hub_here, tmp_path_factory, tmp_path):
    model = pretrained_folder(tmp_path_factory.getbasetemp())
    words = ["--data", str(model.parent / "prepared"), "--model", str(model)]
    words += ["--output_dir", str(tmp_path / "model"), "--push_to_hub", "true", "--hub_model_id", REPO]
    run_finetuning.main([*smoke_options("readmission"), *words])
    repo = hub_here.repo(REPO)
    assert repo.private
    assert set(repo.head().files) == {".gitattributes", *shareable_files(tmp_path / "model")}
    assert not [name for name in repo.head().files if "predictions" in name or "metrics" in name]


def test_a_baseline_has_nothing_to_publish(tmp_path):
    data = write_prepared_folder(tmp_path / "prepared")
    words = ["--data", str(data), "--baseline", "frequency", "--output_dir", str(tmp_path / "out")]
    words += ["--task", "readmission", "--push_to_hub", "true", "--hub_model_id", REPO]
    with pytest.raises(InputError, match="a baseline is not saved"):
        run_finetuning.main(words)
    assert not Path(tmp_path / "out" / "metrics.json").exists()
