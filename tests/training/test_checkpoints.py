"""Folders of checkpoints: whole, damaged, half replaced, too many. No model is needed for any of it."""

import contextlib
import json
import os

import pytest

from medm_plm.errors import InputError
from medm_plm.training import checkpoints
from medm_plm.training.checkpoints import damage, install, publish, read_manifest, recover, rotate, seal

FILES = {
    "trainer_state.json": "{}",
    "scheduler.pt": "abc",
    "model.safetensors": "0123456789",
    "sub/words.txt": "w",
}


def write(folder, files=FILES):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    folder = write(tmp_path / "checkpoint-5")
    seal(folder, processes=2)
    return folder


def test_an_untouched_checkpoint_is_intact(checkpoint):
    assert damage(checkpoint) is None
    assert read_manifest(checkpoint)["processes"] == 2
    assert read_manifest(checkpoint)["files"].keys() == FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_each_damage_to_a_file_names_the_file(name, checkpoint):
    path = checkpoint / name
    content = path.read_bytes()
    for spoilt in (content[:-1], b"", content + b" ", bytes([content[0] ^ 1]) + content[1:]):
        path.write_bytes(spoilt)
        assert name in damage(checkpoint)
    path.unlink()
    assert name in damage(checkpoint)
    path.mkdir()
    assert name in damage(checkpoint)


def test_no_changed_bit_of_the_manifest_goes_unseen(checkpoint):
    path = checkpoint / "manifest.json"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 7]) + content[place + 1 :])
        manifest = read_manifest(checkpoint)
        assert manifest is None or json.loads(path.read_bytes()) == json.loads(content)
    for length in range(0, len(content) - 1, 9):  # all but the last line feed
        path.write_bytes(content[:length])
        assert read_manifest(checkpoint) is None
    path.unlink()
    assert damage(checkpoint) == "manifest.json is missing"


@pytest.mark.parametrize("content", ["[]", "null", "1", '"text"', "{}", '{"checksum": {}}', "[" * 100_000])
def test_strange_manifests_are_damaged_ones(content, checkpoint):
    (checkpoint / "manifest.json").write_text(content)
    assert damage(checkpoint) == "manifest.json is damaged"


