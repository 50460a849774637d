"""Tables of the finished runs, in Markdown and LaTeX. Numbers are percent, as in the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medm_plm.experiments.comparison import Comparison
from medm_plm.experiments.reports import AREAS, ReportSpecification
from medm_plm.experiments.results import Results, deviation, mean
from medm_plm.experiments.specification import ExperimentList

Comparisons = Mapping[str, Mapping[str, Comparison]]
"""Comparisons by task and model."""

_ABSENT = "-"
_PROBES = (
    ("model", "as it is"),
    ("notes_exchanged", "notes exchanged"),
    ("codes_exchanged", "codes exchanged"),
    ("frequency", "label frequency"),
)
_LATEX = {
    "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Cells of text under a title.

    Args:
        title (`str`): heading.
        columns (`Sequence[str]`): head of each column.
        rows (`Sequence[Sequence[str]]`): cells.
        notes (`Sequence[str]`, *optional*): sentences below.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=tuple)

    def markdown(self) -> str:
        """Write the table in Markdown."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        body = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
        notes = "".join(f"\n\n{note}" for note in self.notes)
        return f"**{self.title}**\n\n{body}{notes}\n"

    def latex(self) -> str:
        """Write the table in LaTeX; it needs the package booktabs."""
        width = len(self.columns)
        lines = [" & ".join(map(_latex, line)) + r" \\" for line in (self.columns, *self.rows)]
        notes = [rf"\multicolumn{{{width}}}{{l}}{{\footnotesize {_latex(note)}}} \\" for note in self.notes]
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_latex(self.title)}}}",
                rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                *notes,
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def task_tables(
    experiment_list: ExperimentList,
    report: ReportSpecification,
    results: Results,
    comparisons: Comparisons,
) -> list[Table]:
    """Make one table for each task: mean (deviation) over seeds, the paper's values and significance.

    Args:
        experiment_list (`ExperimentList`): the list.
        report (`ReportSpecification`): which models, tasks and metrics.
        results (`Results`): finished runs.
        comparisons (`Mapping`): by task and model.

    Returns:
        The tables; none for a task without a run.
    """
    tables = []
    for task in report.tasks or list(experiment_list.tasks):
        names = [name for name in report.models or experiment_list.models if results.of(name, task)]
        if names:
            tables.append(
                _task_table(experiment_list, report, results, task, names, comparisons.get(task, {}))
            )
    return tables


def _task_table(
    experiment_list: ExperimentList,
    report: ReportSpecification,
    results: Results,
    task: str,
    names: Sequence[str],
    compared: Mapping[str, Comparison],
) -> Table:
    metrics, area = report.metrics_of(task), AREAS.get(task)
    models = experiment_list.models
    has_paper = any(models[name].paper.get(task) for name in names)
    ceiling = next((name for name in names if models[name].ceiling), None)
    best = math.nan if ceiling is None or area is None else _mean_of(results, ceiling, task, area)
    prior = math.nan if area is None else results.prior(task, area)
    has_group = any(models[name].group for name in names)
    rows = []
    for name in names:
        found = results.of(name, task)
        row = [models[name].group or ""] if has_group else []
        row += [models[name].label, str(len(found))]
        for metric in metrics:
            mark = compared[name].mark if metric == area and name in compared else ""
            row.append(spread([result.metric(metric) for result in found]) + mark)
        if compared:
            row.append(_interval(compared.get(name)))
        if ceiling is not None:
            row.append(gap_closed(_mean_of(results, name, task, area or ""), prior, best))
        if has_paper:
            row.append(" / ".join(_percent(value) for value in models[name].paper.get(task, ())) or _ABSENT)
        rows.append(row)
    columns = [*(["group"] if has_group else []), "model", "runs", *(_head(metric) for metric in metrics)]
    columns += [f"95 % interval of {area}"] if compared else []
    columns += ["gap closed"] if ceiling is not None else []
    columns += ["paper (F1 / accuracy / AUC)"] if has_paper else []
    notes = _notes(experiment_list, compared, ceiling is not None, area)
    return Table(f"{report.title}: {task.replace('_', ' ')}", columns, rows, notes)


