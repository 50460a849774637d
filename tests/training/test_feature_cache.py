"""The kept output of the frozen text layers: equal to computing it, and never somebody else's."""

import contextlib
import json
import logging
import multiprocessing
import os
import pickle
import shutil
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers.utils import logging as library_logging

import run_finetuning
import run_pretraining
from medm_plm.data.collators import CodeMasker, PatientCollator, PretrainingCollator, VisitCollator
from medm_plm.errors import InputError
from medm_plm.training import feature_cache, prefix_states, state_files
from medm_plm.training.arguments import RunArguments
from medm_plm.training.feature_cache import CacheOptions, add_prefix_states
from medm_plm.training.prefix_states import bytes_per_token, prefix_fingerprint
from medm_plm.training.state_files import StateFile, open_states, remove_damaged, write_states
from modeling_medm_plm import MedMPLMForMedicationRecommendation, MedMPLMForPreTraining
from prepared_cohort import invent_visits, smoke_options, write_prepared_folder
from tiny_models import LABELS, NUM_CODES, build
from tiny_trainers import run_arguments

HIDDEN = 32
DTYPES = [("float32", 1e-6), ("float16", 3e-3), ("bfloat16", 3e-2)]
MASKER = CodeMasker(mask_token_id=3, code_ids={1: np.arange(4, 12), 2: np.arange(12, NUM_CODES)})


def tiny(model_class=MedMPLMForPreTraining, **fields):
    return build(model_class, **{"num_frozen_text_layers": 1, **fields})


def tokenized_visits(count: int = 5) -> list[dict]:
    """Visits whose notes have 2 to 7 tokens."""
    generator = np.random.default_rng(0)
    return [
        {
            "example_id": str(index),
            "epoch": 0,
            "input_ids": generator.integers(4, 50, 2 + index % 6).astype(np.int32),
            "code_input_ids": np.array([1, 5, 6 + index % 6, 13], dtype=np.int32),
            "code_token_type_ids": np.array([0, 1, 1, 2], dtype=np.int8),
        }
        for index in range(count)
    ]


def kept(model, folder, visits, dtype="float32", **options):
    visits = [dict(visit) for visit in visits]
    add_prefix_states(model.model, visits, CacheOptions(folder, dtype, **options))
    return visits


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def small_files(monkeypatch):
    """One batch and one file for about two notes."""
    monkeypatch.setattr(prefix_states, "TOKENS_PER_BATCH", 8)
    monkeypatch.setattr(feature_cache, "BYTES_PER_FILE", 1)


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """Names of the notes that are computed, in their order."""
    names, write = [], feature_cache.write_states
    monkeypatch.setattr(feature_cache, "write_states", lambda *args: names.extend(args[1]) or write(*args))
    return names


@pytest.fixture
def warnings_of_cache(caplog):
    """What the library's logger writes, which does not reach pytest by itself."""
    library_logging.get_logger("medm_plm.training.state_files").addHandler(caplog.handler)
    # Where the logger is set to propagate, a record arrives twice.
    yield lambda: [r.getMessage() for r in dict.fromkeys(caplog.records) if r.levelno == logging.WARNING]
    library_logging.get_logger("medm_plm.training.state_files").removeHandler(caplog.handler)


@pytest.mark.parametrize("text_type", ["bert", "modernbert"])
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_scores_from_kept_states_equal_computed_ones(tmp_path, dtype, tolerance, text_type):
    fields = {"modernbert": {"pad_token_id": 0, "local_attention": 4, "layer_types": None}}
    model = tiny(text_config={"model_type": text_type, **fields.get(text_type, {})})
    visits, collate = tokenized_visits(), VisitCollator(with_text_types=False)
    batch = collate(kept(model, tmp_path, visits, dtype))
    assert batch["text_prefix_states"].dtype == getattr(torch, dtype)
    with torch.no_grad():
        plain, cached = model(**collate(visits)).t2c_logits, model(**batch).t2c_logits
    torch.testing.assert_close(plain, cached, atol=tolerance * plain.abs().max().item(), rtol=tolerance)


