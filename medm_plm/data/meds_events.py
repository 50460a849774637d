"""Events of a MEDS dataset: which codes mean what, and the scan that picks their rows out of all shards.

The standard (medical-event-data-standard.github.io) fixes the columns `subject_id`, `time`, `code`,
`numeric_value` and `text_value`, and the codes of birth and death; every other code is as the dataset's maker
chose, so prefixes say which ones stand for admissions, discharges, diagnoses, medications and notes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from medm_plm.data.batches import Batch
from medm_plm.data.parquet import SUFFIX, as_text, as_time, read_schema, row_frames
from medm_plm.data.schema import ATC, DRUG, HADM_ID, NDC, ROUTE, SUBJECT_ID
from medm_plm.errors import InputError

# Kinds of events.
ADMISSION, DISCHARGE, DIAGNOSIS, MEDICATION = "admission", "discharge", "diagnosis", "medication"
DISCHARGE_NOTE = "note"
BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"  # fixed by the standard

ROW, TIME, KIND, MEANING, REST, TEXT = "row", "time", "kind", "meaning", "rest", "text"
SEPARATOR = "//"

_MEANINGS = {DIAGNOSIS: ("ICD9CM", "ICD10CM"), MEDICATION: (DRUG, NDC, ATC)}
_COLUMNS = (SUBJECT_ID, TIME, "code")
_TEXT_VALUE = "text_value"  # the standard leaves it to the dataset whether the column is there
_VISIT_COLUMNS = ("hadm_id", "visit_id")  # not of the standard, but most datasets have one of them
_REMEDY = "check that this is the root of a MEDS dataset, with the events under data/"


@dataclass(frozen=True)
class MedsCodes:
    """Which codes of a MEDS dataset mean what. A code belongs to the longest prefix that it begins with.

    The defaults are those of the public MIMIC-IV conversion, and `SYSTEM/CODE` as in conversions from OMOP.

    Args:
        admission (`tuple[str, ...]`): prefixes; what follows, up to `//`, is the kind of admission.
        discharge (`tuple[str, ...]`): prefixes; `DIED`, `DEAD` or `EXPIRED` behind one is a death.
        diagnosis (`tuple[str, ...]`): `PREFIX=ICD9CM` or `PREFIX=ICD10CM`; what follows is the code.
        medication (`tuple[str, ...]`): `PREFIX=drug`, `PREFIX=ndc` or `PREFIX=atc`; what follows is the name
            of the drug (up to `//`), its package number or its ATC code.
        note (`tuple[str, ...]`): prefixes of discharge summaries, whose text is in `text_value`.

    Raises:
        InputError: if a prefix is empty or given twice, or the word behind `=` is none of these.
    """

    admission: tuple[str, ...] = ("HOSPITAL_ADMISSION",)
    discharge: tuple[str, ...] = ("HOSPITAL_DISCHARGE",)
    diagnosis: tuple[str, ...] = (
        "DIAGNOSIS//ICD//9//=ICD9CM",
        "DIAGNOSIS//ICD//10//=ICD10CM",
        "ICD9CM/=ICD9CM",
        "ICD10CM/=ICD10CM",
    )
    medication: tuple[str, ...] = ("MEDICATION//START//=drug", "NDC/=ndc", "ATC/=atc")
    note: tuple[str, ...] = ("NOTE//DISCHARGE_SUMMARY",)

    def __post_init__(self) -> None:
        prefixes = [prefix for prefix, _, _ in self.rules()]
        for prefix in prefixes:
            if not prefix or prefixes.count(prefix) > 1:
                raise InputError(
                    "prefix of MEDS codes is empty or given twice",
                    received=repr(prefix),
                    expected="a new one",
                )

    def rules(self) -> list[tuple[str, str, str | None]]:
        """Prefix, kind of event and meaning of what follows; the shortest prefix comes first."""
        rules: list[tuple[str, str, str | None]] = [(BIRTH, BIRTH, None), (DEATH, DEATH, None)]
        for kind in (ADMISSION, DISCHARGE, DISCHARGE_NOTE):
            rules += [(prefix, kind, None) for prefix in getattr(self, kind)]
        for kind, meanings in _MEANINGS.items():
            for word in getattr(self, kind):
                prefix, _, meaning = word.rpartition("=")
                if meaning not in meanings:
                    raise InputError(
                        f"prefix of MEDS {kind} codes does not say what follows it",
                        received=repr(word),
                        expected=" or ".join(f"PREFIX={name}" for name in meanings),
                    )
                rules.append((prefix, kind, meaning))
        return sorted(rules, key=lambda rule: (len(rule[0]), rule[0]))


def event_folder(folder: Path) -> Path:
    """Find the folder of the shards.

    Args:
        folder (`Path`): root of a MEDS dataset, or its folder `data`.

    Returns:
        Its path.

    Raises:
        InputError: if it does not exist or holds no shard.
    """
    root = folder / "data" if (folder / "data").is_dir() else folder
    if not root.is_dir():
        raise InputError("input folder does not exist", file=folder, remedy="check the path after --input")
    if not _shards(root):
        raise InputError("no event is there", file=root, expected="data/**/*.parquet", remedy=_REMEDY)
    return root


def event_batches(root: Path, codes: MedsCodes) -> Iterator[Batch]:
    """Read the events of every shard, and say what the codes make of them.

    Args:
        root (`Path`): what `event_folder` gave.
        codes (`MedsCodes`): which codes mean what.

    Yields:
        One row for each event in the order of the dataset: `row`, `subject_id`, `time`, `kind` (null where
        the code begins with none of the prefixes), `meaning`, `rest` (the code without its prefix), `text`
        (of notes), and `hadm_id` and `route`, null where the dataset does not have them.

    Raises:
        InputError: if a shard is damaged, lacks a column or has one of a wrong type.
    """
    rules = codes.rules()
    rule = _rule_of(pl.col("code"), [prefix for prefix, _, _ in rules])
    facts = pl.DataFrame(
        [(place, len(prefix), kind, meaning) for place, (prefix, kind, meaning) in enumerate(rules)],
        {"rule": pl.Int32, "length": pl.Int32, KIND: pl.String, MEANING: pl.String},
        orient="row",
    )
    num_rows = 0
    for shard in _shards(root):
        for frame in row_frames(shard, _columns(shard)):
            frame = frame.with_row_index(ROW, num_rows).with_columns(rule.alias("rule"))
            num_rows += frame.height
            known = frame.join(facts, on="rule", how="left", maintain_order="left").select(
                pl.col(ROW).cast(pl.Int64),
                SUBJECT_ID,
                TIME,
                KIND,
                MEANING,
                pl.col("code").str.slice(pl.col("length")).str.strip_chars_start("/").alias(REST),
                pl.when(pl.col(KIND) == DISCHARGE_NOTE).then(pl.col(TEXT)).alias(TEXT),
                HADM_ID,
                ROUTE,
            )
            yield Batch(known, [pl.all()])


def _shards(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob(f"*{SUFFIX}") if path.is_file())


def _columns(shard: Path) -> list[pl.Expr]:
    """Give the columns of one shard their common types; columns that it lacks are null."""
    schema = read_schema(shard, _COLUMNS, _REMEDY)
    time, dtype = schema[TIME]
    if not isinstance(dtype, pl.Datetime):
        raise InputError(
            f"column {TIME} has a wrong type", file=shard, received=dtype, expected="a timestamp"
        )
    visit = next((name for name in _VISIT_COLUMNS if name in schema), None)

    def text(name: str | None) -> pl.Expr:
        if name is None or name not in schema:
            return pl.lit(None, pl.String)
        return as_text(name, schema[name], shard)

    return [
        text(SUBJECT_ID).alias(SUBJECT_ID),
        as_time(pl.col(time), dtype).alias(TIME),
        text("code").alias("code"),
        text(_TEXT_VALUE).alias(TEXT),
        text(visit).alias(HADM_ID),
        text(ROUTE).alias(ROUTE),
    ]


def _rule_of(code: pl.Expr, prefixes: list[str]) -> pl.Expr:
    """Find the place of the longest prefix; null if a code begins with none of them."""
    place = pl.lit(None, pl.Int32)
    for number, prefix in enumerate(prefixes):  # the longest prefix comes last and so is asked first
        place = pl.when(code.str.starts_with(prefix)).then(pl.lit(number, pl.Int32)).otherwise(place)
    return place
