"""Figures of the finished runs as PNG and SVG, readable without colour.

The files hold no date and no path, and the same results give the same SVG byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medm_plm.drawing import FILE_METADATA, new_figure
from medm_plm.experiments.reports import AREAS, ReportSpecification
from medm_plm.experiments.results import Result, Results, deviation, mean
from medm_plm.experiments.specification import ExperimentList

_STYLES = (
    ("black", "-", "o"), ("dimgray", "--", "s"), ("black", ":", "^"), ("gray", "-.", "D"),
    ("dimgray", "-", "v"), ("black", "--", "x"), ("gray", ":", "P"), ("black", "-.", "*"),
)  # fmt: skip
_CURVES = (
    ("eval_loss", "validation loss"),
    ("eval_t2c_recall_at_10", "T2C recall at 10"),
    ("eval_c2c_recall_at_10", "C2C recall at 10"),
)


def share_figure(
    experiment_list: ExperimentList, report: ReportSpecification, results: Results, folder: Path
) -> list[Path]:
    """Draw the area against the share of training data, one panel a task, mean and deviation over seeds.

    Args:
        experiment_list (`ExperimentList`): the list.
        report (`ReportSpecification`): which models and tasks.
        results (`Results`): finished runs.
        folder (`Path`): where the files go.

    Returns:
        The files; none without a run.
    """
    tasks = [
        task
        for task in report.tasks or experiment_list.tasks
        if task in AREAS
        and any(results.shares(name, task) for name in report.models or experiment_list.models)
    ]
    if not tasks:
        return []
    figure, panels = _panels(report.title, len(tasks))
    for panel, task in zip(panels, tasks, strict=True):
        for place, name in enumerate(report.models or experiment_list.models):
            shares = results.shares(name, task)
            if shares:
                values = [[r.metric(AREAS[task]) for r in results.of(name, task, s)] for s in shares]
                _line(panel, [100 * s for s in shares], values, experiment_list.models[name].label, place)
        panel.set_title(task.replace("_", " "))
        panel.set_xlabel("share of training data, %")
        panel.set_ylabel(AREAS[task])
    return _save(figure, panels, folder / report.name)


def learning_curves(
    experiment_list: ExperimentList, report: ReportSpecification, results: Results, folder: Path
) -> list[Path]:
    """Draw validation loss, T2C and C2C of the pre-trainings over the epochs.

    Args:
        experiment_list (`ExperimentList`): the list.
        report (`ReportSpecification`): which models.
        results (`Results`): finished runs.
        folder (`Path`): where the files go.

    Returns:
        The files; none without a pre-training.
    """
    found: dict[str, list[Result]] = {}
    for name in report.models or experiment_list.models:
        runs = results.pretraining_of(name)
        if runs and runs not in found.values():  # models that share a pre-training share its line
            found[experiment_list.models[name].label] = runs
    curves = {label: {key: _curve(runs, key) for key, _ in _CURVES} for label, runs in found.items()}
    if not curves:
        return []
    figure, panels = _panels(report.title, len(_CURVES))
    for panel, (key, title) in zip(panels, _CURVES, strict=True):
        for place, (label, of_label) in enumerate(curves.items()):
            epochs, values = of_label[key]
            if epochs:
                _line(panel, epochs, values, label, place)
        panel.set_title(title)
        panel.set_xlabel("epoch")
    return _save(figure, panels, folder / report.name)


def _curve(runs: Sequence[Result], key: str) -> tuple[list[float], list[list[float]]]:
    by_epoch: dict[float, list[float]] = {}
    for result in runs:
        for entry in result.record["history"]:
            if entry.get(key) is not None:
                by_epoch.setdefault(float(entry["epoch"]), []).append(float(entry[key]))
    epochs = sorted(by_epoch)
    return epochs, [by_epoch[epoch] for epoch in epochs]


def _line(
    panel: Any, places: Sequence[float], values: Sequence[Sequence[float]], label: str, index: int
) -> None:
    """Draw means as a line, and the deviation of several seeds as a band around it."""
    colour, dashes, marker = _STYLES[index % len(_STYLES)]
    means = [mean(group) for group in values]
    panel.plot(places, means, color=colour, linestyle=dashes, marker=marker, markersize=4, label=label)
    if any(len(group) > 1 for group in values):
        widths = [deviation(group) if len(group) > 1 else 0.0 for group in values]
        low, high = ([m + sign * w for m, w in zip(means, widths, strict=True)] for sign in (-1, 1))
        panel.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def _panels(title: str, number: int) -> tuple[Any, list[Any]]:
    figure = new_figure(4.2 * number, 3.6)
    figure.suptitle(title)
    return figure, list(figure.subplots(1, number, squeeze=False)[0])


def _save(figure: Any, panels: Sequence[Any], stem: Path) -> list[Path]:
    handles: dict[str, Any] = {}  # a model may be missing in one panel and not in another
    for panel in panels:
        lines, labels = panel.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize="small")
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    figure.savefig(files[0], dpi=150, metadata=FILE_METADATA["png"])
    figure.savefig(files[1], metadata=FILE_METADATA["svg"])
    return files
