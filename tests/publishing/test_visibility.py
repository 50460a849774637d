"""Who can see the repository: read before each step, and never more than was asked for."""

import pytest

from hub_server import Fault
from hub_server.store import Blob
from medm_plm.errors import InputError
from medm_plm.publishing import publish

pytestmark = pytest.mark.hub

REPO = "hospital/medm-plm"
PUBLIC = {"public": True, "confirm_public": REPO}
GATED = "---\ndatasets: [MIMIC-IV]\nextra_gated_prompt: I have signed the agreement.\n---\n# A model\n"


def goes_public(hub, method: str, path: str, after: int = 0) -> None:
    """Let somebody make the repository public when this request arrives."""

    def make_public() -> None:
        hub.repo(REPO).private = False

    hub.faults.append(Fault(method, path, action=make_public, after=after))


def test_a_new_repository_is_private(hub_here, model_folder):
    published = publish(model_folder, REPO)
    assert hub_here.repo(REPO).private
    assert (published.is_public, published.is_gated) == (False, False)


def test_a_hub_that_makes_it_public_all_the_same_gets_nothing(hub_here, model_folder):
    """Older hubs, and mirrors, may not know the word for it."""
    goes_public(hub_here, "GET", "/revision/main", after=1)
    with pytest.raises(InputError, match="become public"):
        publish(model_folder, REPO)
    assert sum(seen.body for seen in hub_here.requests if "/repos/create" not in seen.path) == 0


def test_a_hub_that_does_not_tell_counts_as_public(hub_here, model_folder, note_refused):
    hub_here.store.create(REPO, private=True).private = None
    with pytest.raises(InputError, match="public"):
        publish(model_folder, REPO)
    note_refused("visibility unknown", hub_here.bytes_received)
    assert hub_here.bytes_received == 0


def test_a_repository_made_public_before_the_upload_gets_nothing(hub_here, model_folder, note_refused):
    hub_here.store.create(REPO, private=True)
    goes_public(hub_here, "GET", "/revision/main", after=1)
    with pytest.raises(InputError, match="become public"):
        publish(model_folder, REPO)
    note_refused("public between two looks", hub_here.bytes_received)
    assert hub_here.bytes_received == 0


def test_a_repository_made_public_during_the_upload_shows_no_file(hub_here, model_folder):
    goes_public(hub_here, "PUT", "/lfs/")
    with pytest.raises(InputError, match="become public"):
        publish(model_folder, REPO)
    assert set(hub_here.repo(REPO).head().files) == {".gitattributes"}
    assert hub_here.count("POST", "/commit/") == 0


def test_a_repository_made_public_at_the_last_moment_is_made_private_again(hub_here, model_folder):
    goes_public(hub_here, "POST", "/commit/")
    with pytest.raises(InputError, match="private again"):
        publish(model_folder, REPO)
    assert hub_here.repo(REPO).private


def test_what_is_to_be_public_is_private_until_its_files_are_there(hub_here, model_folder):
    seen = []
    look = Fault("POST", "/commit/", action=lambda: seen.append(hub_here.repo(REPO).private))
    hub_here.faults.append(look)
    assert publish(model_folder, REPO, **PUBLIC).is_public
    assert seen == [True]
    assert (hub_here.repo(REPO).private, hub_here.repo(REPO).gated) == (False, False)


def test_a_card_with_a_gate_makes_a_gated_repository(hub_here, model_folder):
    (model_folder / "README.md").write_text(GATED)
    published = publish(model_folder, REPO, **PUBLIC)
    assert published.is_gated
    assert (hub_here.repo(REPO).private, hub_here.repo(REPO).gated) == (False, "manual")


def test_an_interrupted_public_upload_can_be_started_again(hub_here, model_folder):
    hub_here.faults.append(Fault("POST", "/commit/", status=500))
    with pytest.raises(InputError, match="status 500"):
        publish(model_folder, REPO, **PUBLIC)
    assert hub_here.repo(REPO).private
    assert publish(model_folder, REPO, **PUBLIC).is_public


def test_a_public_repository_may_have_the_model_on_a_branch(hub_here, model_folder):
    published = publish(model_folder, REPO, revision="v2", **PUBLIC)
    repo = hub_here.repo(REPO)
    assert not repo.private
    assert repo.branches["v2"] == published.commit
    assert set(repo.head().files) == {".gitattributes"}


def another_branch(repo) -> None:
    repo.branches["notes"] = repo.branches["main"]


def another_commit(repo) -> None:
    repo.commit("main", {**repo.head().files, "notes.csv": Blob(b"PATIENT", False)})


def another_tag(repo) -> None:
    repo.tags["v1"] = repo.branches["main"]


@pytest.mark.parametrize("revision", [None, "v2"])
@pytest.mark.parametrize("change", [another_branch, another_commit, another_tag])
def test_what_somebody_adds_before_the_opening_keeps_it_private(change, revision, hub_here, model_folder):
    look = Fault("GET", "/refs", action=lambda: change(hub_here.repo(REPO)), after=1)
    hub_here.faults.append(look)
    with pytest.raises(InputError, match="so it stays private"):
        publish(model_folder, REPO, revision=revision, **PUBLIC)
    assert look.reached.is_set()
    assert hub_here.repo(REPO).private


@pytest.mark.parametrize("gated", [False, "auto"])
def test_an_existing_public_repository_gets_files_with_consent_only(gated, hub_here, model_folder):
    repo = hub_here.store.create(REPO, private=False)
    repo.gated = gated
    repo.commit("main", {"config.json": Blob(b"{}", False)})
    if gated:
        (model_folder / "README.md").write_text(GATED)
    assert publish(model_folder, REPO, **PUBLIC).commit == repo.head().sha
    assert repo.gated == gated


def test_a_gate_that_was_taken_away_during_the_upload_stops_it(hub_here, model_folder):
    repo = hub_here.store.create(REPO, private=False)
    repo.gated = "manual"
    before = repo.head().sha
    (model_folder / "README.md").write_text(GATED)

    def take_away() -> None:
        repo.gated = False

    hub_here.faults.append(Fault("PUT", "/lfs/", action=take_away))
    with pytest.raises(InputError, match="nothing was published"):
        publish(model_folder, REPO, **PUBLIC)
    assert repo.head().sha == before


def test_weights_that_change_while_they_are_sent_are_not_published(hub_here, model_folder):
    def write() -> None:
        (model_folder / "model.safetensors").write_bytes(b"something else")

    hub_here.faults.append(Fault("GET", "/revision/main", action=write, after=2))  # after the upload
    with pytest.raises(InputError, match="changed while it was sent"):
        publish(model_folder, REPO)
    assert set(hub_here.repo(REPO).head().files) == {".gitattributes"}


def test_a_moved_repository_is_not_followed(hub_here, model_folder):
    repo = hub_here.store.create("hospital/other", private=True)
    hub_here.store.repos[REPO] = repo
    with pytest.raises(InputError, match="has been moved"):
        publish(model_folder, REPO)
    assert hub_here.bytes_received == 0
