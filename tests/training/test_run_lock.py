"""One process at a time trains in a folder; a killed one leaves no lock behind."""

import errno
import os
import shutil
import signal

import pytest

from medm_plm.errors import InputError
from medm_plm.training import run_lock
from medm_plm.training.run_lock import LOCK_FILE, lock_run_folder
from run_locks import locked

REFUSED = "another process trains in this folder"


def ends_with(function) -> int:
    """Exit status of a forked process: 0, or 7 where the function raises `InputError`."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        except InputError:
            status = 7
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_second_process_is_refused_while_the_first_one_lives(tmp_path):
    with locked(tmp_path) as (holder, _):
        with pytest.raises(InputError, match=rf"{REFUSED}; received process {holder.pid} on "):
            lock_run_folder(tmp_path)
        lock_run_folder(tmp_path.parent)
    lock_run_folder(tmp_path)  # the other one was killed


def test_workers_of_a_killed_process_hold_no_lock(tmp_path):
    with locked(tmp_path, "with a worker") as (holder, number):
        worker = int(number)
        with pytest.raises(InputError, match=REFUSED):
            lock_run_folder(tmp_path)
        holder.kill()
        holder.wait()
        try:
            lock_run_folder(tmp_path)
            os.kill(worker, 0)  # it still lives
        finally:
            os.kill(worker, signal.SIGKILL)


def test_one_process_may_lock_again_and_its_children_may_not(tmp_path):
    for _ in range(3):
        lock_run_folder(tmp_path)
        assert ends_with(lambda: lock_run_folder(tmp_path)) == 7
    assert ends_with(lambda: None) == 0
    assert ends_with(lambda: lock_run_folder(tmp_path)) == 7  # the end of a child changes nothing


def test_a_folder_that_is_made_anew_is_locked_anew(tmp_path):
    folder = tmp_path / "checkpoints"
    for _ in range(2):
        folder.mkdir()
        lock_run_folder(folder)
        assert (folder / LOCK_FILE).is_file()
        assert ends_with(lambda: lock_run_folder(folder)) == 7
        shutil.rmtree(folder)


def test_the_file_is_private_and_names_its_holder(tmp_path):
    (tmp_path / LOCK_FILE).write_text("x" * 300)
    (tmp_path / LOCK_FILE).chmod(0o600)
    lock_run_folder(tmp_path)
    assert (tmp_path / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")
    (tmp_path / "new").mkdir()
    lock_run_folder(tmp_path / "new")
    assert (tmp_path / "new" / LOCK_FILE).stat().st_mode & 0o777 == 0o600


def test_a_system_without_locks_trains_without(tmp_path, monkeypatch):
    with locked(tmp_path):
        monkeypatch.setattr(run_lock, "fcntl", None)
        lock_run_folder(tmp_path)


def test_a_disk_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(run_lock.fcntl, "lockf", refuse)
    lock_run_folder(tmp_path)
    assert "cannot be locked (No locks available)" in caplog.text


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match=r"_run\.lock: file cannot be written: No such file"):
        lock_run_folder(tmp_path / "missing")
