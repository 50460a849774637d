"""The table of commands. It is plain data: to list them, none of them is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from medm_plm.errors import InputError


@dataclass(frozen=True)
class Command:
    """One word after `medm-plm`.

    Args:
        summary (`str`): line of the list of commands.
        module (`str`): the module whose `main` it runs.
        options (`str`, *optional*): what tells shell completion about its options: the function of that
            module that builds its parser, or the names of its argument classes with commas between,
            `module:Class` where they stand elsewhere.
        positional (`bool`, defaults to False): its first words have no names.
    """

    summary: str
    module: str
    options: str = ""
    positional: bool = False


_TRAINING = "medm_plm.training.arguments"

COMMANDS: dict[str, Command] = {
    "prepare": Command(
        "read MIMIC, eICU, MEDS or plain tables, or invent patients",
        "run_preparation",
        "PreparationArguments",
    ),
    "pretrain": Command(
        "pre-train on a prepared folder",
        "run_pretraining",
        f"{_TRAINING}:PretrainingArguments,{_TRAINING}:ModelArguments,{_TRAINING}:RunArguments",
    ),
    "finetune": Command(
        "fine-tune for a task, or fit a baseline",
        "run_finetuning",
        f"{_TRAINING}:FinetuningArguments,{_TRAINING}:NerArguments,"
        f"{_TRAINING}:ModelArguments,{_TRAINING}:RunArguments",
    ),
    "evaluate": Command(
        "metrics of a file of predictions, or of a fine-tuned model on a prepared folder",
        "medm_plm.cli.evaluation",
        "EvaluationArguments",
    ),
    "predict": Command("predict a file of visits", "run_prediction", "PredictionArguments"),
    "explain": Command(
        "words and codes that a prediction rests on", "run_explanation", "ExplanationArguments"
    ),
    "export": Command("write a model as ONNX, also with 8 bits", "run_export", "ExportArguments"),
    "card": Command("write the card of a model or of prepared data", "run_card", "_parser", positional=True),
    "privacy": Command("measure what a model gives away of its patients", "run_privacy", "_parser"),
    "push": Command(
        "publish a model on the Hub, privately unless asked twice",
        "run_publishing",
        "PublishingArguments",
        positional=True,
    ),
    "experiment": Command("run a list of runs and make its tables", "run_experiments"),
    "demo": Command("a page on this machine to try a model", "medm_plm.demo.serving", "DemoArguments"),
    "doctor": Command(
        "check the installation, the devices, a data folder, a model folder",
        "medm_plm.cli.doctor",
        "build_parser",
    ),
    "completion": Command(
        "print the completion script for bash or zsh", "medm_plm.cli.completion", "build_parser"
    ),
}


def load_main(name: str) -> Callable[[], None]:
    """Import a command.

    Args:
        name (`str`): a key of `COMMANDS`.

    Returns:
        Its `main`, which reads the words of the process.

    Raises:
        InputError: if the installation lacks it.
    """
    module = COMMANDS[name].module
    if find_spec(module) is None:
        raise InputError(f"command {name} is not installed: there is no module {module}")
    found: Callable[[], None] = import_module(module).main
    return found
