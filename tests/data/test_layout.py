"""Rows that are wanted come with an account of the others, and a source read at once hands both over."""

import polars as pl
import pytest

from medm_plm.data.layout import (
    NO_VALUE,
    SourceLayout,
    SourceTable,
    TableReader,
    read_whole,
    refuse_unreadable,
    wanted_rows,
)
from medm_plm.data.schema import RowLedger, SourceTables
from medm_plm.data.tables import csv_batches
from medm_plm.errors import InputError

HEADER = "kind,patient,drug\n"
ROWS = "x,1,a\ny,1,b\n\nx,,\n,2,a\nx,2,a\n,,\n"
SIZE = len(HEADER + ROWS)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr("medm_plm.data.csv_blocks._CHUNK_BYTES", 9)  # so that there are several batches
    path = tmp_path / "T.csv"
    path.write_text(HEADER + ROWS)
    return path


def table(path, **facts):
    return SourceTable(path, lambda: csv_batches(path, ("kind", "patient", "drug")), "patient", **facts)


def count_drugs(rows):
    return rows.group_by("drug").agg(pl.len().cast(pl.Int64).alias("num_rows"))


def test_every_row_is_wanted_or_counted(path):
    batches, account = wanted_rows("T", table(path))
    assert pl.concat(batches).rows() == [
        ("x", "1", "a"),
        ("y", "1", "b"),
        ("x", None, None),
        (None, "2", "a"),
        ("x", "2", "a"),
    ]
    assert account.file.num_rows == 7
    assert account.ledger == RowLedger(2, {NO_VALUE: 2})
    assert account.num_values == {"kind": 4, "patient": 4, "drug": 4}
    assert account.ledger_name == "T"


def test_rows_not_wanted_have_a_reason_and_empty_ones_another(path):
    of_x = table(path, keep=pl.col("kind") == "x", reason="kind is not x", ledger="others")
    batches, account = wanted_rows("T", of_x)
    assert pl.concat(batches).rows() == [("x", "1", "a"), ("x", None, None), ("x", "2", "a")]
    assert account.ledger == RowLedger(4, {"kind is not x": 4})
    assert account.ledger_name == "others"
    unwanted = table(path, keep=pl.col("kind").is_null(), reason="kind is known")
    batches, account = wanted_rows("T", unwanted)
    assert pl.concat(batches).rows() == [(None, "2", "a")]
    assert account.ledger == RowLedger(6, {"kind is known": 4, NO_VALUE: 2})


def test_what_is_counted_in_batches_adds_up(path):
    batches, account = wanted_rows("T", table(path, learn=count_drugs))
    assert sum(1 for _ in batches) > 2
    assert sorted(account.learned.rows(), key=str) == [("a", 3), ("b", 1), (None, 1)]


def test_a_table_without_rows_has_its_columns(tmp_path):
    path = tmp_path / "T.csv"
    path.write_text(HEADER)
    batches, account = wanted_rows("T", table(path, learn=count_drugs))
    assert pl.concat(batches).columns == ["kind", "patient", "drug"]
    assert account.ledger == RowLedger(0)
    assert account.learned.columns == ["drug", "num_rows"]


def records(reader):
    """Keep the rows that name a drug, and look at the table in every way that a reader offers."""
    frame, ledger = reader.table("T")
    assert frame.equals(reader.frame("T"))
    assert "T" in reader
    assert "U" not in reader
    frame = ledger.keep(frame, pl.col("drug").is_not_null(), "no drug")
    reader.expect_readable("drugs", frame.height, frame.filter(pl.col("drug") != "z").height)
    empty = pl.DataFrame()
    return SourceTables(
        visits=frame,
        diagnoses=reader.learned("T"),
        prescriptions=empty,
        notes=empty,
        ledgers=reader.ledgers,
        visit_table="T",
        diagnosis_table="T",
        prescription_table="T",
        readable=reader.readable,
        remarks={"kind is known": int(reader.has_values("T", "kind"))},
    )


def test_a_source_that_is_read_at_once_closes_its_account(path):
    tables = read_whole(SourceLayout({"T": table(path, learn=count_drugs)}, "T", records))
    assert tables.visits.height == 4
    assert tables.ledgers["T"] == RowLedger(7, {"no drug": 1, NO_VALUE: 2})
    assert tables.ledgers["T"].rows_out == tables.visits.height
    assert [(file.name, file.num_rows) for file in tables.files] == [("T.csv", 7)]
    assert tables.remarks == {"kind is known": 1}
    assert tables.diagnoses["num_rows"].sum() == 5


def test_values_count_in_the_whole_table_not_only_among_some_patients(path):
    batches, account = wanted_rows("T", table(path))
    frame = pl.concat(batches)
    reader = TableReader(lambda name: frame.filter(kind="y"), {"T": account})
    assert reader.frame("T").height == 1
    assert reader.has_values("T", "kind")
    assert not reader.has_values("T", "column that nobody has")


def test_values_of_which_not_one_can_be_read_are_a_mistake_of_the_table(path):
    refuse_unreadable({"times": (3, 1), "dates": (0, 0)})
    with pytest.raises(InputError, match="no value can be read of dates; received 3 values"):
        refuse_unreadable({"times": (3, 1), "dates": (3, 0)})
    path.write_text(HEADER + "x,1,z\nx,2,z\n")
    with pytest.raises(InputError, match="no value can be read of drugs"):
        read_whole(SourceLayout({"T": table(path)}, "T", records))


def test_a_table_that_is_not_there_is_named(tmp_path):
    missing = tmp_path / "T.csv"
    with pytest.raises(InputError, match=r"T\.csv: file cannot be read"):
        read_whole(SourceLayout({"T": table(missing)}, "T", records))
