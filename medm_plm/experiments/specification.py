"""The YAML file of a list of runs: data, tasks, models, seeds and shares of the training data.

Options are grouped by who reads them. `model` builds a model, `pretraining` and `finetuning` train it,
`common` goes to both. What a task or a model says of its own wins over what the list says for all.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from medm_plm.errors import InputError
from medm_plm.experiments.reports import ReportSpecification

Options = dict[str, Any]


@dataclass(frozen=True)
class DataSpecification:
    """Where the visits come from.

    Args:
        name (`str`): by which `--data NAME=FOLDER` names the folder.
        source (`str`): a source of `run_preparation.py`; `synthetic` needs no folder.
        options (`dict`, *optional*): further options of the preparation.
    """

    name: str
    source: str
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSpecification:
    """One row of the tables.

    Args:
        label (`str`): its name in tables and figures.
        group (`str`, *optional*): what it belongs to, shown in front of tables of ablations.
        baseline (`str`, *optional*): a baseline of `run_finetuning.py`, which knows no training options.
        ceiling (`bool`, defaults to False): the probabilities of the generator of a synthetic cohort.
        model (`dict`, *optional*): options of the model; go to the pre-training, or without one to the
            fine-tuning.
        pretraining (`dict`, *optional*): options of its pre-training; without this key there is none.
        finetuning (`dict`, *optional*): options of its fine-tuning.
        tasks (`dict`, *optional*): options of its fine-tuning for single tasks.
        only (`list[str]`, *optional*): the tasks it is run for; all by default.
        seeds (`list[int]`, *optional*): its seeds, where fewer than those of the list are enough.
        shares (`list[float]`, *optional*): its shares of the training data, where others than the list's.
        paper (`dict`, *optional*): what the paper reports, by task, in the order of the table's metrics.
    """

    label: str
    group: str | None = None
    baseline: str | None = None
    ceiling: bool = False
    model: Options = field(default_factory=dict)
    pretraining: Options | None = None
    finetuning: Options = field(default_factory=dict)
    tasks: dict[str, Options] = field(default_factory=dict)
    only: list[str] | None = None
    seeds: list[int] | None = None
    shares: list[float] | None = None
    paper: dict[str, list[float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class ExperimentList:
    """A list of runs and what is told of them.

    Args:
        title (`str`): first line of the report.
        data (`DataSpecification`): the visits.
        models (`dict[str, ModelSpecification]`): the models, by name.
        tasks (`dict[str, dict]`): the tasks, each with options of its fine-tuning. A list without tasks
            only pre-trains.
        seeds (`list[int]`): seeds of all models.
        shares (`list[float]`): shares of the training data, in (0, 1].
        reference (`str`, *optional*): the model that the others are tested against.
        common, model, pretraining, finetuning (`dict`, *optional*): options for all, see above.
        folders (`list[str]`, *optional*): further folders that must be given by `--data NAME=FOLDER`;
            options write them `{NAME}`.
        reports (`list[ReportSpecification]`): tables and figures.
    """

    title: str
    data: DataSpecification
    models: dict[str, ModelSpecification]
    tasks: dict[str, Options] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [1])
    shares: list[float] = field(default_factory=lambda: [1.0])
    reference: str | None = None
    common: Options = field(default_factory=dict)
    model: Options = field(default_factory=dict)
    pretraining: Options = field(default_factory=dict)
    finetuning: Options = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    reports: list[ReportSpecification] = field(default_factory=list)


def read_experiment_list(path: str | Path) -> ExperimentList:
    """Read and check a list of runs.

    A file may begin with `base: OTHER.yaml`: its mappings are then laid over those of the other file, and a
    key with the value null is taken out.

    Args:
        path (`str` or `Path`): the YAML file.

    Returns:
        The list.

    Raises:
        InputError: if the file cannot be read, or holds something unknown, missing or of the wrong kind.
    """
    path = Path(path)
    content = _read_with_base(path)
    content["data"] = _build(DataSpecification, content.get("data"), path, "data")
    models = _mapping(content.get("models"), path, "models")
    content["models"] = {
        name: _build(ModelSpecification, entry, path, f"models.{name}") for name, entry in models.items()
    }
    entries = content.get("reports") or []
    content["reports"] = [
        _build(ReportSpecification, entry, path, f"reports[{place}]") for place, entry in enumerate(entries)
    ]
    content["tasks"] = {
        name: _mapping(options or {}, path, f"tasks.{name}")
        for name, options in _mapping(content.get("tasks") or {}, path, "tasks").items()
    }
    experiment_list = _build(ExperimentList, content, path, "the list")
    _check(experiment_list, path)
    return experiment_list


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another; a value of None takes the key out.

    Args:
        below (`Mapping`): the mapping that is changed.
        above (`Mapping`): the mapping that wins.

    Returns:
        A new mapping.
    """
    result = dict(below)
    for key, value in above.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = overlay(result[key], value)
        else:
            result[key] = value
    return result


