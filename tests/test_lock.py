"""`requirements.lock`: the versions of constraints.txt, each with the hash of its file, none forgotten."""

import re
import runpy

from packaging.utils import canonicalize_name

from shipped_code import PROJECT_ROOT
from test_packaging import pins, requirements

LOCK = (PROJECT_ROOT / "requirements.lock").read_text(encoding="utf-8")
ENTRY = re.compile(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)


def locked() -> dict[str, str]:
    return {canonicalize_name(name): version for name, version, _ in ENTRY.findall(LOCK)}


def test_every_line_is_a_version_with_a_hash():
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    assert len(lines) == 2 * len(ENTRY.findall(LOCK)) == 2 * len(locked())


def test_versions_are_those_of_the_constraints():
    pinned = pins("constraints.txt")
    assert {name: pinned.get(name) for name in locked()} == locked()


def test_every_requirement_is_locked():
    assert {canonicalize_name(requirement.name) for requirement in requirements()} <= locked().keys()


def test_a_report_of_pip_becomes_lines():
    item = {
        "metadata": {"name": "torch", "version": "2.13.0+cpu"},
        "download_info": {"archive_info": {"hashes": {"sha256": "a" * 64}}},
    }
    text = runpy.run_path(str(PROJECT_ROOT / "scripts" / "lock.py"))["as_text"]({"install": [item]})
    assert text.splitlines()[1:] == ["torch==2.13.0 \\", f"    --hash=sha256:{'a' * 64}"]
