"""Fetch the test suites of the installed transformers from the package index, and print where they lie.

    TRANSFORMERS_TESTS=$(python scripts/fetch_suites.py .cache) python -m pytest tests/conformance

The wheel has no tests; the source distribution of the same version has. Nothing is fetched twice.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Print the folder that holds `tests/`, fetching it first if need be."""
    name = f"transformers-{version('transformers')}"
    folder = Path(sys.argv[1]).resolve() / name
    if not (folder / "tests").is_dir():
        with tempfile.TemporaryDirectory() as temporary:
            unpack_tests(download(name.replace("-", "=="), temporary), folder.parent)
    print(folder)


def download(requirement: str, folder: str) -> Path:
    """Download a source distribution with pip, without building it."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "--dest", folder, requirement], check=True, stdout=sys.stderr)
    return next(Path(folder).glob("*.tar.gz"))


def unpack_tests(archive: Path, folder: Path) -> None:
    """Unpack `NAME/tests` of an archive, and nothing else of it."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.split("/")[1:2] == ["tests"]]
        tar.extractall(folder, members=members, filter="data")


if __name__ == "__main__":
    main()
