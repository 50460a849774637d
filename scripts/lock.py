"""Write `requirements.lock`: every package of a run with its exact version and the hash of its file.

    python scripts/lock.py
    pip install --require-hashes -r requirements.lock && pip install --no-deps .

pip itself resolves the ranges of setup.py under constraints.txt and tells the hashes; nothing is installed.
The file holds for the Python, the system and the build of torch (CPU) that it is made with, which it names.
"""

from __future__ import annotations

import argparse
import ast
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LISTS = (
    "REQUIREMENTS",
    "FIGURE_REQUIREMENTS",
    "EXPLANATION_REQUIREMENTS",
    "ONNX_REQUIREMENTS",
    "LORA_REQUIREMENTS",
    "COMPLETION_REQUIREMENTS",
)


def main() -> None:
    """Resolve and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=ROOT / "requirements.lock", help="file to write")
    options = parser.parse_args()
    lines = [line for name in LISTS for line in read_list(name)]
    report = resolve(lines, ROOT / "constraints.txt")
    options.output.write_text(as_text(report), encoding="utf-8")
    print(f"{len(report['install'])} packages in {options.output.name}")


def read_list(name: str) -> list[str]:
    """Read a list of requirements from setup.py without running it."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name:
            found: list[str] = ast.literal_eval(node.value)
            return found
    raise SystemExit(f"setup.py has no {name}")


def resolve(requirements: list[str], constraints: Path) -> dict[str, Any]:
    """Ask pip what it would install.

    Args:
        requirements (`list[str]`): ranges.
        constraints (`Path`): exact versions.

    Returns:
        pip's report (https://pip.pypa.io/en/stable/reference/installation-report/).
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "--constraint", str(constraints), *requirements]
        subprocess.run(command, check=True)
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found


def as_text(report: dict[str, Any]) -> str:
    """Write the report as a file of requirements.

    Args:
        report (`dict`): of `resolve`.

    Returns:
        The file.
    """
    version = ".".join(platform.python_version_tuple()[:2])
    place = f"Python {version} on {platform.system()} {platform.machine()}"
    head = f"# Made by scripts/lock.py for {place}, torch for the CPU.\n"
    return head + "".join(sorted(map(_entry, report["install"]), key=str.lower))


def _entry(item: dict[str, Any]) -> str:
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise SystemExit(f"pip told no hash of {name}")
    return f"{name}=={version.partition('+')[0]} \\\n    --hash=sha256:{digest}\n"


if __name__ == "__main__":
    main()
