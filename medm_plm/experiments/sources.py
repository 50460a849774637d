"""The visits of a list of runs: prepared by itself, or given by the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medm_plm.data.files import fingerprint
from medm_plm.data.schema import VISITS_FILE, VOCABULARY_FILE
from medm_plm.errors import InputError
from medm_plm.experiments.planning import (
    CACHE,
    DATA,
    PREPARATION,
    TABLES,
    Run,
    digest,
    is_package,
    package_folder,
)
from medm_plm.experiments.records import OUTPUT_FOLDER, run_folder
from medm_plm.experiments.specification import ExperimentList

CACHE_FOLDER, TABLES_FOLDER = "cache", "tables"
_SYNTHETIC = "synthetic"
_TEXT_MODEL = "{text_model}"
_DIGITS = 10


@dataclass(frozen=True)
class Source:
    """Folders of the data, and the run that prepares them.

    Args:
        places (`dict[str, Path]`): what stands for `{data}`, `{cache}` and `{tables}`.
        preparation (`Run`, *optional*): None where the folder given is prepared already.
    """

    places: dict[str, Path]
    preparation: Run | None


def locate(experiment_list: ExperimentList, output: Path, given: Mapping[str, Path]) -> Source:
    """Find out where the visits are, or are to be, and where else the list reads from.

    Args:
        experiment_list (`ExperimentList`): the list.
        output (`Path`): folder of the experiments.
        given (`Mapping[str, Path]`): folders given by name: prepared ones, or tables of the source.

    Returns:
        The places and the preparation.

    Raises:
        InputError: if a folder is needed and not given, or one is given that the list does not know.
    """
    data = experiment_list.data
    for name in given:
        if name not in (data.name, *experiment_list.folders):
            known = " or ".join([data.name, *experiment_list.folders])
            raise InputError("option --data names data unknown to the list", received=name, expected=known)
    needed = [*experiment_list.folders, *([] if data.source == _SYNTHETIC else [data.name])]
    for name in needed:
        if name not in given:
            raise InputError(f"the list needs the folder of {name}", remedy=f"add --data {name}=FOLDER")
    places = {CACHE: output / CACHE_FOLDER}
    places |= {f"{{{name}}}": given[name] for name in experiment_list.folders}
    folder = given.get(data.name)
    # A prepared folder may stand in for the synthetic cohort too.
    if folder is not None and (folder / VISITS_FILE).is_file():
        return Source({**places, DATA: folder}, None)
    settings: dict[str, Any] = {"source": data.source, "input": TABLES, **data.options}
    seed = int(data.options.get("seed", 0))
    run = Run(f"{PREPARATION}-{data.name}-{digest(settings)[:_DIGITS]}", PREPARATION, settings, seed)
    home = run_folder(output, run)
    tables = home / TABLES_FOLDER if folder is None else folder
    return Source({**places, DATA: home / OUTPUT_FOLDER, TABLES: tables}, run)


def use_text_model(experiment_list: ExperimentList, text_model: str | None, places: dict[str, Path]) -> None:
    """Put another text encoder into all models that read text by the encoder of the list.

    Args:
        experiment_list (`ExperimentList`): the list, changed in place.
        text_model (`str`, *optional*): folder or Hub id.
        places (`dict[str, Path]`): gets the folder.
    """
    before = experiment_list.model.get("text_model")
    if text_model is None or before is None:
        return
    if Path(text_model).is_dir():
        places[_TEXT_MODEL] = Path(text_model).resolve()
        text_model = _TEXT_MODEL
    models = experiment_list.models.values()
    options = [part for model in models for part in (model.model, model.pretraining or {}, model.finetuning)]
    for part in (experiment_list.model, *options):
        if part.get("text_model") == before:
            part["text_model"] = text_model


def table_fingerprints(source: Source) -> dict[str, str]:
    """Take a fingerprint of the tables that are prepared, by their names and sizes.

    Args:
        source (`Source`): from `locate`.

    Returns:
        SHA-256 by name; none for a synthetic cohort, whose settings say all.
    """
    if source.preparation is None or source.preparation.settings["source"] == _SYNTHETIC:
        return {}
    folder = source.places[TABLES]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {"tables": digest([[path.relative_to(folder).as_posix(), path.stat().st_size] for path in files])}


def input_fingerprints(experiment_list: ExperimentList, places: Mapping[str, Path]) -> dict[str, str]:
    """Take the fingerprints of what all runs read.

    Args:
        experiment_list (`ExperimentList`): the list.
        places (`Mapping[str, Path]`): where the data and, perhaps, the text encoder are.

    Returns:
        SHA-256 by name.

    Raises:
        InputError: if something is missing.
    """
    found = {name: fingerprint(places[DATA] / name) for name in (VISITS_FILE, VOCABULARY_FILE)}
    found |= {name: fingerprint(places[f"{{{name}}}"]) for name in experiment_list.folders}
    text_model = experiment_list.model.get("text_model")
    if is_package(text_model):
        found["text_model"] = fingerprint(package_folder(text_model))
    elif text_model in places:
        found["text_model"] = fingerprint(places[text_model])
    return found