def epoch_losses(visits: list[dict]) -> list[float]:
    """Losses of an epoch, each after a step of the optimizer, with dropout in the live layers."""
    model = tiny().train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    collate = PretrainingCollator(masker=MASKER)
    torch.manual_seed(1)
    losses = []
    for start in range(0, len(visits), 4):
        loss = model(**collate(visits[start : start + 4])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("limit_gb", [None, 16_000 / 1e9])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("bfloat16", 3e-3)])
def test_an_epoch_from_the_cache_has_the_losses_of_one_without(tmp_path, dtype, tolerance, limit_gb):
    """Half precision: a thousandth of the loss in float16, three in bfloat16, over ten steps."""
    visits = tokenized_visits(40)
    cached = kept(tiny(), tmp_path, visits, dtype, limit_gb=limit_gb)
    has_states = [visit["text_prefix_states"] is not None for visit in cached]
    assert all(has_states) if limit_gb is None else 0 < sum(has_states) < len(has_states)
    plain, from_cache = epoch_losses(visits), epoch_losses(cached)
    assert len(set(plain)) == 10
    assert from_cache == pytest.approx(plain, rel=tolerance)


def test_dropout_is_at_work_in_what_the_losses_are_compared_with():
    model, batch = tiny().train(), PretrainingCollator(masker=MASKER)(tokenized_visits())
    assert len({model(**batch).loss.item() for _ in range(4)}) == 4


@pytest.mark.parametrize("limit_gb", [None, 1_000 / 1e9])
def test_kept_states_serve_patients_with_several_visits(tmp_path, limit_gb):
    model = tiny(MedMPLMForMedicationRecommendation)
    visits = tokenized_visits()
    for index, visit in enumerate(visits):
        visit["current_code_input_ids"] = np.array([1, 7])
        visit["current_code_token_type_ids"] = np.array([0, 1])
        visit["labels"] = None if index in (0, 3) else np.zeros(LABELS, dtype=np.uint8)
    cached = kept(model, tmp_path, visits, limit_gb=limit_gb)
    assert (limit_gb is not None) == any(visit["text_prefix_states"] is None for visit in cached)
    collate = PatientCollator(with_text_types=False)
    logits = []
    for rows in (visits, cached):
        with torch.no_grad():
            batch = collate([{"visits": rows[:3]}, {"visits": rows[3:]}])
            logits.append(model(**batch).logits[:, 1])
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)


def test_nothing_is_computed_twice(tmp_path, small_files, computed):
    model, visits = tiny(), tokenized_visits()
    first = kept(model, tmp_path, [*visits, visits[0]])  # one note twice
    assert len(computed) == len(set(computed)) == 5
    kept(model, tmp_path, visits[::-1][:3])  # another task: some of the notes in another order
    assert len(computed) == 5
    lost = files_of(tmp_path)[0]
    lost_notes = StateFile(lost).notes()
    lost.unlink()
    second = kept(model, tmp_path, visits)
    assert set(computed[5:]) == set(lost_notes)
    for one, other in zip(first, second, strict=False):
        assert torch.equal(one["text_prefix_states"].read(), other["text_prefix_states"].read())


def test_only_real_tokens_are_kept(tmp_path):
    visits = kept(tiny(), tmp_path, tokenized_visits(), "bfloat16")
    for visit in visits:
        assert visit["text_prefix_states"].read().shape == (len(visit["input_ids"]), HIDDEN)
        assert len(visit["text_prefix_states"]) == len(visit["input_ids"])
    num_tokens = sum(len(visit["input_ids"]) for visit in visits)
    size = sum(path.stat().st_size for path in files_of(tmp_path))
    assert num_tokens * HIDDEN * 2 < size < num_tokens * HIDDEN * 2 + 5 * feature_cache.BYTES_PER_HEADER_ENTRY


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def garble_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 12 + path.read_bytes()[12:])


