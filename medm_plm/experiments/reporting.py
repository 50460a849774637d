"""From the files of the finished runs to a page of tables and figures."""

from __future__ import annotations

from pathlib import Path

from medm_plm.data.files import make_private_folder
from medm_plm.experiments import figures, tables
from medm_plm.experiments.comparison import compare
from medm_plm.experiments.reports import ReportSpecification
from medm_plm.experiments.results import Results
from medm_plm.experiments.specification import ExperimentList
from medm_plm.experiments.tables import Comparisons, Table

PAGE = "report.md"
_COMPARISONS = ".comparisons.json"
_FIGURES = {"share_figure": figures.share_figure, "learning_curves": figures.learning_curves}


def write_report(experiment_list: ExperimentList, results: Results, folder: Path) -> Path:
    """Write all tables and figures of a list, and a page that shows them together.

    Args:
        experiment_list (`ExperimentList`): the list.
        results (`Results`): finished runs.
        folder (`Path`): where the files go.

    Returns:
        The page.

    Raises:
        InputError: if predictions are missing, or a figure is asked for without matplotlib.
    """
    make_private_folder(folder)
    parts = [f"# {experiment_list.title}\n"]
    if len(results.all) < results.num_planned:
        parts.append(f"{len(results.all)} of {results.num_planned} runs are finished.\n")
    comparisons = _comparisons(experiment_list, results, folder)
    for report in experiment_list.reports:
        if report.kind in _FIGURES:
            files = _FIGURES[report.kind](experiment_list, report, results, folder)
            parts += [f"![{report.title}]({path.name})\n" for path in files if path.suffix == ".svg"]
        else:
            parts += _write_tables(experiment_list, report, results, comparisons, folder)
    page = folder / PAGE
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def _write_tables(
    experiment_list: ExperimentList,
    report: ReportSpecification,
    results: Results,
    comparisons: Comparisons,
    folder: Path,
) -> list[str]:
    made: list[Table]
    if report.kind == "task_table":
        made = tables.task_tables(experiment_list, report, results, comparisons)
    else:
        make = {"cost_table": tables.cost_table, "probe_table": tables.probe_table}[report.kind]
        made = [make(experiment_list, report, results)]
    markdown = [table.markdown() for table in made]
    (folder / f"{report.name}.md").write_text("\n".join(markdown), encoding="utf-8")
    (folder / f"{report.name}.tex").write_text("\n".join(table.latex() for table in made), encoding="utf-8")
    return markdown


def _comparisons(experiment_list: ExperimentList, results: Results, folder: Path) -> Comparisons:
    """Compare all models of the list on each task; a model with `ceiling` is no rival."""
    rivals = [name for name, model in experiment_list.models.items() if not model.ceiling]
    if not any(report.kind == "task_table" for report in experiment_list.reports):
        return {}
    return {
        task: compare(results, task, rivals, experiment_list.reference, folder / _COMPARISONS)
        for task in experiment_list.tasks
    }
