"""Valid tables of every source, small, from which hostile ones are made.

Patients of the fixtures of the tests come several times under numbers of their own; the plain tables and the
events of MEDS are made here. Tables are lists of rows of text, the header first.
"""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import polars as pl
from hostile_cells import SENTINEL

FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
SOURCES = ("mimic3", "mimic4", "eicu", "table", "meds")
VISIT_TABLE = {"mimic3": "ADMISSIONS", "mimic4": "hosp/admissions", "eicu": "patient", "table": "visits"}
EVENTS = "data/0"
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"

Rows = list[list[str]]
_NUMBERS = {"subject_id", "hadm_id", "uniquepid", "patientunitstayid"}
_CODES = ("4280", "0389", "V10", "25000", "4019")
_DRUGS = ("Heparin", "Furosemide", "Insulin", "Aspirin")


def valid_tables(source: str, copies: int) -> dict[str, Rows]:
    """Make the tables of a source.

    Args:
        source (`str`): a name of `SOURCES`.
        copies (`int`): how often each patient comes.

    Returns:
        Rows by name of the table, which is its path below the input folder without an ending.
    """
    if source == "table":
        return _plain_tables(4 * copies)
    if source == "meds":
        return {EVENTS: _events(4 * copies)}
    folder = FIXTURES / source
    return {
        path.relative_to(folder).with_suffix("").as_posix(): _several(_read(path), copies)
        for path in sorted(folder.rglob("*.csv"))
    }


def csv_bytes(rows: Rows) -> bytes:
    """Write rows as regular CSV in UTF-8."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode("utf-8", errors="surrogatepass")


def write_tables(tables: dict[str, Rows], folder: Path, ending: str) -> dict[str, Path]:
    """Write tables to a folder.

    Args:
        tables (`dict`): rows by name.
        folder (`Path`): where they go.
        ending (`str`): ".csv", ".csv.gz" or ".parquet".

    Returns:
        Path by name.
    """
    paths = {name: folder / f"{name}{ending}" for name in tables}
    for name, rows in tables.items():
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        if ending == ".parquet":
            frame_of(name, rows).write_parquet(paths[name])
        else:
            content = csv_bytes(rows)
            paths[name].write_bytes(gzip.compress(content, 1, mtime=0) if ending == ".csv.gz" else content)
    return paths


def frame_of(name: str, rows: Rows) -> pl.DataFrame:
    """Make a frame of text; the times of events become times, null where that fails."""
    header, *body = rows
    frame = pl.DataFrame(body, dict.fromkeys(header, pl.String), orient="row")
    frame = frame.with_columns(pl.all().replace("", None))
    if name != EVENTS:
        return frame
    return frame.with_columns(pl.col("time").str.to_datetime(TIME_FORMAT, time_unit="us", strict=False))


def num_records(content: bytes) -> int:
    """Count the records of a CSV file the plain way: line feeds outside quotes, the header not counted."""
    inside, records, last = False, 0, b"\n"
    for line in io.BytesIO(content).readlines():
        inside ^= line.count(b'"') % 2 == 1
        records += not inside and line.endswith(b"\n")
        last = line
    return records + (not last.endswith(b"\n")) - 1


def _read(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _several(rows: Rows, copies: int) -> Rows:
    header, *body = rows
    numbers = [place for place, name in enumerate(header) if name.lower() in _NUMBERS]
    several = [header]
    for copy in range(copies):
        for row in body:
            cells = list(row)
            for place in numbers:
                cells[place] = cells[place] and f"{SENTINEL}{copy}P{cells[place]}"
            several.append(cells)
    return several


def _plain_tables(patients: int) -> dict[str, Rows]:
    visits: Rows = [["subject_id", "hadm_id", "admission_time", "discharge_time", "age", "admission_type",
                     "died_in_hospital"]]  # fmt: skip
    diagnoses: Rows = [["hadm_id", "position", "system", "code"]]
    prescriptions: Rows = [["hadm_id", "start_time", "drug", "route", "ndc", "atc"]]
    notes: Rows = [["hadm_id", "note_time", "text"]]
    for patient in range(patients):
        for visit in (1, 2):
            number = f"{SENTINEL}P{patient}V{visit}"
            month = f"20{patient % 80 + 10}-0{visit}"
            visits.append([f"{SENTINEL}P{patient}", number, f"{month}-01 08:00:00", f"{month}-09 12:00:00",
                "61",
                           "EMERGENCY", "no"])  # fmt: skip
            diagnoses += [[number, "1", "ICD9CM", _CODES[patient % 5]], [number, "2", "ICD10CM", "I509"]]
            prescriptions += [[number, f"{month}-01 09:00:00", _DRUGS[patient % 4], "IV", "0", ""],
                              [number, f"{month}-02", f"{SENTINEL}{patient}", "PO", "",
                              "N02BE01"]]  # fmt: skip
            notes.append(
                [number, f"{month}-08", f'History: {SENTINEL} fell, "twice" on day {patient}-{visit}.']
            )
    return {"visits": visits, "diagnoses": diagnoses, "prescriptions": prescriptions, "notes": notes}


def _events(patients: int) -> Rows:
    rows: Rows = [["subject_id", "time", "code", "text_value", "hadm_id", "route"]]
    for patient in range(patients):
        subject, visit, year = f"{SENTINEL}P{patient}", f"{SENTINEL}V{patient}", 2010 + patient % 80
        start, end = f"{year}-01-01 08:00:00", f"{year}-01-09 12:00:00"
        rows += [
            [subject, "1950-01-01 00:00:00", "MEDS_BIRTH", "", "", ""],
            [subject, start, "HOSPITAL_ADMISSION//EMERGENCY//UNK", "", visit, ""],
            [
                subject,
                start,
                f"MEDICATION//START//{_DRUGS[patient % 4]}",
                "",
                visit if patient % 2 else "",
                "IV",
            ],
            [subject, start, f"LAB//{SENTINEL}{patient}//mg", f"{SENTINEL}", visit, ""],
            [subject, end, f"DIAGNOSIS//ICD//9//{_CODES[patient % 5]}", "", visit, ""],
            [subject, end, "NOTE//DISCHARGE_SUMMARY", f"Seen {SENTINEL}{patient}, day {patient}.", visit, ""],
            [subject, end, "HOSPITAL_DISCHARGE//HOME", "", visit if patient % 3 else "", ""],
        ]
    return rows