@pytest.mark.parametrize("damage", [cut, flip, garble_header, lambda path: path.write_bytes(b"")])
def test_a_damaged_file_is_computed_again_with_one_warning(
    tmp_path, small_files, computed, warnings_of_cache, damage
):
    model, visits = tiny(), tokenized_visits()
    first = kept(model, tmp_path, visits)
    expected = [visit["text_prefix_states"].read().clone() for visit in first]
    del computed[:]
    files = files_of(tmp_path)
    for path in files[:2]:
        damage(path)
    second = kept(model, tmp_path, visits)
    assert 2 <= len(computed) < 5
    assert files_of(tmp_path) == files
    for states, visit in zip(expected, second, strict=True):
        assert torch.equal(states, visit["text_prefix_states"].read())
    (warning,) = warnings_of_cache()
    assert "2 damaged files" in warning
    kept(model, tmp_path, visits)
    assert len(warnings_of_cache()) == 1


@pytest.mark.parametrize("oldest", [0, 1, 2])
def test_the_oldest_of_several_files_wins(tmp_path, oldest):
    """Whatever their names: what another run adds to the folder changes no bit of a resumed one."""
    for index in range(3):
        write_states(tmp_path, {"note": torch.full((2, 3), float(index)), f"own{index}": torch.zeros(1, 3)})
    now = time.time()
    for age, path in enumerate(files_of(tmp_path)):
        os.utime(path, (now + 100 * ((age - oldest) % 3),) * 2)
    expected = StateFile(files_of(tmp_path)[oldest]).read("note")
    notes = open_states(tmp_path)
    assert notes.keys() == {"note", "own0", "own1", "own2"}
    assert torch.equal(notes["note"].read(), expected)


def test_a_file_that_is_written_again_keeps_its_age(tmp_path):
    write_states(tmp_path, {"note": torch.zeros(2, 3)})
    (path,) = files_of(tmp_path)
    os.utime(path, (1000, 1000))
    write_states(tmp_path, {"note": torch.zeros(2, 3)})
    assert files_of(tmp_path) == [path]
    assert path.stat().st_mtime == 1000


def test_what_others_add_later_changes_nothing(tmp_path, computed):
    """They computed the same notes in other company, and here in other bits."""
    model, visits = tiny(), tokenized_visits()
    first = [visit["text_prefix_states"].read().clone() for visit in kept(model, tmp_path, visits)]
    folder = files_of(tmp_path)[0].parent
    for shift in range(1, 9):  # some of the names come before that of the first file, some after it
        write_states(folder, {name: note.read() + shift for name, note in open_states(folder).items()})
    assert len(files_of(tmp_path)) == 9
    again = kept(model, tmp_path, visits)
    assert len(computed) == 5
    for states, visit in zip(first, again, strict=True):
        assert torch.equal(states, visit["text_prefix_states"].read())


def test_each_damaged_file_is_found_by_one_of_several_processes(tmp_path, warnings_of_cache):
    for index in range(12):
        write_states(tmp_path, {f"note{index}": torch.full((2, 3), float(index))})
    for path in files_of(tmp_path)[:5]:
        flip(path)
    found = [remove_damaged(tmp_path, index, 3) for index in range(3)]
    assert sum(found) == 5
    assert max(found) < 5
    assert len(open_states(tmp_path)) == 7


def test_staging_files_of_killed_processes_are_removed_and_those_of_live_ones_are_not(tmp_path):
    model = tiny()
    kept(model, tmp_path, tokenized_visits())
    folder = files_of(tmp_path)[0].parent
    old, young = folder / "a.safetensors.1.part", folder / "b.safetensors.2.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * state_files.ABANDONED_SECONDS,) * 2)
    kept(model, tmp_path, tokenized_visits())
    assert [path for path in files_of(tmp_path) if path.suffix == ".part"] == [young]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_states(tmp_path, {"note": torch.zeros(2, 3)})
    assert files_of(tmp_path) == []


