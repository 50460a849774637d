"""What only all patients together can tell: copies of notes across splits go, and accounts still close."""

import random
from datetime import date, timedelta

import polars as pl
import pyarrow.parquet as pq
import pytest

from medm_plm.data import checking, finishing, leakage
from medm_plm.data.checking import check_folder
from medm_plm.data.finishing import DUPLICATE
from medm_plm.data.preparation import Preparation
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import SPLITS, VISITS_FILE, read_visits
from medm_plm.data.splits import assign_split
from medm_plm.errors import InputError

WORDS = [
    first + second for first in "bdfgklmnprst" for second in ("arol", "eni", "idan", "olus", "umer", "ypti")
]
PATIENTS = [f"P{number:02d}" for number in range(40)]
SPLIT_OF = {patient: assign_split(patient, 0) for patient in PATIENTS}
OF_SPLIT = {split: [patient for patient in PATIENTS if SPLIT_OF[patient] == split] for split in SPLITS}


def note(seed, num_words=150):
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) for _ in range(num_words))


def write(folder, copies=None, num_patients=40):
    """Three visits for each patient, each with a note of its own but for the copies."""
    folder.mkdir()
    visits, diagnoses, prescriptions, notes = [], [], [], []
    for patient in PATIENTS[:num_patients]:
        for place in range(3):
            visit = f"{patient}-{place}"
            day = date(2031, 1, 1) + timedelta(days=100 * place)
            visits.append(f"{patient},{visit},{day},{day + timedelta(days=4)},50,EMERGENCY,no")
            diagnoses += [f"{visit},{n},ICD9CM,{code}" for n, code in enumerate(("4280", "0389"), 1)]
            prescriptions.append(f"{visit},{day},Furosemide,PO,,")
            notes.append(f"{visit},{day},{(copies or {}).get(visit, note(visit))}")
    tables = {
        "visits": (
            "subject_id,hadm_id,admission_time,discharge_time,age,admission_type,died_in_hospital",
            visits,
        ),
        "diagnoses": ("hadm_id,position,system,code", diagnoses),
        "prescriptions": ("hadm_id,start_time,drug,route,ndc,atc", prescriptions),
        "notes": ("hadm_id,note_time,text", notes),
    }
    for name, (header, rows) in tables.items():
        (folder / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def prepare(tables, output, num_shards=1):
    return Preparation("table", tables, output, num_shards=num_shards).run()


def written(output):
    return [
        (output / name).read_bytes() for name in ("visits.parquet", "code_vocabulary.json", "report.json")
    ]


@pytest.fixture
def copied(tmp_path):
    """Middle visits of a train and a validation patient have the note of a test visit; so has one more
    of train, but for a word; two patients of train share another note, which is nobody's business."""
    text, other = note("copied"), note("of train alone")
    train, validation, test = (OF_SPLIT[split] for split in SPLITS)
    copies = {
        f"{train[0]}-1": text,
        f"{validation[0]}-1": text,
        f"{test[0]}-2": text,
        f"{train[1]}-0": text.replace(text.split()[75], "another", 1),
        f"{train[2]}-0": other,
        f"{train[3]}-0": other,
    }
    return write(tmp_path / "tables", copies), {f"{train[0]}-1", f"{validation[0]}-1", f"{train[1]}-0"}


def test_copies_across_splits_go_from_the_earlier_split_and_every_account_closes(copied, tmp_path):
    folder, gone = copied
    report = prepare(folder, tmp_path / "out")
    visits = read_visits(tmp_path / "out")
    assert visits.height == 120 - 3
    assert not gone & set(visits["hadm_id"])
    for name, num_rows in {"visits": 3, "diagnoses": 6, "prescriptions": 3, "notes": 3}.items():
        table = report["tables"][name]
        assert table["rows_dropped"] == {DUPLICATE: num_rows}
        assert table["rows_in"] == table["rows_out"] + num_rows
    assert report["visits"]["visits_prepared"] == 117
    assert check_folder(tmp_path / "out")["violations"].sum() == 0
    assert all(entry["violations"] == 0 for entry in report["leakage"].values())
    (examined,) = [entry["examined"] for name, entry in report["leakage"].items() if "note" in name]
    assert examined == 117


def test_the_visits_that_stay_are_numbered_again_and_keep_all_else(copied, tmp_path):
    folder, gone = copied
    sound = write(tmp_path / "sound")
    prepare(sound, tmp_path / "whole")
    prepare(folder, tmp_path / "out")
    visits, whole = (read_visits(tmp_path / name) for name in ("out", "whole"))
    for patient in {hadm_id[:3] for hadm_id in gone}:
        of_patient = visits.filter(subject_id=patient)
        left = [f"{patient}-{place}" for place in range(3) if f"{patient}-{place}" not in gone]
        assert of_patient.select("hadm_id", "visit_number").rows() == [(left[0], 1), (left[1], 2)]
    numbers = visits.group_by("subject_id").agg("visit_number")["visit_number"].to_list()
    assert all(sorted(of_one) == list(range(1, len(of_one) + 1)) for of_one in numbers)
    same = [name for name in visits.columns if name not in ("visit_number", "note", "admission_note")]
    stay = whole.filter(~whole["hadm_id"].is_in(sorted(gone)))
    assert visits.select(same).equals(stay.select(same)), "readmissions and splits are those of all visits"


def test_copies_go_alike_whatever_the_number_of_shards(copied, tmp_path):
    folder, _ = copied
    prepare(folder, tmp_path / "1")
    for num_shards in (3, 12):
        prepare(folder, tmp_path / str(num_shards), num_shards)
        assert written(tmp_path / str(num_shards)) == written(tmp_path / "1")


def test_the_groups_of_the_file_do_not_follow_the_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(finishing, "_VISITS_OF_GROUP", 7)
    folder = write(tmp_path / "tables", num_patients=10)
    for num_shards in (1, 4):
        prepare(folder, tmp_path / str(num_shards), num_shards)
        metadata = pq.ParquetFile(tmp_path / str(num_shards) / "visits.parquet").metadata
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        assert sizes == [7, 7, 7, 7, 2]
    assert written(tmp_path / "4") == written(tmp_path / "1")
    visits = read_visits(tmp_path / "4")
    assert visits["hadm_id"].to_list() == [f"{patient}-{n}" for patient in PATIENTS[:10] for n in range(3)]


def test_the_report_comes_last_and_an_old_one_goes_first(tmp_path, monkeypatch):
    folder = write(tmp_path / "tables", num_patients=10)
    output = tmp_path / "out"
    seen = []

    def watched(path, write):
        seen.append((path.name, (output / "report.json").exists()))
        return original(path, write)

    original = finishing.write_private
    monkeypatch.setattr(finishing, "write_private", watched)
    prepare(folder, output)
    Preparation("table", folder, output, PreparationRules(seed=1)).run()
    assert seen[:4] == seen[4:], "the second run begins as if there were no report"
    assert seen[0] == ("visits.parquet", False)
    assert seen[3] == ("report.json", False)


def test_no_visit_left_in_any_shard_is_explained(tmp_path):
    folder = write(tmp_path / "tables", num_patients=6)
    path = folder / "visits.csv"
    path.write_text(path.read_text().replace(",50,", ",5,"))
    for num_shards in (1, 3):
        with pytest.raises(
            InputError, match=r"no visit is left; received 18 dropped \(below the minimum age\)"
        ):
            prepare(folder, tmp_path / "out", num_shards)


def test_a_shard_of_which_no_visit_is_left_is_no_mistake(tmp_path):
    folder = write(tmp_path / "tables", num_patients=6)
    path = folder / "visits.csv"
    path.write_text("".join(
        line.replace(",50,", ",5,") if line.startswith(("P00", "P05")) else line
        for line in path.read_text().splitlines(keepends=True)
    ))  # fmt: skip
    prepare(folder, tmp_path / "1")
    prepare(folder, tmp_path / "6", 6)
    assert written(tmp_path / "6") == written(tmp_path / "1")
    assert read_visits(tmp_path / "6").height == 12


def test_values_that_cannot_be_read_in_one_shard_alone_are_no_mistake_of_the_table(tmp_path):
    folder = write(tmp_path / "tables", num_patients=6)
    path = folder / "notes.csv"
    lines = [
        line.replace("2031", "soon") if line[:3] == "P05" else line for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")
    prepare(folder, tmp_path / "out", 6)
    path.write_text(path.read_text().replace("2031", "soon"))
    for num_shards in (1, 6):
        with pytest.raises(
            InputError, match="no value can be read of column note_time of table notes"
        ) as caught:
            prepare(folder, tmp_path / "out", num_shards)
        assert "received 18 values" in str(caught.value), "of all shards"


def write_lists(folder, ids):
    """Lists of the set of 50 labels, as CAML names its files."""
    folder.mkdir()
    for word, hadm_ids in zip(("train", "dev", "test"), ids, strict=True):
        (folder / f"{word}_50_hadm_ids.csv").write_text("".join(f"{hadm_id}\n" for hadm_id in hadm_ids))
    return folder


def test_the_preparation_checks_its_splits_against_the_published_lists(tmp_path, monkeypatch):
    """Splits that do not follow the lists, as after a mistake in `visit_shards`, make no folder."""
    tables = write(tmp_path / "tables", num_patients=10)
    chosen = [[f"P0{number}-{place}" for place in range(3)] for number in range(3)]
    lists = write_lists(tmp_path / "lists", chosen)
    report = Preparation("table", tables, tmp_path / "out", split_ids=lists).run()
    (examined,) = [entry["examined"] for name, entry in report["leakage"].items() if "published" in name]
    assert examined == len(chosen[1] + chosen[2])
    monkeypatch.setattr(
        "medm_plm.data.visit_shards.splits_from_ids",
        lambda visits, ids, seed: (visits.with_columns(pl.lit("train").alias("split")), 0),
    )
    with pytest.raises(InputError, match="published"):
        Preparation("table", tables, tmp_path / "other", split_ids=lists).run()
    assert not (tmp_path / "other" / VISITS_FILE).exists()


def test_copies_are_searched_until_none_is_left(tmp_path, monkeypatch):
    """A search that finds one copy at a time, as where neighbours hide others, is repeated."""
    train, validation, test = (OF_SPLIT[split] for split in SPLITS)
    copies = {f"{train[0]}-1": note("a"), f"{train[1]}-1": note("b"), f"{validation[0]}-1": note("c")}
    copies |= {f"{test[place]}-2": note(letter) for place, letter in enumerate("abc")}
    tables = write(tmp_path / "tables", copies)
    search = finishing.later_duplicates
    found = []

    def one_at_a_time(visits):
        found.append(search(visits)[:1])
        return found[-1]

    monkeypatch.setattr(finishing, "later_duplicates", one_at_a_time)
    prepare(tables, tmp_path / "out")
    assert [len(each) for each in found] == [1, 1, 1, 0]
    assert read_visits(tmp_path / "out").height == 120 - 3


def test_visits_that_the_preparation_has_not_searched_are_searched_before_training(tmp_path, monkeypatch):
    prepare(write(tmp_path / "tables"), tmp_path / "out")
    searches = []
    search = checking.later_duplicates
    monkeypatch.setattr(checking, "later_duplicates", lambda visits: searches.append(1) or search(visits))
    visits = read_visits(tmp_path / "out")
    checking.check_before_training(tmp_path / "out", visits)
    assert not searches, "the very bytes that were searched"
    of_train, of_test = (visits["split"].eq(split).arg_true()[0] for split in ("train", "test"))
    notes = visits["note"].to_list()
    notes[of_train] = notes[of_test]
    copied = visits.with_columns(pl.Series("note", notes))
    copied.write_parquet(tmp_path / "out" / VISITS_FILE)
    with pytest.raises(InputError, match=leakage.COPIED_NOTE):
        checking.check_before_training(tmp_path / "out", copied)
    assert searches


@pytest.mark.parametrize("unreadable", ["first", "last"])
def test_readable_values_of_all_shards_are_added_up(unreadable, tmp_path):
    """What one shard alone reads is enough, whichever it is, and the message counts those of all."""
    tables = write(tmp_path / "tables", num_patients=6)
    path = tables / "notes.csv"
    header, *lines = path.read_text().splitlines()
    spoilt = slice(0, 9) if unreadable == "first" else slice(9, None)
    lines[spoilt] = [line.replace("2031", "soon") for line in lines[spoilt]]
    path.write_text("\n".join([header, *lines]) + "\n")
    prepare(tables, tmp_path / "out", 6)
    path.write_text("\n".join([header, *(line.replace("2031", "soon") for line in lines)]) + "\n")
    with pytest.raises(InputError, match=r"no value can be read of column note_time .* received 18 values"):
        prepare(tables, tmp_path / "other", 6)
