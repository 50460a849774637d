"""A hub on the loopback interface, model folders to publish, and processes that talk to the hub."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest

from hub_server import HubServer
from hub_server.server import TOKEN
from modeling_medm_plm import MedMPLMForICDCoding
from tiny_models import build
from tiny_processors import tiny_processor

PROJECT_ROOT = Path(__file__).resolve().parents[2]
REPO = "hospital/medm-plm"
CARD = (
    "---\nlicense: other\ndatasets:\n- medm-plm synthetic cohort\n---\n\n# MedM-PLM\n\nInvented patients.\n"
)

_refused: dict[str, int] = {}
"""Bytes that the hub received in each refused case of this process."""


@pytest.fixture
def note_refused() -> Callable[[str, int], None]:
    """Note a refused case and the bytes that left, for the line at the end of the session."""
    return _refused.__setitem__


@pytest.fixture
def refused_cases() -> dict[str, int]:
    """The cases noted so far."""
    return _refused


def pytest_terminal_summary(terminalreporter) -> None:
    """Say how many cases were refused and how many bytes left in them."""
    if _refused:
        total = sum(_refused.values())
        terminalreporter.write_line(f"refused: {len(_refused)} variants, {total} bytes received by the hub")


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory) -> Path:
    """A tiny fine-tuned model with its processor and a card; not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    build(MedMPLMForICDCoding).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return folder


@pytest.fixture
def model_folder(saved_model, tmp_path) -> Path:
    """A copy that a test may spoil."""
    folder = tmp_path / "model"
    for path in saved_model.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = folder / path.relative_to(saved_model)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A fresh hub."""
    with HubServer() as server:
        yield server


@pytest.fixture
def hub_here(hub, monkeypatch, tmp_path) -> HubServer:
    """A fresh hub that the client library of this very process talks to."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    huggingface_hub.close_session()  # it was made for work offline
    yield hub
    huggingface_hub.close_session()


@pytest.fixture
def start(hub, tmp_path) -> Callable[..., subprocess.Popen]:
    """Start a Python process that knows the hub, with an empty cache of its own."""
    running = []

    def start_python(*words: str, home: str = "home", knows_project: bool = True, **env: str):
        settings = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path / home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            **env,
        }
        isolated = () if knows_project else ("-I",)
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        process = subprocess.Popen(
            [sys.executable, *isolated, *words],
            cwd=PROJECT_ROOT if knows_project else tmp_path,
            env={**kept, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start_python
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def run(start) -> Callable[..., subprocess.CompletedProcess]:
    """Run a Python process that knows the hub."""

    def run_python(*words: str, **options):
        process = start(*words, **options)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    return run_python