def fill_in_another_process(folder: Path, rank: int, num_ranks: int, barrier, exit_after: int | None) -> None:
    """Fill a folder with small files; end without any cleaning up after some of the notes."""
    prefix_states.TOKENS_PER_BATCH, feature_cache.BYTES_PER_FILE = 8, 1
    written, write = [], feature_cache.write_states

    def count_and_write(*args) -> None:
        write(*args)
        written.extend(args[1])
        if exit_after is not None and len(written) >= exit_after:
            os._exit(9)

    feature_cache.write_states = count_and_write
    fill(folder, rank, num_ranks, barrier)
    (folder.parent / "written").write_text("\n".join(written))


def fill(folder: Path, rank: int, num_ranks: int, barrier) -> None:
    """Fill a folder as one of several ranks, or as a run of its own that only starts with the other."""
    model, visits = tiny(), tokenized_visits(20)
    if barrier is not None:
        barrier.wait(120)
    wait = {"wait_for_all": lambda: barrier.wait(120)} if num_ranks > 1 else {}
    found = kept(model, folder, visits, process_index=rank, num_processes=num_ranks, **wait)
    assert all(visit["text_prefix_states"] is not None for visit in found)


@pytest.fixture(scope="module")
def processes():
    """Processes that share nothing with this one, from a server that has the large imports behind it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "polars", "transformers.models.modernbert.modeling_modernbert"])
    return context


def assert_same_states(folder: Path, reference_folder: Path) -> None:
    model, visits = tiny(), tokenized_visits(20)
    pairs = zip(kept(model, folder, visits), kept(model, reference_folder, visits), strict=True)
    for visit, reference in pairs:
        states, expected = visit["text_prefix_states"].read(), reference["text_prefix_states"].read()
        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def test_a_killed_run_is_completed(tmp_path, computed, processes):
    folder = tmp_path / "cache"
    child = processes.Process(target=fill_in_another_process, args=(folder, 0, 1, None, 6))
    child.start()
    child.join(120)
    assert child.exitcode == 9
    done = set(open_states(files_of(folder)[0].parent))
    assert 6 <= len(done) < 20
    fill(folder, 0, 1, None)
    assert len(done) + len(computed) == 20
    assert not done & set(computed)
    assert_same_states(folder, tmp_path / "reference")


@pytest.mark.parametrize("num_ranks", [2, 1])
def test_two_processes_fill_one_folder(
    tmp_path, num_ranks, processes, small_files, computed, warnings_of_cache
):
    """As ranks of one run they share the work; as two runs they do it twice, and neither is disturbed."""
    folder, barrier = tmp_path / "cache", processes.Barrier(2)
    arguments = (folder, num_ranks - 1, num_ranks, barrier, None)
    child = processes.Process(target=fill_in_another_process, args=arguments)
    child.start()
    fill(folder, 0, num_ranks, barrier)
    child.join(120)
    assert child.exitcode == 0
    of_child = (tmp_path / "written").read_text().split()
    assert len(set(of_child) | set(computed)) == 20
    if num_ranks == 2:
        assert len(of_child) == len(computed) == 10
    assert_same_states(folder, tmp_path / "reference")
    assert warnings_of_cache() == []


def test_ranks_wait_for_each_other_between_the_steps(tmp_path, monkeypatch):
    """All have checked before one opens files, planned before one writes, and written before one opens."""
    steps = []
    for name in ("remove_damaged", "open_states", "_within_limits", "write_states"):
        function = getattr(feature_cache, name)
        monkeypatch.setattr(
            feature_cache, name, lambda *args, n=name, f=function: steps.append(n) or f(*args)
        )
    kept(tiny(), tmp_path, tokenized_visits(), wait_for_all=lambda: steps.append("wait"))
    plan, end = ["open_states", "_within_limits"], ["write_states", "wait", "open_states"]
    assert steps == ["remove_damaged", "wait", *plan, "wait", *end]


def test_a_limit_holds_for_the_folder_and_all_that_is_in_it(tmp_path, small_files, computed):
    visits = tokenized_visits(12)
    kept(tiny(num_frozen_text_layers=2), tmp_path, visits[:3], limit_gb=1)  # other layers, same folder
    before = sum(path.stat().st_size for path in files_of(tmp_path))
    limit = before + 4_000
    some = kept(tiny(), tmp_path, visits, limit_gb=limit / 1e9)
    assert before < sum(path.stat().st_size for path in files_of(tmp_path)) <= limit
    has_states = [visit["text_prefix_states"] is not None for visit in some]
    assert has_states == sorted(has_states, reverse=True)
    assert 0 < sum(has_states) < 12
    del computed[:]
    kept(tiny(), tmp_path, visits, limit_gb=limit / 1e9)
    assert len(computed) <= 1  # the estimate of the header leaves a little room at most
    kept(tiny(), tmp_path, visits)  # the limit is lifted
    assert has_states.count(False) == len(computed)


def test_a_resumed_run_leaves_out_the_notes_that_it_left_out_before(tmp_path, small_files):
    visits, cache, run = tokenized_visits(12), tmp_path / "cache", tmp_path / "run"

    def states(limit: float, folder: Path = run) -> list[bool]:
        made = kept(tiny(), cache, visits, limit_gb=limit / 1e9, run_folder=folder)
        return [visit["text_prefix_states"] is not None for visit in made]

    few = states(4_000)
    assert 0 < sum(few) < 12
    assert sum(states(8_000)) > sum(few)  # without a checkpoint nothing has been learnt yet
    few = states(8_000)
    (run / "checkpoint-1").mkdir()
    assert states(1e6) == few
    assert all(states(1e6, tmp_path / "another"))  # now all are kept, for another run
    assert states(1e6) == few
    for path in files_of(cache):
        path.unlink()
    assert states(1e6) == few
    for path in files_of(cache):
        path.unlink()
    with pytest.raises(InputError, match=r"has lost notes that the run began with.*--frozen_text_cache_gb"):
        states(1_000)


@pytest.mark.parametrize("num_killed", [1, 3, None])
def test_a_run_killed_before_its_first_checkpoint_finds_the_same_notes_without_place(
    tmp_path, small_files, monkeypatch, num_killed
):
    """The estimates are larger than the files: what they seem to leave free is no place for another note."""
    visits = tokenized_visits(40)
    written, write = [], feature_cache.write_states

    def write_some(*args):
        if num_killed is not None and len(written) >= num_killed:
            raise KeyboardInterrupt
        written.append(write(*args))

    limit = {"limit_gb": 12_000 / 1e9, "run_folder": tmp_path / "run"}
    expected = kept(tiny(), tmp_path / "other", visits, **limit)
    monkeypatch.setattr(feature_cache, "write_states", write_some)
    with contextlib.suppress(KeyboardInterrupt):
        kept(tiny(), tmp_path / "cache", visits, **limit)
    monkeypatch.setattr(feature_cache, "write_states", write)
    for _ in range(3):
        again = kept(tiny(), tmp_path / "cache", visits, **limit)
        has_states = [visit["text_prefix_states"] is not None for visit in again]
        assert has_states == [visit["text_prefix_states"] is not None for visit in expected]
    assert 5 < sum(has_states) < 35


@pytest.mark.parametrize("how", ["launched", "asked for"])
def test_a_limit_and_fsdp_are_refused_together(tmp_path, monkeypatch, how):
    """A process that computes a note would wait for those that read all of theirs."""
    cache = {"frozen_text_cache": str(tmp_path / "cache")}
    limited = run_arguments(tmp_path, frozen_text_cache_gb=1.0, **cache)
    assert CacheOptions.from_arguments(limited).limit_gb == 1.0
    for args in (limited, whole := run_arguments(tmp_path, **cache)):
        if how == "launched":
            monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
        else:
            args.fsdp = True
    assert CacheOptions.from_arguments(whole).limit_gb is None
    with pytest.raises(InputError, match=r"option --frozen_text_cache_gb cannot go with FSDP.*DDP"):
        CacheOptions.from_arguments(limited)
    monkeypatch.setattr(RunArguments, "process_index", 1)
    with pytest.raises(SystemExit) as end:
        CacheOptions.from_arguments(limited)
    assert end.value.code == 1


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_computed(tmp_path, monkeypatch, computed):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10_000, 8_000, 2_000))
    with pytest.raises(InputError, match=r"disk is too small.*0\.000 GB free.*--frozen_text_cache_gb"):
        kept(tiny(), tmp_path, tokenized_visits())
    assert files_of(tmp_path) == computed == []
    some = kept(tiny(), tmp_path, tokenized_visits(), limit_gb=1)
    assert 0 < len(computed) < 5
    assert sum(visit["text_prefix_states"] is None for visit in some) == 5 - len(computed)
    assert sum(path.stat().st_size for path in files_of(tmp_path)) < 2_000


def test_one_line_says_what_is_needed_before_it_starts(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 5 * 10**9))
    monkeypatch.setattr(feature_cache, "_fill", lambda *args: lines.append("computed"))
    lines, visits = [], tokenized_visits()
    kept(tiny(), tmp_path, visits, limit_gb=0.5, report=lines.append)
    num_bytes = 20 * HIDDEN * 4 + 5 * feature_cache.BYTES_PER_HEADER_ENTRY
    assert sum(len(visit["input_ids"]) for visit in visits) == 20
    assert lines == [
        f"frozen text cache: 5 notes, 20 tokens, 5 notes to compute, {num_bytes / 1e9:.3f} GB needed, "
        "5.0 GB free, limit 0.5 GB, 0 notes without place",
        "computed",
    ]


def test_whatever_changes_the_states_changes_the_fingerprint(tmp_path, monkeypatch):
    model = tiny().model
    before = prefix_fingerprint(model, torch.float16)
    assert before == prefix_fingerprint(tiny().model, torch.float16)
    assert before != prefix_fingerprint(model, torch.bfloat16)
    assert before != prefix_fingerprint(tiny(num_frozen_text_layers=2).model, torch.float16)
    assert before != prefix_fingerprint(tiny(text_config={"hidden_act": "relu"}).model, torch.float16)
    tiny().save_pretrained(tmp_path)
    loaded = MedMPLMForPreTraining.from_pretrained(tmp_path).model
    assert before == prefix_fingerprint(loaded, torch.float16)
    with torch.no_grad():
        model.text_model.encoder.layer[1].output.dense.bias.add_(1)  # a live layer
        assert before == prefix_fingerprint(model, torch.float16)
        model.text_model.encoder.layer[0].output.dense.bias.add_(1)
    assert before != prefix_fingerprint(model, torch.float16)
    monkeypatch.setattr(prefix_states.transformers, "__version__", "0.0")
    assert before != prefix_fingerprint(loaded, torch.float16)


def test_files_are_for_their_owner_alone(tmp_path):
    kept(tiny(), tmp_path, tokenized_visits())
    (file,) = files_of(tmp_path)
    assert file.suffix == ".safetensors"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def resident_bytes(path: Path) -> int:
    """How much of a mapped file this process has in memory."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc/self/smaps of Linux")
