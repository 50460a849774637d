"""What goes wrong on the way becomes one line, and never leaves half a model behind."""

import huggingface_hub
import pytest

from hub_server import Fault
from hub_server.server import TOKEN
from hub_server.store import Blob
from medm_plm.errors import InputError
from medm_plm.publishing import publish

pytestmark = pytest.mark.hub

REPO = "hospital/medm-plm"
# method, path, status -> words
STATUSES = {
    ("GET", "/whoami-v2", 401): "does not accept the token",
    ("GET", "/whoami-v2", 429): "asks to wait",
    ("GET", "/whoami-v2", 503): "a fault of its own .status 503",
    ("GET", "/revision/main", 403): "may not write there",
    ("GET", "/revision/main", 500): "a fault of its own .status 500",
    ("POST", "/repos/create", 401): "does not accept the token",
    ("POST", "/repos/create", 403): "may not write there",
    ("POST", "/repos/create", 409): "exists already",
    ("POST", "/repos/create", 502): "a fault of its own .status 502",
    ("POST", "/preupload/", 403): "may not write there",
    ("POST", "/preupload/", 404): "knows no such repository",
    ("POST", "/objects/batch", 401): "token|knows no such repository",
    ("PUT", "/lfs/", 413): "files of this size",
    ("POST", "/commit/", 401): "token|knows no such repository",
    ("POST", "/commit/", 404): "knows no such repository",
    ("POST", "/commit/", 412): "somebody else changed",
    ("POST", "/commit/", 500): "a fault of its own .status 500",
}


@pytest.mark.parametrize(("method", "path", "status"), STATUSES)
def test_a_refusal_of_the_hub_is_one_line(method, path, status, hub_here, model_folder):
    hub_here.faults.append(Fault(method, path, status=status, times=99))
    with pytest.raises(InputError, match=STATUSES[method, path, status]) as error:
        publish(model_folder, REPO)
    message = str(error.value)
    assert "\n" not in message
    assert "http" not in message
    assert TOKEN not in message
    assert error.value.__cause__ is None
    repo = hub_here.repo(REPO)
    assert repo is None or (repo.private and set(repo.head().files) == {".gitattributes"})


@pytest.mark.parametrize("path", ["/preupload/", "/objects/batch", "/lfs/"])
def test_a_fault_that_passes_is_outwaited(path, hub_here, model_folder):
    hub_here.faults.append(Fault("PUT" if path == "/lfs/" else "POST", path, status=503))
    publish(model_folder, REPO)
    assert "model.safetensors" in hub_here.repo(REPO).head().files


def test_a_card_that_the_hub_refuses_is_named(hub_here, model_folder):
    (model_folder / "README.md").write_text("---\nlicense: refuse-this-header\n---\n")
    with pytest.raises(InputError, match=r"header of README\.md"):
        publish(model_folder, REPO)


def test_a_hub_that_is_not_there_is_one_line(hub_here, model_folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot be reached"):
        publish(model_folder, REPO)


def test_working_offline_is_one_line(hub_here, model_folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        publish(model_folder, REPO)


def test_the_repository_of_somebody_else_is_one_line(hub_here, model_folder):
    with pytest.raises(InputError, match="may not write there"):
        publish(model_folder, "stranger/medm-plm")


def test_a_change_behind_our_back_is_never_mixed_in(hub_here, model_folder):
    publish(model_folder, REPO)
    repo = hub_here.repo(REPO)
    (model_folder / "README.md").write_text("---\ndatasets: [synthetic]\n---\n# Second\n")

    def somebody_commits() -> None:
        repo.commit("main", {**repo.head().files, "config.json": Blob(b"{}", False)})

    hub_here.faults.append(Fault("POST", "/commit/", action=somebody_commits))
    with pytest.raises(InputError, match="somebody else changed"):
        publish(model_folder, REPO)
    assert b"Second" not in repo.head().files["README.md"].content


def test_two_processes_that_publish_at_once_leave_one_whole_model(hub, start, saved_model, tmp_path):
    folders = []
    for number in range(2):
        folder = tmp_path / f"model{number}"
        folder.mkdir()
        weights = bytearray((saved_model / "model.safetensors").read_bytes())
        weights[-4:] = bytes([number] * 4)
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "config.json").write_text(f'{{"model_type": "bert", "number": {number}}}')
        (folder / "README.md").write_text(f"---\ndatasets: [synthetic]\n---\n# Model {number}\n")
        folders.append(folder)
    processes = [start("run_publishing.py", str(folder), REPO) for folder in folders]
    ends = []
    for process in processes:
        _, err = process.communicate(timeout=120)
        ends.append(process.returncode)
        assert process.returncode == 0 or err.startswith("error: "), err
        assert "Traceback" not in err
    assert 0 in ends
    head = hub.repo(REPO).head().files
    assert any(
        all(head[path.name].content == path.read_bytes() for path in folder.iterdir()) for folder in folders
    )
