"""Tables are read as text or refused with file and row, and no message ever holds a cell."""

import gzip
import hashlib
from dataclasses import astuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medm_plm.data import csv_blocks
from medm_plm.data.layout import SourceTable, wanted_rows
from medm_plm.data.schema import RowLedger
from medm_plm.data.tables import csv_batches, find_table, keep_known, qualify_codes, whole_number
from medm_plm.errors import InputError

SECRET = "Secret42"


def write(folder, content, name="T.csv"):
    content = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)


def read_table(folder, name, columns, keep=None, reason=""):
    """All rows of a table that are wanted, and the account of the others."""
    path = find_table(folder, name)
    batches, account = wanted_rows(
        name, SourceTable(path, lambda: csv_batches(path, columns), keep=keep, reason=reason)
    )
    rows = pl.concat(batches)
    return rows, RowLedger(account.ledger.rows_in + rows.height, account.ledger.dropped), account.file


@pytest.mark.parametrize("name", ["T.csv", "t.CSV", "T.csv.gz", "t.CSV.GZ"])
@pytest.mark.parametrize(
    "header", ["code,text", "CODE,Text", '"Code","TEXT"', "\ufeffCode,Text", " CODE , TEXT "]
)
def test_any_case_any_compression_and_leading_zeros_survive(tmp_path, name, header):
    write(tmp_path, f'{header}\n0389,"a, b\nc ""d"""\n , x \n', name)
    frame, ledger, file = read_table(tmp_path, "T", ["code", "text"])
    assert frame.rows() == [("0389", 'a, b\nc "d"'), (None, "x")]
    assert (ledger.rows_in, ledger.dropped, file.num_rows) == (2, {}, 2)


def test_csv_comes_before_gz_and_the_fingerprint_is_that_of_the_stored_file(tmp_path):
    write(tmp_path, "a,b\n1,2\n", "T.csv.gz")
    packed = read_table(tmp_path, "T", ["a"])[2]
    write(tmp_path, "a,b\n1,2\n", "T.csv")
    plain = read_table(tmp_path, "T", ["a"])[2]
    for file, name in ((packed, "T.csv.gz"), (plain, "T.csv")):
        sha256 = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert astuple(file) == (name, 1, sha256), "as sha256sum prints it"


def test_rows_do_not_depend_on_the_batches_they_come_in(tmp_path, monkeypatch):
    write(tmp_path, "a,b\n" + "".join(f"{number},{number % 3}\n" for number in range(500)) + "\n,\n")
    whole = read_table(tmp_path, "T", ["b", "a"], pl.col("b") != "1", "one")
    monkeypatch.setattr(csv_blocks, "_CHUNK_BYTES", 17)
    in_parts = read_table(tmp_path, "T", ["b", "a"], pl.col("b") != "1", "one")
    assert in_parts[0].equals(whole[0])
    assert in_parts[1:] == whole[1:]
    assert whole[1].dropped["one"] >= 167
    assert whole[2].num_rows == 502


def test_blank_lines_are_counted(tmp_path):
    write(tmp_path, "a,b\n1,2\n\n3,4\n\n")
    frame, ledger, _ = read_table(tmp_path, "T", ["a"])
    assert frame["a"].to_list() == ["1", "3"]
    assert (ledger.rows_in, ledger.rows_out, sum(ledger.dropped.values())) == (4, 2, 2)


def test_rows_not_wanted_are_counted_with_their_reason(tmp_path):
    write(tmp_path, "kind,text\nx,1\ny,2\nx,3\n")
    frame, ledger, _ = read_table(tmp_path, "T", ["kind", "text"], pl.col("kind") == "x", "not x")
    assert frame["text"].to_list() == ["1", "3"]
    assert ledger.dropped == {"not x": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"a,b\n1,2\n{SECRET}\n", "row 3: row has another number of fields.*received 1, expected 2"),
        (f"a,b\n1,2,{SECRET}\n", "row 2: row has another number of fields.*received 3, expected 2"),
        (f"a,b\n1,2,{SECRET}\n4\n", "row 2: row has another number of fields"),
        (f'a,b\n1,"x\ny"\n{SECRET}\n', "row 4: row has another number of fields"),
        (f'a,b\n1,2\n3,"{SECRET}\n5,6\n', "row 3: quotes are not closed"),
        (f'a,b\n1,{SECRET}"y\n2,z"q\n', "row 2: quote in the middle of a field"),
        (f'a,b\n1,"{SECRET}"y\n', "row 2: quote in the middle of a field"),
        (f"a,b\n1,{SECRET}\xe9\n".encode("latin1"), "row 2: text is not UTF-8.*iconv"),
        ("a,c\n1,2\n", "row 1: column B is missing.*expected A, B"),
        ("a,b,A,B\n1,2,3,4\n", "row 1: column A is there more than once"),
        (f'"a";"b"\n1;{SECRET}\n', "row 1: header is not that of a CSV file.*commas"),
        (f"a,b\r1,{SECRET}\r", "row 1: header is not that of a CSV file.*line feed"),
        ("", "file is empty"),
        ("\n\n", "begins with a blank line"),
    ],
)
@pytest.mark.parametrize("name", ["T.csv", "T.csv.gz"])
def test_irregular_files_are_refused_with_their_row(tmp_path, content, message, name):
    write(tmp_path, content, name)
    with pytest.raises(InputError, match=message) as caught:
        read_table(tmp_path, "T", ["a", "b"])
    assert name in str(caught.value)
    error = caught.value
    while error is not None:
        assert SECRET not in str(error), "a cell stands in a message"
        error = error.__cause__


