"""Kill, damage, interrupt and poison pre-training runs, and see whether they end as an untouched run does.

    python benchmarks/resilience.py --kills 50
    python benchmarks/resilience.py --kills 40 --ranks 2

Trains the smallest model on a small synthetic cohort with `run_pretraining.py`. Half of the kills (SIGKILL)
come at a random time, half at a random moment inside a save: the child process wraps the functions that
write, flush and rename, and ends itself at one of their calls. The same command is then given again; the run
counts as exact if weights, metrics and every logged loss are equal bit for bit to those of a run that nothing
happened to. Recipes go round: accumulation 1 and 2, 0 and 2 workers, evaluation by epoch and by steps with
the best weights at the end, and frozen layers whose cache has place for half of the notes. After that runs
are stopped by signals, a loss, a gradient and a weight become not a number, and each file of a checkpoint is
removed, cut or changed in one bit.

    python benchmarks/resilience.py --only matrix

kills a run in the middle of an epoch for each of workers 0 and 2, accumulation 1 and 4, processes 1 and 2.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]  # runs from a clone, installed or not
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

from resilience_faults import DAMAGES  # noqa: E402
from resilience_laboratory import SIGNALS, Laboratory  # noqa: E402
from resilience_recipes import CELLS, COVERING, RECIPES, RECIPES_OF_CELLS  # noqa: E402

from medm_plm.command_line import print_table  # noqa: E402

EXPERIMENTS = ("kills", "signals", "poison", "damages")


def main() -> None:
    """Run the experiments and print their table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="half of them inside a save")
    parser.add_argument("--signals", type=int, default=9, help="runs stopped by a signal")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=(*EXPERIMENTS, "matrix"), default=EXPERIMENTS)
    parser.add_argument("--covering", action="store_true", help="half of the matrix, with all pairs")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        laboratory = Laboratory(Path(folder), options.ranks, options.seed)
        counts = options.kills, options.signals
        rows = list(experiments(laboratory, *counts, options.only, options.recipes))
        if "matrix" in options.only:
            rows += matrix(Path(folder), COVERING if options.covering else CELLS, options.seed)
    columns = ["what", "runs", "exact", "otherwise"]
    ranks = "" if options.only == ["matrix"] else f"{options.ranks} process{'es' * (options.ranks > 1)}, "
    print_table(f"{ranks}seed {options.seed}", columns, rows)
    if any(runs != exact for _, runs, exact, _ in rows):
        raise SystemExit(1)


def summarize(what: str, verdicts: list[str]) -> tuple[str, int, int, str]:
    """Print one line and make one row of the table: what was done, how often, how often all was well."""
    others = sorted(set(verdicts) - {"exact"})
    print(f"{what}: {verdicts.count('exact')} of {len(verdicts)} {others or ''}", flush=True)
    return what, len(verdicts), verdicts.count("exact"), ", ".join(others) or "-"


def matrix(
    folder: Path, cells: Sequence[tuple[int, int, int]], seed: int
) -> Iterator[tuple[str, int, int, str]]:
    """Kill and resume in the middle of an epoch, once for each cell; yield what `experiments` yields."""
    laboratories = {ranks: Laboratory(folder, ranks, seed) for _, _, ranks in cells}
    for name, cell in zip(RECIPES_OF_CELLS, CELLS, strict=True):
        if cell in cells:
            yield summarize(name, [laboratories[cell[2]].kill_in_mid_epoch(name)])


def experiments(
    laboratory: Laboratory, kills: int, signals: int, only: Sequence[str], recipes: Sequence[str]
) -> Iterator[tuple[str, int, int, str]]:
    """Run all experiments; yield what was done, how often, how often all was well, and what else came out."""

    def in_turn(number: int) -> list[str]:
        return [recipes[index % len(recipes)] for index in range(number)]

    if "kills" in only:
        made = [laboratory.kill_at_random_time(recipe) for recipe in in_turn(kills - kills // 2)]
        yield summarize("killed at a random time", made)
        print("of these:", ", ".join(f"{n} {moment}" for moment, n in sorted(laboratory.moments.items())))
        made = [laboratory.kill_inside_a_save(recipe) for recipe in in_turn(kills // 2)]
        yield summarize("killed inside a save", made)
    if "signals" in only:
        for index, number in enumerate(SIGNALS):
            times = len(range(index, signals, len(SIGNALS)))
            made = [laboratory.interrupt(recipe, number) for recipe in in_turn(times)]
            yield summarize(f"stopped by {number.name}", made)
    if "poison" in only:
        for quantity in ("loss", "gradient", "weights"):
            yield summarize(
                f"{quantity} not a number", [laboratory.poison(name, quantity) for name in recipes]
            )
    if "damages" in only:
        found = list(laboratory.damages(recipes[0]))
        for damage in DAMAGES:
            yield summarize(f"a file {damage}", [verdict for _, how, verdict in found if how == damage])


if __name__ == "__main__":
    main()
