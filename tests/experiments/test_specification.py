"""The YAML of a list of runs: what is read, what is laid over what, and what is refused."""

import pytest

from medm_plm.errors import InputError
from medm_plm.experiments.specification import overlay, parse_folders, read_experiment_list

LIST = """
title: small
data: {name: invented, source: synthetic, options: {num_patients: 20}}
common: {learning_rate: 0.1}
tasks: {readmission: , icd_coding: {top_k_labels: 5}}
models:
  linear: {label: LR, baseline: linear}
  full: {label: MedM-PLM, pretraining: {}, paper: {readmission: [68.61, 68.77, 74.70]}}
reference: full
reports: [{kind: task_table, name: table, title: A table}]
"""


def write(folder, text, name="list.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_list_is_read(tmp_path):
    found = read_experiment_list(write(tmp_path, LIST))
    assert found.data.options == {"num_patients": 20}
    assert list(found.tasks) == ["readmission", "icd_coding"]
    assert found.models["full"].pretraining == {}
    assert found.models["linear"].pretraining is None
    assert found.seeds == [1]
    assert found.reports[0].metrics_of("readmission")[-1] == "auroc"


def test_one_list_is_laid_over_another(tmp_path):
    write(tmp_path, LIST, "base.yaml")
    text = (
        "base: base.yaml\ntitle: other\nmodels: {linear: null, full: {label: ours}}\ncommon: {seed_text: 1}\n"
    )
    found = read_experiment_list(write(tmp_path, text))
    assert found.title == "other"
    assert list(found.models) == ["full"]
    assert (found.models["full"].label, found.models["full"].pretraining) == ("ours", {})
    assert found.common == {"learning_rate": 0.1, "seed_text": 1}


def test_lists_that_name_each_other_are_refused(tmp_path):
    write(tmp_path, "base: list.yaml", "base.yaml")
    with pytest.raises(InputError, match="name each other"):
        read_experiment_list(write(tmp_path, "base: base.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("baseline: linear", "basline: linear", "unknown key; received basline, expected baseline"),
        ("title: small\n", "", "missing 1 required positional argument: 'title'"),
        (
            "readmission: [68",
            "mortality: [68",
            "names a task that the list does not have; received mortality",
        ),
        ("reference: full", "reference: fll", "names a model that the list does not have; received fll"),
        ("task_table", "table", "received table, expected task_table or"),
        ("{learning_rate: 0.1}", "{learning_rate: 0.1", "row 5: this is no valid YAML"),
        ("reference: full", "shares: [0.0]", "received 0.0, expected shares in"),
        (
            "{name: invented, source: synthetic, options: {num_patients: 20}}",
            "here",
            "no mapping; received str",
        ),
    ],
)
def test_mistakes_are_named(old, new, message, tmp_path):
    with pytest.raises(InputError, match=r"list\.yaml") as caught:
        read_experiment_list(write(tmp_path, LIST.replace(old, new)))
    assert message in str(caught.value)


def test_overlay_takes_out_what_is_null():
    assert overlay({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}, "d": 5}) == {
        "a": {"c": 2, "e": 4},
        "d": 5,
    }


def test_folders_by_name(tmp_path):
    assert parse_folders([f"eicu={tmp_path}"]) == {"eicu": tmp_path.resolve()}
    with pytest.raises(InputError, match="NAME=FOLDER"):
        parse_folders([str(tmp_path)])
    with pytest.raises(InputError, match="does not exist"):
        parse_folders(["eicu=/nowhere/at/all"])


@pytest.mark.parametrize(
    "name",
    ["smoke", "table3", "table3_eicu", "table5_ner", "table6", "few_shot", "ablations", "learning_curves"],
)
def test_the_lists_of_the_project_are_valid(name, project_root):
    assert read_experiment_list(project_root / "configs" / "experiments" / f"{name}.yaml").models
