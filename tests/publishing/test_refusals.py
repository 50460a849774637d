"""Whatever forbids publishing is found before a byte leaves; the hub counts what arrives."""

import json
import os
import shutil
import socket
import struct
from pathlib import Path

import huggingface_hub
import pytest

from hub_server.server import TOKEN
from medm_plm.errors import InputError
from medm_plm.publishing import publish

REPO = "hospital/medm-plm"
PUBLIC = {"public": True, "confirm_public": REPO}


def header(text: str):
    """Give the folder a card with this header."""
    return lambda folder: (folder / "README.md").write_text(f"---\n{text}\n---\n# A model\n")


def text(name: str, content: str | bytes, adds: bool = False):
    """Write a file, or add to one."""

    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        before = path.read_bytes() if adds else b""
        path.write_bytes(before + (content if isinstance(content, bytes) else content.encode()))

    return change


def setting(name: str, key: str, value):
    """Change one value of a JSON file."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        place = content
        *parents, last = key.split("/")
        for part in parents:
            place = place[part]
        place[last] = value
        (folder / name).write_text(json.dumps(content))

    return change


def weights_header(**changes):
    """Rewrite the header of the weights."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        content = json.loads(raw[8 : 8 + size])
        content["__metadata__"] = {**content.get("__metadata__", {}), **changes}
        made = json.dumps(content).encode()
        path.write_bytes(struct.pack("<Q", len(made)) + made + raw[8 + size :])

    return change


def weights(change):
    """Rewrite the text of the weights' header and the bytes behind it."""

    def rewrite(folder: Path) -> None:
        path = folder / "model.safetensors"
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        text, behind = change(raw[8 : 8 + size].decode(), raw[8 + size :])
        path.write_bytes(struct.pack("<Q", len(text.encode())) + text.encode() + behind)

    return rewrite


def entry(**fields):
    """Change the entry of the first weight."""

    def change(text: str, behind: bytes) -> tuple[str, bytes]:
        content = json.loads(text)
        first = next(name for name in content if name != "__metadata__")
        content[first] = {**content[first], **fields}
        return json.dumps(content), behind

    return weights(change)


