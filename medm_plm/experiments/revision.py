"""What a result needs so that it can be traced: the code, the data and the machine it came from."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medm_plm import __version__

ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "scikit-learn", "polars")
_NO_PART_OF_A_RUN = ("experiments", "publishing")  # they arrange and tell runs, and change none


@cache
def source_sha256(root: Path = ROOT) -> str:
    """Take the SHA-256 of the code that a run is made of.

    Args:
        root (`Path`, defaults to the folder of the project): where it lies.

    Returns:
        Hexadecimal digits. Changes in the experiments themselves do not count.
    """
    digest = hashlib.sha256()
    files = [*root.glob("*_medm_plm.py"), *root.glob("run_*.py"), *(root / "medm_plm").rglob("*.py")]
    for file in sorted(files):
        parts = file.relative_to(root).parts
        if parts[-1] == "run_experiments.py" or (len(parts) > 1 and parts[1] in _NO_PART_OF_A_RUN):
            continue
        digest.update("/".join(parts).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def code_revision() -> dict[str, Any]:
    """Name the code: version, hash of the source and, in a clone, the commit.

    Returns:
        `version`, `source_sha256`, `commit` and `modified` (whether files differ from the commit), the last
        two None outside a clone.
    """
    commit = _git("rev-parse", "HEAD")
    changed = None if commit is None else bool(_git("status", "--porcelain", "--untracked-files=no"))
    return {
        "version": __version__,
        "source_sha256": source_sha256(),
        "commit": commit,
        "modified": changed,
    }


def machine_facts() -> dict[str, Any]:
    """Describe the machine without naming it.

    Returns:
        Cores, name of the processor, memory, system and versions of the libraries.
    """
    return {
        "cores": os.cpu_count(),
        "processor": _processor_name(),
        "memory_gb": _memory_gb(),
        "system": platform.system(),
        "python": platform.python_version(),
        "libraries": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
    }


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (OSError, ValueError, AttributeError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
