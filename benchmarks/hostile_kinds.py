"""Kinds of damage to the tables of a source: cells, bytes, compression, files.

A kind takes a case, writes its input folder and says, where only one outcome is right, which.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hostile_cells import LONGEST_DRUG, LONGEST_NOTE, ROLE_OF_COLUMN, Cells
from hostile_tables import EVENTS, SOURCES, VISIT_TABLE, Rows, csv_bytes, valid_tables, write_tables

REFUSED, PREPARED = "refused", "prepared"
CSV_SOURCES = ("mimic3", "mimic4", "eicu", "table")
_PREFIXES = ("DIAGNOSIS//ICD//9//", "ICD10CM/", "MEDICATION//START//", "NDC/", "ATC/",
"NOTE//DISCHARGE_SUMMARY",
             "HOSPITAL_ADMISSION//", "HOSPITAL_DISCHARGE//", "MEDS_BIRTH", "MEDS_DEATH", "LAB//")  # fmt: skip
_GZIP_HEADER_BYTES = 10


@dataclass
class Case:
    """One preparation of hostile input.

    Args:
        number (`int`): with the seed decides everything about the case.
        kind (`str`): kind of damage.
        source (`str`): a name of `hostile_tables.SOURCES`.
        folder (`Path`): a new folder; tables go to `input` in it.
        random (`random.Random`): chooses.
        expected (`str`, *optional*): the only right outcome, where there is one.
        options (`dict`): further arguments of `Preparation`.
        paths (`dict`): files by name of the table.
        damaged (`list[str]`): names of the tables that were damaged, or of other files.
        num_rows (`int`): rows of the damaged tables.
        tamper (`Callable`, *optional*): told each step of the preparation.
        prepared (`Path`, *optional*): a prepared folder to check instead.
    """

    number: int
    kind: str
    source: str
    folder: Path
    random: random.Random
    expected: str | None = None
    options: dict[str, object] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    num_rows: int = 0
    tamper: Callable[[str], None] | None = None
    prepared: Path | None = None

    def __post_init__(self) -> None:
        self.cells = Cells(self.random)
        self.tables = valid_tables(self.source, self.random.randint(4, 16))
        self.options["num_shards"] = self.random.choice((1, 1, 3))

    @property
    def input(self) -> Path:
        """Folder of the tables."""
        return self.folder / "input"

    def choose(self, names: Sequence[str] | None = None) -> list[str]:
        """Choose the tables to damage, and count them and their rows."""
        names = list(names or self.tables)
        self.damaged = self.random.sample(names, self.random.randint(1, len(names)))
        self.num_rows = sum(len(self.tables[name]) - 1 for name in self.damaged)
        return self.damaged

    def write(self, ending: str | None = None) -> None:
        """Write the tables as they are now."""
        if ending is None:
            ending = self.random.choice(
                (".csv", ".csv", ".csv.gz", ".parquet")[: 4 if self.source == "table" else 3]
            )
        self.paths = write_tables(self.tables, self.input, ".parquet" if self.source == "meds" else ending)


def damage_cells(case: Case, *roles: str, wrong: bool = False) -> None:
    """Replace cells of the columns of some roles, by hostile ones of that role or of any other."""
    share = case.random.choice((0.05, 0.3, 0.3, 1.0))
    places = {
        name: [place for place, column in enumerate(rows[0]) if not roles or _role(column) in roles]
        for name, rows in case.tables.items()
    }
    for name in case.choose([name for name, found in places.items() if found]):
        header, *body = case.tables[name]
        for row in body:
            for place in places[name]:
                if case.random.random() < share:
                    row[place] = case.cells.wrong() if wrong else case.cells.of(_role(header[place]))
                    if case.source == "meds" and header[place] == "code":
                        row[place] = case.random.choice(_PREFIXES) + row[place]
    case.write()


def _role(column: str) -> str:
    return ROLE_OF_COLUMN.get(column.lower(), "text")


def repeat_ids(case: Case) -> None:
    """List rows again, some of them under another patient or visit."""
    for name in case.choose():
        header, *body = case.tables[name]
        places = [place for place, column in enumerate(header) if _role(column) == "id"]
        for row in case.random.choices(body, k=len(body)):
            again = list(row)
            if case.random.random() < 0.5 and places:
                place = case.random.choice(places)
                again[place] = case.random.choice(body)[place]
            case.tables[name].insert(case.random.randint(1, len(case.tables[name])), again)
    case.num_rows = sum(len(case.tables[name]) - 1 for name in case.damaged)
    case.write()


def name_nobody(case: Case) -> None:
    """Let rows belong to patients and visits that are not there."""
    for name in case.choose():
        header, *body = case.tables[name]
        for row in body:
            for place, column in enumerate(header):
                if _role(column) == "id" and case.random.random() < 0.4:
                    row[place] = case.random.choice((case.cells.mark(), "", row[place] + "0"))
    case.write()


def put_long(case: Case, role: str, length: int) -> None:
    """Put a few very long cells into the columns of a role."""
    names = [name for name, rows in case.tables.items() if any(_role(c) == role for c in rows[0])]
    if case.source == "meds":
        names, role = [EVENTS], "code" if role == "drug" else role
    unit = case.random.choice(("x", "x y. ", "12. a\n", "é ", "[**", "Allergies:\n", "a,", '"'))
    for name in case.choose(names):
        header, *body = case.tables[name]
        place = next(place for place, column in enumerate(header) if _role(column) == role)
        for row in case.random.sample(body, 2):
            prefix = "MEDICATION//START//" if role == "code" else ""
            row[place] = prefix + case.cells.mark() + unit * (length // len(unit))
    case.write(".csv")


def damage_rows(case: Case, change: Callable[[Case, Rows], None]) -> None:
    """Change the rows of CSV tables before they are written."""
    for name in case.choose():
        change(case, case.tables[name])
    case.write(case.random.choice((".csv", ".csv.gz")))


def make_ragged(case: Case, rows: Rows) -> None:
    for _ in range(case.random.randint(1, 3)):
        lengths = [length for length in range(1, len(rows[0]) + 3) if length != len(rows[0])]
        row = [case.cells.mark() for _ in range(case.random.choice(lengths))]
        rows.insert(case.random.randint(1, len(rows)), row)


def drop_column(case: Case, rows: Rows) -> None:
    place = case.random.choice(_wanted(case, rows))
    for row in rows:
        del row[place]


def double_column(case: Case, rows: Rows) -> None:
    place = case.random.choice(_wanted(case, rows))
    for row in rows:
        row.append(row[place])
    rows[0][-1] = case.random.choice((rows[0][place], rows[0][place].swapcase(), f" {rows[0][place]} "))


def rename_column(case: Case, rows: Rows) -> None:
    rows[0][case.random.choice(_wanted(case, rows))] = case.cells.text() + case.cells.mark()


def lengthen_header(case: Case, rows: Rows) -> None:
    num_columns = case.random.choice((50, 500, 3000))
    rows[0] += [case.cells.mark() * case.random.choice((1, 1, 20)) for _ in range(num_columns)]
    for row in rows[1:]:
        row += [""] * num_columns


def keep_header(case: Case, rows: Rows) -> None:
    del rows[1:]


def _wanted(case: Case, rows: Rows) -> list[int]:
    """Columns that the preparation reads; others may be missing."""
    roles = {"id", "code", "drug", "ndc", "time", "flag"} - (
        {"time"} if case.source in ("mimic3", "mimic4") else set()
    )
    unread = {"row_id", "deathtime", "dod", "storetime", "note_id", "stoptime"}
    return [
        place
        for place, name in enumerate(rows[0])
        if (_role(name) in roles or name.lower() in ("admittime", "text")) and name.lower() not in unread
    ]


def damage_bytes(
    case: Case,
    change: Callable[[Case, bytes], bytes],
    ending: str = ".csv",
    names: Sequence[str] | None = None,
) -> None:
    """Change the bytes of files; plain ones are compressed afterwards, sometimes."""
    case.choose(names)
    case.write(ending)
    for name in case.damaged:
        path = case.paths[name]
        path.write_bytes(change(case, path.read_bytes()))
        if ending == ".csv" and case.random.random() < 0.4:
            case.paths[name] = path.with_name(path.name + ".gz")
            case.paths[name].write_bytes(gzip.compress(path.read_bytes(), 1))
            path.unlink()


def insert(case: Case, content: bytes, *pieces: bytes) -> bytes:
    """Put pieces at any places."""
    for piece in pieces:
        place = case.random.randrange(len(content))
        content = content[:place] + piece + content[place:]
    return content


def add_line(case: Case, content: bytes, line: str) -> bytes:
    """Put a line behind the header, or at the end."""
    if case.random.random() < 0.5:
        return content + line.encode() + b"\n"
    header, _, rest = content.partition(b"\n")
    return header + b"\n" + line.encode() + b"\n" + rest


def odd_quotes(case: Case, content: bytes) -> bytes:
    mark = case.cells.mark()
    line = case.random.choice(
        (f'"{mark},1', f'"{mark}"",1', f'{mark},"', f'"{mark}" ,"{mark}', '"""', f',"{mark}"x')
    )
    return add_line(case, content, line)


