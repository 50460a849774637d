"""Keep what the frozen text layers say about each note, so that no epoch and no task computes it again.

Frozen layers run in evaluation mode, so their output is a function of the note alone. It is computed once and
kept on disk, real tokens only, in files that are mapped into memory. A folder is named after the frozen
weights, a note after its tokens: other weights, another tokenizer or other notes never meet a wrong state,
runs share what they have in common, and a broken-off computation goes on where it stopped. Notes that find
no place are computed whenever they are used. Their states are not rounded then, so a run writes down which
notes these are and holds to it when it is resumed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from medm_plm.data.files import make_private_folder, write_private
from medm_plm.errors import InputError
from medm_plm.training.checkpoints import checkpoints_in
from medm_plm.training.prefix_states import bytes_per_token, compute_states, note_name, prefix_fingerprint
from medm_plm.training.state_files import (
    KeptNote,
    folder_bytes,
    open_states,
    remove_damaged,
    write_states,
)

logger = logging.get_logger(__name__)

BYTES_PER_FILE = 64 * 2**20
BYTES_PER_HEADER_ENTRY = 160
SHARE_OF_FREE_SPACE = 0.95
GIGABYTE = 10**9
LEFT_OUT_FILE = "notes_without_place.json"


@dataclass(frozen=True)
class CacheOptions:
    """Where and how states are kept, and which of several processes this is.

    Args:
        folder (`str` or `Path`): may be shared by models, by runs at the same time and by the processes of a
            run.
        dtype (`str`, defaults to `"float16"`): precision, `float16`, `bfloat16` or `float32`.
        limit_gb (`float`, *optional*): largest size of the folder; notes beyond it, or beyond the free space
            of the disk, are computed whenever they are used. Without a limit too small a disk is an error.
        device (`torch.device`, *optional*): where missing states are computed; where the model is by default.
        process_index, num_processes (`int`): each process computes its share of the missing notes.
        run_folder (`str` or `Path`, *optional*): where the run writes down which notes found no place.
        wait_for_all (`Callable`, *optional*): returns as soon as all processes have called it.
        report (`Callable`, *optional*): takes the line that says what is needed and what there is.
    """

    folder: str | Path
    dtype: str = "float16"
    limit_gb: float | None = None
    device: torch.device | None = None
    process_index: int = 0
    num_processes: int = 1
    run_folder: str | Path | None = None
    wait_for_all: Callable[[], Any] = lambda: None
    report: Callable[[str], Any] = logger.info

    @classmethod
    def from_arguments(cls, args: Any) -> CacheOptions:
        """Take the options of a run from its `RunArguments`.

        Raises:
            InputError: on the main process, for a limit together with FSDP.
            SystemExit: with status 1 on the other processes, likewise.
        """
        if args.frozen_text_cache_gb is not None and args.uses_fsdp:
            if args.process_index > 0:
                raise SystemExit(1)
            # A process that runs the frozen layers for a note without place would wait for ever for those
            # whose notes are all kept: the weights are gathered from all of them.
            raise InputError(
                "option --frozen_text_cache_gb cannot go with FSDP",
                remedy="leave it out, so that the cache holds every note, or train with DDP",
            )
        return cls(
            folder=args.frozen_text_cache,
            dtype=args.frozen_text_cache_dtype,
            limit_gb=args.frozen_text_cache_gb,
            device=args.device,
            process_index=args.process_index,
            num_processes=args.world_size,
            run_folder=args.output_dir,
            wait_for_all=args.distributed_state.wait_for_everyone,
            report=print if args.process_index == 0 else logger.info,
        )


def add_prefix_states(
    model: Any, visits: Iterable[dict[str, Any]], options: CacheOptions, text_padding_id: int = 0
) -> None:
    """Give each tokenised visit the states of its note after the frozen text layers.

    Args:
        model (`MedMPLMModel`): the base model; its frozen layers are run for notes that are not kept yet.
        visits (`Iterable[dict]`): tokenised visits with `input_ids`; `text_prefix_states` is added, a
            `KeptNote` that is read when it is used, or None where there was no place for it.
        options (`CacheOptions`): where and how states are kept.
        text_padding_id (`int`, defaults to 0): id of the text tokenizer's padding token.

    Raises:
        InputError: if the text encoder has no frozen prefix, or the disk is too small.
    """
    _require_prefix(model)
    visits = list(visits)
    names = [note_name(visit["input_ids"], model.config) for visit in visits]
    notes = {name: visit["input_ids"] for name, visit in zip(names, visits, strict=True)}
    dtype = getattr(torch, options.dtype)
    folder = Path(options.folder) / prefix_fingerprint(model, dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_writable(folder, error) from None
    remove_damaged(folder, options.process_index, options.num_processes)
    options.wait_for_all()
    kept = open_states(folder)
    left_out = _left_out_before(notes, options)
    missing = {name: ids for name, ids in notes.items() if name not in kept and name not in (left_out or ())}
    chosen = _within_limits(model, notes, missing, kept, folder, options)
    if left_out is None:
        left_out = missing.keys() - chosen
    elif len(chosen) < len(missing):
        raise _not_resumable(len(missing) - len(chosen), options)
    share = {
        name: notes[name]
        for index, name in enumerate(notes)
        if index % options.num_processes == options.process_index and name in chosen
    }
    options.wait_for_all()  # all have planned before the first one writes
    if options.process_index == 0:
        _write_down(notes, left_out, options)
    _fill(model, share, folder, text_padding_id, options)
    options.wait_for_all()
    if missing:
        kept = open_states(folder)
    for name, visit in zip(names, visits, strict=True):
        visit["text_prefix_states"] = None if name in left_out else kept.get(name)


def _left_out_before(notes: Mapping[str, Any], options: CacheOptions) -> set[str] | None:
    """Notes without place when the run began; None if it has no checkpoint yet."""
    if options.run_folder is None or not checkpoints_in(Path(options.run_folder)):
        return None
    try:
        content = json.loads((Path(options.run_folder) / LEFT_OUT_FILE).read_bytes())
        return set(content["left_out"]) if content["notes"] == _digest_of_names(notes) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_down(notes: Mapping[str, Any], left_out: Collection[str], options: CacheOptions) -> None:
    if options.run_folder is None:
        return
    text = json.dumps({"notes": _digest_of_names(notes), "left_out": sorted(left_out)})
    make_private_folder(Path(options.run_folder))
    write_private(
        Path(options.run_folder) / LEFT_OUT_FILE, lambda staging: staging.write_text(text, encoding="utf-8")
    )


def _digest_of_names(names: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()


def _not_resumable(num_missing: int, options: CacheOptions) -> InputError:
    return InputError(
        "the frozen text cache has lost notes that the run began with, and has no place for them",
        file=options.folder,
        received=f"{num_missing:,} notes without place",
        remedy="make room, or raise --frozen_text_cache_gb",
    )


def _require_prefix(model: Any) -> None:
    if not model.has_text_prefix:
        config = model.config
        raise InputError(
            "option --frozen_text_cache has nothing to keep",
            received=f"{config.num_frozen_text_layers} frozen layers of {config.text_config.model_type}",
            expected="frozen layers of BERT, ModernBERT or one of their kin",
            remedy="set --num_frozen_text_layers to 1 or more, or leave the option out",
        )


def _within_limits(
    model: Any,
    notes: Mapping[str, np.ndarray],
    missing: Mapping[str, np.ndarray],
    kept: Mapping[str, KeptNote],
    folder: Path,
    options: CacheOptions,
) -> set[str]:
    """Choose the missing notes that there is place for, and report what is needed before anything is done."""
    per_token = bytes_per_token(model, getattr(torch, options.dtype))
    sizes = {name: len(ids) * per_token + BYTES_PER_HEADER_ENTRY for name, ids in missing.items()}
    needed, free = sum(sizes.values()), shutil.disk_usage(options.folder).free
    place = SHARE_OF_FREE_SPACE * free
    if options.limit_gb is not None:
        # Notes that are kept take as much place as before they were: files are smaller than the estimate, and
        # a run that is killed before its first checkpoint must not find place for more at its next start.
        estimated = sum(len(note) * per_token + BYTES_PER_HEADER_ENTRY for note in kept.values())
        here = folder_bytes(folder)
        others = folder_bytes(folder.parent) - here
        place = min(place, options.limit_gb * GIGABYTE - others - max(here, estimated))
    chosen = set()
    for name, size in sizes.items():
        place -= size
        if place < 0:
            break
        chosen.add(name)
    num_tokens = sum(map(len, notes.values()))
    limit = "" if options.limit_gb is None else f", limit {options.limit_gb:g} GB"
    options.report(
        f"frozen text cache: {len(notes):,} notes, {num_tokens:,} tokens, {len(missing):,} notes to compute, "
        f"{needed / GIGABYTE:.3f} GB needed, {free / GIGABYTE:.1f} GB free{limit}, "
        f"{len(missing) - len(chosen):,} notes without place"
    )
    if options.limit_gb is None and len(chosen) < len(missing):
        raise InputError(
            "the disk is too small for the frozen text cache",
            file=options.folder,
            received=f"{free / GIGABYTE:.3f} GB free",
            expected=f"{needed / SHARE_OF_FREE_SPACE / GIGABYTE:.3f} GB",
            remedy="choose another folder, or a size by --frozen_text_cache_gb: what finds no place is "
            "computed whenever it is used",
        )
    return chosen


def _not_writable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"the frozen text cache cannot be written: {error.strerror or 'the disk took no more data'}",
        file=folder,
        remedy="make room and start the same command again, which keeps what is there; or choose a size by "
        "--frozen_text_cache_gb",
    )


def _fill(
    model: Any, notes: Mapping[str, np.ndarray], folder: Path, padding_id: int, options: CacheOptions
) -> None:
    """Compute notes and write them, a file at a time; a killed process loses no more than one file."""
    if not notes:
        return
    home = next(model.text_model.parameters()).device
    model.text_model.to(options.device or home)
    parts = compute_states(model, notes, padding_id, getattr(torch, options.dtype), BYTES_PER_FILE)
    with logging.tqdm(total=len(notes), desc="frozen text layers", leave=False) as progress:
        for part in parts:
            try:
                write_states(folder, part)
            except OSError as error:
                raise _not_writable(folder, error) from None
            progress.update(len(part))
    model.text_model.to(home)
