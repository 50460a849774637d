"""The report counts what is there, against counts made by hand."""

import json

import polars as pl

from medm_plm.data.report import entries as report
from medm_plm.data.schema import RowLedger
from medm_plm.data.vocabulary import CodeVocabulary
from prepared_cohort import invent_visits


def test_ledger_entry_adds_up():
    entry = report.ledger_entry(RowLedger(10, {"b": 3, "a": 1}))
    assert entry == {"rows_in": 10, "rows_out": 6, "rows_dropped": {"a": 1, "b": 3}}
    assert list(entry["rows_dropped"]) == ["a", "b"]


def test_codes_are_counted_once_and_placed():
    entry = report.codes_entry(["ICD9CM:4280", "ICD9CM:4280", "ICD9CM:5185", "ICD9CM:NONSENSE", "ATC:N02A"])
    assert list(entry) == ["ATC", "ICD9CM"]
    assert entry["ICD9CM"] == {"codes": 3, "placed": 3, "under_a_block": 2, "under_a_chapter": 2}
    assert entry["ATC"]["codes"] == entry["ATC"]["placed"] == 1


def test_visits_are_counted():
    visits = invent_visits(8).with_columns(
        pl.when(pl.col("visit_number") == 1).then(pl.lit("")).otherwise("note").alias("note"),
        pl.when(pl.col("visit_number") == 2).then(None).otherwise("readmission").alias("readmission"),
    )
    read = report.visits_read_entry(visits)
    entry = report.visits_entry(read, visits.filter(pl.col("visit_number") < 3), "paper")
    assert (entry["visits_read"], entry["patients_read"]) == (20, 8)
    assert (entry["visits_prepared"], entry["patients_with_several_visits"]) == (14, 6)
    assert entry["visits_with_note"] == 6
    assert sum(entry["readmission"]["visits_read"].values()) == 20
    assert entry["readmission"]["visits_prepared"]["none"] == 6


def test_lengths_leave_empty_records_out():
    visits = (
        invent_visits(4)
        .head(4)
        .with_columns(
            pl.Series("note", ["one two three", "", "one", "a b"]),
            pl.Series("medication_codes", [[], ["ATC:A01A"], [], []]),
        )
    )
    entry = report.lengths_entry(visits)
    assert {name: entry["words_of_note"][name] for name in ("visits", "mean", "median", "maximum")} == {
        "visits": 3,
        "mean": 2.0,
        "median": 2,
        "maximum": 3,
    }
    assert entry["medication_codes"]["visits"] == 1
    assert report.lengths_entry(visits.clear())["words_of_note"]["median"] is None


def test_lengths_are_the_same_when_notes_are_cut_to_a_letter():
    visits = invent_visits(12).with_columns(
        pl.when(pl.col("visit_number") == 2).then(pl.lit("")).otherwise("note").alias("note")
    )
    counted = report.with_note_words(visits)
    assert counted["note_words"].to_list() == [len(note.split()) for note in visits["note"]]
    cut = counted.with_columns(pl.col("note").str.head(1))
    assert report.with_note_words(cut).equals(cut)
    assert report.lengths_entry(cut) == report.lengths_entry(visits)
    assert report.lengths_entry(cut)["words_of_note"]["mean"] == 8.0


def test_splits_and_vocabulary_add_up_and_json_is_stable():
    visits = invent_visits(60)
    entry = report.splits_entry(visits)
    assert sum(entry[split]["visits"] for split in ("train", "validation", "test")) == visits.height
    assert sum(entry[split]["patients"] for split in ("train", "validation", "test")) == 60
    assert entry["train"]["pretraining_visits"] == entry["train"]["visits"]
    assert entry["number_of_labels"] == {"icd_coding": 8, "medication_prediction": 8}
    assert entry["train"]["icd_coding"] == {
        "visits": entry["train"]["visits"],
        "labels": 3 * entry["train"]["visits"],
    }
    vocabulary = report.vocabulary_entry(
        CodeVocabulary.from_codes(["ICD9CM:4280", "ICD9CM:4281"], ["ATC:N02A"])
    )
    assert (vocabulary["diagnosis_codes"], vocabulary["medication_codes"]) == (2, 1)
    assert vocabulary["tokens"] == 4 + 3 + vocabulary["inner_nodes"]
    text = report.to_json({"splits": entry, "vocabulary": vocabulary})
    assert json.loads(text)["splits"] == entry
    assert text == report.to_json({"splits": report.splits_entry(visits.reverse()), "vocabulary": vocabulary})