def test_reading_a_note_does_not_read_the_file(tmp_path):
    num_notes, words, hidden = 24, 512, 768
    states = {f"note{i:02d}": torch.full((words, hidden), float(i)).half() for i in range(num_notes)}
    write_states(tmp_path, states)
    notes = open_states(tmp_path)
    (path,) = files_of(tmp_path)
    assert resident_bytes(path) < 2**20
    assert notes["note05"].read().float().sum().item() == pytest.approx(5 * words * hidden)
    assert 0 < resident_bytes(path) < path.stat().st_size / 4
    for note in notes.values():
        note.read().sum()
    assert resident_bytes(path) > path.stat().st_size / 2


def test_a_note_is_handed_to_a_worker_by_its_name(tmp_path):
    visits = kept(tiny(), tmp_path, tokenized_visits(30))
    content = pickle.dumps(visits)
    assert len(content) < sum(path.stat().st_size for path in files_of(tmp_path)) / 2
    for visit, copy in zip(visits, pickle.loads(content), strict=True):
        assert torch.equal(visit["text_prefix_states"].read(), copy["text_prefix_states"].read())
    read_again = {id(visit["text_prefix_states"].file) for visit in pickle.loads(content)}
    assert len(read_again) == 1


def test_an_encoder_without_a_prefix_is_refused(tmp_path):
    with pytest.raises(InputError, match="--frozen_text_cache has nothing to keep"):
        kept(tiny(num_frozen_text_layers=0), tmp_path, tokenized_visits())
    assert files_of(tmp_path) == []