def bare_quotes(case: Case, content: bytes) -> bytes:
    commas = "," * content.partition(b"\n")[0].count(b",")
    return add_line(case, content, f'{case.cells.mark()}"{case.cells.mark()}{commas}')


def flip_bytes(case: Case, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(case.random.choice((1, 3, 30))):
        changed[case.random.randrange(len(changed))] = case.random.randrange(256)
    return bytes(changed)


def cut_off(case: Case, content: bytes) -> bytes:
    return content[: case.random.randrange(_GZIP_HEADER_BYTES, len(content) - 1)]


def break_checksum(case: Case, content: bytes) -> bytes:
    return content[:-8] + bytes([content[-8] ^ 0xFF]) + content[-7:]


def split_members(case: Case, content: bytes) -> bytes:
    plain = gzip.decompress(content)
    places = sorted(case.random.randrange(len(plain)) for _ in range(case.random.randint(1, 9)))
    ends = zip([0, *places], [*places, len(plain)], strict=True)
    return b"".join(gzip.compress(plain[start:end], 1) for start, end in ends)


def mix_ends(case: Case, content: bytes) -> bytes:
    return b"".join(
        line[:-1] + case.random.choice((b"\n", b"\r\n")) for line in content.splitlines(keepends=True)
    )


def as_latin(case: Case, content: bytes) -> bytes:
    commas = "," * content.partition(b"\n")[0].count(b",")
    return add_line(case, content, f"{case.cells.mark()}{commas}").replace(b"E,", b"E\xe9\xfc,", 1)


def as_wide(case: Case, content: bytes) -> bytes:
    return content.decode().encode(case.random.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32")))


def add_surrogates(case: Case, content: bytes) -> bytes:
    commas = b"," * content.partition(b"\n")[0].count(b",")
    piece = case.random.choice(
        (b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf5\x80\x80\x80", b"\xc0\x80", b"\xff", b"\x80")
    )
    return content + case.cells.mark().encode() + piece + commas + b"\n"


def put_no_file(case: Case) -> None:
    """Put something else in place of a table."""
    case.choose()
    case.write()
    for name in case.damaged:
        path = case.paths[name]
        path.unlink()
        kind = case.random.choice(("folder", "loop", "nowhere", "two loops"))
        if kind == "folder":
            path.mkdir()
        elif kind == "two loops":
            other = path.with_name("other")
            other.unlink(missing_ok=True)
            other.symlink_to(path)
            path.symlink_to(other)
        else:
            path.symlink_to(path if kind == "loop" else path.with_name("nowhere"))
    (case.input / "around").symlink_to(case.input)


def misname(case: Case) -> None:
    """Give files the ending of another format."""
    case.choose()
    case.write(".csv")
    kind = case.random.choice(("gz without ending", "ending without gz", "noise", "zip"))
    for name in case.damaged:
        path = case.paths[name]
        content = path.read_bytes()
        if kind == "ending without gz":
            path.unlink()
            path.with_name(path.name + ".gz").write_bytes(content)
        else:
            noise = case.random.randbytes(2000)
            path.write_bytes(
                {"noise": noise, "zip": b"PK\x03\x04" + noise}.get(kind) or gzip.compress(content)
            )


def change_between(case: Case) -> None:
    """Let a file become another one while the stages run."""
    name = case.random.choice(
        [name for name in case.tables if name != VISIT_TABLE.get(case.source)] or [EVENTS]
    )
    case.damaged, case.num_rows = [name], len(case.tables[name]) - 1
    case.write(".csv")
    path, moment = case.paths[name], case.random.choice(("plan", "tables"))
    shorter = csv_bytes(case.tables[name][: len(case.tables[name]) // 2])
    longer = (
        path.read_bytes() * 2 if case.source == "meds" else path.read_bytes() + shorter.partition(b"\n")[2]
    )
    content = case.random.choice((shorter, longer, b""))
    if moment == "plan":
        case.expected = REFUSED

    def tamper(step: str) -> None:
        if (moment == "plan") == (step == "plan") and not step.startswith(("shard", "all")):
            path.write_bytes(content)

    case.tamper = tamper


def wide_numbers(case: Case) -> None:
    damage_cells(case, "number", "flag")


CsvKind = tuple[str, Sequence[str], Callable[[Case], None], str | None]
CELL_KINDS: tuple[CsvKind, ...] = (
    ("wrong types", SOURCES, lambda case: damage_cells(case, wrong=True), None),
    ("hostile cells everywhere", SOURCES, damage_cells, None),
    ("numbers", SOURCES, wide_numbers, None),
    ("dates", SOURCES, lambda case: damage_cells(case, "time"), None),
    ("ids of odd shape", SOURCES, lambda case: damage_cells(case, "id"), None),
    ("repeated ids", SOURCES, repeat_ids, None),
    ("ids of nobody", SOURCES, name_nobody, None),
    ("codes", CSV_SOURCES, lambda case: damage_cells(case, "code"), PREPARED),
    ("codes of events", ("meds",), lambda case: damage_cells(case, "code"), None),
    ("NDCs", ("mimic3", "mimic4", "table"), lambda case: damage_cells(case, "ndc"), PREPARED),
    ("drug strings", CSV_SOURCES, lambda case: damage_cells(case, "drug"), PREPARED),
    ("drugs of 1 MB", SOURCES, lambda case: put_long(case, "drug", LONGEST_DRUG), PREPARED),
    ("notes", ("mimic3", "mimic4", "table", "meds"), lambda case: damage_cells(case, "note"), PREPARED),
    (
        "notes of 5 MB",
        ("mimic3", "table", "meds"),
        lambda case: put_long(case, "note", LONGEST_NOTE),
        PREPARED,
    ),
)
FILE_KINDS: tuple[CsvKind, ...] = (
    ("ragged rows", CSV_SOURCES, lambda case: damage_rows(case, make_ragged), REFUSED),
    ("missing column", CSV_SOURCES, lambda case: damage_rows(case, drop_column), REFUSED),
    ("duplicated column", CSV_SOURCES, lambda case: damage_rows(case, double_column), REFUSED),
    ("renamed column", CSV_SOURCES, lambda case: damage_rows(case, rename_column), REFUSED),
    ("very long header", CSV_SOURCES, lambda case: damage_rows(case, lengthen_header), PREPARED),
    ("header only", CSV_SOURCES, lambda case: damage_rows(case, keep_header), None),
    ("bad quotes", CSV_SOURCES, lambda case: damage_bytes(case, odd_quotes), REFUSED),
    ("bare quotes", CSV_SOURCES, lambda case: damage_bytes(case, bare_quotes), REFUSED),
    ("NUL bytes", CSV_SOURCES, lambda case: damage_bytes(case, lambda c, b: insert(c, b, b"\0", b"\0")),
        None),
    ("lone CR", CSV_SOURCES, lambda case: damage_bytes(case, lambda c, b: insert(c, b, b"\r", b"\r")), None),
    ("lone CR as line end", CSV_SOURCES, lambda case: damage_bytes(case, lambda c, b: b.replace(b"\n",
        b"\r")), REFUSED),
    ("mixed line ends", CSV_SOURCES, lambda case: damage_bytes(case, mix_ends), PREPARED),
    ("blank lines", CSV_SOURCES, lambda case: damage_bytes(case, lambda c, b: b.replace(b"0\n",
        b"0\n\n\n")), None),
    ("byte order mark", CSV_SOURCES, lambda case: damage_bytes(case, lambda c, b: b"\xef\xbb\xbf" + b),
        PREPARED),
    ("Latin-1", CSV_SOURCES, lambda case: damage_bytes(case, as_latin), REFUSED),
    ("UTF-16 and UTF-32", CSV_SOURCES, lambda case: damage_bytes(case, as_wide), REFUSED),
    ("surrogates and broken UTF-8", CSV_SOURCES, lambda case: damage_bytes(case, add_surrogates), REFUSED),
    ("flipped bytes", CSV_SOURCES, lambda case: damage_bytes(case, flip_bytes), None),
    ("cut off anywhere", CSV_SOURCES, lambda case: damage_bytes(case, cut_off), None),
    ("gz cut off", CSV_SOURCES, lambda case: damage_bytes(case, cut_off, ".csv.gz"), REFUSED),
    ("gz with wrong checksum", CSV_SOURCES, lambda case: damage_bytes(case, break_checksum, ".csv.gz"),
        REFUSED),
    ("gz with flipped bytes", CSV_SOURCES, lambda case: damage_bytes(case, flip_bytes, ".csv.gz"), None),
    ("gz of several members", CSV_SOURCES, lambda case: damage_bytes(case, split_members, ".csv.gz"),
        PREPARED),
    ("gz with bytes behind it", CSV_SOURCES, lambda case: damage_bytes(
        case, lambda c, b: b + c.cells.mark().encode(), ".csv.gz"), REFUSED),
    ("empty file", CSV_SOURCES, lambda case: damage_bytes(
        case, lambda c, b: c.random.choice((b"", b"\n", b"\n\n\n", b"\xef\xbb\xbf", b",,,\n", b"\0",
        b"\r"))), REFUSED),
    ("ending of another format", CSV_SOURCES, misname, REFUSED),
    ("no file in its place", SOURCES, put_no_file, REFUSED),
    ("changes between stages", SOURCES, change_between, None),
)  # fmt: skip
