"""What `resilience.py` trains: the smallest model on a small cohort, in several settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

_COMMON = {
    "config": ROOT / "configs" / "smoke" / "pretraining.yaml",
    "disable_tqdm": True,
    "use_cpu": True,
    "save_strategy": "steps",
    "save_steps": 3,
    "save_total_limit": 2,
    "logging_steps": 2,
}
RECIPES: dict[str, dict[str, Any]] = {
    "epochs": {"load_best_model_at_end": False, "num_train_epochs": 2},
    "best": {
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 8,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "logging_strategy": "steps",
        "metric_for_best_model": "loss",
        "early_stopping_patience": 20,
    },
    "workers": {
        "load_best_model_at_end": False,
        "dataloader_num_workers": 2,
        "dataloader_persistent_workers": True,
        "logging_strategy": "steps",
    },
    "cached": {
        "load_best_model_at_end": False,
        "num_train_epochs": 2,
        "num_frozen_text_layers": 1,
        "frozen_text_cache_gb": 0.0002,  # about half of the 93 notes
        "train_sampling_strategy": "group_by_length",
    },
}
CELLS = [(workers, accumulation, ranks) for workers in (0, 2) for accumulation in (1, 4) for ranks in (1, 2)]
COVERING = (CELLS[0], CELLS[3], CELLS[5], CELLS[6])
"""Half of the cells, with each pair of settings: an error of two settings together shows in these as well."""
LAST_STEP = 8
"""Of a run that is killed: between two checkpoints, and inside the second epoch."""
RECIPES_OF_CELLS: dict[str, dict[str, Any]] = {
    f"{workers} workers, accumulation {accumulation}, {ranks} ranks": {
        "load_best_model_at_end": False,
        "dataloader_num_workers": workers,
        "dataloader_persistent_workers": workers > 0,
        "gradient_accumulation_steps": accumulation,
        "per_device_train_batch_size": 16 // accumulation // ranks,
        "num_train_epochs": 3,
        "logging_strategy": "steps",
    }
    for workers, accumulation, ranks in CELLS
}


def cache_of(folder: Path) -> Path:
    """Name the cache of the frozen layers of one run; none is shared, so that its filling is killed too."""
    return folder.with_name(f"{folder.name}-cache")


def words_of(recipe: str, data: Path, folder: Path) -> list[str]:
    """Write the options of a run as words of a command line."""
    options = {**_COMMON, **(RECIPES | RECIPES_OF_CELLS)[recipe], "data": data, "output_dir": folder}
    if "frozen_text_cache_gb" in options:
        options["frozen_text_cache"] = cache_of(folder)
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]