def test_states_that_are_too_large_for_the_precision_are_refused(tmp_path):
    model, visits = tiny(), tokenized_visits()
    with torch.no_grad():
        model.model.text_model.encoder.layer[0].output.LayerNorm.bias.fill_(1e5)
    with pytest.raises(InputError, match=r"do not fit into torch\.float16; set .* bfloat16"):
        kept(model, tmp_path, visits, "float16")
    for value, dtypes in ((float("nan"), ("float16", "bfloat16", "float32")), (float("inf"), ("bfloat16",))):
        with torch.no_grad():
            model.model.text_model.encoder.layer[0].output.LayerNorm.bias.fill_(value)
        for dtype in dtypes:
            with pytest.raises(InputError, match=rf"are not finite; received .* torch\.{dtype}; look"):
                kept(model, tmp_path, visits, dtype)
    with torch.no_grad():
        model.model.text_model.encoder.layer[0].output.LayerNorm.bias.fill_(1e5)
    assert files_of(tmp_path) == []
    assert kept(model, tmp_path, visits, "bfloat16")[0]["text_prefix_states"].read().max() > 9e4


def test_layers_go_back_to_where_they_were(tmp_path):
    model = tiny().train()
    kept(model, tmp_path, tokenized_visits(), device=torch.device("cpu"))
    assert model.training
    assert bytes_per_token(model.model, torch.bfloat16) == HIDDEN * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("frozen_text_cache_dtype", "int8"), ("frozen_text_cache_gb", -1.0), ("frozen_text_cache_gb", np.nan)],
)
def test_options_that_cannot_work_are_refused(tmp_path, name, value):
    with pytest.raises(InputError, match=f"option --{name}"):
        RunArguments(output_dir=str(tmp_path), **{name: value})


