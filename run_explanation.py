"""Show which words and codes of a visit count for what a fine-tuned model says of it.

    python run_explanation.py --model MODEL --data prepared --visit HADM_ID --output page.html
    python run_explanation.py --model MODEL --data prepared --split test --faithfulness true

MODEL is what run_finetuning.py wrote for readmission, mortality, icd_coding or medication_prediction.
The page holds the note and the codes of a patient; like all such files it is written so that only its owner
can read it. The table of the second form tells whether the weights can be trusted: what the probability loses
when the heaviest words and codes are deleted, beside random and the lightest ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch

from medm_plm import register_auto_classes
from medm_plm.command_line import parse_arguments, print_table, run_main
from medm_plm.data.collators import keyed_generator
from medm_plm.data.files import make_private_folder, write_private
from medm_plm.data.published_ids import published_visits, read_published_ids
from medm_plm.data.schema import HADM_ID, SPLITS, read_visits
from medm_plm.data.tasks import MEDICATION_WINDOWS
from medm_plm.errors import InputError
from medm_plm.explanations.explaining import checked_task, explain_inputs, explain_visit
from medm_plm.explanations.faithfulness import NUM_RANDOM, SHARES, measure_faithfulness
from medm_plm.explanations.figure import attention_figure
from medm_plm.explanations.importance import METHODS
from medm_plm.explanations.prediction import medication_window_of, probabilities
from medm_plm.explanations.visits import EXPLAINED_TASKS, visit_inputs
from medm_plm.ontologies.titles import read_titles
from medm_plm.training.arguments import ModelArguments
from medm_plm.training.models import load_model
from medm_plm.training.processors import load_processor
from medm_plm.training.run_record import read_run_record
from medm_plm.training.task_examples import task_examples
from modeling_medm_plm import MedMPLMForICDCoding, MedMPLMForReadmissionPrediction, MedMPLMVisitClassifier
from tokenization_medm_plm import MedMPLMProcessor

# One task of each class of models that can be explained.
TASK_OF_CLASS = {
    MedMPLMForReadmissionPrediction.__name__: "readmission",
    MedMPLMForICDCoding.__name__: "icd_coding",
}


@dataclass
class ExplanationArguments:
    """What is explained, and how.

    Args:
        model (`str`): folder of a fine-tuned model.
        data (`str`): folder written by `run_preparation.py`.
        task (`str`, *optional*): name of the task; that of the model by default.
        visit (`str`, *optional*): the visit that is explained, its `hadm_id`.
        output (`str`, *optional*): where its page goes.
        figure (`str`, *optional*): where a picture of its attention goes, without an ending; needs
            matplotlib.
        label (`str`, *optional*): the label that is explained; the most probable one of a visit by default.
        methods (`list[str]`, *optional*): names of `METHODS`; by default the attention that the model has.
        faithfulness (`bool`, defaults to False): measure on `split` what deleting words and codes does.
        split (`str`, defaults to `test`): visits on which faithfulness is measured.
        max_visits (`int`, defaults to 200): a sample of so many of them.
        shares (`list[float]`, *optional*): shares of words or codes that are deleted.
        num_random (`int`, defaults to 5): random deletions for each visit.
        medication_window (`str`, *optional*): which medications the model predicts; told by its
            configuration.
        split_ids (`str`, *optional*): folder with published lists of admission ids, if the model was trained
            with them.
        titles (`str`, *optional*): CSV with the columns `system`, `code`, `title` for codes that the packaged
            titles name by their group only.
        seed (`int`, defaults to 0): draws the sample and the random deletions.
    """

    model: str = field(metadata={"help": "folder of a fine-tuned model"})
    data: str = field(metadata={"help": "folder written by run_preparation.py"})
    task: str | None = field(
        default=None,
        metadata={"help": "the task; that of the model by default", "choices": EXPLAINED_TASKS},
    )
    visit: str | None = field(default=None, metadata={"help": "the visit to explain, its hadm_id"})
    output: str | None = field(default=None, metadata={"help": "where the page of the visit goes"})
    figure: str | None = field(
        default=None, metadata={"help": "where a picture of its attention goes, without an ending"}
    )
    label: str | None = field(default=None, metadata={"help": "the label to explain; else the likeliest"})
    methods: list[str] | None = field(default=None, metadata={"help": f"some of {', '.join(METHODS)}"})
    faithfulness: bool = field(default=False, metadata={"help": "measure what deleting words and codes does"})
    split: str = field(default="test", metadata={"help": "visits to measure it on", "choices": SPLITS})
    max_visits: int = field(default=200, metadata={"help": "largest sample of these visits"})
    shares: list[float] = field(
        default_factory=lambda: list(SHARES), metadata={"help": "shares of words or codes that are deleted"}
    )
    num_random: int = field(default=NUM_RANDOM, metadata={"help": "random deletions for each visit"})
    medication_window: str | None = field(
        default=None,
        metadata={
            "help": "medications that the model predicts; told by its configuration",
            "choices": MEDICATION_WINDOWS,
        },
    )
    split_ids: str | None = field(
        default=None, metadata={"help": "folder with the published lists that the model was trained with"}
    )
    titles: str | None = field(default=None, metadata={"help": "CSV with titles of codes"})
    seed: int = field(default=0, metadata={"help": "draws the sample and the random deletions"})

    def __post_init__(self) -> None:
        shows = self.output is not None or self.figure is not None
        if shows != (self.visit is not None):
            raise InputError("options --visit and --output (or --figure) belong together")
        if self.visit is None and not self.faithfulness:
            raise InputError("nothing to do", expected="--visit with --output, or --faithfulness true")
        if self.max_visits < 1:
            raise InputError("option --max_visits", received=self.max_visits, expected="at least 1")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page of a visit, or print the table of faithfulness, or both.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
    """
    register_auto_classes()
    (options,) = parse_arguments(ExplanationArguments, argv=argv, description=__doc__)
    model, processor = load_fine_tuned(options.model)
    options.task = checked_task(model, options.task)
    if options.medication_window is None:
        options.medication_window = medication_window_of(model)
    visits = read_visits(options.data)
    if options.visit is not None:
        _write_visit(options, model, processor, visits)
    if options.faithfulness:
        if "split_ids" in read_run_record(options.model) and options.split_ids is None:
            raise InputError(
                "the model was trained with published lists, so that the prepared split is not its own",
                file=options.model,
                remedy="give the lists: --split_ids FOLDER",
            )
        _print_faithfulness(options, model, processor, visits)


