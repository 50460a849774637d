"""Which checkpoint a run goes on from, and whether it is the same run at all.

The folder of the checkpoints holds `run.json`: options, data and versions of the run that writes there. A
checkpoint is taken up again only by the same run, because nothing else would end in the same weights.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers.utils import logging

from medm_plm.data.files import fingerprint, make_private_folder, write_private
from medm_plm.data.schema import VISITS_FILE, VOCABULARY_FILE
from medm_plm.errors import InputError
from medm_plm.training.arguments import RunArguments
from medm_plm.training.checkpoints import (
    best_checkpoint,
    checkpoints_in,
    damage,
    read_manifest,
    recover,
    set_aside,
    step_of,
)
from medm_plm.training.run_lock import lock_run_folder

logger = logging.get_logger(__name__)

RUN_FILE = "run.json"
TRAINING_REVISION = 1
"""Raised with every change of the code after which a resumed run would end in other numbers."""

_PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "numpy")
_DATA_FILES = (VISITS_FILE, VOCABULARY_FILE)
_MODEL_FILES = (".json", ".safetensors", ".bin", ".txt", ".model")
"""Configuration, weights and vocabulary of a model, sharded or not."""

# Options that change neither weights nor losses. Nor do those with one of the
# prefixes below, apart from `dataloader_drop_last`.
_FREE_OPTIONS = frozenset(
    (
        *("output_dir", "resume_from_checkpoint", "save_total_limit", "data"),
        "frozen_text_cache_gb",  # `feature_cache` holds to the notes it left out at the first start
        *("tune_threshold", "fit_temperature", "ddi_pairs"),
        *("probe_shuffled_modalities", "disable_tqdm", "report_to", "run_name", "project", "push_to_hub"),
        *("local_rank", "ddp_timeout", "skip_memory_metrics", "torch_empty_cache_steps"),
    )
)
_FREE_PREFIXES = ("hub_", "log_", "trackio_", "dataloader_")
_FIXED_OPTIONS = frozenset({"dataloader_drop_last"})
_FOLDER_OPTIONS = ("model", "text_model")  # what lies there counts, not where


def resume_folder(args: RunArguments, *options: Any) -> str | None:
    """Find the checkpoint from which the run goes on; the main process decides for all.

    Args:
        args (`RunArguments`): `resume_from_checkpoint` is `auto` (the last intact checkpoint of the same run,
            if there is one), `last` (the same, but there must be one), `never`, or the folder of a
            checkpoint, which is taken whatever run it is from.
        options: further dataclasses with options that make a run what it is.

    Returns:
        The folder, or None to start afresh.

    Raises:
        InputError: if there is no such checkpoint, or if the folder holds the checkpoints of another run.
        SystemExit: with status 1 on the other processes, where the main process refuses.
    """
    if args.world_size == 1:
        return _choose(args, options)
    chosen, refusal = None, None
    if args.process_index == 0:
        try:
            chosen = _choose(args, options)
        except InputError as error:
            refusal = error
    answer = broadcast_object_list([chosen, refusal is not None])
    if refusal is not None:
        raise refusal
    if answer[1]:
        raise SystemExit(1)
    return answer[0]


def _choose(args: RunArguments, options: tuple[Any, ...]) -> str | None:
    asked, folder = args.resume_from_checkpoint or "auto", Path(args.output_dir)
    description = describe_run(args, *options)
    named = None if asked in ("auto", "last", "never") else _named(Path(asked), args.world_size)
    make_private_folder(folder)
    lock_run_folder(folder)
    recover(folder)
    if named is not None:
        _leave_another_run(folder, Path(named), description)
        # What is written here from now on is of this run, not of the earlier one.
        _record(folder, description)
        return named
    checkpoints = checkpoints_in(folder)
    if not checkpoints:
        if asked == "last":
            raise _nothing_to_resume(folder)
        _record(folder, description)
        return None
    if asked == "never":
        raise InputError(
            "the folder already holds checkpoints",
            file=folder,
            remedy="go on with --resume_from_checkpoint auto, or choose another --output_dir",
        )
    if (folder / RUN_FILE).is_file():
        _refuse_another_run(folder, description)
    elif asked == "auto":
        raise InputError(
            f"the folder already holds checkpoints, but no {RUN_FILE} that says of which run",
            file=folder,
            remedy="go on with --resume_from_checkpoint last, or choose another --output_dir",
        )
    chosen = last_intact(checkpoints, needs_best=args.load_best_model_at_end)
    if chosen is None and asked == "last":
        raise _nothing_to_resume(folder)
    _record(folder, description)
    return None if chosen is None else str(chosen)


def last_intact(checkpoints: list[Path], needs_best: bool) -> Path | None:
    """Choose the newest intact checkpoint and warn once of all that is passed over.

    A checkpoint whose best predecessor is damaged cannot end like the uninterrupted run; an older one that
    can is preferred to it, but it is better than nothing.

    Args:
        checkpoints (`list[Path]`): folders `checkpoint-N`, the newest first.
        needs_best (`bool`): the run is to end with the best weights.

    Returns:
        The folder, or None if none is intact.
    """
    faults: list[str] = []
    second_choice = None
    for folder in checkpoints:
        if (fault := damage(folder)) is None:
            best = best_checkpoint(folder) if needs_best else None
            if best is None or best == folder or (fault := damage(best)) is None:
                _warn(faults, f"going on from {folder.name}")
                return folder
            second_choice = second_choice or folder
            fault = f"its best predecessor {best.name} is damaged: {fault}"
        faults.append(f"{folder.name}: {fault}")
    if second_choice is not None:
        _warn(faults, f"going on from {second_choice.name} without the best weights so far")
    else:
        _warn(faults, "none is intact, so there is nothing to go on from")
    return second_choice


def describe_run(args: RunArguments, *options: Any) -> dict[str, Any]:
    """Say what decides the losses and weights of a run: options, data, versions, number of processes.

    Args:
        args (`RunArguments`): options of the training.
        options: further dataclasses with options; a field `data` names the prepared folder.

    Returns:
        Content of `run.json`, without tokens and without paths of this machine.
    """
    chosen = dict(args.to_dict())
    for part in options:
        chosen.update(vars(part))
    data = chosen.get("data")
    # Kept states are rounded, so it counts whether they are used, but not where they lie.
    chosen["frozen_text_cache"] = chosen.get("frozen_text_cache") is not None
    kept = {name: value for name, value in chosen.items() if _matters(name)}
    for name in _FOLDER_OPTIONS:
        if kept.get(name) and (folder := Path(kept[name])).is_dir():
            files = sorted(path for path in folder.iterdir() if path.suffix in _MODEL_FILES)
            kept[name] = {path.name: fingerprint(path) for path in files}
    description = {
        **kept,
        "number of processes": args.world_size,
        "kind of processes": str(args.distributed_state.distributed_type),
        "device": args.device.type,
        "precision": args.mixed_precision,
        "revision of the training": TRAINING_REVISION,
        **{name: fingerprint(Path(data) / name) for name in _DATA_FILES if data is not None},
        "version of python": platform.python_version(),
        **{f"version of {name}": version(name) for name in _PACKAGES},
    }
    return json.loads(json.dumps(description, default=str))


def _matters(name: str) -> bool:
    free = name in _FREE_OPTIONS or name.startswith(_FREE_PREFIXES)
    return name in _FIXED_OPTIONS or not (free or name.startswith("_"))


def _leave_another_run(folder: Path, named: Path, description: dict[str, Any]) -> None:
    """Set aside what a later start would take for checkpoints of this run."""
    try:
        if not _differences(folder, description)[1]:
            return
    except (OSError, ValueError, TypeError, AttributeError):
        pass  # an unknown run is another one
    is_here = named.resolve().parent == folder.resolve()
    others = [path for path in checkpoints_in(folder) if not is_here or step_of(path) > step_of(named)]
    if others:
        names = ", ".join(path.name for path in set_aside(others))
        logger.warning(f"checkpoints of another run in {folder} are set aside as {names}")


def _differences(folder: Path, description: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is recorded of the run of a folder, and the names of what differs from this one."""
    recorded = json.loads((folder / RUN_FILE).read_bytes())
    names = {**recorded, **description}
    return recorded, sorted(n for n in names if _value(recorded, n) != _value(description, n))


