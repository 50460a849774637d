"""Writing of a whole invented cohort, block by block, in bounded memory."""

import gzip
import io
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import polars as pl

from medm_plm.data.synthetic.dates import place_in_time
from medm_plm.data.synthetic.drugs import DRUGS
from medm_plm.data.synthetic.mimic_tables import (
    admissions_table,
    diagnoses_table,
    patients_table,
    prescriptions_table,
)
from medm_plm.data.synthetic.note_table import notes_table
from medm_plm.data.synthetic.note_writer import Chance
from medm_plm.data.synthetic.simulation import simulate
from medm_plm.data.synthetic.truth import TRUTH_FOLDER, truth_table
from medm_plm.data.synthetic.visit_block import READMISSION_WINDOW_HOURS
from medm_plm.errors import InputError

DRUG_MAP_FILE = "DRUG_MAP.csv"
TABLES = ("PATIENTS", "ADMISSIONS", "DIAGNOSES_ICD", "PRESCRIPTIONS", "NOTEEVENTS")

_PATIENTS_PER_BLOCK = 2048
_COMPRESSION_LEVEL = 5


@dataclass(frozen=True)
class SyntheticSummary:
    """What was written.

    Args:
        folder (`Path`): where.
        num_patients (`int`): rows of PATIENTS.
        num_admissions (`int`): rows of ADMISSIONS.
        num_diagnoses (`int`): rows of DIAGNOSES_ICD.
        num_prescriptions (`int`): rows of PRESCRIPTIONS.
        num_notes (`int`): rows of NOTEEVENTS.
        num_readmissions (`int`): admissions followed by another in less than 30 days.
    """

    folder: Path
    num_patients: int
    num_admissions: int
    num_diagnoses: int
    num_prescriptions: int
    num_notes: int
    num_readmissions: int


class CsvWriter:
    """One table's file, to which blocks of rows are appended and which numbers them.

    Args:
        folder (`Path`): folder of the tables.
        name (`str`): name of the table.
        compress (`bool`): whether to write `.csv.gz`.
    """

    def __init__(self, folder: Path, name: str, compress: bool) -> None:
        self.num_rows = 0
        self._file: BinaryIO = (folder / f"{name}.csv{'.gz' if compress else ''}").open("wb")
        # No file name and no time in the gzip header: equal cohorts have equal bytes.
        self._packed = gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, self._file, mtime=0) if compress else None

    def append(self, rows: pl.DataFrame) -> None:
        """Write rows with their numbers in front; the header comes with the first ones."""
        buffer = io.BytesIO()
        numbered = rows.with_row_index("ROW_ID", offset=self.num_rows + 1)
        numbered.write_csv(buffer, include_header=self.num_rows == 0, quote_style="non_numeric")
        (self._packed or self._file).write(buffer.getbuffer())
        self.num_rows += rows.height

    def __enter__(self) -> "CsvWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._packed is not None:
            self._packed.close()
        self._file.close()


def write_synthetic_tables(
    folder: str | Path, num_patients: int, seed: int, compress: bool = False
) -> SyntheticSummary:
    """Write an invented cohort as MIMIC-III 1.4 tables, with a drug map and the true probabilities beside.

    Notes and codes complete each other: each holds facts the other lacks, for every task. The same arguments
    give the same bytes. Older files of the same names are replaced.

    Args:
        folder (`str` or `Path`): where to write; made if missing.
        num_patients (`int`): patients, each with one to twelve visits.
        seed (`int`): seed of chance, 0 or more.
        compress (`bool`, defaults to `False`): `.csv.gz` instead of `.csv`.

    Returns:
        Counts of what was written.

    Raises:
        InputError: if a number is out of range.
    """
    _check(num_patients, seed)
    folder = Path(folder)
    (folder / TRUTH_FOLDER).mkdir(parents=True, exist_ok=True)
    _remove_older(folder)
    _write_drug_map(folder)
    num_readmissions = 0
    with ExitStack() as stack:
        writers = {name: stack.enter_context(CsvWriter(folder, name, compress)) for name in TABLES}
        for number, first in enumerate(range(0, num_patients, _PATIENTS_PER_BLOCK)):
            size = min(_PATIENTS_PER_BLOCK, num_patients - first)
            num_readmissions += _write_block(folder, writers, number, first, size, num_patients, seed)
    return SyntheticSummary(folder, *(writers[name].num_rows for name in TABLES), num_readmissions)


def _check(num_patients: int, seed: int) -> None:
    if num_patients < 1:
        raise InputError("num_patients is out of range", received=num_patients, expected="1 or more")
    if seed < 0:
        raise InputError("seed is out of range", received=seed, expected="0 or more")


def _remove_older(folder: Path) -> None:
    """A cohort written earlier in the other format, or with more blocks, must not be read with this one."""
    for name in TABLES:
        for suffix in (".csv", ".csv.gz"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    for part in sorted((folder / TRUTH_FOLDER).glob("visits-*.parquet")):
        part.unlink()


def _write_drug_map(folder: Path) -> None:
    rows = [(drug.name, drug.route, drug.atc) for drug in DRUGS]
    table = pl.DataFrame(rows, schema=["drug", "route", "atc"], orient="row")
    table.unique(maintain_order=True).write_csv(folder / DRUG_MAP_FILE)


def _write_block(
    folder: Path,
    writers: dict[str, CsvWriter],
    number: int,
    first: int,
    size: int,
    num_patients: int,
    seed: int,
) -> int:
    """Write one block of patients; returns how many of its visits were followed by a readmission."""
    rng = np.random.default_rng([seed, number])
    sex, visits = simulate(size, rng)
    dates = place_in_time(visits, first, writers["ADMISSIONS"].num_rows, num_patients, rng)
    writers["PATIENTS"].append(patients_table(visits, sex, dates))
    writers["ADMISSIONS"].append(admissions_table(visits, dates, rng))
    writers["DIAGNOSES_ICD"].append(diagnoses_table(visits, dates, rng))
    writers["PRESCRIPTIONS"].append(prescriptions_table(visits, dates, rng))
    chance = Chance(int(rng.integers(2**63)))
    writers["NOTEEVENTS"].append(notes_table(visits, sex, dates, chance))
    truth_table(visits, dates).write_parquet(folder / TRUTH_FOLDER / f"visits-{number:05d}.parquet")
    return int((visits.gap_hours < READMISSION_WINDOW_HOURS).sum())