def load_fine_tuned(folder: str | Path) -> tuple[MedMPLMVisitClassifier, MedMPLMProcessor]:
    """Load a fine-tuned model that can be explained, on the GPU if there is one, and its processor.

    Args:
        folder (`str` or `Path`): what `run_finetuning.py` wrote.

    Returns:
        Model and processor.

    Raises:
        InputError: if the folder holds no such model.
    """
    processor = load_processor(folder)
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    name = (config.get("architectures") or ["none"])[0]
    if name not in TASK_OF_CLASS:
        raise InputError(
            "this model cannot be explained",
            file=folder,
            received=name,
            expected=f"a model that run_finetuning.py wrote for {' or '.join(EXPLAINED_TASKS)}",
        )
    model = load_model(TASK_OF_CLASS[name], folder, ModelArguments()).eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), processor


def _write_visit(
    options: ExplanationArguments,
    model: MedMPLMVisitClassifier,
    processor: MedMPLMProcessor,
    visits: pl.DataFrame,
) -> None:
    row = visits.filter(pl.col(HADM_ID) == options.visit)
    if row.is_empty():
        raise InputError("no such visit", file=options.data, remedy="give a hadm_id of visits.parquet")
    explanation = explain_visit(
        model,
        processor,
        row.row(0, named=True),
        label=options.label,
        methods=options.methods,
        medication_window=options.medication_window,
        titles=read_titles(options.titles) if options.titles else None,
    )
    files = []
    if options.output is not None:
        files.append(path := Path(options.output))
        make_private_folder(path.parent)
        page = explanation.to_html()
        write_private(path, lambda staging: staging.write_text(page, encoding="utf-8"))
    if options.figure is not None:
        files += attention_figure(explanation, Path(options.figure))
    for path in files:
        print(f"{path}: holds the record of a patient; only you can read it. Keep it as you keep the notes.")


def _print_faithfulness(
    options: ExplanationArguments,
    model: MedMPLMVisitClassifier,
    processor: MedMPLMProcessor,
    visits: pl.DataFrame,
) -> None:
    chosen = _sample(options, model, visits)
    predict = partial(probabilities, model, processor)
    results = measure_faithfulness(
        predict,
        _explained(options, model, processor, chosen),
        options.shares,
        options.num_random,
        options.seed,
    )
    columns = ["part", "method", "deleted", "share", "comprehensiveness", "sufficiency", "visits"]
    rows = [
        [
            result.part,
            result.method,
            result.order,
            "mean" if result.share is None else f"{100 * result.share:g} %",
            result.comprehensiveness,
            result.sufficiency,
            result.num_visits,
        ]
        for result in results
    ]
    print_table(f"{options.task}, {options.split} split: mean loss of probability", columns, rows)
    print(
        "comprehensiveness: these words or codes are deleted (high is good for the most important); "
        "sufficiency: all others of the part are deleted (low is good)"
    )


def _explained(
    options: ExplanationArguments,
    model: MedMPLMVisitClassifier,
    processor: MedMPLMProcessor,
    visits: pl.DataFrame,
) -> Iterator[tuple[Any, Any, Any]]:
    for row in visits.iter_rows(named=True):
        found = explain_inputs(
            model, processor, visit_inputs(row), label=options.label, methods=options.methods
        )
        yield found.visit, found.prediction, found.importances


def _sample(
    options: ExplanationArguments, model: MedMPLMVisitClassifier, visits: pl.DataFrame
) -> pl.DataFrame:
    """Draw visits of the split, with nothing in them but what the task may read."""
    if options.split_ids is not None:
        visits = published_visits(visits, read_published_ids(options.split_ids)).visits
    labels = [str(label) for label in model.config.id2label.values()]
    examples = task_examples(
        options.task,
        visits,
        options.split,
        labels,
        balanced=False,
        medication_window=options.medication_window,
    ).visits
    order = keyed_generator(options.seed, "sample").permutation(examples.height)[: options.max_visits]
    return examples[sorted(order.tolist())]


if __name__ == "__main__":
    run_main(main)
