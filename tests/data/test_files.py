"""Files with records are private, and whole or absent."""

import os
import stat

import pytest

from medm_plm.data.files import fingerprint, make_private_folder, write_private
from medm_plm.data.stages import remove_abandoned
from medm_plm.errors import InputError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_rights_do_not_depend_on_the_umask(tmp_path):
    before = os.umask(0)
    try:
        folder = make_private_folder(tmp_path / "a" / "b")
        write_private(folder / "f", lambda path: path.write_text("x"))
    finally:
        os.umask(before)
    assert (mode(folder), mode(folder / "f")) == (0o700, 0o600)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    digest = write_private(path, lambda staging: staging.write_text("old"))
    assert digest == fingerprint(path)

    def fail(staging):
        staging.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left on device"):
        write_private(path, fail)
    assert path.read_text() == "old"
    assert [part.name for part in tmp_path.iterdir()] == ["f"]


def test_leftovers_of_a_killed_run_do_no_harm_and_can_be_removed(tmp_path):
    (tmp_path / ".f.0.staging").write_text("half of a much longer file")
    write_private(tmp_path / "f", lambda staging: staging.write_text("new"))
    assert (tmp_path / "f").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(InputError, match="output folder cannot be made"):
        make_private_folder(tmp_path / "f")


def test_fingerprints_see_names_and_content_of_a_folder(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    first = fingerprint(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert fingerprint(tmp_path / "d") != first
    with pytest.raises(InputError, match="cannot be read"):
        fingerprint(tmp_path / "nothing")
