"""The prepared visits are checked when they are read."""

import polars as pl
import pytest

from medm_plm.data.schema import VISIT_SCHEMA, VISITS_FILE, RowLedger, read_visits, validate_visits
from medm_plm.errors import InputError
from prepared_cohort import invent_visits


def test_reading_gives_the_schema_sorted_by_patient_and_visit(tmp_path):
    visits = invent_visits(5)
    visits.sample(fraction=1.0, shuffle=True, seed=1).write_parquet(tmp_path / VISITS_FILE)
    read = read_visits(tmp_path)
    assert read.schema == VISIT_SCHEMA
    assert read.equals(visits.sort("subject_id", "visit_number"))


def test_missing_and_damaged_files_are_named_without_their_content(tmp_path):
    with pytest.raises(InputError, match=r"visits\.parquet: prepared visits are missing.*run_preparation"):
        read_visits(tmp_path)
    (tmp_path / VISITS_FILE).write_text("secret text, no parquet")
    with pytest.raises(InputError, match="cannot be read as parquet") as caught:
        read_visits(tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda visits: visits.drop("note"), "column note is missing"),
        (lambda visits: visits.with_columns(pl.col("age").cast(pl.String)), "column age has a wrong type"),
        (
            lambda visits: visits.with_columns(pl.lit(None, pl.String).alias("note")),
            "column note has 12 missing",
        ),
        (
            lambda visits: visits.with_columns(pl.lit("dev").alias("split")),
            "column split has 12 unknown names",
        ),
        (lambda visits: visits.with_columns(pl.lit("1").alias("hadm_id")), "12 visits share hadm_id"),
        (
            lambda visits: visits.with_columns(pl.lit(1, pl.Int32).alias("visit_number")),
            "9 visits share subject_id and visit_number",
        ),
    ],
)
def test_each_broken_rule_has_its_message(change, message):
    visits = invent_visits(6).head(12)
    validate_visits(visits)
    with pytest.raises(InputError, match=message):
        validate_visits(change(visits))


def test_ledger_counts_what_a_filter_drops_and_nulls_fail():
    ledger = RowLedger(4)
    frame = ledger.keep(pl.DataFrame({"a": [1, 2, None, 4]}), pl.col("a") > 1, "too small")
    assert frame["a"].to_list() == [2, 4]
    ledger.drop(0, "never")
    ledger.drop(1, "too small")
    assert ledger.dropped == {"too small": 3}
    assert ledger.rows_out == 1
