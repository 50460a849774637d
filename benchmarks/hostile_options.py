"""Damage to what is given beside the tables: mapping files, lists of ids, notes, prepared folders."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import polars as pl
from hostile_cells import NUMBER
from hostile_kinds import CSV_SOURCES, REFUSED, Case, CsvKind, flip_bytes
from hostile_tables import FIXTURES, csv_bytes

from medm_plm.data.preparation import Preparation
from medm_plm.data.schema import REPORT_FILE, VISITS_FILE, VOCABULARY_FILE

_DEEP = "[" * 200_000
_HUGE = "9" * 5_000


def damage_drug_map(case: Case) -> None:
    """Give a mapping file of no shape, or of a known shape with hostile rows."""
    case.write()
    mark, cells = case.cells.mark, case.cells
    rows = [["drug", "route", "atc", "count"]]
    rows += [[cells.drug(), cells.text(), cells.code(), cells.number()] for _ in range(200)]
    packages = [["ndc", "atc"], *([cells.ndc(), cells.code()] for _ in range(200))]
    ragged = csv_bytes(rows) + f"{mark()},{mark()},{mark()},{mark()},{mark()},{mark()}\n".encode()
    valid = (FIXTURES / "drug_map.csv").read_bytes()
    contents = (
        b"", b"\n", b"\0" * 100, csv_bytes(rows), csv_bytes(packages), ragged, csv_bytes(rows)[:-30],
        valid + f'"{mark()}'.encode(), valid + f'{mark()}"{mark()},x,N02B\n'.encode(),
            valid.decode().encode("utf-16"),
        valid + b"\xff\xfe" + mark().encode(), gzip.compress(valid), csv_bytes([[mark(), mark()], [mark(),
            "N02B"]]),
        f"{{'{mark()}': {mark()}}}".encode(), f"{{'{mark()}': '{mark()}'}}".encode(), f"{{{_DEEP}".encode(),
        f"{{'12345678901': {_HUGE}}}".encode(), b"{" + mark().encode(), f"{{1: {'-' * 100_000}1}}".encode(),
        b"{(1, 2): [3]}", b"{[1]: 2}", valid.replace(b",", b"\t"), valid.replace(b"\n", b"\r"),
        flip_bytes(case, valid),
    )  # fmt: skip
    path = case.folder / case.random.choice(("map.csv", "map.csv", "map.txt", "map.csv.gz", "map"))
    content = case.random.choice(contents)
    if path.suffix == ".gz" and case.random.random() < 0.7:
        content = gzip.compress(content)[: case.random.choice((None, -4, 20))]
    path.write_bytes(content)
    case.options["drug_map"] = case.random.choice((path, path, path, path.parent, case.folder / "nowhere"))
    case.damaged, case.num_rows = ["drug_map"], content.count(b"\n")


def damage_split_ids(case: Case) -> None:
    """Give lists of admissions with odd lines."""
    case.write()
    folder = case.folder / "ids"
    folder.mkdir()
    case.damaged = []
    for word in ("train", "dev", "test"):
        lines = [f"{word}{number}" for number in range(40)]
        for _ in range(case.random.choice((0, 0, 1, 5))):
            lines.insert(case.random.randrange(len(lines)), case.cells.identifier())
        content = case.random.choice(
            ("\n".join(lines).encode(errors="surrogatepass"),) * 4
            + (
                b"",
                b"\xff" + case.cells.mark().encode(),
                "\n".join(lines).encode("utf-16"),
                b"hadm_id\n",
                b"\0\n",
            )
        )
        path = folder / f"{word}_50_hadm_ids.csv"
        match case.random.randrange(12):
            case 0:
                path.mkdir()
            case 1:
                path.symlink_to(path)
            case _:
                path.write_bytes(content)
        case.damaged.append(path.name)
        case.num_rows += content.count(b"\n")
    case.options["split_ids"] = case.random.choice((folder, folder, folder, path, case.folder / "nowhere"))


def damage_note_option(case: Case) -> None:
    """Give what is no folder of discharge summaries."""
    case.write()
    place = case.folder / "elsewhere"
    kind = case.random.choice(("nowhere", "file", "empty folder", "loop", "damaged", "folder of that name"))
    if kind == "file":
        place.write_text(case.cells.mark())
    elif kind == "loop":
        place.symlink_to(place)
    elif kind != "nowhere":
        place.mkdir()
    table = place / case.random.choice(("discharge.csv", "discharge.csv.gz"))
    if kind == "damaged":
        table.write_bytes(case.random.choice((b"", b"note_id\n", case.cells.note().encode() + b"\n", b"\0")))
    elif kind == "folder of that name":
        table.mkdir()
    case.options["notes"] = case.random.choice((place, table))
    case.damaged, case.num_rows = ["notes"], 1


def prepared_folder(case: Case) -> Path:
    """Make a sound prepared folder."""
    case.write()
    output = case.folder / "prepared"
    Preparation(case.source, case.input, output, num_shards=1).run()
    return output


def damage_visits(case: Case) -> None:
    """Damage the visits of a prepared folder, which is checked then."""
    case.prepared = prepared_folder(case)
    path = case.prepared / VISITS_FILE
    visits = pl.read_parquet(path, glob=False)
    case.damaged, case.num_rows = [VISITS_FILE], visits.height
    if case.random.random() < 0.4:
        content = flip_bytes(case, path.read_bytes())
        path.write_bytes(content[: case.random.choice((None, None, len(content) // 2, 0, 8))])
        return
    column = pl.col(case.random.choice(visits.columns))
    mark = case.cells.mark()
    changes = (
        lambda: visits.drop(column),
        lambda: visits.with_columns(pl.lit(mark).alias(column.meta.output_name())),
        lambda: visits.with_columns(
            pl.lit(None, visits.schema[column.meta.output_name()]).alias(column.meta.output_name())
        ),
        lambda: visits.with_columns(pl.lit([mark, None], pl.List(pl.String)).alias("diagnosis_codes")),
        lambda: visits.with_columns(pl.lit([f"ICD9CM:{mark}"], pl.List(pl.String)).alias("medication_codes")),
        lambda: visits.with_columns(
            pl.lit(["", ":", f"{mark}:"], pl.List(pl.String)).alias("diagnosis_codes")
        ),
        lambda: visits.with_columns(pl.lit([None], pl.List(pl.String)).alias("medication_codes")),
        lambda: visits.with_columns(pl.lit(None, pl.List(pl.String)).alias("first_day_medication_codes")),
        lambda: visits.with_columns(pl.lit(mark).alias("split")),
        lambda: visits.with_columns(
            pl.Series("split", case.random.choices(("train", "test"), k=visits.height))
        ),
        lambda: visits.with_columns(pl.lit(-(2**31), pl.Int32).alias("visit_number")),
        lambda: visits.with_columns(pl.lit(float("nan")).alias("age")),
        lambda: pl.concat([visits, visits]),
        lambda: visits.clear(),
        lambda: visits.with_columns(pl.lit(2**62).cast(pl.Datetime("us")).alias("admission_time")),
        lambda: visits.select(pl.all().reverse()),
    )
    case.random.choice(changes)().write_parquet(path)


def damage_json(case: Case) -> None:
    """Damage the vocabulary of a prepared folder, which is checked then, or its report, which a run reads."""
    output = prepared_folder(case)
    name = case.random.choice((VOCABULARY_FILE, REPORT_FILE))
    path = output / name
    valid = path.read_text(encoding="utf-8")
    fields = json.loads(valid)
    mark = case.cells.mark()
    anything: list[object] = [
        "", "null", "[]", "{}", "5", f'"{mark}"', _DEEP, '{"a":' * 100_000, f'{{"tokens": {_DEEP}', _HUGE,
        valid[:-20],
        b"\xff\xfe" + mark.encode(), flip_bytes(case, valid.encode()),
    ]  # fmt: skip
    reports: list[object] = [
        {**fields, "output": mark}, {**fields, "output": {"../../" + mark: mark}}, {**fields,
        "output": {"\0": mark}},
        {**fields, "output": None}, {**fields, "fingerprint": int(NUMBER)},
    ]  # fmt: skip
    tokens = fields.get("tokens", ())
    vocabularies: list[object] = [
        f'{{"tokens": ["{mark}"], "node_parents": ["{mark}"], "num_codes": "{mark}"}}',
        f'{{"tokens": ["{mark}"], "node_parents": [{_HUGE}], "num_codes": 1}}',
        '{"tokens": [], "node_parents": [1e999], "num_codes": 1e999}',
        '{"tokens": 5, "node_parents": 5, "num_codes": NaN}',
        {**fields, "num_codes": 3}, {**fields, "num_codes": -1}, {**fields, "tokens": [*tokens, mark]},
        {**fields, "tokens": [[], {}, *tokens[2:]]}, {**fields, "node_parents": [0] * len(tokens)},
        {**fields, "node_parents": [*range(1, len(tokens)), 0]}, {**fields, "tokens": [*tokens[:-1],
        f"{mark}:x"]},
    ]  # fmt: skip
    contents = anything + (reports if name == REPORT_FILE else vocabularies)
    content = case.random.choice(contents)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    case.damaged, case.num_rows = [name], 1
    if name == VOCABULARY_FILE:
        case.prepared = output
    else:
        shutil.move(output, case.folder / "output")


OPTION_KINDS: tuple[CsvKind, ...] = (
    ("--drug_map", ("mimic3", "eicu", "table"), damage_drug_map, None),
    ("--split_ids", CSV_SOURCES, damage_split_ids, None),
    ("--notes", ("mimic3", "mimic4", "mimic4", "mimic4"), damage_note_option, REFUSED),
    ("--check, visits", CSV_SOURCES, damage_visits, None),
    ("--check, vocabulary and report", CSV_SOURCES, damage_json, None),
)
