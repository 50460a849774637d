"""A second Python process that knows the library but not the project, as whoever downloads a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

PROVES_NOTHING = "the project is importable here, so this proves nothing"
FORGET_THE_PROJECT = f"""
import pathlib, sys
# An editable installation puts the checkout on the path or into a finder; a stranger has neither.
sys.path = [place for place in sys.path if not pathlib.Path(place, "modeling_medm_plm.py").exists()]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
from transformers import AutoModel
assert not any(name in sys.modules for name in ("medm_plm", "modeling_medm_plm", "configuration_medm_plm"))
try:
    import modeling_medm_plm
except ImportError:
    pass
else:
    raise SystemExit({PROVES_NOTHING!r})
"""


def write_stranger(folder: Path, code: str) -> Path:
    """Write a script that first makes sure the project cannot be imported."""
    script = folder / "stranger.py"
    script.write_text(FORGET_THE_PROJECT + code)
    return script


def run_stranger(folder: Path, code: str, *words: object) -> str:
    """Run code as a stranger without the Hub, in a folder that holds nothing of the project.

    Args:
        folder (`Path`): where it runs and keeps its cache.
        code (`str`): what it does.
        words: its `sys.argv[1:]`.

    Returns:
        What it printed.
    """
    done = subprocess.run(
        [sys.executable, "-I", str(write_stranger(folder, code)), *map(str, words)],
        cwd=folder,
        env={"HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    require_success(done.returncode, done.stderr)
    return done.stdout


def require_success(returncode: int, errors: str) -> None:
    """Fail where a stranger failed; skip where the project is installed for everybody."""
    if PROVES_NOTHING in errors:
        pytest.skip("the project is installed in this environment; the folder is opened in CI's empty one")
    assert returncode == 0, errors[-2000:]
