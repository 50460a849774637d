"""A disk that is full at any call of a save: one clear line, what was there is intact, the run can go on.

The calls are those of the operating system, so that the writers of Rust and C++ meet them as well as those of
Python: a small library put before that of C says "No space left on device" from a given call on.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medm_plm.errors import InputError
from medm_plm.training import feature_cache, prefix_states
from medm_plm.training.checkpoints import checkpoints_in, damage, recover
from medm_plm.training.feature_cache import CacheOptions, add_prefix_states
from medm_plm.training.state_files import remove_damaged
from prepared_cohort import PROJECT_ROOT, tiny_processor
from tiny_trainers import VISITS, logged, pretraining_trainer

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static long calls = 0, first_failure = -1;

void fill_disk(const char *path, long call) {
    snprintf(folder, sizeof folder, "%s", path);
    calls = 0;
    first_failure = call;
}

long count_calls(void) { return calls; }

static int fails_in(const char *path) {
    if (!folder[0] || strncmp(path, folder, strlen(folder)) != 0) return 0;
    calls++;
    if (first_failure < 0 || calls <= first_failure) return 0;
    errno = ENOSPC;
    return 1;
}

static int fails(int descriptor) {
    char link[64], path[4096];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails_in(path);
}

#define NEXT(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

ssize_t write(int f, const void *b, size_t n) { return fails(f) ? -1 : NEXT(write)(f, b, n); }
ssize_t writev(int f, const struct iovec *v, int n) { return fails(f) ? -1 : NEXT(writev)(f, v, n); }
ssize_t pwrite64(int f, const void *b, size_t n, off64_t o) {
    return fails(f) ? -1 : NEXT(pwrite64)(f, b, n, o);
}
int ftruncate64(int f, off64_t n) { return fails(f) ? -1 : NEXT(ftruncate64)(f, n); }
int fsync(int f) { return fails(f) ? -1 : NEXT(fsync)(f); }
int mkdir(const char *p, mode_t m) { return fails_in(p) ? -1 : NEXT(mkdir)(p, m); }
int rename(const char *p, const char *q) { return fails_in(q) ? -1 : NEXT(rename)(p, q); }

int open64(const char *p, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, int);
    va_end(rest);
    return (flags & O_CREAT) && fails_in(p) ? -1 : NEXT(open64)(p, flags, mode);
}
"""
STEPS = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 9, "logging_strategy": "steps"}
FAULTS_AT_MOST = 400
CALLS_PER_FILE = 4
"""Of the cache: open, write, flush, rename; one more for the folder."""


class FullDisk:
    """Makes the calls below a folder fail, one more of them being served at each attempt."""

    def __init__(self, library: str) -> None:
        self.library = ctypes.CDLL(library)
        self.lines: list[str] = []

    def fill_at_each_call(self, folder: Path, save, check) -> None:
        """Save again and again; `check` looks at the folder after each failure."""
        for call in range(FAULTS_AT_MOST):
            self.library.fill_disk(str(folder).encode(), call)
            try:
                save()
            except InputError as error:
                self.lines.append(str(error))
            else:
                assert self.library.count_calls() == call, f"failure {call} was passed over"
                return
            finally:
                self.library.fill_disk(b"", -1)
            check()
        raise AssertionError("a save of so many calls is no small test")


def weights_and_log(trainer, checkpoint=None):
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return {name: weight.clone() for name, weight in trainer.model.state_dict().items()}, logged(trainer)


def assert_same(one, other) -> None:
    assert one[1] == other[1]
    assert all(torch.equal(weight, other[0][name]) for name, weight in one[0].items())


def fill_while_saving_a_checkpoint(disk: FullDisk, folder: Path) -> None:
    processor = tiny_processor(VISITS)
    expected = weights_and_log(pretraining_trainer(processor, folder / "whole", max_steps=4, **STEPS))
    place = folder / "full"
    shutil.copytree(folder / "whole" / "checkpoints" / "checkpoint-2", place / "checkpoints" / "checkpoint-2")
    trainer = pretraining_trainer(processor, place, max_steps=3, **STEPS)
    weights_and_log(trainer, place / "checkpoints" / "checkpoint-2")
    third = place / "checkpoints" / "checkpoint-3"
    shutil.rmtree(third)

    def check() -> None:
        recover(third.parent)
        found = {path.name: damage(path) for path in checkpoints_in(third.parent)}
        assert found.pop("checkpoint-3", None) is None
        assert found == {"checkpoint-2": None}
        shutil.rmtree(third, ignore_errors=True)

    disk.fill_at_each_call(place, lambda: trainer._save_checkpoint(trainer.model, None), check)
    assert damage(third) is None
    shutil.rmtree(third)
    again = pretraining_trainer(processor, place, max_steps=4, **STEPS)
    assert_same(weights_and_log(again, place / "checkpoints" / "checkpoint-2"), expected)


