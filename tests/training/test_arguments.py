"""Options: the folder of a run, refused values, and the YAML files with the paper's settings."""

from pathlib import Path

import pytest

from medm_plm.command_line import parse_arguments
from medm_plm.errors import InputError
from medm_plm.training.arguments import (
    NER_TASK,
    TASK_NAMES,
    FinetuningArguments,
    ModelArguments,
    NerArguments,
    PretrainingArguments,
    RunArguments,
)

PAPER_LEARNING_RATES = {  # section III-B of Liu et al. (2022)
    "pretraining": 5e-4,
    "medication_recommendation": 5e-5,
    "readmission": 2e-5,
    "icd_coding": 1e-5,
    "ner": 3e-5,
}
# Settings that the paper does not have are trained as the task of the paper that they are nearest to.
NEAREST = {
    "mortality": "readmission",
    "medication_recommendation_first_day": "medication_recommendation",
    "icd_coding_caml50": "icd_coding",
}
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def read_config(path: Path):
    """Parse a YAML file as its script does."""
    kind = PretrainingArguments if path.stem == "pretraining" else FinetuningArguments
    argv = ["--config", str(path), "--data", "prepared", "--output_dir", "out"]
    if path.stem == NER_TASK:
        argv[2:4] = ["--ner_train", "train.tsv"]
        options, _, *others = parse_arguments(kind, NerArguments, ModelArguments, RunArguments, argv=argv)
        return options, *others
    return parse_arguments(kind, ModelArguments, RunArguments, argv=argv)


def test_the_run_folder_holds_the_checkpoints_of_the_library(tmp_path):
    args = RunArguments(output_dir=str(tmp_path / "out"))
    assert args.run_dir == tmp_path / "out"
    assert args.output_dir == str(tmp_path / "out" / "checkpoints")


def test_nothing_is_reported_and_the_best_epoch_is_kept_by_default(tmp_path):
    args = RunArguments(output_dir=str(tmp_path))
    assert args.report_to == []
    assert args.load_best_model_at_end
    assert args.eval_strategy == args.save_strategy == "epoch"


def test_raw_columns_cannot_be_removed(tmp_path):
    with pytest.raises(InputError, match="remove_unused_columns"):
        RunArguments(output_dir=str(tmp_path), remove_unused_columns=True)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5])
def test_training_ratio_is_a_share(ratio):
    with pytest.raises(InputError, match="training_ratio"):
        FinetuningArguments(task="readmission", data="d", training_ratio=ratio)


@pytest.mark.parametrize(("name", "value"), [("top_k_labels", 0), ("max_visits", 1)])
def test_counts_have_a_least_value(name, value):
    with pytest.raises(InputError, match=name):
        FinetuningArguments(task="icd_coding", data="d", **{name: value})


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [
        ("readmission", "label_file", "labels.txt"),
        ("medication_prediction", "split_ids", "lists"),
        ("icd_coding", "medication_window", "first_day"),
        ("medication_prediction", "current_note", "full"),
        ("medication_prediction", "ddi_pairs", "pairs.csv"),
        ("ner", "tune_threshold", True),
        ("ner", "fit_temperature", True),
    ],
)
def test_an_option_of_another_task_is_refused(task, name, value):
    with pytest.raises(InputError, match=f"--{name} has no place in task {task}"):
        FinetuningArguments(task=task, data=None if task == "ner" else "d", **{name: value})


@pytest.mark.parametrize("below", [(), ("further", "below")])
def test_an_output_folder_that_is_a_file_is_refused(below, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"--output_dir; received a (file|place below the file .*), exp"):
        RunArguments(output_dir=str((tmp_path / "file").joinpath(*below)))


@pytest.mark.parametrize(("name", "value"), [("text_max_length", 2), ("code_hidden_size", 0)])
def test_sizes_of_a_model_have_a_least_value(name, value):
    with pytest.raises(InputError, match=f"option --{name}; received {value}, expected at least"):
        ModelArguments(**{name: value})


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_mask_share_is_a_share(share):
    with pytest.raises(InputError, match="mask_share"):
        PretrainingArguments(data="d", mask_share=share)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_configs_hold_the_learning_rates_of_the_paper(path):
    options, _, args = read_config(path)
    # What stands above the text encoder in named entity recognition is new and has a rate of its own.
    rate = args.text_learning_rate or args.learning_rate
    assert rate == PAPER_LEARNING_RATES[NEAREST.get(path.stem, path.stem)]
    assert path.stem.startswith(getattr(options, "task", "pretraining"))
    assert args.early_stopping_patience


def test_pretraining_config_is_that_of_the_paper():
    options, _, args = read_config(CONFIGS / "pretraining.yaml")
    assert options.mask_share == 0.15
    assert options.pretraining_target == "masked"
    assert args.per_device_train_batch_size == 32
    assert args.num_train_epochs == 200
    assert args.weight_decay == 0.0


@pytest.mark.parametrize("name", ["pretraining", *TASK_NAMES, NER_TASK])
def test_every_task_has_a_smoke_config(name):
    options, _, args = read_config(CONFIGS / "smoke" / f"{name}.yaml")
    assert getattr(options, "task", "pretraining") == name
    assert args.num_train_epochs <= 3


def test_configs_of_further_settings_hold_them():
    first_day, _, _ = read_config(CONFIGS / "medication_recommendation_first_day.yaml")
    assert (first_day.medication_window, first_day.current_note) == ("first_day", "admission_sections")
    coding, _, _ = read_config(CONFIGS / "icd_coding_caml50.yaml")
    assert (CONFIGS.parent / coding.label_file).is_file()
