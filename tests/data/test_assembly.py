"""Joining keeps the order of codes, fills nothing in, and the account of rows must close."""

import polars as pl
import pytest

from medm_plm.data import mimic3
from medm_plm.data.assembly import LEFT_OUT, close_ledgers, code_lists, join_records, map_medications
from medm_plm.data.schema import SOURCE_PRESCRIPTION_SCHEMA, RowLedger
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
        ("1", 1, "Heparin", "IV", None, 1),
        ("2", 1, None, None, None, 1),
        ("2", 2, "Zyzzyx cream", "TP", None, 1),
        ("2", 3, "Furosemide", "PO", None, 1),
    ]
    prescriptions = pl.DataFrame(rows, SOURCE_PRESCRIPTION_SCHEMA, orient="row")
    ledger = RowLedger(4)
    mapped, counts = map_medications(prescriptions, mapper, ledger)
    assert mapped.select("hadm_id", "code").rows() == [("1", "ATC:B01A"), ("2", "ATC:C03C")]
    assert ledger.dropped == {"drug has no known medication class": 2}
    assert counts == {
        "mapping": "drug_map.csv",
        "rows": 4,
        "rows_mapped": 2,
        "share_of_rows": 0.5,
        "distinct_prescriptions": 4,
        "distinct_prescriptions_mapped": 2,
        "distinct_drug_names": 3,
        "distinct_drug_names_mapped": 2,
        "medication_classes": 2,
    }


def test_visits_without_records_get_empty_ones():
    visits = pl.DataFrame({"hadm_id": ["2", "1"]})
    codes = pl.DataFrame({"hadm_id": ["1"], "position": [1], "code": ["A"]})
    notes = pl.DataFrame({"hadm_id": ["1", "1"], "position": [1, 0], "note": ["b.", "a."]})
    joined = join_records(visits, codes, codes.clear(), notes)
    assert joined.rows() == [("2", "", [], []), ("1", "a. b.", ["A"], [])]


def test_the_account_closes_only_if_every_row_is_somewhere(project_root, mapper):
    def read():
        tables = mimic3.read(project_root / "tests" / "fixtures" / "mimic3")
        medications, _ = map_medications(tables.prescriptions, mapper, tables.ledgers["PRESCRIPTIONS"])
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
