"""The two shapes in which records travel: tables of a source on the way in, visits on the way out.

Every reader of a source hands over `SourceTables`; everything after it (cohort, tasks, training) sees visits,
one row for each, in the columns of `VISIT_SCHEMA`. A visit is one hospital admission, or one
intensive care stay where the source counts those. Codes are qualified: `ICD9CM:4280`, `ATC:N02A`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from medm_plm.errors import InputError

VISITS_FILE = "visits.parquet"
VOCABULARY_FILE = "code_vocabulary.json"
REPORT_FILE = "report.json"
REPORT_PAGE_FILE = "report.html"

SUBJECT_ID = "subject_id"
HADM_ID = "hadm_id"
VISIT_NUMBER = "visit_number"
ADMISSION_TIME = "admission_time"
DISCHARGE_TIME = "discharge_time"
AGE = "age"
ADMISSION_TYPE = "admission_type"
DIED_IN_HOSPITAL = "died_in_hospital"
STAY_HOURS = "stay_hours"
NOTE = "note"
ADMISSION_NOTE = "admission_note"
DIAGNOSIS_CODES = "diagnosis_codes"
MEDICATION_CODES = "medication_codes"
FIRST_DAY_MEDICATION_CODES = "first_day_medication_codes"
READMISSION = "readmission"
SPLIT = "split"

SPLITS = ("train", "validation", "test")

VISIT_SCHEMA = pl.Schema(
    {
        SUBJECT_ID: pl.String(),
        HADM_ID: pl.String(),
        VISIT_NUMBER: pl.Int32(),  # 1, 2, ... in time order within the patient
        ADMISSION_TIME: pl.Datetime("us"),
        DISCHARGE_TIME: pl.Datetime("us"),
        AGE: pl.Float64(),  # years at admission, at most MAXIMUM_AGE
        ADMISSION_TYPE: pl.String(),
        DIED_IN_HOSPITAL: pl.Boolean(),
        STAY_HOURS: pl.Float64(),  # from admission to discharge; null where the source does not tell
        NOTE: pl.String(),  # "" where there is none
        # What the note says of the time before and at admission; null where the source cannot tell.
        ADMISSION_NOTE: pl.String(),
        DIAGNOSIS_CODES: pl.List(pl.String()),  # order of the record, most important first, no repeats
        MEDICATION_CODES: pl.List(
            pl.String()
        ),  # order of the first prescription, then of the code, no repeats
        # Those prescribed within 24 hours of admission, in the same order; null where no start is known.
        FIRST_DAY_MEDICATION_CODES: pl.List(pl.String()),
        READMISSION: pl.Boolean(),  # null where the policy leaves the visit out or the source has no dates
        SPLIT: pl.String(),
    }
)
NEVER_NULL = (SUBJECT_ID, HADM_ID, VISIT_NUMBER, NOTE, DIAGNOSIS_CODES, MEDICATION_CODES, SPLIT)
FIRST_DAY_HOURS = 24  # from admission: what was prescribed by then, and who is still there
MAXIMUM_AGE = 90.0  # years; both MIMIC and eICU hide the exact age of older patients

# Columns of the tables a reader hands over. `position` orders rows within a visit, `source_order` visits
# within a patient; both are whole numbers of no further meaning, so that sources without calendar dates fit
# as well.
SOURCE_ORDER = "source_order"
POSITION = "position"
NUM_ROWS = "num_rows"  # how many rows of the source stand behind this one
TABLE = "table"  # which table of the source a text comes from
CODE = "code"
DRUG, ROUTE, NDC = "drug", "route", "ndc"
HOURS_SINCE_ADMISSION = "hours_since_admission"
# Columns of prescriptions that only some sources have: the class that the source itself says, and the string
# as written where `drug` may come from other patients' rows.
ATC, WRITTEN_DRUG = "atc", "written_drug"

SOURCE_VISIT_SCHEMA = pl.Schema(
    {
        SUBJECT_ID: pl.String(),
        HADM_ID: pl.String(),
        SOURCE_ORDER: pl.Int64(),
        ADMISSION_TIME: pl.Datetime("us"),
        DISCHARGE_TIME: pl.Datetime("us"),
        AGE: pl.Float64(),
        ADMISSION_TYPE: pl.String(),
        DIED_IN_HOSPITAL: pl.Boolean(),
        STAY_HOURS: pl.Float64(),
    }
)
SOURCE_DIAGNOSIS_SCHEMA = pl.Schema(
    {HADM_ID: pl.String(), POSITION: pl.Int64(), CODE: pl.String(), NUM_ROWS: pl.Int64()}
)
SOURCE_PRESCRIPTION_SCHEMA = pl.Schema(
    {
        HADM_ID: pl.String(),
        POSITION: pl.Int64(),
        HOURS_SINCE_ADMISSION: pl.Float64(),  # null where the source does not tell
        DRUG: pl.String(),
        ROUTE: pl.String(),
        NDC: pl.String(),
        NUM_ROWS: pl.Int64(),
    }
)
SOURCE_NOTE_SCHEMA = pl.Schema(
    {
        HADM_ID: pl.String(),
        TABLE: pl.String(),
        POSITION: pl.Int64(),
        NOTE: pl.String(),
        ADMISSION_NOTE: pl.String(),  # the part known at admission; null where the source cannot tell
        NUM_ROWS: pl.Int64(),
    }
)


@dataclass
class SourceFile:
    """A file of a source.

    Args:
        name (`str`): its name without its folder.
        num_rows (`int`): its rows, the header not counted.
        sha256 (`str`): of the file as it is stored, as in the list of checksums of a release.
    """

    name: str
    num_rows: int
    sha256: str


@dataclass
class RowLedger:
    """What became of every row of one source table.

    Args:
        rows_in (`int`): rows of the file, the header not counted.
        dropped (`dict[str, int]`): rows that went no further, by reason.
    """

    rows_in: int
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def rows_out(self) -> int:
        """Rows that stand, alone or merged with others, in the prepared visits."""
        return self.rows_in - sum(self.dropped.values())

    def add(self, other: RowLedger) -> None:
        """Take in the account of other rows of the same table.

        Args:
            other (`RowLedger`): their account.
        """
        self.rows_in += other.rows_in
        for reason, num_rows in other.dropped.items():
            self.drop(num_rows, reason)

    def drop(self, num_rows: int, reason: str) -> None:
        """Record that rows went no further.

        Args:
            num_rows (`int`): how many; nothing is recorded for zero.
            reason (`str`): why, in a few words, without any value of the rows.
        """
        if num_rows:
            self.dropped[reason] = self.dropped.get(reason, 0) + num_rows

    def keep(self, frame: pl.DataFrame, condition: pl.Expr, reason: str) -> pl.DataFrame:
        """Filter rows and record those that fail; a condition that is null counts as failed.

        Args:
            frame (`polars.DataFrame`): rows that came this far.
            condition (`polars.Expr`): true for the rows that stay.
            reason (`str`): why the others go.

        Returns:
            The rows that stay, in their order.
        """
        kept = frame.filter(condition)
        self.drop(frame.height - kept.height, reason)
        return kept


@dataclass
class SourceTables:
    """What a reader hands over: the records of one source under common names, and its account of the rows.

    Args:
        visits (`polars.DataFrame`): `SOURCE_VISIT_SCHEMA`; `hadm_id` is unique.
        diagnoses (`polars.DataFrame`): `SOURCE_DIAGNOSIS_SCHEMA`; codes are qualified.
        prescriptions (`polars.DataFrame`): `SOURCE_PRESCRIPTION_SCHEMA`; drugs as the source names them. With
            a column `atc` (ATC third level or null) where the source can say the class itself, and
            `written_drug` where it names drugs by what other rows say.
        notes (`polars.DataFrame`): `SOURCE_NOTE_SCHEMA`; clean text, one row for each table and visit.
        ledgers (`dict[str, RowLedger]`): by name of the source table.
        visit_table (`str`): which ledger counts the rows of `visits`.
        diagnosis_table (`str`): which ledger counts the rows of `diagnoses`.
        prescription_table (`str`): which ledger counts the rows of `prescriptions`.
        patient_table (`str`, *optional*): which ledger counts patients, if the source lists them.
        remarks (`dict[str, int]`): further counts for the report.
        readable (`dict[str, tuple[int, int]]`): by kind of values, how many there are and how many could be
            read; none of many is a mistake of the whole table.
        files (`list[SourceFile]`): the files that were read.
    """

    visits: pl.DataFrame
    diagnoses: pl.DataFrame
    prescriptions: pl.DataFrame
    notes: pl.DataFrame
    ledgers: dict[str, RowLedger]
    visit_table: str
    diagnosis_table: str
    prescription_table: str
    patient_table: str | None = None
    remarks: dict[str, int] = field(default_factory=dict)
    readable: dict[str, tuple[int, int]] = field(default_factory=dict)
    files: list[SourceFile] = field(default_factory=list)


def read_visits(folder: str | Path) -> pl.DataFrame:
    """Read the visits of a prepared folder and check that they are what the rest of the package relies on.

    Args:
        folder (`str` or `Path`): what `run_preparation.py --output` wrote.

    Returns:
        One row for each visit in the columns of `VISIT_SCHEMA`, sorted by patient and visit number.

    Raises:
        InputError: if the file is missing or damaged, or its columns or values break the schema.
    """
    path = Path(folder) / VISITS_FILE
    if not path.is_file():
        raise InputError(
            "prepared visits are missing", file=path, remedy="write them with run_preparation.py --output"
        )
    try:
        visits = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        # The message of the engine may quote data, so it is not passed on.
        raise InputError(
            "file cannot be read as parquet", file=path, remedy="run run_preparation.py again"
        ) from None
    validate_visits(visits, path)
    return visits.select(VISIT_SCHEMA.names()).sort(SUBJECT_ID, VISIT_NUMBER)


def validate_visits(visits: pl.DataFrame, path: str | Path = VISITS_FILE) -> None:
    """Check columns, types, missing values, split names and the uniqueness of visits.

    Args:
        visits (`polars.DataFrame`): visits to check.
        path (`str` or `Path`, *optional*): file to name in an error.

    Raises:
        InputError: at the first rule that is broken.
    """
    remedy = "prepare the folder again with this version of run_preparation.py"
    for name, expected in VISIT_SCHEMA.items():
        if name not in visits.columns:
            raise InputError(f"column {name} is missing", file=path, expected=expected, remedy=remedy)
        if visits.schema[name] != expected:
            received = visits.schema[name]
            raise InputError(
                f"column {name} has a wrong type",
                file=path,
                received=received,
                expected=expected,
                remedy=remedy,
            )
    for name in NEVER_NULL:
        if num_missing := visits[name].null_count():
            raise InputError(
                f"column {name} has {num_missing} missing values", file=path, expected="none", remedy=remedy
            )
    if num_unknown := visits.filter(~pl.col(SPLIT).is_in(SPLITS)).height:
        raise InputError(
            f"column {SPLIT} has {num_unknown} unknown names",
            file=path,
            expected=" or ".join(SPLITS),
            remedy=remedy,
        )
    for key in ([HADM_ID], [SUBJECT_ID, VISIT_NUMBER]):
        if num_repeated := int(visits.select(key).is_duplicated().sum()):
            raise InputError(
                f"{num_repeated} visits share {' and '.join(key)} with another", file=path, remedy=remedy
            )