def test_a_folder_with_only_a_model_cannot_be_resumed(tmp_path):
    folder = write(tmp_path / "checkpoint-1", {"model.safetensors": "0", "trainer_state.json": "{}"})
    seal(folder, processes=1)
    assert "only a model" in damage(folder)


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of the package may run after it, so nothing may catch it."""


def test_killed_at_any_moment_a_replacement_leaves_one_intact_checkpoint(tmp_path, monkeypatch):
    for moment in range(12):
        folder = tmp_path / str(moment)
        old = write(folder / "checkpoint-5", {**FILES, "model.safetensors": "old"})
        new = write(folder / "_staging" / "checkpoint-5")
        seal(old, 1)
        seal(new, 1)
        calls = iter(range(100))

        def dying(original, calls=calls, moment=moment):
            def call(*args, **kwargs):
                if next(calls) == moment:
                    raise KilledError
                result = original(*args, **kwargs)
                if next(calls) == moment:
                    raise KilledError
                return result

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying(os.replace))
            patch.setattr(checkpoints, "flush", dying(checkpoints.flush))
            patch.setattr(checkpoints.shutil, "rmtree", dying(checkpoints.shutil.rmtree))
            with contextlib.suppress(KilledError):
                publish(new, old)
        recover(folder)
        assert [path.name for path in folder.iterdir()] == ["checkpoint-5"]
        assert damage(old) is None
    assert (old / "model.safetensors").read_text() == FILES[
        "model.safetensors"
    ]  # the last one was not killed


@pytest.mark.parametrize(
    ("steps", "current", "best", "limit", "kept"),
    [
        ((2, 4, 6), 6, None, 2, {4, 6}),
        ((2, 4, 6), 6, 2, 2, {2, 6}),
        ((2, 4, 6, 10), 10, None, 3, {4, 6, 10}),  # by number, not by name
        ((2, 4, 6), 6, 2, 1, {2, 6}),
        ((2, 4, 6), 6, None, None, {2, 4, 6}),
        ((2, 5, 8, 9), 5, None, 2, {2, 5}),  # 8 and 9 were damaged: the run went on from 2
        ((2, 5, 8, 9), 5, 2, 1, {2, 5}),
    ],
)
def test_rotation_keeps_the_last_good_and_the_best(steps, current, best, limit, kept, tmp_path):
    for step in steps:
        write(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-old-notes").mkdir()
    best_folder = None if best is None else tmp_path / f"checkpoint-{best}"
    rotate(tmp_path, tmp_path / f"checkpoint-{current}", best_folder, limit)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"checkpoint-{step}" for step in kept} | {"checkpoint-old-notes"}


@pytest.fixture
def flushed(monkeypatch):
    """What is flushed to the disk, with what lies beside it at that moment."""
    calls, flush = {}, checkpoints.flush

    def note(path):
        calls[path] = {sibling.name for sibling in path.parent.iterdir()}
        flush(path)

    monkeypatch.setattr(checkpoints, "flush", note)
    return calls


def test_every_file_and_folder_is_on_the_disk_before_a_checkpoint_is_sealed(tmp_path, flushed):
    folder = write(tmp_path / "checkpoint-5")
    seal(folder, processes=1)
    files = {folder / name for name in (*FILES, "manifest.json")}
    assert flushed.keys() == files | {folder, folder / "sub"}


def test_the_new_name_is_on_the_disk_before_the_old_checkpoint_goes(tmp_path, flushed, monkeypatch):
    parent = tmp_path / "checkpoints"
    old = write(parent / "checkpoint-5")
    new = write(parent / "_staging" / "checkpoint-5", {"model.safetensors": "new"})
    removed, rmtree = [], checkpoints.shutil.rmtree

    def remove(path, **options):
        removed.append((path.name, parent in flushed))
        rmtree(path, **options)

    monkeypatch.setattr(checkpoints.shutil, "rmtree", remove)
    publish(new, old)
    assert (old / "model.safetensors").read_text() == "new"
    assert removed == [("_replaced-checkpoint-5", False), ("_replaced-checkpoint-5", True)]


def test_what_was_half_removed_goes(checkpoint, tmp_path):
    for name in ("_removed-checkpoint-3", "_staging/checkpoint-6"):
        write(tmp_path / name)
    recover(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    assert damage(checkpoint) is None


def test_newer_intact_checkpoints_neither_go_nor_count(tmp_path):
    """The run went on from 2, which was named; 8 is whole and 9 is not."""
    for step in (2, 4, 5, 8, 9):
        seal(write(tmp_path / f"checkpoint-{step}"), processes=1)
    (tmp_path / "checkpoint-9" / "scheduler.pt").write_text("ab")
    rotate(tmp_path, tmp_path / "checkpoint-5", None, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-4", "checkpoint-5", "checkpoint-8"}


def test_a_checkpoint_without_the_files_of_all_processes_is_not_sealed(tmp_path):
    folder = write(tmp_path / "checkpoint-5", {**FILES, "rng_state_0.pth": "0"})
    needed = ["rng_state_0.pth", "rng_state_1.pth"]
    with pytest.raises(InputError, match=r"lacks rng_state_1\.pth, which .*same --output_dir"):
        seal(folder, 2, needed)
    assert read_manifest(folder) is None
    write(folder, {"rng_state_1.pth": "1"})
    seal(folder, 2, needed)
    assert damage(folder) is None


def test_files_are_installed_beside_others(tmp_path):
    write(tmp_path, {"model.safetensors": "old", "metrics.json": "kept", "sub/other.txt": "kept"})
    install(write(tmp_path / "_staging"), tmp_path)
    expected = {**FILES, "metrics.json": "kept", "sub/other.txt": "kept"}
    files = {p.relative_to(tmp_path).as_posix(): p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    assert files == expected
    assert not (tmp_path / "_staging").exists()


def test_a_checkpoint_of_a_model_alone_is_whole_but_cannot_be_gone_on_from(tmp_path):
    folder = write(tmp_path / "checkpoint-5", {"model.safetensors": "0123456789"})
    seal(folder, processes=1)
    assert "only a model" in damage(folder)
    assert damage(folder, needs_state=False) is None
    (folder / "model.safetensors").write_text("0")
    assert "model.safetensors" in damage(folder, needs_state=False)
