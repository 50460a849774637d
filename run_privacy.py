"""Measure what a trained model gives away of its patients.

    python run_privacy.py plan --data prepared --output audit --insertions 1 10 100
    python run_pretraining.py --config pretraining.yaml --data audit/audited --output_dir audited
    python run_pretraining.py --config pretraining.yaml --data audit/reference --output_dir reference
    python run_privacy.py measure --model audited --data audit/audited --reference reference
        --canaries audit/canaries.json --output privacy.json
    python run_card.py audited --privacy privacy.json

`plan` halves the training patients of a prepared folder, plants canaries in one half and keeps the other for
a reference model. `measure` attacks a model, pre-trained or fine-tuned: by its losses alone and, with
reference models, by likelihood ratios; and looks for the canaries. The report holds numbers only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils import logging

from medm_plm import register_auto_classes
from medm_plm.command_line import PlainParser, print_table, run_main
from medm_plm.data.files import write_json
from medm_plm.privacy import measure_privacy, plan_audit
from medm_plm.privacy.measuring import NUM_CANDIDATES


def main(argv: Sequence[str] | None = None) -> None:
    """Plan an audit or measure a model, and print a table.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
    """
    register_auto_classes()
    options = _parser().parse_args(argv)
    if options.command == "plan":
        counts = plan_audit(
            options.data, options.output, options.insertions, options.num_canaries, options.seed
        )
        print_table(f"planned {options.output}", ["quantity", "count"], counts.items())
        return
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    report = measure_privacy(
        options.model,
        options.data,
        options.reference,
        options.canaries,
        options.num_masks,
        options.num_candidates,
        options.seed,
    )
    write_json(Path(options.output), report)
    _print_report(report)


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    plan = commands.add_parser("plan", help="write the data of an audit")
    plan.add_argument("--data", required=True, metavar="FOLDER", help="a prepared folder")
    plan.add_argument("--output", required=True, metavar="FOLDER", help="where the data of the audit go")
    plan.add_argument("--insertions", type=int, nargs="+", default=[1, 10, 100], metavar="N")
    plan.add_argument(
        "--num_canaries", type=int, default=5, metavar="N", help="for each number of insertions"
    )
    plan.add_argument("--seed", type=int, default=0, metavar="N")
    measure = commands.add_parser("measure", help="attack a trained model")
    measure.add_argument("--model", required=True, metavar="FOLDER", help="a finished model")
    measure.add_argument("--data", required=True, metavar="FOLDER", help="the data it was trained on")
    measure.add_argument("--reference", nargs="+", default=[], metavar="FOLDER", help="reference models")
    measure.add_argument("--canaries", metavar="FILE", help="canaries.json of the data")
    measure.add_argument("--output", default="privacy.json", metavar="FILE", help="where the report goes")
    measure.add_argument("--num_masks", type=int, default=4, metavar="N", help="drawings of hidden codes")
    measure.add_argument("--num_candidates", type=int, default=NUM_CANDIDATES, metavar="N")
    measure.add_argument("--seed", type=int, default=0, metavar="N")
    return parser


def _print_report(report: dict[str, Any]) -> None:
    rows = []
    for name, attack in report["attacks"].items():
        low, high = attack["interval"]
        interval = f"{low:.4f} to {high:.4f}"
        rows.append([name.replace("_", " "), attack["auc"], interval, attack["members"], attack["others"]])
    columns = ["attack", "AUC", "95 % interval", "training patients", "held-out patients"]
    print_table(f"Membership inference, {report['task']}", columns, rows)
    if "canaries" in report:
        names = ("insertions", "canaries", "mean_exposure", "largest_exposure")
        print_table(
            f"Exposure of canaries in bits, at most {report['highest_exposure']:.2f}",
            ["times inserted", "canaries", "mean", "largest"],
            [[entry[name] for name in names] for entry in report["canaries"]],
        )
        bits = [bit for entry in report["canaries_of_references"] for bit in entry["exposures"]]
        if bits:
            print(
                f"the same canaries in models that have not seen them: {sum(bits) / len(bits):.4f} on average"
            )


if __name__ == "__main__":
    run_main(main)