def tensor(name: str, dtype: str, content: bytes, shape: list[int]):
    """Add a tensor behind the others."""

    def change(text: str, behind: bytes) -> tuple[str, bytes]:
        header = json.loads(text)
        offsets = [len(behind), len(behind) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        return json.dumps(header), behind + content

    return weights(change)


def code_beside_the_folder(folder: Path) -> None:
    shutil.move(folder / "modeling_medm_plm.py", folder.parent / "modeling_medm_plm.py")


def link(name: str, target: str | None = None):
    """Replace a file by a link to a file elsewhere."""

    def change(folder: Path) -> None:
        outside = folder.parent / "outside"
        outside.mkdir(exist_ok=True)
        if (folder / name).exists():
            shutil.move(folder / name, outside / Path(name).name)
        else:
            (outside / Path(name).name).write_text("{}")
        (folder / name).symlink_to(target or outside / Path(name).name)

    return change


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def nothing(folder: Path) -> None:
    """Leave the folder as it is."""


PICKLE = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07secret!\x94."
FAKE_TOKEN = "hf_" + "aB3dE5fG7h" * 3
DATA = "datasets:\n- synthetic cohort"

# name -> (what is done to the folder, how publish is called, words of the one line)
LOCAL = {
    # a public repository and the card
    "public, no card": (remove("README.md"), PUBLIC, "does not name the data"),
    "public, card without header": (text("README.md", "# A model\n"), PUBLIC, "does not name the data"),
    "public, empty header": (header(""), PUBLIC, "does not name the data"),
    "public, no datasets": (header("license: mit"), PUBLIC, "does not name the data"),
    "public, header that never ends": (text("README.md", f"---\n{DATA}\n"), PUBLIC, "does not name"),
    "public, datasets null": (header("datasets:"), PUBLIC, "does not name the data"),
    "public, datasets empty list": (header("datasets: []"), PUBLIC, "does not name the data"),
    "public, datasets empty text": (header("datasets: ''"), PUBLIC, "does not name the data"),
    "public, datasets a number": (header("datasets: [17]"), PUBLIC, "does not name the data"),
    "public, datasets a mapping": (header("datasets: {name: x}"), PUBLIC, "does not name the data"),
    "public, one name and one null": (header(f"{DATA}\n-"), PUBLIC, "does not name the data"),
    **{
        f"public, placeholder {word}": (header(f"datasets: [{word!r}]"), PUBLIC, "does not name the data")
        for word in (
            *("none", "unknown", "N/A", "TBD", "todo", "[More Information Needed]", "your-dataset", "..."),
            *("your_org/your_dataset", "dataset", "<dataset name>", "private data", "xxx", "-", "example"),
            *("private-tables", "private-prepared-data"),
        )
    },
    "public, header no YAML": (header("datasets: [a"), PUBLIC, "no YAML"),
    "public, header a list": (header("- datasets"), PUBLIC, "no YAML"),
    **{
        f"public, credentialed {word}": (header(f"datasets: [{word}]"), PUBLIC, "without a gate")
        for word in ("MIMIC-III", "mimic-iv-note", "eICU-CRD", "physionet/mimiciii", "n2c2 2018", "i2b2-2010")
    },
    "public, credentialed, empty prompt": (
        header("datasets: [MIMIC-IV]\nextra_gated_prompt: ''"),
        PUBLIC,
        "without a gate",
    ),
    "public, credentialed beside a demo": (
        header("datasets: [mimic-iii-demo, MIMIC-III]"),
        PUBLIC,
        "without a gate",
    ),
    # a public repository and the confirmation
    "public, no confirmation": (nothing, {"public": True}, "no confirmation"),
    "public, empty confirmation": (nothing, {"public": True, "confirm_public": ""}, "no confirmation"),
    "public, yes": (nothing, {"public": True, "confirm_public": "yes"}, "another name"),
    "public, another name": (
        nothing,
        {"public": True, "confirm_public": "hospital/medm-plm2"},
        "another name",
    ),
    "public, name without owner": (nothing, {"public": True, "confirm_public": "medm-plm"}, "another name"),
    "public, other case": (nothing, {"public": True, "confirm_public": "Hospital/medm-plm"}, "another name"),
    "private, confirmation": (nothing, {"confirm_public": REPO}, "with --public only"),
    # a processor that is not whole
    **{
        f"without {name}": (remove(name), {}, f"no {name}")
        for name in (
            *("processor_config.json", "tokenizer.json", "tokenizer_config.json"),
            *("code_tokenizer/tokenizer.json", "code_tokenizer/tokenizer_config.json"),
        )
    },
    # pickles
    "training_args.bin": (text("training_args.bin", PICKLE), {}, "a pickle"),
    "pytorch_model.bin": (text("pytorch_model.bin", b"PK\x03\x04"), {}, "a pickle"),
    "optimizer.pt": (text("optimizer.pt", PICKLE), {}, "a pickle"),
    "pickle in a subfolder": (text("code_tokenizer/cache.pkl", PICKLE), {}, "a pickle"),
    "pickle named weights": (text("model.safetensors", PICKLE * 99), {}, "no safetensors"),
    "pickle named JSON": (text("vocab.json", PICKLE), {}, "pickle or an archive"),
    "pickle named vocabulary": (text("vocab.txt", PICKLE), {}, "pickle or an archive"),
    "archive named sentencepiece": (text("spiece.model", b"PK\x03\x04data.pkl"), {}, "pickle or an archive"),
    "pickle behind the weights": (text("model.safetensors", PICKLE, adds=True), {}, "belong to no weight"),
    # tokens
    "token in the config": (setting("config.json", "note", FAKE_TOKEN), {}, "access token"),
    "token as a key": (setting("config.json", FAKE_TOKEN, 1), {}, "access token"),
    "token escaped": (text("config.json", '{"a": "hf\\u005faB3dE5fG7haB3dE5fG7h"}'), {}, "access token"),
    "token hidden by a second key": (
        text("special_tokens_map.json", f'{{"a": "{TOKEN}", "a": 1}}'),
        {},
        "access token",
    ),
    "token in the card": (text("README.md", f"\nlogin with {FAKE_TOKEN}\n", adds=True), {}, "access token"),
    "token in use in the card": (text("README.md", f"({TOKEN})", adds=True), {}, "access token"),
    "token in the settings": (
        text("training_settings.json", json.dumps({"hub": FAKE_TOKEN})),
        {},
        "access token",
    ),
    "token in the results": (
        text(".eval_results/r.yaml", f"- notes: {FAKE_TOKEN}\n"),
        {},
        "access token",
    ),
    "token in the weights' header": (weights_header(author=FAKE_TOKEN), {}, "access token"),
    "GitHub token": (setting("config.json", "note", "ghp_" + "a1B2" * 9), {}, "access token"),
    "private key": (text("LICENSE", "-----BEGIN RSA PRIVATE KEY-----\n"), {}, "access token"),
    # places of this machine
    "path in the config": (
        setting("config.json", "text_config/_name_or_path", "/mnt/ward7/bert"),
        {},
        "absolute path at text_config._name_or_path",
    ),
    "unusual root": (setting("config.json", "note", "/ward7/notes/2019"), {}, "absolute path"),
    "Windows path": (setting("config.json", "note", "C:\\Users\\meyer\\notes"), {}, "absolute path"),
    "share of a server": (setting("config.json", "note", "\\\\server\\ward7"), {}, "absolute path"),
    "path in the tokenizer's settings": (
        setting("tokenizer_config.json", "name_or_path", "/home/meyer/bert"),
        {},
        "absolute path",
    ),
    "path in the card": (text("README.md", "see /home/meyer/notes.csv", adds=True), {}, "absolute path"),
    "file URL in the card": (text("README.md", "file:///x/y", adds=True), {}, "absolute path"),
    "path in the weights' header": (weights_header(source="/scratch/meyer/m"), {}, "absolute path"),
    "path in the results": (text(".eval_results/r.yaml", "- source: /ward7/x/y\n"), {}, "absolute path"),
    **{
        f"{word} in the card": (text("README.md", f"\nfrom {word} ok\n", adds=True), {}, "absolute path")
        for word in (
            *("/hospital/data/patients/visits.parquet", "/p/scratch/meyer/run", "~/mimic/notes.csv"),
            *("~meyer/mimic", "$HOME/x", "${HOME}/x", "smb://fs01/share/p", "s3://bucket/patients"),
            *("//fs01/patients/x", "see:/home/meyer/x", "-/home/meyer/x", "file:/home/meyer/x"),
            *("sftp://meyer@gpu17/home/meyer/x", "C:/Users", "../../meyer/mimic", "(/lustre/x/y)"),
        )
    },
    **{
        f"{word} in the config": (setting("config.json", "_name_or_path", word), {}, "absolute path")
        for word in (
            *("../../meyer/mimic", "postgres://u:pw@h/db", "name=/p/scratch/meyer/run", "~/mimic/x"),
            *("/hospital/data/x", "//fs/patients"),
        )
    },
    # text among the weights
    "a note in the weights' header": (
        weights_header(note="J. Smith MRN 4711"),
        {},
        "words that belong to no weight",
    ),
    "a token that a second header covers": (
        weights(lambda text, b: ('{"__metadata__": {"a": "' + FAKE_TOKEN + '"}, ' + text[1:], b)),
        {},
        "no safetensors",
    ),
    "header of the weights that is no mapping": (
        weights(lambda text, b: (text.replace('{"format":"pt"}', '["J. Smith"]'), b)),
        {},
        "words that belong to no weight",
    ),
    "bytes as a weight": (tensor("notes", "U8", b"J. Smith", [8]), {}, "no weight"),
    "a sentence as a name": (tensor("J. Smith MRN 4711", "F32", b"\0" * 8, [2]), {}, "no weight"),
    "more bytes than the shape": (tensor("notes", "F32", b"J. Smith", [1]), {}, "not the bytes"),
    "an entry with a note": (entry(note="J. Smith"), {}, "no weight"),
    "one offset": (entry(data_offsets=[0]), {}, "no weight"),
    "three offsets": (entry(data_offsets=[0, 1, 2]), {}, "no weight"),
    "an offset in letters": (entry(data_offsets=["0", 1]), {}, "no weight"),
    "a kind that is none": (entry(dtype=["F32"]), {}, "no weight"),
    # links and other files
    "a link to itself": (lambda folder: (folder / "LICENSE").symlink_to("LICENSE"), {}, "cannot be read"),
    "weights are a link": (link("model.safetensors"), {}, "leads out"),
    "config is a link": (link("config.json"), {}, "leads out"),
    "link to a secret": (link("LICENSE", "/etc/hostname"), {}, "leads out"),
    "tokenizer folder is a link": (
        lambda folder: (
            shutil.move(folder / "code_tokenizer", folder.parent / "elsewhere"),
            (folder / "code_tokenizer").symlink_to(folder.parent / "elsewhere"),
        ),
        {},
        "leads out",
    ),
    "a pipe": (lambda folder: os.mkfifo(folder / "LICENSE"), {}, "no ordinary file"),
    # code
    "changed code": (text("modeling_medm_plm.py", "\nimport os\n", adds=True), {}, "differs"),
    "code of a stranger": (
        setting("config.json", "auto_map/AutoModel", "someone/else--modeling.Model"),
        {},
        "code that is not part",
    ),
    "other module": (
        setting("config.json", "auto_map/AutoModel", "helper.Model"),
        {},
        "code that is not part",
    ),
    "pipeline of a stranger": (
        setting("config.json", "custom_pipelines", {"x": {"impl": "else.X"}}),
        {},
        "code that is not part",
    ),
    "code missing": (remove("modeling_medm_plm.py"), {}, "not in the folder"),
    "code beside the folder": (code_beside_the_folder, {}, "not in the folder"),
    # no whole model
    "no weights": (remove("model.safetensors"), {}, "no saved model"),
    "no config": (remove("config.json"), {}, "no saved model"),
    "config no JSON": (text("config.json", "{"), {}, "no valid JSON"),
    "card no text": (text("README.md", b"\xff\xfe\x00"), {}, "no UTF-8"),
    "a part without index": (
        lambda folder: os.rename(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors"),
        {},
        "parts of the weights",
    ),
    "cut weights": (
        lambda folder: os.truncate(folder / "model.safetensors", 9000),
        {},
        "belong to no weight",
    ),
}


@pytest.mark.hub
@pytest.mark.parametrize("case", LOCAL)
def test_a_folder_that_must_stay_is_refused_without_a_request(
    case, model_folder, hub_here, note_refused, capsys
):
    change, options, words = LOCAL[case]
    change(model_folder)
    with pytest.raises(InputError, match=words) as refusal:
        publish(model_folder, REPO, **options)
    note_refused(case, hub_here.bytes_received)
    assert hub_here.requests == []
    said = str(refusal.value) + capsys.readouterr().out
    assert "\n" not in str(refusal.value)
    assert FAKE_TOKEN not in said
    assert TOKEN not in said
    assert "meyer" not in said


@pytest.mark.hub
@pytest.mark.parametrize(
    "name",
    ["medm-plm", "a/b/c", "", "../x/y", "hospital/", "/medm-plm", "hospital/..", "https://h/x", "a b/c"],
)
def test_what_is_no_name_of_a_repository_is_refused(name, model_folder, hub_here, note_refused):
    with pytest.raises(InputError, match="OWNER/NAME"):
        publish(model_folder, name)
    note_refused(f"name {name!r}", hub_here.bytes_received)
    assert hub_here.requests == []


GATED = "datasets: [MIMIC-IV]\nextra_gated_prompt: I have signed the agreement."
# name -> (card, private, gated, has a model, how publish is called, words)
EXISTING = {
    "existing public": (DATA, False, False, True, {}, "is public"),
    "existing public, empty": (DATA, False, False, False, {}, "is public"),
    "existing public and gated": (DATA, False, "manual", True, {}, "is public"),
    "existing public, branch": (DATA, False, False, True, {"revision": "v2"}, "is public"),
    "existing public without the gate": (GATED, False, False, True, PUBLIC, "without the gate"),
    "existing private to public": (DATA, True, False, True, PUBLIC, "earlier versions"),
    "existing private, gated, to public": (GATED, True, "manual", True, PUBLIC, "earlier versions"),
}


@pytest.mark.hub
@pytest.mark.parametrize("case", EXISTING)
def test_an_existing_repository_that_others_see_gets_nothing(case, model_folder, hub_here, note_refused):
    from hub_server.store import Blob

    card, private, gated, has_model, options, words = EXISTING[case]
    header(card)(model_folder)
    repo = hub_here.store.create(REPO, private)
    repo.gated = gated
    if has_model:
        repo.commit("main", {"config.json": Blob(b"{}", False)})
    before = dict(repo.branches)
    with pytest.raises(InputError, match=words):
        publish(model_folder, REPO, **options)
    note_refused(case, hub_here.bytes_received)
    assert hub_here.bytes_received == 0
    assert {seen.method for seen in hub_here.requests} == {"GET"}
    assert (repo.branches, repo.private) == (before, private)


def committed(*names: str, branch: str = "main"):
    """Put a commit with these files on a branch of the repository."""
    from hub_server.store import Blob

    def change(repo) -> None:
        repo.branches.setdefault(branch, repo.branches["main"])
        repo.commit(branch, {".gitattributes": Blob(b"", False)} | {n: Blob(b"x", False) for n in names})

    return change


def in_turn(*changes):
    return lambda repo: [change(repo) for change in changes]


def tagged(repo) -> None:
    repo.tags["v1"] = repo.branches["main"]


# name -> what is in the private repository that is to become public
HELD = {
    "predictions of patients": committed("predictions_test.parquet"),
    "a pickle and visits": in_turn(committed("training_args.bin"), committed("visits.parquet")),
    "a card alone": committed("README.md"),
    "a model on another branch": committed("model.safetensors", branch="secret"),
    "a branch without a commit of its own": lambda repo: repo.branches.update(v2=repo.branches["main"]),
    "a model that was deleted": in_turn(committed("model.safetensors"), committed()),
    "a tag": tagged,
    "a request to change something": committed("notes.csv", branch="refs/pr/1"),
}


@pytest.mark.hub
@pytest.mark.parametrize("revision", [None, "v2"])
@pytest.mark.parametrize("case", HELD)
def test_a_private_repository_that_holds_anything_is_not_opened(
    case, revision, model_folder, hub_here, note_refused
):
    repo = hub_here.store.create(REPO, private=True)
    HELD[case](repo)
    before = dict(repo.branches)
    with pytest.raises(InputError, match="private and not empty"):
        publish(model_folder, REPO, revision=revision, **PUBLIC)
    note_refused(f"opening {case} ({revision})", hub_here.bytes_received)
    assert hub_here.bytes_received == 0
    assert (repo.branches, repo.private) == (before, True)
    assert publish(model_folder, REPO).commit  # privately it may go there


@pytest.mark.hub
@pytest.mark.parametrize(
    "address",
    [
        *("http://evil.example", "http://10.0.0.7:8080", "ftp://127.0.0.1", "evil.example", "", "https://"),
        *("http://127.0.0.1@evil.example", "http://127.0.0.1.evil.example", "https://h:port", "http://[::1"),
    ],
)
def test_a_hub_without_encryption_gets_neither_token_nor_model(address, model_folder, hub_here, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    for options in ({}, {"dry_run": True}):
        with pytest.raises(InputError, match="HF_ENDPOINT"):
            publish(model_folder, REPO, **options)
    assert hub_here.requests == []


@pytest.mark.hub
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://huggingface.co", None),
        ("https://hub.hospital.example/", "https://hub.hospital.example"),
        ("https://huggingface.co@evil.example:8443/x", "https://evil.example:8443"),
        ("https://huggingface.co:8443", "https://huggingface.co:8443"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_the_plan_names_a_hub_that_is_another_one(
    address, shown, model_folder, hub_here, monkeypatch, capsys
):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    assert publish(model_folder, REPO, dry_run=True).endpoint == shown
    where = f" on {shown}" if shown else ""
    assert f"To {REPO}{where}, private\n" in capsys.readouterr().out


def test_the_present_folder_is_read_as_any_other(model_folder, monkeypatch):
    monkeypatch.chdir(model_folder)
    assert "config.json" in publish(".", REPO, dry_run=True).files
    (model_folder / "modeling_medm_plm.py").unlink()
    with pytest.raises(InputError, match="not in the folder"):
        publish(".", REPO, dry_run=True)


def test_the_name_of_this_machine_stays_here(model_folder, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-17")
    path = model_folder / "README.md"
    before = path.read_text()
    for sentence in (
        "on gpu-170 and agpu-17",
        "see https://physionet.org/content/x/1.4/, [a](../b) or 1/2/3",
    ):
        path.write_text(f"{before}\n{sentence}\n")
        publish(model_folder, REPO, dry_run=True)
    path.write_text(f"{before}\ntrained by meyer@GPU-17.hospital.local\n")
    with pytest.raises(InputError, match="absolute path"):
        publish(model_folder, REPO, dry_run=True)


def test_a_vocabulary_may_hold_what_looks_like_a_place(model_folder):
    (model_folder / "vocab.txt").write_text("[PAD]\n../x\n~/x\n//a/b\ns3://\n$HOME\n")
    publish(model_folder, REPO, dry_run=True)


@pytest.mark.hub
@pytest.mark.parametrize("case", ["no token", "wrong token"])
def test_without_a_token_nothing_leaves(case, model_folder, hub_here, note_refused, monkeypatch):
    wrong = "hf_" + "wrongtoken" * 3
    if case == "no token":
        monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"there is no token|does not accept the token") as refusal:
        publish(model_folder, REPO, token=wrong if case == "wrong token" else None)
    assert wrong not in str(refusal.value)
    note_refused(case, hub_here.bytes_received)
    assert hub_here.bytes_received == 0


@pytest.mark.hub
def test_a_dry_run_asks_nothing(model_folder, hub_here, capsys):
    plan = publish(model_folder, REPO, dry_run=True)
    assert hub_here.requests == []
    assert plan.commit is None
    out = capsys.readouterr().out
    for name, size in plan.files.items():
        assert (model_folder / name).stat().st_size == size
        assert f"{name} " in out
        assert f"{size}\n" in out


@pytest.mark.hub
def test_fifty_variants_and_not_one_byte(refused_cases):
    """Runs last in this file; under several workers each sees its own share of the cases."""
    assert sum(refused_cases.values()) == 0
    assert len(LOCAL) + len(EXISTING) >= 50