def cost_table(experiment_list: ExperimentList, report: ReportSpecification, results: Results) -> Table:
    """Make the table of time and memory: means over seeds and tasks.

    Args:
        experiment_list (`ExperimentList`): the list.
        report (`ReportSpecification`): which models and tasks.
        results (`Results`): finished runs.

    Returns:
        The table.
    """
    rows = []
    for name in report.models or experiment_list.models:
        model = experiment_list.models[name]
        groups = {"pre-training": results.pretraining_of(name)}
        groups |= {task: results.of(name, task) for task in report.tasks or experiment_list.tasks}
        for what, found in groups.items():
            if found:
                costs = [result.record["cost"] for result in found]
                means = [
                    mean([float(cost[key]) for cost in costs])
                    for key in ("cpu_seconds", "wall_seconds", "peak_memory_mb")
                ]
                rows.append([model.label, what, str(len(found)), *(f"{value:,.0f}" for value in means)])
    machines = {
        (record["machine"]["processor"], record["machine"]["cores"])
        for record in (result.record for result in results.all)
    }
    notes = [f"One thread a run, on {cores} cores of {processor}." for processor, cores in sorted(machines)]
    columns = ["model", "run", "runs", "CPU s", "wall s", "peak memory MB"]
    return Table(report.title, columns, rows, notes)


def probe_table(experiment_list: ExperimentList, report: ReportSpecification, results: Results) -> Table:
    """Make the table of hidden codes of the test visits: right inputs, exchanged ones, and the prior.

    Args:
        experiment_list (`ExperimentList`): the list.
        report (`ReportSpecification`): which models.
        results (`Results`): finished runs; the exchanged inputs need `probe_shuffled_modalities`.

    Returns:
        The table.
    """
    rows, seen = [], []
    for name in report.models or experiment_list.models:
        found = results.pretraining_of(name)
        if not found or found in seen:
            continue
        seen.append(found)
        scores = [{"model": r.record["metrics"]["test"], **r.record["others"]["test"]} for r in found]
        for given, label in _PROBES:
            for path in ("prior",) if given == "frequency" else ("t2c", "c2c"):
                values = [score[given][f"{path}_recall_at_10"] for score in scores if given in score]
                if values:
                    start = [experiment_list.models[name].label, label, path.upper()]
                    rows.append([*start, str(len(values)), spread(values)])
    return Table(report.title, ["model", "input", "from", "runs", "recall at 10"], rows)


def spread(values: Sequence[float]) -> str:
    """Write mean and, of several values, standard deviation in percent: `70.21 (0.35)`."""
    spread_of = deviation(values)
    return _percent(100 * mean(values)) + ("" if math.isnan(spread_of) else f" ({100 * spread_of:.2f})")


def gap_closed(value: float, prior: float, ceiling: float) -> str:
    """Write how far a score has come from the label frequencies to the best possible score, in percent."""
    if any(map(math.isnan, (value, prior, ceiling))) or ceiling <= prior:
        return _ABSENT
    return f"{100 * (value - prior) / (ceiling - prior):.0f} %"


def _mean_of(results: Results, model: str, task: str, metric: str) -> float:
    return mean([result.metric(metric) for result in results.of(model, task)])


def _interval(comparison: Comparison | None) -> str:
    if comparison is None or math.isnan(comparison.low):
        return _ABSENT
    return f"{100 * comparison.low:.2f} to {100 * comparison.high:.2f}"


def _percent(value: float | None) -> str:
    return _ABSENT if value is None or math.isnan(value) else f"{value:.2f}"


def _head(metric: str) -> str:
    split, _, name = metric.rpartition(":")
    return f"{name} ({split.removeprefix('test_')})" if split else name


def _notes(
    experiment_list: ExperimentList, compared: Mapping[str, Comparison], has_ceiling: bool, area: str | None
) -> list[str]:
    notes = ["Percent; mean (standard deviation) over seeds."]
    if any(not math.isnan(comparison.p_value) for comparison in compared.values()):
        reference = experiment_list.models[experiment_list.reference or ""].label
        test = "DeLong's test" if area == "auroc" else "paired bootstrap over patients"
        notes.append(f"† p < .05, ‡ p < .01 against {reference} in {area} ({test}, Holm over all rivals).")
    if has_ceiling:
        notes.append(
            f"Gap closed: from label frequencies (0 %) to the generator's own probabilities, {area}."
        )
    return notes


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
