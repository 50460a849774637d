"""Predict many visits with a fine-tuned model.

    python run_prediction.py --model icd_coding --input visits.parquet --output predictions.csv --top_k 10

The input is a prepared folder or a file `.parquet`, `.jsonl` or `.csv` of visits with `note`,
`diagnosis_codes`, `medication_codes` (in CSV with blanks between), and `subject_id`, `hadm_id` if there are
any. Medication recommendation predicts the last visit of each patient from the earlier ones; the visits of a
patient follow each other in the order of time. The output, `.parquet` or `.csv`, has a row for each visit and
code with title, probability and the decision at the threshold of the model. It holds predictions about
patients and can be read by its owner only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from medm_plm import register_auto_classes
from medm_plm.command_line import parse_arguments, print_table, run_main
from medm_plm.data.files import make_private_folder
from medm_plm.data.schema import SPLITS
from medm_plm.errors import InputError
from medm_plm.ontologies.titles import read_titles
from medm_plm.prediction import OUTPUT_SUFFIXES, load_pipeline, predict_file, read_examples

PRECISIONS = ("float32", "bfloat16")


@dataclass
class PredictionArguments:
    """What is predicted, from what, and where it goes.

    Args:
        model (`str`): folder of a fine-tuned model, written by `run_finetuning.py`.
        input (`str`): folder of `run_preparation.py`, or `.parquet`, `.jsonl`, `.csv`.
        output (`str`): `.parquet` or `.csv`.
        overwrite (`bool`, defaults to False): replace the output if it exists.
        batch_size (`int`, defaults to 32): visits or patients at a time.
        top_k (`int`, *optional*): write the most probable codes only.
        split (`str`, *optional*): predict this split of a prepared folder alone.
        max_visits (`int`, defaults to 10): most recent visits of a patient that are read (medication
            recommendation).
        titles (`str`, *optional*): CSV with the columns `system`, `code`, `title`, beside the titles of the
            model.
        device (`str`, *optional*): such as `cpu` or `cuda:0`; a GPU if there is one.
        dtype (`str`, defaults to `"float32"`): precision of the weights, `float32` or `bfloat16`.
    """

    model: str = field(metadata={"help": "folder of a fine-tuned model"})
    input: str = field(metadata={"help": "prepared folder, or .parquet, .jsonl, .csv of visits"})
    output: str = field(metadata={"help": ".parquet or .csv to write"})
    overwrite: bool = field(default=False, metadata={"help": "replace the output if it exists"})
    batch_size: int = field(default=32, metadata={"help": "visits or patients at a time"})
    top_k: int | None = field(default=None, metadata={"help": "write the most probable codes only"})
    split: str | None = field(default=None, metadata={"help": "this split alone", "choices": SPLITS})
    max_visits: int = field(default=10, metadata={"help": "most recent visits of a patient that are read"})
    titles: str | None = field(default=None, metadata={"help": "CSV with titles of codes"})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda:0, ...; a GPU if there is one"})
    dtype: str = field(
        default="float32", metadata={"help": "precision of the weights", "choices": PRECISIONS}
    )

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("top_k", 1), ("max_visits", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"option --{name}", received=value, expected=f"at least {least}")
        output = Path(self.output)
        if output.suffix not in OUTPUT_SUFFIXES:
            raise InputError("option --output", received=output.name, expected=" or ".join(OUTPUT_SUFFIXES))
        if output.exists() and (output.is_dir() or not self.overwrite):
            raise InputError("file exists", file=output, remedy="name another, or say --overwrite true")
        if Path(self.input).resolve() == output.resolve():
            raise InputError("input and output are one file", file=output)


def main(argv: Sequence[str] | None = None) -> None:
    """Predict a file and print a table.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
    """
    register_auto_classes()
    (options,) = parse_arguments(PredictionArguments, argv=argv, description=__doc__)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    predict = load_pipeline(options.model, device=device, dtype=options.dtype)
    if options.titles is not None:
        predict.processor.code_tokenizer.add_titles(read_titles(options.titles))
    by_patient = predict.task_name == "medm-plm-medication-recommendation"
    examples = read_examples(options.input, by_patient, options.split, options.max_visits)
    output = Path(options.output)
    make_private_folder(output.parent)
    with tqdm(unit=" predictions", disable=None) as bar:
        summary = predict_file(
            predict,
            examples,
            output,
            source=options.input,
            batch_size=options.batch_size,
            top_k=options.top_k,
            progress=lambda done: bar.update(done - bar.n),
        )
    counts = summary.counts
    rows = [
        ["patients" if by_patient else "visits", summary.examples],
        ["rows written", summary.rows],
        ["codes read", counts["codes"]],
        ["placed on an ontology node", counts["unknown_placed"]],
        ["unknown", counts["unknown"]],
        ["cut off", counts["truncated_codes"]],
    ]
    print_table(f"{predict.task_name}: {output}", ["quantity", "count"], rows)
    print(
        f"{output}: holds predictions about patients; only you can read it. Keep it as you keep the records."
    )


if __name__ == "__main__":
    run_main(main)
