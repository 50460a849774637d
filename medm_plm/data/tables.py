"""Reading of CSV tables, the one place where foreign files enter the package.

Every field is read as text, so `0389` stays `0389`; names of files and columns match in any letter case;
`.csv` and `.csv.gz` are alike. Neither messages nor causes of errors ever hold the content of a cell: the
messages of the engine, which do quote cells, are not passed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from medm_plm.data.batches import Batch
from medm_plm.data.csv_blocks import check_rows, read_blocks, read_header
from medm_plm.data.prefetching import prefetched
from medm_plm.data.schema import CODE, HADM_ID, RowLedger
from medm_plm.errors import InputError
from medm_plm.ontologies.codes import normalize_code, qualify

SUFFIXES = (".csv", ".csv.gz")  # the first one found is read
TIME_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d")


def csv_batches(path: Path, columns: Sequence[str]) -> Iterator[Batch]:
    """Read the named columns of a CSV file as text, some megabytes at a time.

    Args:
        path (`Path`): a `.csv` or `.csv.gz` file.
        columns (`Sequence[str]`): columns wanted, in lower case.

    Yields:
        The rows in file order (blanks around a value removed, missing values null); a file without rows gives
        one empty batch.

    Raises:
        InputError: if the file or a column is missing, or the file is empty, damaged or not a regular CSV.
    """
    header = read_header(path, columns)
    places = [header.names.index(column) for column in columns]
    # Names of our own: those of the file may hold quotes and commas, and the engine counts the columns of the
    # first line, which may be blank.
    names = ",".join(map(str, range(len(header.names)))).encode() + b"\n"
    cells = [
        pl.col(str(place)).str.strip_chars().replace("", None).alias(column)
        for place, column in zip(places, columns, strict=True)
    ]
    yield Batch(pl.DataFrame(schema={str(place): pl.String() for place in places}), cells)
    for block in prefetched(read_blocks(path, header)):
        try:
            rows = pl.read_csv(names + block.content, infer_schema=False, columns=[str(n) for n in places])
        except pl.exceptions.PolarsError:
            rows = None
        if rows is None or rows.height != block.num_rows:
            check_rows(path, len(header.names))
            remedy = "export the table again with every text field in quotes"
            raise InputError("rows cannot be separated", file=path, remedy=remedy)
        yield Batch(rows, cells)


def find_table(folder: str | Path, name: str, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Find the file of a table.

    Args:
        folder (`str` or `Path`): folder of the source.
        name (`str`): name of the table without its ending, in any letter case.
        suffixes (`Sequence[str]`, *optional*): endings that it may have, the one to prefer first.

    Returns:
        Its path; `.csv` is taken before `.csv.gz`.

    Raises:
        InputError: if the folder or the file does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("input folder does not exist", file=folder, remedy="check the path after --input")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for suffix in suffixes:
        for path in files:
            if path.name.lower() == f"{name}{suffix}".lower():
                return path
    raise InputError(
        f"table {name} is missing",
        file=folder,
        expected=" or ".join(name + suffix for suffix in suffixes),
        remedy="copy it there from the release of the data set",
    )


def keep_known(
    frame: pl.DataFrame, ledger: RowLedger, visits: pl.DataFrame, keys: Sequence[str] = (HADM_ID,)
) -> pl.DataFrame:
    """Keep the rows that belong to a visit that was read, in their order.

    Args:
        frame (`polars.DataFrame`): rows of a table.
        ledger (`RowLedger`): where the others are counted.
        visits (`polars.DataFrame`): visits that were read.
        keys (`Sequence[str]`, *optional*): columns that must agree; with the patient among them, a row that
            names another patient's visit is dropped as well.

    Returns:
        The rows of known visits.
    """
    known = frame.join(visits.select(keys), on=list(keys), how="semi", maintain_order="left")
    ledger.drop(frame.height - known.height, "row belongs to no visit that was read")
    return known


def qualify_codes(frame: pl.DataFrame, ledger: RowLedger, column: str, system: str | pl.Expr) -> pl.DataFrame:
    """Write the codes of a column the project's way; rows without a code go.

    Args:
        frame (`polars.DataFrame`): rows of a table.
        ledger (`RowLedger`): where rows without a code are counted.
        column (`str`): column of codes as the source writes them: dotted, lower case, blank or missing.
        system (`str` or `polars.Expr`): code system of all rows, such as "ICD9CM", or of each row.

    Returns:
        The rows with a column `code` of qualified codes.
    """
    of_row = pl.lit(system) if isinstance(system, str) else system
    keys = frame.select(of_row.alias("system"), pl.col(column).alias("written"))
    distinct = keys.unique().drop_nulls().rows()
    known = [(of, written, qualify(of, written)) for of, written in distinct if normalize_code(written)]
    codes = pl.DataFrame(known, dict.fromkeys(["system", "written", CODE], pl.String), orient="row")
    code = keys.join(codes, on=["system", "written"], how="left", maintain_order="left")[CODE]
    return ledger.keep(frame.with_columns(code), pl.col(CODE).is_not_null(), "no code")


def whole_number(column: str) -> pl.Expr:
    """Read a text column as whole numbers; what is none becomes null, which sorts last.

    Args:
        column (`str`): name of the column.

    Returns:
        The numbers.
    """
    return pl.col(column).cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)


def time_of(column: str, formats: Sequence[str] = TIME_FORMATS) -> pl.Expr:
    """Read a text column as times, a date as its midnight; what is neither becomes null.

    Args:
        column (`str`): name of the column.
        formats (`Sequence[str]`, *optional*): ways of writing a time, tried in this order.

    Returns:
        The times.
    """
    return pl.coalesce(pl.col(column).str.to_datetime(way, time_unit="us", strict=False) for way in formats)