def fill_while_saving_the_finished_model(disk: FullDisk, folder: Path) -> None:
    trainer = pretraining_trainer(tiny_processor(VISITS), folder)
    trainer.save_model(str(folder / "model"))
    old = {path.name: path.read_bytes() for path in (folder / "model").iterdir() if path.is_file()}
    with torch.no_grad():
        next(trainer.model.parameters()).add_(1.0)

    def check() -> None:
        new = (folder / "model" / "model.safetensors").read_bytes()
        names = {path.name for path in (folder / "model").iterdir() if path.is_file()}
        assert names == set(old)
        assert len(new) == len(old["model.safetensors"])

    disk.fill_at_each_call(folder / "model", lambda: trainer.save_model(str(folder / "model")), check)
    assert (folder / "model" / "model.safetensors").read_bytes() != old["model.safetensors"]


def fill_while_filling_the_cache(disk: FullDisk, folder: Path) -> None:
    prefix_states.TOKENS_PER_BATCH, feature_cache.BYTES_PER_FILE = 16, 1
    trainer = pretraining_trainer(tiny_processor(VISITS), folder)
    visits = [dict(visit) for visit in trainer.train_dataset.examples[:12]]
    options = CacheOptions(folder / "cache", "float32")
    cache, counts = folder / "cache", [0]
    cache.mkdir()

    def files() -> set[str]:
        return {path.name for path in cache.rglob("*") if path.is_file()}

    def check() -> None:
        """What was finished stays, is whole, and is not computed again; then all over again."""
        finished = files()
        counts.append(len(finished))
        assert all(name.endswith(".safetensors") for name in finished)
        assert sum(remove_damaged(path) for path in cache.iterdir()) == 0
        if counts[-1] > counts[-2]:
            disk.library.fill_disk(str(cache).encode(), -1)
            add_prefix_states(trainer.model.model, visits, options)
            assert disk.library.count_calls() == 1 + CALLS_PER_FILE * (len(files()) - len(finished))
            assert finished < files()
        for path in cache.iterdir():
            shutil.rmtree(path)

    disk.fill_at_each_call(cache, lambda: add_prefix_states(trainer.model.model, visits, options), check)
    assert counts == sorted(counts)
    assert len(files()) == counts[-1] + 1 > 3
    with torch.no_grad():
        for visit in visits:
            ids = torch.from_numpy(visit["input_ids"]).long()[None]
            states = trainer.model.model.encode_text_prefix(ids)[0]
            torch.testing.assert_close(visit["text_prefix_states"].read(), states, atol=1e-5, rtol=1e-5)


CASES = {
    "checkpoint": fill_while_saving_a_checkpoint,
    "model": fill_while_saving_the_finished_model,
    "cache": fill_while_filling_the_cache,
}
REMEDIES = {"checkpoint": "older checkpoints are intact", "model": "make room", "cache": "make room"}


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler, to stand for a full disk")
    folder = tmp_path_factory.mktemp("full_disk")
    (folder / "full.c").write_text(LIBRARY)
    made = folder / "full.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(made), str(folder / "full.c"), "-ldl"], check=True
    )
    return made


@pytest.mark.parametrize("case", CASES)
def test_a_disk_that_is_full_at_any_call_costs_nothing_that_was_there(case, library, tmp_path):
    paths = os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, __file__, case, str(library), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths, "LD_PRELOAD": str(library), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = json.loads((tmp_path / "lines.json").read_text())
    assert len(lines) > 5
    for line in lines:
        assert "\n" not in line
        assert "No space left on device" in line or "the disk took no more data" in line
        assert REMEDIES[case] in line


if __name__ == "__main__":
    chosen, shared_library, base = sys.argv[1:]
    disk = FullDisk(shared_library)
    CASES[chosen](disk, Path(base))
    (Path(base) / "lines.json").write_text(json.dumps(disk.lines))
