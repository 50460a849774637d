"""Which runs a list asks for, in which order, and with which words."""

from dataclasses import replace
from pathlib import Path

import pytest

from fake_experiments import fake_list
from medm_plm.errors import InputError
from medm_plm.experiments.planning import command_words, package_folder, plan_runs, select_runs


def short(run):
    return (run.kind if run.model is None else run.model, run.task, run.seed, run.share)


def test_everything_of_the_first_seed_comes_first():
    runs = plan_runs(fake_list())
    of_one_seed = [
        ("pretraining", None),
        ("full", "readmission"),
        ("full", "icd_coding"),
        ("half", "icd_coding"),
        ("new", "readmission"),
        ("new", "icd_coding"),
    ]
    found = [short(run)[:3] for run in runs]
    linear = [("linear", "readmission", 1), ("linear", "icd_coding", 1)]
    assert found == linear + [(*pair, seed) for seed in (1, 2) for pair in of_one_seed]


def test_a_pretraining_is_shared_by_models_with_equal_options_and_by_nobody_else():
    runs = plan_runs(fake_list(seeds=[1]))
    pretraining = [run for run in runs if run.kind == "pretraining"]
    assert len(pretraining) == 1
    needs = {run.model: run.needs for run in runs}
    assert needs["full"] == needs["half"] == (pretraining[0].name,)
    assert needs["new"] == needs["linear"] == ()
    models = fake_list().models
    models["half"] = replace(models["half"], pretraining={"num_train_epochs": 9})
    apart = plan_runs(fake_list(seeds=[1], models=models))
    assert len([run for run in apart if run.kind == "pretraining"]) == 2


def test_options_reach_those_who_read_them():
    by_name = {(run.model, run.task): run.settings for run in plan_runs(fake_list(seeds=[1]))}
    assert by_name[None, None] == {
        "num_train_epochs": 3,
        "text_model": "package:encoder/model",
        "data": "{data}",
        "seed": 1,
    }
    full = by_name["full", "icd_coding"]
    assert (full["num_train_epochs"], full["top_k_labels"], full["model"]) == (2, 5, "{pretrained}")
    assert "text_model" not in full
    new = by_name["new", "readmission"]
    assert (new["text_model"], new["use_cross_modal"]) == ("package:encoder/model", False)
    assert "model" not in new
    assert by_name["linear", "icd_coding"] == {
        "top_k_labels": 5,
        "task": "icd_coding",
        "seed": 1,
        "data": "{data}",
        "training_ratio": 1.0,
        "baseline": "linear",
    }


def test_names_change_with_settings_and_with_nothing_else():
    names = [run.name for run in plan_runs(fake_list(seeds=[1]))]
    assert names == [run.name for run in plan_runs(fake_list(seeds=[1], title="other", reference=None))]
    changed = [run.name for run in plan_runs(fake_list(seeds=[1], finetuning={"num_train_epochs": 7}))]
    same = set(names) & set(changed)
    assert {name.split("-")[1] for name in same} == {"linear", "medm_plm"}  # baseline and pre-training


def test_a_model_pretrained_differently_is_another_run():
    lists = [fake_list(seeds=[1], pretraining={"num_train_epochs": epochs}) for epochs in (1, 2)]
    first, second = ({run.name for run in plan_runs(found) if run.model == "full"} for found in lists)
    assert not first & second


def test_shares_from_the_whole_down():
    runs = plan_runs(fake_list(seeds=[1], shares=[0.1, 1.0], tasks={"readmission": {}, "icd_coding": {}}))
    assert [run.share for run in runs if run.model == "full"] == [1.0, 1.0, 0.1, 0.1]
    assert "share0.1" in runs[-1].name
    assert runs[-1].settings["training_ratio"] == 0.1


def test_a_list_without_tasks_pretrains():
    models = {name: replace(model, only=None) for name, model in fake_list().models.items()}
    assert [short(run)[0] for run in plan_runs(fake_list(tasks={}, models=models, seeds=[1]))] == [
        "pretraining"
    ]


def test_chosen_runs_bring_what_they_need():
    runs = plan_runs(fake_list())
    chosen = select_runs(runs, ["icd_coding-half-seed2*"])
    assert [short(run)[0] for run in chosen] == ["pretraining", "half"]
    assert select_runs(runs, None) == runs
    with pytest.raises(InputError, match="fits no run"):
        select_runs(runs, ["gbert"])


def test_words_of_the_command_line(tmp_path):
    run = plan_runs(fake_list(seeds=[1]))[0]
    run = replace(run, settings={"data": "{data}", "flag": True, "files": ["{data}/a", "b"], "rate": 5e-4})
    words = command_words(run, Path("out"), {"{data}": Path("/somewhere")})
    expected = "--output_dir out --data /somewhere --flag true --files /somewhere/a b --rate 0.0005"
    assert words == expected.split()


def test_a_folder_inside_a_package():
    assert package_folder("package:medm_plm/data").name == "data"
    with pytest.raises(InputError, match=r"not installed.*--text_model"):
        package_folder("package:no_such_package/model")
