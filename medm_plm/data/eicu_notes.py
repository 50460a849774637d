"""The text of an eICU stay: pick-list paths turned into readable phrases.

A path such as `notes/Progress Notes/Past History/Organ Systems/Pulmonary/Asthma/asthma` says one thing,
"pulmonary: asthma"; the rest is the way through the menus. Paths that only tell how the form was filled in
are left out.
"""

from __future__ import annotations

import re

import polars as pl

from medm_plm.data.notes import plain
from medm_plm.data.schema import HADM_ID, NUM_ROWS, TABLE, RowLedger
from medm_plm.data.tables import whole_number

# Most telling first: an encoder reads the beginning, and numbers are what it can use least.
SECTIONS = (
    "admission diagnosis",
    "past history",
    "allergies",
    "history and course",
    "physical exam",
    "vital signs and fluids",
)
_SECTION_OF_TABLE = {"admissionDx": 0, "pastHistory": 1, "allergy": 2, "note": 3, "physicalExam": 4}
_NUMBERS_SECTION = 5
_MINUTES_OF_FIRST_DAY = 24 * 60  # counted from the admission to the unit

_ABOUT_THE_FORM = re.compile(
    r"Obtain Options/(Not )?Performed"
    r"|View and Save|View Options|Include Rx|Skip Screen Options|Source of Patient Information"
    r"|Time-Out Process|Billing Options|system unique note types|GCS/Score/scored"
    r"|^admission diagnosis\|Was the patient admitted from the O\.R\."
)
_NUMBERS = re.compile(r"Vital Sign and Physiological Data|Weight and I&O")
# "(symmetry)", 'Print "Negative"', "Past History Obtain Options"
_NOT_A_HEADING = re.compile(r"\(.*\)|Print \".*\"|.* Obtain Options|Vital Sign and Physiological Data")
_REQUIRED_MARK = re.compile(r"\s*\(R\)$")
_IS_NUMBER = re.compile(r"[-+<>=\s]*\d[\d.,]*")
_ABOUT_THE_FORM_REASON = "pick-list entry about the form, not the patient"
_PHRASE_SCHEMA = pl.Schema(
    {
        HADM_ID: pl.String(),
        TABLE: pl.String(),
        "section": pl.Int64(),
        "order": pl.Int64(),
        "key": pl.String(),
        "phrase": pl.String(),
        "is_early": pl.Boolean(),
        NUM_ROWS: pl.Int64(),
    }
)


def apache_phrases(stays: pl.DataFrame) -> pl.DataFrame:
    """Make the phrase of the APACHE admission diagnosis, which is a column of the stay itself.

    Args:
        stays (`polars.DataFrame`): columns `hadm_id` and `apacheadmissiondx`.

    Returns:
        Phrases that merge with equal ones of the table `admissionDx` and count as no row of it.
    """
    phrase = plain(pl.col("apacheadmissiondx"))
    phrases = stays.select(
        HADM_ID,
        pl.lit("admissionDx").alias(TABLE),
        pl.lit(0, pl.Int64).alias("section"),
        pl.lit(None, pl.Int64).alias("order"),
        phrase.alias("key"),
        phrase.alias("phrase"),
        pl.lit(True).alias("is_early"),
        pl.lit(0, pl.Int64).alias(NUM_ROWS),
    )
    return phrases.filter(pl.col("phrase") != "")


def admission_phrases(frame: pl.DataFrame, table: str, ledger: RowLedger) -> pl.DataFrame:
    """Make phrases of admission diagnoses, whose paths are separated by bars.

    Args:
        frame (`polars.DataFrame`): columns `hadm_id`, `offset`, `path`, `value`.
        table (`str`): name of the table.
        ledger (`RowLedger`): where entries without content are counted.

    Returns:
        One phrase for each row that stays.
    """
    described = _with_phrases(
        frame.with_columns(pl.lit(None, pl.String).alias("text")), ledger, separator="|"
    )
    # The diagnosis itself, without its organ system, so that the APACHE column repeats it.
    return _finish(described.with_columns(plain(pl.col("value")).alias("key")), table)


