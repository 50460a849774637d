"""How long the metrics of full ICD coding take: thousands of labels, thousands of visits.

python benchmarks/metrics.py --visits 3000 --labels 9000 --samples 100
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from medm_plm.command_line import print_table
from medm_plm.metrics import icd_coding_metrics
from medm_plm.metrics.bootstrap import bootstrap_interval
from medm_plm.metrics.ranking import rank_auroc

NAMES = ("f1_micro", "f1_macro", "precision_at_8", "auroc_micro", "auroc_macro")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("visits", 3000), ("labels", 9000), ("samples", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    size = parser.parse_args()
    rng = np.random.default_rng(0)
    shares = np.minimum(0.001 * rng.pareto(1.5, size.labels), 0.5)
    labels = (rng.random((size.visits, size.labels)) < shares).astype(np.int8)
    probabilities = (0.5 * rng.random(labels.shape) + 0.3 * labels).astype(np.float32)
    patients = rng.integers(0, max(1, 2 * size.visits // 3), size.visits)

    rows = [["AUROC of every label", seconds(lambda: rank_auroc(probabilities.T, labels.T.astype(bool)))]]
    rows.append(["whole table of ICD coding", seconds(lambda: icd_coding_metrics(probabilities, labels))])
    for name in NAMES:
        took = seconds(lambda: bootstrap_interval(name, probabilities, labels, patients, size.samples))  # noqa: B023
        rows.append([f"interval of {name}, {size.samples} samples", took])
    print_table(f"{size.visits} visits, {size.labels} labels", ["what", "seconds"], rows)


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
