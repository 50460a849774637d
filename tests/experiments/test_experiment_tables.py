"""Tables against numbers written by hand, and figures that hold the lines that were asked for."""

import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from fake_experiments import fake_list
from medm_plm.errors import InputError
from medm_plm.experiments import figures
from medm_plm.experiments.comparison import Comparison, compare
from medm_plm.experiments.planning import plan_runs
from medm_plm.experiments.records import finished_records, write_record
from medm_plm.experiments.reporting import write_report
from medm_plm.experiments.reports import ReportSpecification
from medm_plm.experiments.results import Results, deviation, mean
from medm_plm.experiments.tables import Table, cost_table, gap_closed, probe_table, spread, task_tables
from medm_plm.training.evaluation import write_predictions

AUROC = {("full", 1): 0.70, ("full", 2): 0.80, ("new", 1): 0.65, ("new", 2): 0.65, ("linear", 1): 0.60}
REPORT = ReportSpecification(
    "task_table", "table", "Table", tasks=["readmission"], metrics={"readmission": ["auroc"]}
)


def write_runs(output, experiment_list, quality=None):
    """Invent the results of all runs of a list; `quality` makes predictions of a model better."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (300, 1)).astype(np.uint8)
    noise = {name: rng.normal(size=(300, 1)) for name in experiment_list.models}
    targets = pl.DataFrame(
        {
            "subject_id": [f"p{row // 2}" for row in range(300)],
            "hadm_id": [f"h{row}" for row in range(300)],
            "visit_number": [1] * 300,
        }
    )
    for run in plan_runs(experiment_list):
        folder = output / "runs" / run.name
        auroc = AUROC.get((run.model, run.seed), 0.55)
        predictions, of_predictions = {}, None
        if quality and run.model in quality:
            score = quality[run.model] * truth + noise[run.model] + 0.05 * run.seed
            path = folder / "output" / "predictions_test.parquet"
            write_predictions(path, targets, 1 / (1 + np.exp(-score)), truth, ["readmission"])
            predictions = {"test": "output/predictions_test.parquet"}
            of_predictions = roc_auc_score(truth[:, 0], score[:, 0])
        history = [
            {"epoch": epoch, "eval_loss": 3.0 / epoch, "eval_t2c_recall_at_10": 0.1 * epoch + run.seed / 100}
            for epoch in (1, 2, 3)
        ]
        record = {
            "state": "finished",
            "metrics": {
                "test": {"auroc": auroc, "auroc_micro": auroc, "auroc_of_predictions": of_predictions}
            },
            "others": {"test": {"frequency": {"auroc": 0.5, "auroc_micro": 0.5}}},
            "history": history if run.kind == "pretraining" else [],
            "predictions": predictions,
            "cost": {"cpu_seconds": 10 * run.seed, "wall_seconds": 20 * run.seed, "peak_memory_mb": 1500},
            "machine": {"processor": "a processor", "cores": 2},
        }
        write_record(folder, record)
    return Results(plan_runs(experiment_list), finished_records(output), output)


def test_mean_and_deviation_over_seeds():
    assert mean([0.7, 0.8, math.nan]) == pytest.approx(0.75)
    assert deviation([0.7, 0.8]) == pytest.approx(0.0707106781)
    assert math.isnan(deviation([0.7]))
    assert spread([0.7, 0.8]) == "75.00 (7.07)"
    assert spread([0.655]) == "65.50"
    assert spread([]) == "-"


def test_how_much_of_the_gap_is_closed():
    assert gap_closed(0.7, prior=0.5, ceiling=0.9) == "50 %"
    assert gap_closed(0.4, prior=0.5, ceiling=0.9) == "-25 %"
    assert gap_closed(math.nan, 0.5, 0.9) == gap_closed(0.7, 0.5, 0.5) == "-"


def test_a_table_of_a_task(tmp_path):
    models = fake_list().models
    models["full"] = replace(models["full"], paper={"readmission": [68.61, 68.77, 74.7]})
    models["best"] = replace(models["linear"], label="generator", baseline=None, ceiling=True)
    experiment_list = fake_list(models=models)
    AUROC["best", 1] = 0.9
    results = write_runs(tmp_path, experiment_list)
    compared = {
        "full": Comparison(0.7, 0.8),
        "new": Comparison(0.6, 0.7, -0.1, 0.001, 0.002),
        "linear": Comparison(0.55, 0.65, -0.1, 0.02, 0.04),
    }
    (table,) = task_tables(experiment_list, REPORT, results, {"readmission": compared})
    assert table.columns == [
        "model", "runs", "auroc", "95 % interval of auroc", "gap closed", "paper (F1 / accuracy / AUC)",
    ]  # fmt: skip
    assert table.rows == [
        ["LR", "1", "60.00†", "55.00 to 65.00", "25 %", "-"],
        ["MedM-PLM", "2", "75.00 (7.07)", "70.00 to 80.00", "62 %", "68.61 / 68.77 / 74.70"],
        ["new", "2", "65.00 (0.00)‡", "60.00 to 70.00", "38 %", "-"],
        ["generator", "1", "90.00", "-", "100 %", "-"],
    ]
    assert any("DeLong" in note and "MedM-PLM" in note for note in table.notes)


def test_costs_are_means_over_seeds_and_name_the_processor(tmp_path):
    experiment_list = fake_list()
    table = cost_table(experiment_list, REPORT, write_runs(tmp_path, experiment_list))
    assert ["MedM-PLM", "pre-training", "2", "15", "30", "1,500"] in table.rows
    assert ["LR", "readmission", "1", "10", "20", "1,500"] in table.rows
    assert table.notes == ["One thread a run, on 2 cores of a processor."]


def test_exchanged_inputs_stand_beside_the_right_ones(tmp_path):
    experiment_list = fake_list()
    results = write_runs(tmp_path, experiment_list)
    for result in results.pretrainings():
        shift = result.run.seed / 100
        result.record["metrics"] = {"test": {"t2c_recall_at_10": 0.4 + shift, "c2c_recall_at_10": 0.3}}
        probe = {"t2c_recall_at_10": 0.2, "c2c_recall_at_10": 0.25}
        result.record["others"] = {
            "test": {"notes_exchanged": probe, "frequency": {"prior_recall_at_10": 0.1}}
        }
    assert probe_table(experiment_list, REPORT, results).rows == [
        ["MedM-PLM", "as it is", "T2C", "2", "41.50 (0.71)"],
        ["MedM-PLM", "as it is", "C2C", "2", "30.00 (0.00)"],
        ["MedM-PLM", "notes exchanged", "T2C", "2", "20.00 (0.00)"],
        ["MedM-PLM", "notes exchanged", "C2C", "2", "25.00 (0.00)"],
        ["MedM-PLM", "label frequency", "PRIOR", "2", "10.00 (0.00)"],
    ]


def test_markdown_and_latex():
    table = Table("Costs & gains", ["model_name", "100 %"], [["a|b", "1†"]], ["a note"])
    assert "| a/b | 1† |" in table.markdown()
    latex = table.latex()
    assert r"model\_name & 100 \% \\" in latex
    assert r"1$^{\dagger}$ \\" in latex
    assert latex.count(r"\\") == 3
    assert r"\caption{Costs \& gains}" in latex


def test_a_worse_model_is_told_from_an_equal_one(tmp_path):
    experiment_list = fake_list()
    results = write_runs(tmp_path, experiment_list, {"full": 3.0, "new": 1.0, "linear": 3.0})
    found = compare(results, "readmission", ["full", "new", "linear"], "full", num_samples=200)
    assert found["new"].adjusted < 0.01
    assert found["new"].mark == "‡"
    assert found["linear"].adjusted > 0.05
    assert found["linear"].mark == ""
    assert math.isnan(found["full"].p_value)
    assert (
        found["full"].low
        < results.of("full", "readmission")[0].metric("auroc_of_predictions")
        < found["full"].high
    )
    assert found["new"].difference == pytest.approx(0.65 - 0.75)


def test_several_labels_are_compared_by_resampled_patients(tmp_path):
    experiment_list = fake_list()
    results = write_runs(tmp_path, experiment_list, {"full": 3.0, "new": 1.0, "linear": 3.0})
    for result in results.all:  # the numbers of the records must be those of the predictions
        if result.run.model == "new":
            result.record["metrics"]["test"]["auroc_micro"] = 0.75
        elif result.run.model == "full":
            result.record["metrics"]["test"]["auroc_micro"] = 0.98
    found = compare(results, "icd_coding", ["full", "new"], "full", num_samples=200)
    assert found["new"].p_value == pytest.approx(1 / 201)


def test_comparisons_are_kept_until_predictions_change(tmp_path):
    experiment_list = fake_list()
    results = write_runs(tmp_path, experiment_list, {"full": 3.0, "new": 1.0})
    cache = tmp_path / "kept.json"
    first = compare(results, "readmission", ["full", "new"], "full", cache, num_samples=50)
    content = json.loads(cache.read_text())
    (key,) = content
    content[key]["new"]["low"] = 0.123
    cache.write_text(json.dumps(content))
    kept = compare(results, "readmission", ["full", "new"], "full", cache, num_samples=50)
    assert kept["new"].low == 0.123
    other = write_runs(tmp_path, experiment_list, {"full": 3.0, "new": 1.1})
    made = compare(other, "readmission", ["full", "new"], "full", cache, num_samples=50)
    assert made["new"].low not in (0.123, first["new"].low)


def drawn(path):
    text = path.read_text()
    ElementTree.fromstring(text)
    return text


def test_a_figure_of_shares_has_a_line_for_each_model(tmp_path):
    experiment_list = fake_list(shares=[0.5, 1.0])
    results = write_runs(tmp_path, experiment_list)
    report = ReportSpecification(
        "share_figure", "shares", "Shares", models=["full", "new"], tasks=["readmission"]
    )
    lines = []
    original = figures._line
    figures._line = lambda panel, x, y, label, place: (
        lines.append((label, x, y)),
        original(panel, x, y, label, place),
    )
    try:
        png, svg = figures.share_figure(experiment_list, report, results, tmp_path / "figures")
    finally:
        figures._line = original
    assert [(label, x) for label, x, _ in lines] == [("MedM-PLM", [50.0, 100.0]), ("new", [50.0, 100.0])]
    assert lines[0][2] == [[0.70, 0.80], [0.70, 0.80]]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in drawn(svg)


def test_learning_curves_have_one_line_for_a_shared_pretraining_and_are_repeatable(tmp_path):
    experiment_list = fake_list()
    results = write_runs(tmp_path, experiment_list)
    report = ReportSpecification("learning_curves", "curves", "Curves")
    files = [
        figures.learning_curves(experiment_list, report, results, tmp_path / place)
        for place in ("one", "two")
    ]
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True)] == [True, True]
    text = drawn(files[0][1])
    assert "dc:date" not in text
    (runs,) = [results.pretraining_of("full")]
    assert figures._curve(runs, "eval_t2c_recall_at_10")[1][0] == pytest.approx([0.11, 0.12])
    assert results.pretraining_of("half") == runs


def test_figures_without_matplotlib_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"medm-plm\[figures\]"):
        figures._panels("title", 1)


def test_a_page_shows_all_and_says_what_is_missing(tmp_path):
    reports = [
        REPORT,
        ReportSpecification("cost_table", "cost", "Costs"),
        ReportSpecification("learning_curves", "curves", "Curves"),
    ]
    experiment_list = fake_list(reports=reports)
    results = write_runs(tmp_path, experiment_list, {"full": 3.0, "new": 1.0})
    page = write_report(experiment_list, results, tmp_path / "report").read_text()
    assert "# a list" in page
    assert "![Curves](curves.svg)" in page
    assert "runs are finished" not in page
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"table.md", "table.tex", "cost.md", "cost.tex", "curves.svg", "curves.png"} <= names
    first_only = Results(
        plan_runs(experiment_list), dict(list(finished_records(tmp_path).items())[:3]), tmp_path
    )
    assert "3 of" in write_report(experiment_list, first_only, tmp_path / "part").read_text()