def allergy_phrases(frame: pl.DataFrame, table: str, ledger: RowLedger) -> pl.DataFrame:
    """Make phrases of allergies, which have no path.

    Args:
        frame (`polars.DataFrame`): columns `hadm_id`, `offset` and `path`, the latter the name of the
            allergy.
        table (`str`): name of the table.
        ledger (`RowLedger`): where rows without a name are counted.

    Returns:
        One phrase for each row that stays.
    """
    frame = ledger.keep(frame, pl.col("path").is_not_null(), "allergy has no name")
    phrase = plain(pl.col("path"))
    is_number = pl.lit(False).alias("is_number")
    return _finish(frame.with_columns(phrase.alias("phrase"), phrase.alias("key"), is_number), table)


def pick_list_phrases(frame: pl.DataFrame, table: str, ledger: RowLedger) -> pl.DataFrame:
    """Make phrases of past history, progress notes and physical examination.

    A measurement is written once for each stay, with its first value.

    Args:
        frame (`polars.DataFrame`): columns `hadm_id`, `offset`, `path`, `value`, `text`.
        table (`str`): name of the table.
        ledger (`RowLedger`): where entries without content are counted.

    Returns:
        One phrase for each row that stays.
    """
    return _finish(_with_phrases(frame, ledger, separator="/"), table)


def describe(path: str, value: str | None, separator: str = "/") -> tuple[str, str]:
    """Say what a pick-list path means.

    Args:
        path (`str`): way through the menus; its end is the value.
        value (`str`, *optional*): what was chosen; the last step of the path if missing.
        separator (`str`, *optional*, defaults to "/"): between the steps. Steps may contain it.

    Returns:
        The last heading above the value that says more than the value ("" if there is none), and the value.
    """
    value = value or path.rsplit(separator, 1)[-1]
    for heading in reversed(path.removesuffix(value).strip(separator).split(separator)):
        heading = _REQUIRED_MARK.sub("", heading).strip()
        if heading and not _NOT_A_HEADING.fullmatch(heading) and heading.lower() != value.strip().lower():
            return ("" if heading.lower() in value.lower() else heading), value
    return "", value


def _with_phrases(frame: pl.DataFrame, ledger: RowLedger, separator: str) -> pl.DataFrame:
    """Add `phrase`, `key` and `is_number`; each distinct entry is looked at once."""
    frame = ledger.keep(frame, pl.col("path").is_not_null(), "pick-list entry has no path")
    entries = ["path", "value", "text"]
    distinct = frame.select(entries).unique()
    rows = [_phrase(path, value, text, separator) for path, value, text in distinct.iter_rows()]
    columns = {"phrase": pl.String, "key": pl.String, "is_number": pl.Boolean}
    distinct = pl.concat([distinct, pl.DataFrame(rows, columns, orient="row")], how="horizontal")
    frame = frame.join(distinct, on=entries, how="left", nulls_equal=True, maintain_order="left")
    return ledger.keep(frame, pl.col("phrase").is_not_null(), _ABOUT_THE_FORM_REASON)


def _phrase(
    path: str, value: str | None, text: str | None, separator: str
) -> tuple[str | None, str | None, bool]:
    if _ABOUT_THE_FORM.search(path):
        return None, None, False
    heading, value = describe(path.replace("&&", "&"), value, separator)
    name = f"{heading}: {value}" if heading else value
    key = phrase = name
    if text and _letters(text) != _letters(value) and not text.startswith("Print "):
        phrase = f"{name} {text}"
    elif _IS_NUMBER.fullmatch(value):
        key = heading
    is_number = bool(_NUMBERS.search(path)) and bool(_IS_NUMBER.fullmatch(text or value))
    # Free text beside a label says something new each time; a number is a new value of the same thing.
    key = key if is_number or key == heading else phrase
    return phrase, key, is_number


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _finish(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    section = pl.when("is_number").then(_NUMBERS_SECTION).otherwise(_SECTION_OF_TABLE[table])
    return frame.select(
        HADM_ID,
        pl.lit(table).alias(TABLE),
        section.cast(pl.Int64).alias("section"),
        whole_number("offset").alias("order"),
        plain(pl.col("key")).alias("key"),
        plain(pl.col("phrase")).alias("phrase"),
        (whole_number("offset") < _MINUTES_OF_FIRST_DAY).fill_null(False).alias("is_early"),
        pl.lit(1, pl.Int64).alias(NUM_ROWS),
    ).cast(_PHRASE_SCHEMA)