def run_losses(main, config: str, folder: Path, **options: object) -> list[float]:
    """All losses in the history of a run of one epoch, those of training and of evaluation."""
    options = {"output_dir": folder, "num_train_epochs": 1, "num_frozen_text_layers": 1, **options}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    main([*smoke_options(config), *words])
    history = json.loads((folder / "metrics.json").read_text())["history"]
    return [value for entry in history for name, value in entry.items() if name.endswith("loss")]


def test_runs_with_the_cache_have_the_losses_of_runs_without(tmp_path, capsys):
    data = write_prepared_folder(tmp_path / "data")
    cache = {"frozen_text_cache": tmp_path / "cache", "frozen_text_cache_dtype": "float32"}
    plain = run_losses(run_pretraining.main, "pretraining", tmp_path / "plain", data=data)
    cached = run_losses(run_pretraining.main, "pretraining", tmp_path / "cached", data=data, **cache)
    assert len(plain) >= 4
    assert cached == pytest.approx(plain, abs=1e-6)
    lines = [line for line in capsys.readouterr().out.splitlines() if "frozen text cache:" in line]
    assert len(lines) == 1
    assert ", 0 notes without place" in lines[0]
    assert int(lines[0].split()[3]) == len(invent_visits())  # all splits
    num_files = len(files_of(tmp_path / "cache"))
    task = {"data": data, "model": tmp_path / "cached"}
    plain = run_losses(run_finetuning.main, "medication_recommendation", tmp_path / "task", **task)
    cached = run_losses(
        run_finetuning.main, "medication_recommendation", tmp_path / "cached task", **task, **cache
    )
    assert cached == pytest.approx(plain, abs=1e-6)
    line = next(line for line in capsys.readouterr().out.splitlines() if "frozen text cache:" in line)
    assert ", 0 notes to compute," in line  # pre-training kept them
    assert int(line.split()[3]) == len(invent_visits().filter(pl.len().over("subject_id") > 1))  # all splits
    assert len(files_of(tmp_path / "cache")) == num_files
