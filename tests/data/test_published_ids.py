"""Published lists of admission ids: what is read, what is refused, and which visits they choose."""

import polars as pl
import pytest

from medm_plm.data.published_ids import held_out_ids, published_visits, read_published_ids
from medm_plm.errors import InputError

LISTS = {"train": "1\n2\n3\n", "dev": "4\n", "test": "5\n6\n"}


def write_lists(folder, name="50", **changes):
    folder.mkdir(exist_ok=True)
    for word, text in {**LISTS, **changes}.items():
        (folder / f"{word}_{name}_hadm_ids.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["50", "full"])
def test_three_lists_are_read_by_split(name, tmp_path):
    ids = read_published_ids(write_lists(tmp_path / "lists", name))
    assert ids == {"train": {"1", "2", "3"}, "validation": {"4"}, "test": {"5", "6"}}
    assert held_out_ids(ids) == ["4", "5", "6"]


def test_header_empty_lines_and_other_line_ends_do_not_matter(tmp_path):
    ids = read_published_ids(write_lists(tmp_path, train="\ufeffHADM_ID\r\n1\r\n\r\n 2 \r\n"))
    assert ids["train"] == {"1", "2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dev": "4\n5,7\n"}, "dev_50_hadm_ids.csv, row 2: line is no admission id"),
        ({"test": "\n"}, "list of admission ids is empty"),
        ({"test": "hadm_id\n"}, "list of admission ids is empty"),
        ({"test": "5\n1\n"}, "stand in several lists; received 1 repeated ids"),
    ],
)
def test_wrong_content_is_one_clear_line(changes, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        read_published_ids(write_lists(tmp_path, **changes))
    assert "5,7" not in str(error.value)


def test_missing_files_and_two_sets_are_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="folder of published admission ids is missing"):
        read_published_ids(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"train_50_hadm_ids.csv and dev_50_hadm_ids.csv and test_50"):
        read_published_ids(tmp_path)
    write_lists(tmp_path, "full")
    (tmp_path / "dev_full_hadm_ids.csv").unlink()
    with pytest.raises(InputError, match=r"dev_full_hadm_ids.csv missing"):
        read_published_ids(tmp_path)
    with pytest.raises(InputError, match="two sets"):
        read_published_ids(write_lists(tmp_path, "50"))
    (tmp_path / "other").mkdir()
    (write_lists(tmp_path / "other") / "test_50_hadm_ids.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_published_ids(tmp_path / "other")


def test_listed_visits_take_the_split_of_their_list_and_no_patient_stands_on_both_sides():
    visits = pl.DataFrame(
        {
            "subject_id": ["a", "a", "b", "b", "c", "d"],
            "hadm_id": ["1", "2", "3", "5", "4", "9"],
            "split": ["test"] * 6,
        }
    )
    ids = {"train": {"1", "2", "3", "7"}, "validation": {"4"}, "test": {"5", "6"}}
    published = published_visits(visits, ids)
    assert published.visits.select("hadm_id", "split").rows() == [
        ("1", "train"),
        ("2", "train"),
        ("5", "test"),  # so that visit 3 of the same patient is left out of the training list
        ("4", "validation"),
    ]
    assert published.facts == {"listed": 7, "unknown": 2, "left_out": 1}


def test_lists_of_another_source_are_refused():
    visits = pl.DataFrame({"subject_id": ["a"], "hadm_id": ["1"], "split": ["train"]})
    with pytest.raises(InputError, match=r"none of the published admissions .* received 1 ids"):
        published_visits(visits, {"train": {"x"}, "validation": set(), "test": set()})
