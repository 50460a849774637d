"""CSV files read as the csv module of Python reads them, at any chunk border, or name the wrong row."""

import csv
import gzip
import io

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medm_plm.data import csv_blocks
from medm_plm.data.tables import csv_batches
from medm_plm.errors import InputError

BORDERS = (1, 2, 3, 7, 1 << 20)  # bytes that are read at once
COLUMNS = ["a", "b"]


def read(path, columns=COLUMNS):
    """The cells of all rows as text; blanks around a value go and nothing but blanks is null."""
    frames = [batch.wanted(None) for batch in csv_batches(path, columns)]
    assert all(frame.columns == list(columns) for frame in frames)
    return pl.concat(frames).rows()


def expected(content, num_columns):
    """What the csv module makes of the bytes: the cells, or the line of the first wrong row."""
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    rows, line = [], 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return rows[1:], None
        except csv.Error:
            return None, line
        if fields and len(fields) != num_columns:
            return None, line
        rows.append(tuple(field.strip() or None for field in fields or [""] * num_columns))
        line = reader.line_num + 1


@pytest.fixture
def at_borders(tmp_path, monkeypatch):
    """Give the outcome of reading some bytes, which must not depend on the size of the chunks."""

    def outcome(content, columns=COLUMNS, sizes=BORDERS):
        path = tmp_path / "T.csv"
        path.write_bytes(content)
        outcomes = []
        for size in sizes:
            monkeypatch.setattr(csv_blocks, "_CHUNK_BYTES", size)
            try:
                outcomes.append((read(path, columns), None))
            except InputError as error:
                outcomes.append((None, str(error).removeprefix(f"{path}, ")))
        # Of several mistakes the chunks decide which is seen first, never whether one is.
        assert all(rows == outcomes[0][0] for rows, _ in outcomes), dict(zip(sizes, outcomes, strict=True))
        return outcomes[0]

    return outcome


REGULAR = {
    "plain": b"a,b\n1,2\n3,4\n",
    "no newline at the end": b"a,b\n1,2\n3,4",
    "empty last field without newline": b"a,b\n1,2\n3,",
    "carriage returns": b"a,b\r\n1,2\r\n3,4\r\n",
    "byte order mark": b"\xef\xbb\xbfa,b\n1,2\n",
    "newlines, commas and quotes in quotes": b'a,b\n"x\n\n,""y""\r\n",2\n"","""\n"""\n',
    "closing quote at the end of the file": b'a,b\n1,"2\n3"',
    "blank lines between": b"a,b\n1,2\n\n3,4\n\n",
    "blank lines with carriage returns": b"a,b\r\n1,2\r\n\r\n3,4\r\n\r\n",
    "blank line behind the header": b"a,b\n\n1,2\n",
    "blank lines alone": b"a,b\n\n\n",
    "header alone": b"a,b\n",
    "header without newline": b"a,b",
    "letters of several bytes": "a,b\n\u00e9\u4e2d,\u2028\n\U0001f600,x\n".encode(),
    "blanks around values": b"a,b\n 1 ,\t2 \n ,\n",
    "quoted blanks": b'a,b\n" ","  x"\n',
}


@pytest.mark.parametrize("name", REGULAR)
def test_regular_files_read_as_the_csv_module_reads_them(at_borders, name):
    rows, refusal = at_borders(REGULAR[name])
    assert refusal is None
    assert rows == expected(REGULAR[name], 2)[0]


def test_a_header_over_several_lines_is_one_row(at_borders):
    rows, refusal = at_borders(b'"a","b","long\nname\nof a column"\n1,2,"x\ny"\n3,4,z\n')
    assert (rows, refusal) == ([("1", "2"), ("3", "4")], None)
    _, refusal = at_borders(b'"a","b","long\nname\nof a column"\n1,2,"x\ny"\n3,4\n')
    assert refusal.startswith("row 6: row has another number of fields"), "lines of the file are counted"


