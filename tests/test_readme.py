"""What the documentation promises: its commands exist, its snippet runs, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from prepared_cohort import invent_visits, tiny_model, tiny_processor

PROJECT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in sorted((PROJECT / "docs").glob("*.md"))),
)


@pytest.fixture(scope="module")
def readme(project_root: Path) -> str:
    return (project_root / "README.md").read_text(encoding="utf-8")


def test_readme_is_short(readme):
    assert len(readme.splitlines()) <= 250


@pytest.mark.parametrize(
    ("name", "printed"), [("pretraining", r"\(1, \d+\) \(1, \d+\)"), ("icd_coding", r"0\.\d+ (True|False)")]
)
def test_snippets_run_on_a_saved_model(name, printed, readme, tmp_path, capsys):
    """With the demo's folder replaced by a new small model."""
    marked = r"<!-- runs in tests/test_readme.py -->\n```python\n(.*?)```"
    folder = {"pretraining": "demo-output/pretrained"}.get(name, f"demo-output/{name}")
    (code,) = (code for code in re.findall(marked, readme, re.DOTALL) if folder in code)
    visits = invent_visits(20)
    tiny_processor(visits).save_pretrained(tmp_path)
    labels = {} if name == "pretraining" else {"id2label": {0: "428", 1: "401", 2: "250"}}
    tiny_model(name, visits, **labels).save_pretrained(tmp_path)
    exec(compile(code.replace(folder, str(tmp_path)), "README.md", "exec"), {})
    assert re.search(printed, capsys.readouterr().out)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document, project_root):
    text = (project_root / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (project_root / document).parent.joinpath(target).exists(), target


def test_make_targets_of_the_readme_exist(readme, project_root):
    makefile = (project_root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z-]+)", readme))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("script", ["run_preparation.py", "run_pretraining.py", "run_finetuning.py"])
def test_options_of_the_readme_exist(script, readme, project_root):
    commands = re.findall(rf"{script}((?:[^\n]|\\\n)*)", readme)
    options = set(re.findall(r"(--[a-z_]+)", " ".join(commands)))
    assert options
    printed = subprocess.run(
        [sys.executable, script, "--help"], cwd=project_root, capture_output=True, text=True, check=True
    ).stdout
    assert {option for option in options if option not in printed} == set()
