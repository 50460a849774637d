"""Joining keeps the order of codes, fills nothing in, and the account of rows must close."""

import polars as pl
import pytest

from medm_plm.data import mimic3
from medm_plm.data.assembly import LEFT_OUT, close_ledgers, code_lists, join_records, map_medications
from medm_plm.data.schema import SOURCE_PRESCRIPTION_SCHEMA
from medm_plm.ontologies.mappings import MedicationMapper


@pytest.fixture
def mapper(project_root):
    return MedicationMapper.from_file(project_root / "tests" / "fixtures" / "drug_map.csv")


def test_codes_stand_once_at_their_first_position_ties_by_code_nulls_last():
    rows = pl.DataFrame(
        {
            "hadm_id": ["1", "1", "1", "1", "2", "1"],
            "position": [5, 2, 2, 9, 1, None],
            "code": ["A", "C", "B", "C", "A", "0"],
        }
    )
    expected = {"1": ["B", "C", "A", "0"], "2": ["A"]}
    assert dict(code_lists(rows, "codes").iter_rows()) == expected
    assert dict(code_lists(rows.reverse(), "codes").iter_rows()) == expected


def test_an_unmapped_drug_is_counted_and_not_filled_from_the_row_above(mapper):
    rows = [
        ("1", 1, 0.5, "Heparin", "IV", None, 1),
        ("2", 1, None, None, None, None, 1),
        ("2", 2, 3.0, "Zyzzyx cream", "TP", None, 1),
        ("2", 3, 30.0, "Furosemide", "PO", None, 1),
    ]
    prescriptions = pl.DataFrame(rows, SOURCE_PRESCRIPTION_SCHEMA, orient="row")
    mapped = map_medications(prescriptions, mapper)
    assert mapped.select("hadm_id", "code").rows() == [
        ("1", "ATC:B01A"),
        ("2", None),
        ("2", None),
        ("2", "ATC:C03C"),
    ]
    assert mapped.drop("code").equals(prescriptions), "no row goes and none is changed"


def test_a_class_of_the_source_wins_over_the_mapping(mapper):
    rows = [("1", 1, 0.5, "Heparin", "IV", None, 1)] * 2
    prescriptions = pl.DataFrame(rows, SOURCE_PRESCRIPTION_SCHEMA, orient="row")
    mapped = map_medications(prescriptions.with_columns(atc=pl.Series(["N02A", None])), mapper)
    assert mapped["code"].to_list() == ["ATC:N02A", "ATC:B01A"]


def note(hadm_id, position, text, early=None):
    return {"hadm_id": hadm_id, "position": position, "note": text, "admission_note": early}


NOTE_TYPES = {"hadm_id": pl.String, "position": pl.Int64, "note": pl.String, "admission_note": pl.String}
CODE_TYPES = {
    "hadm_id": pl.String,
    "position": pl.Int64,
    "code": pl.String,
    "hours_since_admission": pl.Float64,
}


def test_visits_without_records_get_empty_ones():
    visits = pl.DataFrame({"hadm_id": ["2", "1"]})
    codes = pl.DataFrame([("1", 1, "A", None)], CODE_TYPES, orient="row")
    notes = pl.DataFrame([note("1", 1, "b."), note("1", 0, "a.")], NOTE_TYPES)
    joined = join_records(visits, codes, codes.clear(), notes)
    assert joined.columns == [
        "hadm_id",
        "note",
        "admission_note",
        "diagnosis_codes",
        "medication_codes",
        "first_day_medication_codes",
    ]
    assert joined.rows() == [("2", "", None, [], [], []), ("1", "a. b.", None, ["A"], [], [])]


def test_medications_of_the_first_day_end_after_24_hours_and_are_unknown_without_any_time():
    rows = [
        ("1", 5, "B", 23.99),
        ("1", 4, "A", -2.0),
        ("1", 6, "C", 24.0),
        ("1", None, "D", None),
        ("2", 1, "A", None),  # a medication, but no time of any
        ("3", 1, "A", 30.0),  # known times, none of them early
    ]
    medications = pl.DataFrame(rows, CODE_TYPES, orient="row")
    visits = pl.DataFrame({"hadm_id": ["1", "2", "3", "4"]})
    joined = join_records(visits, medications.clear(), medications, pl.DataFrame(schema=NOTE_TYPES))
    assert joined["medication_codes"].to_list() == [["A", "B", "C", "D"], ["A"], ["A"], []]
    assert joined["first_day_medication_codes"].to_list() == [["A", "B"], None, [], []]


def test_what_is_known_at_admission_is_joined_where_any_part_tells():
    notes = [note("1", 1, "b c.", "c."), note("1", 0, "a.", "a."), note("2", 0, "x."), note("2", 1, "y.", "")]
    visits = pl.DataFrame({"hadm_id": ["1", "2", "3"]})
    codes = pl.DataFrame(schema=CODE_TYPES)
    joined = join_records(visits, codes, codes, pl.DataFrame(notes, NOTE_TYPES))
    assert joined["note"].to_list() == ["a. b c.", "x. y.", ""]
    assert joined["admission_note"].to_list() == ["a. c.", "", None]


def test_the_account_closes_only_if_every_row_is_somewhere(project_root, mapper):
    def read():
        tables = mimic3.read(project_root / "tests" / "fixtures" / "mimic3")
        medications = tables.ledgers["PRESCRIPTIONS"].keep(
            map_medications(tables.prescriptions, mapper), pl.col("code").is_not_null(), "no class"
        )
        return tables, medications, tables.visits.filter(pl.col("hadm_id") != "1101")

    tables, medications, kept = read()
    tables.ledgers["ADMISSIONS"].drop(1, "test")
    close_ledgers(tables, medications, kept)
    left_out = {name: ledger.dropped.get(LEFT_OUT, 0) for name, ledger in tables.ledgers.items()}
    assert left_out == {
        "PATIENTS": 0,
        "ADMISSIONS": 0,
        "DIAGNOSES_ICD": 4,
        "PRESCRIPTIONS": 5,
        "NOTEEVENTS": 3,
    }
    for name in ("DIAGNOSES_ICD", "PRESCRIPTIONS", "NOTEEVENTS", "ADMISSIONS"):
        tables, medications, kept = read()
        tables.ledgers["ADMISSIONS"].drop(1, "test")
        tables.ledgers[name].rows_in += 1  # a row that is nowhere
        with pytest.raises(RuntimeError, match=f"table {name}"):
            close_ledgers(tables, medications, kept)
