"""Devices, memory and free disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from medm_plm.doctor.findings import OK, PROBLEM, WARNING, Finding

GIGABYTE = 1e9
LEAST_DISK, ENOUGH_DISK = 1.0, 20.0
"""Gigabytes: a checkpoint with its optimiser at the paper's size takes 1.5, the cache of frozen states 15."""


def check_machine(folder: str | Path = ".") -> list[Finding]:
    """Look at devices, memory and disk.

    Args:
        folder (`str` or `Path`, *optional*): where runs write to.

    Returns:
        A line for each.
    """
    return [*check_devices(), check_memory(), check_disk(Path(folder))]


def check_devices() -> list[Finding]:
    """Import PyTorch and ask it what it can compute with."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [
            Finding(
                "torch",
                PROBLEM,
                f"cannot be imported: {type(error).__name__}",
                "install it anew for this machine",
            )
        ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    findings = [Finding("cpu", OK, f"{cores} cores, PyTorch uses {torch.get_num_threads()} threads")]
    return [*findings, *_accelerators(torch)]


def _accelerators(torch: Any) -> list[Finding]:
    if torch.cuda.is_available():
        return [_gpu(torch, index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return [Finding("gpu", OK, "Apple silicon (mps)")]
    if shutil.which("nvidia-smi") is None:
        return [Finding("gpu", OK, "none; everything runs on the CPU")]
    build = torch.version.cuda
    return [
        Finding(
            "gpu",
            WARNING,
            "there is an NVIDIA driver, but PyTorch cannot use it: "
            + ("it was built for the CPU" if build is None else f"it was built for CUDA {build}"),
            "install a build of PyTorch that fits the driver (see nvidia-smi)",
        )
    ]


def _gpu(torch: Any, index: int) -> Finding:
    facts = torch.cuda.get_device_properties(index)
    name = f"{facts.name}, {facts.total_memory / GIGABYTE:.0f} GB"
    half = "bfloat16" if facts.major >= 8 else "no bfloat16 units"
    return Finding(f"gpu {index}", OK, f"{name}, CUDA {torch.version.cuda}, {half}")


def check_memory() -> Finding:
    """Tell the memory of the machine, where the system says it."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    except (ValueError, OSError, AttributeError):
        return Finding("memory", OK, "not told by this system")
    if total < 4:
        return Finding(
            "memory", WARNING, f"{total:.1f} GB", "train in small batches (--per_device_train_batch_size)"
        )
    return Finding("memory", OK, f"{total:.0f} GB")


def check_disk(folder: Path) -> Finding:
    """Tell the free disk where runs write to.

    Args:
        folder (`Path`): a folder, which need not be there yet.
    """
    place = folder.absolute()
    while not place.is_dir():
        place = place.parent
    free = shutil.disk_usage(place).free / GIGABYTE
    if not os.access(place, os.W_OK):
        return Finding("disk", PROBLEM, "the folder is not writable", "choose another, or change its rights")
    if free < LEAST_DISK:
        return Finding("disk", PROBLEM, f"{free:.1f} GB free", "free some, or write to another disk")
    if free < ENOUGH_DISK:
        remedy = "enough for small runs; at the paper's size leave the cache of frozen states out"
        return Finding("disk", WARNING, f"{free:.1f} GB free", remedy)
    return Finding("disk", OK, f"{free:.0f} GB free")
