"""Close the demo: open the saved models with the Auto classes, and print one table over all tasks.

    python scripts/demo_summary.py DEMO_OUTPUT

Ends with an error if the ICD coding model, opened again, scores the test visits differently from the run that
saved it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor, logging

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs from a clone, installed or not

from medm_plm.command_line import print_table, run_main
from medm_plm.data.schema import HADM_ID, MEDICATION_CODES, NOTE, read_visits
from medm_plm.errors import InputError

# The metrics that say most about each task; metrics.json has the others.
SHOWN_METRICS = {
    "medication_recommendation": ("prauc_samples", "f1_samples"),
    "readmission": ("auroc", "auprc"),
    "icd_coding": ("auroc_macro", "auroc_micro"),
}
NUM_COMPARED_VISITS = 32
TOLERANCE = 1e-4  # padding to another length changes the last digits of a float32 sum


def main() -> None:
    """Open, compare, print."""
    if len(sys.argv) != 2:
        raise InputError("one folder must be given", expected="python scripts/demo_summary.py DEMO_OUTPUT")
    output = Path(sys.argv[1])
    logging.set_verbosity_error()  # AutoModel would list the pre-training heads it leaves out
    print_table("One invented visit through AutoModel", ("vector", "shape"), vectors_of_a_visit(output))
    print(f"\nICD coding, saved and opened again: largest difference {largest_difference(output):.1e}")
    rows = [row for task in SHOWN_METRICS for row in task_rows(output / task, task)]
    print_table(
        "Test patients of the invented cohort", ("task", "metric", "MedM-PLM", "label frequency"), rows
    )


def vectors_of_a_visit(output: Path) -> list[tuple[str, str]]:
    """Encode one visit with the pre-trained model and say what comes out."""
    folder = output / "pretrained"
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    visit = processor(
        "admitted with shortness of breath and swollen legs, given furosemide",
        diagnosis_codes=["428.0", "401.9"],
        medication_codes=["C03C"],
        return_tensors="pt",
    )
    with torch.no_grad():
        outputs = model(**visit)
    names = ("text_augmented_output", "code_augmented_output")
    return [(name, str(tuple(outputs[name].shape))) for name in names]


def largest_difference(output: Path) -> float:
    """Score test visits with the ICD coding model as it was saved, and compare with the run's predictions.

    Raises:
        InputError: if they differ.
    """
    folder = output / "icd_coding"
    predictions = pl.read_parquet(folder / "predictions_test.parquet").head(NUM_COMPARED_VISITS)
    visits = predictions.select(HADM_ID).join(read_visits(output / "prepared"), on=HADM_ID, how="left")
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    inputs = processor(
        visits[NOTE].to_list(),
        medication_codes=visits[MEDICATION_CODES].to_list(),
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        opened_again = model(**inputs).logits.sigmoid().numpy()
    difference = float(np.abs(opened_again - np.array(predictions["probabilities"].to_list())).max())
    if difference > TOLERANCE:
        raise InputError("the opened model scores differently", received=difference, expected=TOLERANCE)
    return difference


def task_rows(folder: Path, task: str) -> list[tuple[str, str, float, float]]:
    """Lines of the closing table for one task."""
    test = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]
    return [(task, name, test["model"][name], test["frequency"][name]) for name in SHOWN_METRICS[task]]


if __name__ == "__main__":
    run_main(main)
