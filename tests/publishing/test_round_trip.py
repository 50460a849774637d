"""From a folder to the hub and back into processes that know nothing of the project."""

import json
import time

import pytest
import torch
from huggingface_hub import constants, hf_hub_download

from hub_server import Fault
from medm_plm.publishing import publish, shareable_files
from modeling_medm_plm import MedMPLMModel
from strangers import require_success, write_stranger
from tiny_models import visit_inputs
from tiny_processors import tiny_processor

pytestmark = pytest.mark.hub

REPO = "hospital/medm-plm"
STRANGER = """
import torch
from transformers import AutoModel, AutoProcessor
repo, revision, inputs, out = sys.argv[1:]
trust = {"revision": revision, "trust_remote_code": True}
assert AutoProcessor.from_pretrained(repo, **trust)("a note", diagnosis_codes=["428.0"])
model = AutoModel.from_pretrained(repo, **trust).eval()
with torch.no_grad():
    torch.save(model(**torch.load(inputs, weights_only=True)).text_augmented_output, out)
"""


@pytest.fixture
def stranger(tmp_path):
    """Words that start the stranger's process, and what it must compute."""
    script, inputs = write_stranger(tmp_path, STRANGER), tmp_path / "inputs.pt"
    torch.save(visit_inputs(), inputs)
    return lambda revision, out: (str(script), REPO, revision, str(inputs), str(tmp_path / out))


def expected_output(folder) -> torch.Tensor:
    with torch.no_grad():
        return MedMPLMModel.from_pretrained(folder).eval()(**visit_inputs()).text_augmented_output


def test_push_load_by_revision_reuse_the_cache_and_reload_offline(hub, run, saved_model, stranger, tmp_path):
    pushed = run("run_publishing.py", str(saved_model), REPO)
    assert pushed.returncode == 0, pushed.stderr
    repo = hub.repo(REPO)
    first = repo.head()
    assert repo.private
    assert f"commit {first.sha}" in pushed.stdout
    names = shareable_files(saved_model)
    assert sorted(first.files) == sorted([".gitattributes", *names])
    assert all(first.files[name].content == (saved_model / name).read_bytes() for name in names)
    repo.commit("main", {"config.json": first.files["README.md"]})  # the revision must not care
    expected = expected_output(saved_model)

    def run_as_stranger(revision: str, out: str, **env: str) -> None:
        done = run(*stranger(revision, out), home="strange", knows_project=False, **env)
        require_success(done.returncode, done.stderr)

    hub.forget_requests()
    run_as_stranger(first.sha, "1.pt")
    assert torch.equal(torch.load(tmp_path / "1.pt", weights_only=True), expected)
    assert hub.count("GET", "model.safetensors") == 1

    hub.forget_requests()
    run_as_stranger(first.sha, "2.pt")
    assert torch.equal(torch.load(tmp_path / "2.pt", weights_only=True), expected)
    assert hub.count("GET", "/resolve/") == 0
    # Releases of transformers before 5.23 ask once more for optional files that the repository does not have.
    assert all(seen.status == 404 for seen in hub.requests if "/resolve/" in seen.path)

    hub.forget_requests()
    run_as_stranger(first.sha, "3.pt", HF_HUB_OFFLINE="1")
    assert torch.equal(torch.load(tmp_path / "3.pt", weights_only=True), expected)
    assert hub.requests == []


@pytest.mark.slow
def test_two_processes_load_at_once_into_one_cache(hub_here, start, saved_model, stranger, tmp_path):
    revision = publish(saved_model, REPO).commit
    both = [start(*stranger(revision, f"{n}.pt"), home="shared", knows_project=False) for n in range(2)]
    for number, process in enumerate(both):
        _, err = process.communicate(timeout=240)
        require_success(process.returncode, err)
        found = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        assert torch.equal(found, expected_output(saved_model))


def test_an_older_revision_keeps_its_weights(hub_here, model_folder, tmp_path):
    first = publish(model_folder, REPO).commit
    older = (model_folder / "model.safetensors").read_bytes()
    newer = older[:-4] + b"\0\0\x80\x3f"  # the last weight becomes one
    (model_folder / "model.safetensors").write_bytes(newer)
    second = publish(model_folder, REPO).commit
    for revision, content in ((first, older), (second, newer), ("main", newer)):
        found = hf_hub_download(REPO, "model.safetensors", revision=revision, cache_dir=tmp_path / "cache")
        with open(found, "rb") as stream:
            assert stream.read() == content


def test_publishing_the_same_again_sends_no_weights(hub_here, model_folder):
    first = publish(model_folder, REPO).commit
    hub_here.forget_requests()
    assert publish(model_folder, REPO).commit == first
    assert hub_here.count("PUT") == 0
    assert hub_here.count("POST", "/commit/") == 0


