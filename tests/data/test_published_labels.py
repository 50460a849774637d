"""Published label lists: diagnoses in their order, procedures counted, mistakes named by their line."""

from pathlib import Path

import pytest

from medm_plm.data.published_labels import read_published_labels
from medm_plm.errors import InputError

CAML = Path(__file__).resolve().parents[2] / "configs" / "caml_top50.txt"


def write(folder, text):
    path = folder / "labels.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_packaged_list_of_caml():
    labels = read_published_labels(CAML)
    assert (len(labels.codes), labels.num_procedures) == (33, 17)
    assert labels.codes[:4] == ("ICD9CM:4019", "ICD9CM:4280", "ICD9CM:42731", "ICD9CM:41401")
    assert {"ICD9CM:V5861", "ICD9CM:0389", "ICD9CM:25000", "ICD9CM:486"} < set(labels.codes)
    assert not {"ICD9CM:3893", "ICD9CM:966"} & set(labels.codes)  # 38.93 and 96.6 are procedures


def test_dots_case_comments_and_empty_lines_do_not_matter(tmp_path):
    labels = read_published_labels(write(tmp_path, "# comment\n\n4280\n v45.81\nE849.0\n0389\n99.04\n"))
    assert labels.codes == ("ICD9CM:4280", "ICD9CM:V4581", "ICD9CM:E8490", "ICD9CM:0389")
    assert labels.num_procedures == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("428.0\nheart failure\n", "row 2: line is no code"),
        ("428.0\n12345678\n", "row 2: line is no code"),
        ("I50.9\n", "row 1: line is no code"),
        ("428.0\n250.00\n4280\n", "row 3: code stands in the list twice"),
        ("38.93\n99.04\n", "holds no diagnosis code; received 2 procedure codes"),
        ("", "holds no diagnosis code"),
    ],
)
def test_wrong_content_is_one_clear_line(text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_published_labels(write(tmp_path, text))


def test_a_missing_or_unreadable_file_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="list of labels is missing"):
        read_published_labels(tmp_path / "none.txt")
    path = tmp_path / "bytes.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_published_labels(path)