def test_a_gz_that_was_cut_off_is_refused(tmp_path):
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)
    (tmp_path / "T.csv.gz").write_bytes(packed[:-20])
    with pytest.raises(InputError, match="damaged or cut off"):
        read_table(tmp_path, "T", ["a"])
    (tmp_path / "T.csv.gz").write_bytes(b"no gzip at all")
    with pytest.raises(InputError, match="damaged or cut off"):
        read_table(tmp_path, "T", ["a"])


def test_missing_folder_and_missing_table_say_what_was_expected(tmp_path):
    with pytest.raises(InputError, match=r"input folder does not exist.*--input"):
        find_table(tmp_path / "nowhere", "T")
    with pytest.raises(InputError, match=r"table T is missing; expected T\.csv or T\.csv\.gz"):
        find_table(tmp_path, "T")


def test_the_fast_check_agrees_with_itself_at_any_chunk_border(tmp_path, monkeypatch):
    regular = 'a,b\r\n1,"x ""y"", z\n"\r\n"",2\r\n\r\n3,4'
    irregular = regular + '\n5,"6"7\n'
    for size in range(1, 12):
        monkeypatch.setattr(csv_blocks, "_CHUNK_BYTES", size)
        write(tmp_path, regular)
        assert read_table(tmp_path, "T", ["a"])[1].rows_in == 4, size
        write(tmp_path, irregular)
        with pytest.raises(InputError, match="row 7: quote"):
            read_table(tmp_path, "T", ["a"])


ALPHABET = st.text(alphabet='ab,"\n\r\u00e9 ', max_size=30)


@settings(max_examples=300, deadline=None)
@given(body=ALPHABET, header=st.sampled_from(["a,b", "a,b,c", "a"]))
def test_hostile_text_is_read_completely_or_refused(tmp_path_factory, body, header):
    folder = tmp_path_factory.mktemp("hostile")
    write(folder, f"{header}\n{body}")
    try:
        frame, ledger, _ = read_table(folder, "T", ["a"])
    except InputError:
        return
    assert frame.height == ledger.rows_out
    assert ledger.rows_in == frame.height + sum(ledger.dropped.values())


def test_codes_are_written_one_way_and_empty_ones_counted():
    frame = pl.DataFrame({"icd": ["428.0", " v45.81", "0389", ".", "", None, "UNKNOWN9"]})
    ledger = RowLedger(frame.height)
    codes = qualify_codes(frame, ledger, "icd", "ICD9CM")["code"].to_list()
    assert codes == ["ICD9CM:4280", "ICD9CM:V4581", "ICD9CM:0389", "ICD9CM:UNKNOWN9"]
    assert ledger.dropped == {"no code": 3}


def test_rows_of_unknown_visits_and_of_another_patient_are_counted():
    visits = pl.DataFrame({"subject_id": ["1"], "hadm_id": ["10"]})
    rows = pl.DataFrame({"subject_id": ["1", "2", "1"], "hadm_id": ["10", "10", "11"]})
    ledger = RowLedger(3)
    assert keep_known(rows, ledger, visits, ("subject_id", "hadm_id")).height == 1
    assert sum(ledger.dropped.values()) == 2


def test_numbers_that_are_none_become_null():
    frame = pl.DataFrame({"n": ["3", "3.0", "-4", "x", None, "1e30"]})
    assert frame.select(whole_number("n"))["n"].to_list() == [3, 3, -4, None, None, None]