def test_a_branch_is_made_and_the_main_one_is_left_alone(hub_here, model_folder):
    made = publish(model_folder, REPO, revision="release/2").commit
    repo = hub_here.repo(REPO)
    assert repo.branches["release/2"] == made
    assert set(repo.head().files) == {".gitattributes"}


def test_a_run_folder_gives_its_model_and_nothing_else(hub_here, model_folder):
    for name in (
        "metrics.json",
        "predictions_test.parquet",
        "notes.csv",
        "checkpoints/checkpoint-2/optimizer.pt",
    ):
        (model_folder / name).parent.mkdir(parents=True, exist_ok=True)
        (model_folder / name).write_bytes(b"PATIENT")
    (model_folder / "logs").mkdir()
    (model_folder / "logs" / "events.out").write_bytes(b"PATIENT")
    published = publish(model_folder, REPO)
    assert not [name for name in published.files if "PATIENT" in (model_folder / name).read_text("latin-1")]
    sent = hub_here.repo(REPO).head().files
    assert set(sent) == {".gitattributes", *published.files}
    assert not [name for name, blob in sent.items() if b"PATIENT" in blob.content]
    for name in ("metrics.json", "predictions_test.parquet", "notes.csv", "checkpoints/", "logs/"):
        assert name in published.left_out


def sharded(folder, source) -> None:
    MedMPLMModel.from_pretrained(source).save_pretrained(folder, max_shard_size="30KB")
    tiny_processor().save_pretrained(folder)
    assert len(list(folder.glob("model-*.safetensors"))) >= 3


def test_an_upload_that_was_killed_goes_on_where_it_stopped(hub, start, run, saved_model, tmp_path):
    sharded(tmp_path / "parts", saved_model)
    parts = len(list((tmp_path / "parts").glob("model-*.safetensors")))
    stall = Fault("PUT", "/lfs/", stall=True, after=1, times=99)
    hub.faults.append(stall)
    process = start("run_publishing.py", str(tmp_path / "parts"), REPO)
    assert stall.reached.wait(120)
    deadline = time.monotonic() + 60
    while not hub.store.large_files and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert set(hub.repo(REPO).head().files) == {".gitattributes"}  # nothing half-done is visible
    arrived = len(hub.store.large_files)
    assert arrived
    hub.faults.clear()
    hub.forget_requests()
    again = run("run_publishing.py", str(tmp_path / "parts"), REPO)
    assert again.returncode == 0, again.stderr
    assert hub.count("PUT", "/lfs/") == parts - arrived
    head = hub.repo(REPO).head().files
    assert all(
        head[name].content == (tmp_path / "parts" / name).read_bytes() for name in head if name[0] != "."
    )


def test_a_connection_cut_in_mid_upload_is_taken_up_by_itself(hub_here, model_folder):
    hub_here.faults.append(Fault("PUT", "/lfs/", cut=True))
    publish(model_folder, REPO)
    content = (model_folder / "model.safetensors").read_bytes()
    assert hub_here.repo(REPO).head().files["model.safetensors"].content == content
    puts = [seen.body for seen in hub_here.requests if seen.method == "PUT"]
    assert puts == [len(content) // 2, len(content)]


def test_a_download_cut_short_is_resumed_by_range(hub_here, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # smaller than what arrives of our small file
    publish(model_folder, REPO)
    content = (model_folder / "model.safetensors").read_bytes()
    hub_here.forget_requests()
    hub_here.faults.append(Fault("GET", "/resolve/", short=True))
    path = hf_hub_download(REPO, "model.safetensors", cache_dir=tmp_path / "cache")
    assert [seen.status for seen in hub_here.requests if seen.method == "GET"] == [200, 206]
    with open(path, "rb") as stream:
        assert stream.read() == content


def test_parts_of_an_older_version_do_not_stay_beside_the_new_weights(hub_here, saved_model, tmp_path):
    sharded(tmp_path / "parts", saved_model)
    publish(tmp_path / "parts", REPO)
    publish(saved_model, REPO)
    head = hub_here.repo(REPO).head().files
    assert {name for name in head if "safetensors" in name} == {"model.safetensors"}
    assert json.loads(head["config.json"].content)["model_type"] == "medm_plm"


def test_files_that_others_put_there_are_named(hub_here, model_folder):
    publish(model_folder, REPO)
    repo = hub_here.repo(REPO)
    repo.commit("main", {**repo.head().files, "training_args.bin": repo.head().files["README.md"]})
    assert publish(model_folder, REPO).other_files == ["training_args.bin"]
