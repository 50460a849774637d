"""Hostile input: some cases of benchmarks/hostile_input.py, and the mistakes that it has found."""

import datetime as dt
import os
from types import SimpleNamespace

import polars as pl
import pytest

from medm_plm.data import files, parquet, reading
from medm_plm.data.report.accounts import STEP_SCHEMA, exclusions_entry
from medm_plm.data.schema import RowLedger
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError

SLOW = {"drugs of 1 MB", "notes of 5 MB"}


@pytest.fixture(scope="module")
def script(project_root):
    """Import the benchmark as it imports its own parts: from the folder that it lies in."""
    if not (project_root / "benchmarks").is_dir():
        pytest.skip("benchmarks are not part of this distribution")
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(project_root / "benchmarks")
    import hostile_input
    import hostile_tables
    import hostile_verdict

    yield SimpleNamespace(input=hostile_input, tables=hostile_tables, verdict=hostile_verdict)
    patch.undo()


@pytest.mark.filterwarnings("ignore")
def test_one_case_of_each_kind_is_refused_or_accounted_for(script, tmp_path):
    outcomes, failures = set(), []
    for number, (kind, *_) in enumerate(script.input.KINDS):
        if kind in SLOW:
            continue
        verdict = script.verdict.judge(script.input.make_case(number, 3, tmp_path / str(number)))
        outcomes.add(verdict.outcome)
        if verdict.outcome == "failed":
            failures.append(f"case {number}, seed 3, {kind}, {verdict.case.source}: {verdict.why}")
    assert not failures
    assert outcomes == {"refused", "prepared"}


def test_the_same_number_and_seed_make_the_same_case(script, tmp_path):
    number = next(n for n, kind in enumerate(script.input.KINDS) if kind[0] == "hostile cells everywhere")
    cases = [
        script.input.make_case(number, seed, tmp_path / name) for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    ]
    contents = [{path.name: path.read_bytes() for path in case.paths.values()} for case in cases]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def verdict_of(script, folder, run):
    """Judge a run of a harmless case that is replaced by another."""
    case = script.input.make_case(0, 0, folder)
    patch = pytest.MonkeyPatch()
    patch.setattr(script.verdict, "_run", run)
    try:
        return script.verdict.judge(case)
    finally:
        patch.undo()


def test_a_cell_in_a_message_or_on_the_error_stream_is_noticed(script, tmp_path):
    def told(case):
        return "refused", "", "InputError: zqx91e", None

    def printed(case):
        os.write(2, b"thread panicked at 70717273")
        return "refused", "", "", None

    assert verdict_of(script, tmp_path / "told", told).why == "cell in message"
    why = verdict_of(script, tmp_path / "printed", printed).why
    assert why == "cell in output of the process; the engine printed a panic"


def test_rows_that_are_not_accounted_for_are_noticed(script, tmp_path):
    number = next(n for n, kind in enumerate(script.input.KINDS) if kind[0] == "NDCs")
    case = script.input.make_case(number, 0, tmp_path / "case")
    report = script.verdict.preparation_of(case).run()
    assert list(script.verdict._account(case, report)) == []
    ledger = next(iter(report["tables"].values()))
    ledger["rows_in"] += 1
    assert len(list(script.verdict._account(case, report))) == 3


def test_records_are_counted_the_plain_way(script):
    count = script.tables.num_records
    assert count(b"a,b\n1,2\n") == 1
    assert count(b'a,b\n1,"x\ny"\n3,4') == 2
    assert count(b'a,b\n"say ""x""\n",2\n\n') == 2


def test_a_table_that_changes_after_the_plan_is_refused(script, tmp_path):
    tables = script.tables.valid_tables("mimic3", 2)
    paths = script.tables.write_tables(tables, tmp_path / "input", ".csv")

    def change(step):
        if step == "plan":
            paths["DIAGNOSES_ICD"].write_bytes(script.tables.csv_bytes(tables["DIAGNOSES_ICD"][:3]))

    preparation = script.verdict.Preparation("mimic3", tmp_path / "input", tmp_path / "output")
    with pytest.raises(InputError, match=r"DIAGNOSES_ICD.csv: file has changed"):
        preparation.run(change)
    again = script.verdict.Preparation("mimic3", tmp_path / "input", tmp_path / "output").run()
    assert again["tables"]["DIAGNOSES_ICD"]["rows_in"] == 2


def test_a_name_that_is_no_text_has_a_fingerprint_and_is_refused_as_parquet(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.parquet")
    with path.open("wb") as file:
        pl.DataFrame({"a": ["1"]}).write_parquet(file)
    assert len(files.fingerprint(tmp_path)) == 64
    with pytest.raises(InputError, match="name of the file is not UTF-8"):
        parquet.read_schema(path, ["a"], "")


def test_a_name_with_the_signs_of_a_pattern_is_a_name(tmp_path):
    pl.DataFrame({"a": ["1"]}).write_parquet(tmp_path / "[1]*.parquet")
    assert parquet.read_schema(tmp_path / "[1]*.parquet", ["a"], "") == {"a": ("a", pl.String())}


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_that_no_calendar_holds_become_null(unit):
    day = dt.datetime(2100, 2, 28, 12)
    known = pl.Series([day], dtype=pl.Datetime(unit)).to_physical()[0]
    times = pl.DataFrame(
        {"time": pl.Series([2**63 - 1, -(2**63) + 1, known], dtype=pl.Int64).cast(pl.Datetime(unit))}
    )
    read = times.select(parquet.as_time(pl.col("time"), times.schema["time"]))
    expected = (
        [None, None, day] if unit != "ns" else [dt.datetime(2262, 4, 11, 23, 47, 16, 854775), None, day]
    )
    assert read["time"].to_list()[1 if unit == "ns" else 0 :][-1] == day
    if unit != "ns":  # the ends of nanoseconds are years that exist
        assert read["time"].to_list() == expected
    text = times.select(parquet.as_text("time", ("time", times.schema["time"]), "file"))
    assert text["time"].to_list()[-1] == "2100-02-28 12:00:00"


def test_the_age_of_one_visit_has_the_same_bytes_as_among_others():
    births = [dt.datetime(1950, 1, 1, 0, minute) for minute in range(60)]
    frame = pl.DataFrame({"birth": births}).with_columns(
        pl.lit(dt.datetime(2028, 1, 1)).alias("admission_time")
    )
    age = reading.age_since(pl.col("birth")).alias("age")
    together = frame.select(age)["age"].to_list()
    alone = [frame[place].select(age)["age"].item() for place in range(frame.height)]
    assert alone == together


def test_reasons_stand_in_the_same_order_whichever_shard_met_them_first():
    steps = pl.DataFrame([("visits read", 3, 2)], STEP_SCHEMA, orient="row")
    entries = [
        exclusions_entry(RowLedger(6, dropped), steps) for dropped in ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    ]
    assert entries[0] == entries[1]


@pytest.mark.parametrize(
    "content", ["[" * 200_000, '{"tokens": [], "node_parents": [1e999], "num_codes": 1}']
)
def test_deep_or_endless_json_is_no_vocabulary(tmp_path, content):
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(InputError, match="is no code vocabulary") as caught:
        CodeVocabulary.load(tmp_path / "v.json")
    assert caught.value.__suppress_context__
