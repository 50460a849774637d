"""Kinds of damage to parquet tables: wrong types, nulls, broken bytes, groups without rows."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable

import polars as pl
import pyarrow.parquet as pq
from hostile_cells import NUMBER
from hostile_kinds import REFUSED, Case, CsvKind, cut_off, damage_bytes, flip_bytes
from hostile_tables import EVENTS, frame_of

SOURCES = ("table", "meds")
_DAY = dt.date(2100, 2, 28)


def _types(mark: str) -> list[tuple[pl.DataType | type[pl.DataType], object]]:
    """Types that a column may have by mistake, each with a value."""
    return [
        (pl.Binary, mark.encode() + b"\xff"),
        (pl.List(pl.String), [mark]),
        (pl.Array(pl.Int64, 2), [1, 2]),
        (pl.Struct({"value": pl.String}), {"value": mark}),
        (pl.Decimal(20, 3), 11),
        (pl.Duration("ns"), dt.timedelta(days=1)),
        (pl.Categorical, mark),
        (pl.Enum([mark]), mark),
        (pl.Date, _DAY),
        (pl.Time, dt.time(1, 2, 3)),
        (pl.UInt64, 2**64 - 1),
        (pl.Int8, -1),
        (pl.Int64, -(2**63)),
        (pl.Float32, float("nan")),
        (pl.Float64, float(f"{NUMBER}e300")),
        (pl.Float64, float("-inf")),
        (pl.Float64, 11.0),
        (pl.Boolean, True),
        (pl.Null, None),
        (pl.Datetime("ns", "UTC"), dt.datetime(2100, 2, 28, tzinfo=dt.UTC)),
        (pl.Datetime("ns"), dt.datetime(1700, 1, 1)),
        (pl.Datetime("ms", "Asia/Kathmandu"), dt.datetime(9999, 12, 30, tzinfo=dt.UTC)),
        (pl.Datetime("us"), dt.datetime(1, 1, 1)),
    ]


def change_types(case: Case) -> None:
    """Give columns another type; some of their cells become null."""
    case.write(".parquet")
    for name in case.choose():
        frame = pl.read_parquet(case.paths[name], glob=False)
        for column in case.random.sample(frame.columns, case.random.choice((1, 1, 2))):
            dtype, value = case.random.choice(_types(case.cells.mark()))
            values = [value if case.random.random() < 0.9 else None for _ in range(frame.height)]
            frame = frame.with_columns(pl.Series(column, values, dtype))
        frame.write_parquet(case.paths[name])


def extreme_times(case: Case) -> None:
    """Put times at the ends of what the type can hold."""
    case.write(".parquet")
    for name in case.choose([EVENTS]):
        frame = pl.read_parquet(case.paths[name], glob=False)
        unit = case.random.choice(("ns", "us", "ms"))
        ends = [-(2**63) + 1, 2**63 - 1, 0, -1, 253_402_300_800 * 10**6, -62_135_596_801 * 10**6, None]
        share = case.random.choice((0.1, 0.5, 1.0))
        column = frame["time"].dt.cast_time_unit(unit).to_physical().to_list()
        times = [case.random.choice(ends) if case.random.random() < share else time for time in column]
        frame = frame.with_columns(pl.Series("time", times, pl.Int64).cast(pl.Datetime(unit)))
        frame.write_parquet(case.paths[name])


def put_nulls(case: Case) -> None:
    """Take values away, in some columns all of them."""
    case.write(".parquet")
    for name in case.choose():
        frame = pl.read_parquet(case.paths[name], glob=False)
        for column in case.random.sample(frame.columns, case.random.randint(1, len(frame.columns))):
            share = case.random.choice((0.1, 0.6, 1.0))
            gone = pl.Series([case.random.random() < share for _ in range(frame.height)])
            frame = frame.with_columns(pl.when(gone).then(None).otherwise(pl.col(column)).alias(column))
        frame.write_parquet(case.paths[name], row_group_size=case.random.choice((1, 7, 1000)))


def leave_groups_out(case: Case) -> None:
    """Write files that have columns and no group of rows, or groups without rows."""
    case.write(".parquet")
    for name in case.choose():
        rows = pq.read_table(case.paths[name])
        with pq.ParquetWriter(case.paths[name], rows.schema) as writer:
            for _ in range(case.random.choice((0, 0, 1, 3))):
                writer.write_table(rows.slice(0, 0))
        case.tables[name] = case.tables[name][:1]


def other_columns(case: Case) -> None:
    """Take a column away, or write its name a second time in other letters."""
    case.write(".parquet")
    for name in case.choose():
        frame = pl.read_parquet(case.paths[name], glob=False)
        # MEDS asks for three columns; the plain tables for all.
        column = case.random.choice(frame.columns[: 3 if name == EVENTS else None])
        if case.random.random() < 0.5:
            frame = frame.drop(column)
        else:
            frame = frame.with_columns(
                pl.col(column).alias(case.random.choice((column.upper(), f" {column}")))
            )
        frame.write_parquet(case.paths[name])


def bytes_of_parquet(change: Callable[[Case, bytes], bytes]) -> Callable[[Case], None]:
    """Change the bytes of parquet files."""
    return lambda case: damage_bytes(case, change, ".parquet")


def flip_footer(case: Case, content: bytes) -> bytes:
    """Change bytes of the description of the file, which stands at its end."""
    changed = bytearray(content)
    for _ in range(case.random.randint(1, 4)):
        changed[-case.random.randint(1, min(len(changed), 1500))] = case.random.randrange(256)
    return bytes(changed)


def several_shards(case: Case) -> None:
    """Cut events into shards of unlike columns, one of them named in bytes that are no text."""
    case.write()
    case.choose()
    header, *body = case.tables[EVENTS]
    case.paths[EVENTS].unlink()
    for part in range(3):
        frame = frame_of(EVENTS, [header, *body[part::3]])
        if part == 1:
            frame = frame.drop(case.random.choice(("hadm_id", "route", "text_value")))
        if part == 2 and case.random.random() < 0.5:
            frame = frame.with_columns(pl.Series("subject_id", [int(NUMBER)] * frame.height))
        name = (
            os.fsdecode(b"\xff\xfe")
            if case.random.random() < 0.3
            else case.random.choice(("[1]", "*", "a b", "é"))
        )
        path = case.input / "data" / f"{name}{part}.parquet"
        with path.open("wb") as file:
            frame.write_parquet(file)


PARQUET_KINDS: tuple[CsvKind, ...] = (
    ("parquet of wrong types", SOURCES, change_types, None),
    ("parquet with nulls", SOURCES, put_nulls, None),
    ("parquet with extreme times", ("meds",), extreme_times, None),
    ("parquet without rows", SOURCES, leave_groups_out, None),
    ("parquet with other columns", SOURCES, other_columns, REFUSED),
    ("parquet with flipped bytes", SOURCES, bytes_of_parquet(flip_bytes), None),
    ("parquet with a broken footer", SOURCES, bytes_of_parquet(flip_footer), None),
    ("parquet cut off", SOURCES, bytes_of_parquet(cut_off), REFUSED),
    ("parquet of unlike shards", ("meds",), several_shards, None),
)
