"""Options that were written for this run and would be read by nobody."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields

from medm_plm import rivals
from medm_plm.errors import InputError
from medm_plm.training.arguments import CODE_SIZES, TEXT_SIZES, FinetuningArguments, ModelArguments


def refuse_idle_options(
    argv: Sequence[str] | None, options: FinetuningArguments, model_options: ModelArguments
) -> None:
    """Refuse options of the model that were written on the command line and would have no effect.

    Those of a configuration file may stay: one file serves the model and the baselines beside it.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default.
        options (`FinetuningArguments`): says what is fitted.
        model_options (`ModelArguments`): says which architecture.

    Raises:
        InputError: if there are any.
    """
    words = sys.argv[1:] if argv is None else argv
    written = {word[2:].split("=", 1)[0].replace("-", "_") for word in words if word.startswith("--")}
    reason, idle = "", set()
    if options.baseline is not None:
        reason, idle = (
            "--baseline, which has no such part",
            {option.name for option in fields(ModelArguments)},
        )
    elif options.model != "none" and model_options.architecture == rivals.OWN_ARCHITECTURE:
        reason, idle = "--model, whose sizes are used", {*TEXT_SIZES, *CODE_SIZES, "code_embedding_type"}
    if found := sorted(written & idle):
        names = ", ".join(f"--{name}" for name in found)
        raise InputError(f"no effect beside {reason}: {names}", remedy="leave it out")