IRREGULAR = {
    b"a,b\n1,2\n3\n": (3, "another number of fields"),
    b"a,b\n1,2\n3,4,5\n6,7\n": (3, "another number of fields"),
    b"a,b\n1,2\n3,4,5\n6\n": (3, "another number of fields"),  # too many and too few even out
    b'a,b\n1,"x\ny"\n3': (4, "another number of fields"),
    b"a,b\n\n\n3,4,5": (4, "another number of fields"),
    b'a,b\n1,2\n3,"4\n5,6\n': (3, "quotes are not closed"),
    b'a,b\n1,2\n3,4"\n': (3, "quote in the middle of a field|not closed or not doubled"),
    b'a,b\n1,2\n3,"4"5\n': (3, "quote in the middle of a field|not closed or not doubled"),
    b'a,b\n1,2\n3, "4"\n': (3, "quote in the middle of a field|not closed or not doubled"),
    b'a,b\n"x\n\ny",2\n3,4"\n': (5, "quote in the middle of a field|not closed or not doubled"),
    b"a,b\n1,2\n3,\xff\n": (3, "not UTF-8"),
    b'a,b\n1,"\n\xe9"\n': (2, "not UTF-8"),
}


@pytest.mark.parametrize("content", IRREGULAR)
def test_irregular_files_are_refused_at_the_row_that_is_wrong(at_borders, content):
    row, messages = IRREGULAR[content]
    for size in BORDERS:
        rows, refusal = at_borders(content, sizes=[size])
        assert rows is None
        assert refusal.startswith(f"row {row}: "), size
        assert any(message in refusal for message in messages.split("|")), size


CELLS = st.text(alphabet='x,"\n\r \u00e9', max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(st.tuples(CELLS, CELLS), max_size=6),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    end=st.sampled_from(["\n", "\r\n"]),
    cut=st.booleans(),
)
def test_what_the_csv_module_writes_is_read(at_borders, table, quoting, end, cut):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=quoting, lineterminator=end)
    writer.writerow(COLUMNS)
    writer.writerows(table)
    content = (stream.getvalue().removesuffix(end) if cut else stream.getvalue()).encode()
    rows, refusal = at_borders(content, sizes=(1, 1 << 20))
    assert refusal is None
    assert rows == [tuple(cell.strip() or None for cell in row) for row in table]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text(alphabet='x,"\n ', max_size=25), columns=st.sampled_from([["a"], ["a", "b"]]))
def test_any_text_reads_as_in_the_csv_module_or_is_refused_at_the_same_row(at_borders, body, columns):
    content = f"{','.join(columns)}\n{body}".encode()
    rows, refusal = at_borders(content, columns, sizes=(1, 1 << 20))
    wanted, wrong_row = expected(content, len(columns))
    if refusal is None:
        assert rows == wanted
    elif "quote in the middle of a field" in refusal:
        assert '"' in body, "the csv module lets some stray quotes through"
    else:
        assert refusal.startswith(f"row {wrong_row}: ")


@pytest.mark.parametrize("name", ["T.csv", "T.csv.gz"])
def test_a_row_without_end_is_refused_and_not_gathered(tmp_path, monkeypatch, name):
    monkeypatch.setattr(csv_blocks, "LONGEST_ROW", 1000)
    monkeypatch.setattr(csv_blocks, "_CHUNK_BYTES", 100)
    path = tmp_path / name

    def write(content):
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    write(b'a,b\n1,2\n3,"' + b"word\n" * 150 + b'"\n')
    assert read(path)[1][1].count("word") == 150
    write(b'a,b\n1,2\n3,"' + b"word\n" * 4000)
    with pytest.raises(InputError, match=r"row 3: (row is longer|quotes are not closed|.*field)"):
        read(path)
    write(b"a,b\n1,2\n3," + b"x" * 20_000 + b"\n")
    with pytest.raises(InputError, match="row 3: row is longer than"):
        read(path)
    write(b"a," + b"x" * 20_000 + b"\n1,2\n")
    with pytest.raises(InputError):
        read(path)


def test_a_file_is_not_read_to_its_end_before_the_first_rows_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_CHUNK_BYTES", 64)
    path = tmp_path / "T.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 5000 + b"3\n")
    batches = csv_batches(path, COLUMNS)
    first = [next(batches), next(batches)]
    assert sum(batch.rows.height for batch in first) < 100
    with pytest.raises(InputError, match="row 5002: row has another number of fields"):
        list(batches)


def test_a_damaged_gz_is_refused_behind_the_rows_that_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_blocks, "_CHUNK_BYTES", 1 << 10)
    path = tmp_path / "T.csv.gz"
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * 7919) for n in range(5000)))
    for damaged in (whole[:-9], whole[: len(whole) // 2], whole[:-5] + b"\xff" + whole[-4:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="compressed file is damaged or cut off"):
            read(path)
