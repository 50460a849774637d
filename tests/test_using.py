"""docs/using.md: its snippets run, its options exist, its tasks are the ones there are."""

import re
import subprocess
import sys

import pytest

from pipeline_medm_plm import PIPELINES
from tiny_predictors import save_predictor


@pytest.fixture(scope="module")
def page(project_root) -> str:
    return (project_root / "docs" / "using.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_snippets_of_one_call_run_on_a_saved_model(page, tmp_path, monkeypatch, capsys):
    save_predictor("icd_coding", tmp_path / "demo-output" / "icd_coding")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", section(page, "One call"), re.DOTALL)
    assert len(snippets) == 3
    names: dict = {}
    for snippet in snippets:
        exec(compile(snippet, "using.md", "exec"), names)
    assert re.search(r"0\.\d\d (True|False) +ICD9CM:\w+ \w", capsys.readouterr().out)
    saved = (tmp_path / "icd_coding_with_titles" / "code_tokenizer" / "tokenizer_config.json").read_text()
    assert "Heart failure" in saved


@pytest.mark.parametrize("script", ["run_prediction.py", "run_export.py"])
def test_options_of_the_page_exist(script, page, project_root):
    options = set(re.findall(r"(--[a-z_]+)", " ".join(re.findall(rf"{script}([^\n]*)", page))))
    assert options
    printed = subprocess.run(
        [sys.executable, script, "--help"], cwd=project_root, capture_output=True, text=True, check=True
    ).stdout
    assert {option for option in options if option not in printed} == set()


def test_every_task_is_described(page):
    assert set(re.findall(r"\| `(medm-plm-[a-z-]+)` \|", page)) == set(PIPELINES)


def test_links_lead_somewhere(page, project_root):
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", page):
        assert (project_root / "docs" / target).exists(), target
