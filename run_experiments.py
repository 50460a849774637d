"""Run a list of experiments and tell them in tables and figures.

    python run_experiments.py configs/experiments/table3.yaml --output OUT
    python run_experiments.py configs/experiments/table3.yaml --output OUT --report

Each run (a model, a task, a seed, a share of the training data) is done in a process of its own and leaves
one JSON file. A run that is finished, and whose settings, code and data are the same, is not done again; one
that was killed goes on from its last checkpoint; one that failed is noted, and the others go on. Tables and
figures are computed from the JSON files and the predictions beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from medm_plm.command_line import print_table, run_main
from medm_plm.errors import InputError
from medm_plm.experiments import sources
from medm_plm.experiments.planning import Run, plan_runs, select_runs
from medm_plm.experiments.records import FINISHED, finished_records, read_record, run_folder
from medm_plm.experiments.reporting import write_report
from medm_plm.experiments.results import Results
from medm_plm.experiments.runner import DONE_BEFORE, Runner
from medm_plm.experiments.specification import ExperimentList, parse_folders, read_experiment_list

SCRIPTS = {
    "preparation": "run_preparation:main",
    "pretraining": "run_pretraining:main",
    "finetuning": "run_finetuning:main",
    "ceiling": "medm_plm.experiments.ceiling:main",
}
PRELOADED = ("run_preparation", "run_pretraining", "run_finetuning", "medm_plm.experiments.ceiling")
REPORT_FOLDER = "report"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, then write the report.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.

    Raises:
        SystemExit: with status 1 if a run failed.
    """
    options = parse(argv)
    experiment_list = read_experiment_list(options.list)
    states: dict[str, str] = {}
    if not options.report:
        states = run_all(experiment_list, options)
    if not options.dry_run:
        report(experiment_list, options)
    bad = [name for name, state in states.items() if state not in (DONE_BEFORE, FINISHED)]
    if bad and not options.dry_run:
        print(f"\n{len(bad)} of {len(states)} runs failed or were skipped:")
        for name in bad:
            print(f"  {name}: {states[name]}")
        raise SystemExit(1)


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong, as the other scripts do."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        description=__doc__.split("\n\n")[0], epilog="See docs/experiments.md.", allow_abbrev=False
    )
    parser.add_argument("list", type=Path, help="YAML file of the list, as in configs/experiments")
    parser.add_argument("--output", type=Path, required=True, help="folder of runs and report")
    parser.add_argument(
        "--data", nargs="+", default=[], metavar="NAME=FOLDER", help="prepared folder, or tables of a source"
    )
    parser.add_argument("--text_model", help="text encoder, folder or Hub id, in place of that of the list")
    parser.add_argument("--processes", type=int, default=1, help="runs at the same time, one thread each")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds in place of those of the list")
    parser.add_argument("--only", nargs="+", metavar="PATTERN", help="runs whose names fit")
    parser.add_argument("--dry_run", action="store_true", help="print the runs and do nothing")
    parser.add_argument(
        "--report", action="store_true", help="write the report of what is there, run nothing"
    )
    parser.add_argument(
        "--any_revision", action="store_true", help="take finished runs of other code or data as done"
    )
    parser.add_argument("--keep_weights", action="store_true", help="keep the weights of fine-tuned models")
    options = parser.parse_args(argv)
    if options.processes < 1:
        parser.error("--processes: expected at least 1")
    return options


def run_all(experiment_list: ExperimentList, options: argparse.Namespace) -> dict[str, str]:
    """Prepare the data, then do the runs.

    Args:
        experiment_list (`ExperimentList`): the list.
        options (`argparse.Namespace`): the command line.

    Returns:
        How each run ended.
    """
    source = sources.locate(experiment_list, options.output, parse_folders(options.data))
    sources.use_text_model(experiment_list, options.text_model, source.places)
    runs = select_runs(plan_runs(experiment_list, options.seeds), options.only)
    if options.dry_run:
        show(runs, options.output)
        return {}
    runner = Runner(
        options.output,
        SCRIPTS,
        source.places,
        sources.table_fingerprints(source),
        options.processes,
        options.any_revision,
        options.keep_weights,
        PRELOADED,
        report=lambda line: print(line, flush=True),
    )
    if source.preparation is not None:
        ended = runner.run([source.preparation])[source.preparation.name]
        if ended not in (DONE_BEFORE, FINISHED):
            error = (read_record(run_folder(options.output, source.preparation)) or {}).get("error")
            raise InputError(f"the data could not be prepared: {error}")
    runner.inputs = sources.input_fingerprints(experiment_list, source.places)
    return runner.run(runs, {name: model.label for name, model in experiment_list.models.items()})


def show(runs: Sequence[Run], output: Path) -> None:
    """Print the runs in their order, with what is known of them."""
    rows = []
    for run in runs:
        record = read_record(run_folder(output, run)) or {}
        rows.append([run.name, record.get("state", "not begun"), ", ".join(run.needs)])
    print_table(f"{len(runs)} runs", ("run", "state", "needs"), rows)


def report(experiment_list: ExperimentList, options: argparse.Namespace) -> None:
    """Write tables and figures of the finished runs, and print where they are."""
    if options.report:
        sources.use_text_model(experiment_list, options.text_model, {})
    seeds = list(dict.fromkeys([*(options.seeds or ()), *experiment_list.seeds]))
    results = Results(plan_runs(experiment_list, seeds), finished_records(options.output), options.output)
    page = write_report(experiment_list, results, options.output / REPORT_FOLDER / options.list.stem)
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page.parent}")


if __name__ == "__main__":
    run_main(main)