def _refuse_another_run(folder: Path, description: dict[str, Any]) -> None:
    try:
        recorded, names = _differences(folder, description)
    except (OSError, ValueError, TypeError, AttributeError):
        raise InputError(
            f"{RUN_FILE}, which says of which run the checkpoints are, cannot be read",
            file=folder,
            remedy=f"remove {RUN_FILE} and go on with --resume_from_checkpoint last",
        ) from None
    if names:
        raise InputError(
            f"the folder holds the checkpoints of another run, which differs in {', '.join(names)}",
            file=folder,
            received=f"{names[0]} {_value(description, names[0])}",
            expected=_value(recorded, names[0]),
            remedy="choose another --output_dir; to go on all the same, name the folder of a checkpoint by "
            "--resume_from_checkpoint",
        )


def _value(description: dict[str, Any], name: str) -> Any:
    return description.get(name, "not set")


def _record(folder: Path, description: dict[str, Any]) -> None:
    text = json.dumps(description, indent=1, sort_keys=True) + "\n"
    write_private(folder / RUN_FILE, lambda staging: staging.write_text(text, encoding="utf-8"))


def _named(checkpoint: Path, processes: int) -> str:
    if not checkpoint.is_dir():
        raise _nothing_to_resume(checkpoint)
    if (fault := damage(checkpoint)) is not None:
        raise InputError(f"the checkpoint is damaged: {fault}", file=checkpoint, remedy="name an older one")
    written_by = (read_manifest(checkpoint) or {}).get("processes")
    if written_by != processes:
        logger.warning(
            f"{checkpoint.name} was written by {written_by} processes and is read by {processes}: the run "
            "goes on, but not bit for bit"
        )
    return str(checkpoint)


def _nothing_to_resume(place: Path) -> InputError:
    return InputError(
        "no checkpoint to resume from",
        file=place,
        expected="an intact folder checkpoint-N",
        remedy="start without --resume_from_checkpoint",
    )


def _warn(faults: list[str], consequence: str) -> None:
    if faults:
        logger.warning(f"damaged checkpoints are passed over ({'; '.join(faults)}): {consequence}")