def _read_with_base(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    content = _mapping(_read_yaml(path), path, "the file")
    base = content.pop("base", None)
    if base is None:
        return content
    if path.resolve() in seen:
        raise InputError("base: the files name each other", file=path)
    return overlay(_read_with_base(path.parent / str(base), (*seen, path.resolve())), content)


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"list of runs cannot be read: {reason}", file=path) from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise InputError("this is no valid YAML", file=path, row=line) from None


def _mapping(value: Any, path: Path, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        received = "nothing" if value is None else type(value).__name__
        raise InputError(
            f"{place} is no mapping", file=path, received=received, expected="'name: value' lines"
        )
    return {str(key): item for key, item in value.items()}


def _build(kind: type, value: Any, path: Path, place: str) -> Any:
    """Make a dataclass of a mapping; `null` stands for an empty mapping or list."""
    content = _mapping(value, path, place)
    known = {entry.name: entry for entry in fields(kind)}
    for name in content:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            raise InputError(
                f"{place} has an unknown key",
                file=path,
                received=name,
                expected=f"{nearest[0]}?" if nearest else ", ".join(known),
            )
    try:
        return kind(**content)
    except InputError as error:
        raise InputError(f"{place}: {error}", file=path) from None
    except TypeError as error:
        raise InputError(f"{place}: {str(error).rpartition('() ')[2]}", file=path) from None


def _check(experiment_list: ExperimentList, path: Path) -> None:
    if not experiment_list.models:
        raise InputError("the list has no models", file=path)
    for name, model in experiment_list.models.items():
        for task in [*(model.only or ()), *model.tasks, *model.paper]:
            if task not in experiment_list.tasks:
                raise InputError(
                    f"models.{name} names a task that the list does not have",
                    file=path,
                    received=task,
                    expected=", ".join(experiment_list.tasks),
                )
    if experiment_list.reference is not None:
        _require_model(experiment_list, experiment_list.reference, path, "reference")
    for report in experiment_list.reports:
        for name in report.models or ():
            _require_model(experiment_list, name, path, "a report")
    for share in experiment_list.shares:
        if not 0 < share <= 1:
            raise InputError("shares", file=path, received=share, expected="shares in (0, 1]")


def _require_model(experiment_list: ExperimentList, name: str, path: Path, place: str) -> None:
    if name not in experiment_list.models:
        raise InputError(
            f"{place} names a model that the list does not have",
            file=path,
            received=name,
            expected=", ".join(experiment_list.models),
        )


def parse_folders(words: Sequence[str]) -> dict[str, Path]:
    """Read `NAME=FOLDER` words.

    Args:
        words (`Sequence[str]`): the words.

    Returns:
        The folders by name.

    Raises:
        InputError: if a word is not of this form, or the folder does not exist.
    """
    folders = {}
    for word in words:
        name, separator, folder = word.partition("=")
        if not (name and separator and folder):
            raise InputError("option --data", received=word, expected="NAME=FOLDER")
        if not Path(folder).is_dir():
            raise InputError("folder does not exist", file=folder)
        folders[name] = Path(folder).resolve()
    return folders
