"""From the records of a shard of patients to their visits, and what later steps must know of them.

What counts patients, rows or words is counted here, shard by shard: no patient stands in two shards, so the
counts add up, and the last step, `medm_plm.data.finishing`, needs no text in memory.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from medm_plm.data.assembly import close_ledgers, join_records, map_medications, rows_of_visits
from medm_plm.data.cohort import select_visits, with_readmissions
from medm_plm.data.near_duplicates import SIGNATURE, note_signatures
from medm_plm.data.report.accounts import (
    MAPPED,
    cohort_steps,
    count_drugs,
    merge_cohort_steps,
    readmission_policies_entry,
    repeated_codes_entry,
    sum_entries,
)
from medm_plm.data.report.entries import visits_read_entry, with_note_words
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import (
    ADMISSION_NOTE,
    CODE,
    DIAGNOSIS_CODES,
    DRUG,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    NUM_ROWS,
    SUBJECT_ID,
    VISIT_NUMBER,
    VISIT_SCHEMA,
    WRITTEN_DRUG,
    RowLedger,
    SourceTables,
)
from medm_plm.data.splits import splits_from_ids
from medm_plm.ontologies.mappings import MedicationMapper

_FRAMES = ("visits", "outlines", "drugs", "prescriptions", "steps", "rows")
_ACCOUNT_FILE = "account.json"


@dataclass
class VisitShard:
    """The visits of some patients and what is counted of their records.

    Args:
        visits (`polars.DataFrame`): `VISIT_SCHEMA`, sorted by patient and visit number.
        outlines (`polars.DataFrame`): the same visits without their text: notes are cut to their first
            letter; with `note_words` and `signature` (of `near_duplicates`).
        drugs (`polars.DataFrame`): `report_accounts.DRUG_SCHEMA`.
        prescriptions (`polars.DataFrame`): distinct prescriptions, whether they are mapped, and rows.
        steps (`polars.DataFrame`): `report_accounts.STEP_SCHEMA`.
        rows (`polars.DataFrame`): how many rows of each table stand behind each visit.
        ledgers (`dict[str, RowLedger]`): by source table.
        tables (`dict[str, str | None]`): which source table holds visits, diagnoses, prescriptions, patients.
        remarks (`dict[str, int]`): further counts.
        readable (`dict[str, tuple[int, int]]`): see `SourceTables`.
        counts (`dict`): entries of the report that add up.
        codes (`list[str]`): every code of the records, once.
    """

    visits: pl.DataFrame
    outlines: pl.DataFrame
    drugs: pl.DataFrame
    prescriptions: pl.DataFrame
    steps: pl.DataFrame
    rows: pl.DataFrame
    ledgers: dict[str, RowLedger]
    tables: dict[str, str | None]
    remarks: dict[str, int] = field(default_factory=dict)
    readable: dict[str, tuple[int, int]] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write the frames as parquet and the rest as JSON."""
        for name in _FRAMES:
            getattr(self, name).write_parquet(folder / f"{name}.parquet")
        facts = {name: value for name, value in vars(self).items() if name not in _FRAMES}
        facts["ledgers"] = {name: asdict(ledger) for name, ledger in self.ledgers.items()}
        (folder / _ACCOUNT_FILE).write_text(json.dumps(facts, sort_keys=True))


def visits_file(folder: Path) -> Path:
    """Name the file of the visits of a shard that was saved."""
    return folder / "visits.parquet"


def prepare_shard(
    tables: SourceTables,
    mapper: MedicationMapper,
    rules: PreparationRules,
    published_ids: Mapping[str, Collection[str]] | None = None,
) -> VisitShard:
    """Turn the records of some patients into visits.

    Args:
        tables (`SourceTables`): records of whole patients; their ledgers are completed.
        mapper (`MedicationMapper`): from prescriptions to medication classes.
        rules (`PreparationRules`): the choices.
        published_ids (`Mapping[str, Collection[str]]`, *optional*): admission ids by split, which decide the
            split before the seed does.

    Returns:
        The visits and what is counted of them.
    """
    prescriptions = map_medications(tables.prescriptions, mapper)
    is_mapped = pl.col(CODE).is_not_null()
    ledger = tables.ledgers[tables.prescription_table]
    medications = ledger.keep(prescriptions, is_mapped, "drug has no known medication class")
    labelled = with_readmissions(tables.visits, rules.readmission_policy)
    joined = join_records(labelled, tables.diagnoses, medications, tables.notes)
    kept = select_visits(joined, rules.cohort, tables.ledgers[tables.visit_table])
    close_ledgers(tables, medications, kept)
    split, num_in_several_lists = splits_from_ids(kept, published_ids or {}, rules.seed)
    visits = split.select(VISIT_SCHEMA.names()).cast(VISIT_SCHEMA).sort(SUBJECT_ID, VISIT_NUMBER)
    owners = tables.visits.select(SUBJECT_ID, HADM_ID)
    written = prescriptions.join(owners, on=HADM_ID, how="left").with_columns(is_mapped.alias(MAPPED))
    remarks = dict(tables.remarks)
    if num_in_several_lists:
        remarks["patients whose admissions stand in several published lists"] = num_in_several_lists
    repeated = {
        DIAGNOSIS_CODES: repeated_codes_entry(tables.diagnoses, visits, DIAGNOSIS_CODES),
        MEDICATION_CODES: repeated_codes_entry(medications, visits, MEDICATION_CODES),
    }
    return VisitShard(
        visits=visits,
        outlines=outline(visits),
        drugs=count_drugs(_as_written(written).select(SUBJECT_ID, DRUG, MAPPED, NUM_ROWS)),
        prescriptions=_distinct_prescriptions(written),
        steps=cohort_steps(joined, rules.cohort),
        rows=rows_of_visits(tables, medications, kept),
        ledgers=tables.ledgers,
        tables={
            "visits": tables.visit_table,
            "diagnoses": tables.diagnosis_table,
            "prescriptions": tables.prescription_table,
            "patients": tables.patient_table,
        },
        remarks=remarks,
        readable=tables.readable,
        counts={
            "visits_read": visits_read_entry(labelled),
            "readmission_policies": readmission_policies_entry(tables.visits, visits),
            "repeated_codes": repeated,
        },
        codes=sorted({*tables.diagnoses[CODE], *medications[CODE]}),
    )


def outline(visits: pl.DataFrame) -> pl.DataFrame:
    """Leave out the text of visits, but for what tells if there is any, how long it is and what it equals.

    Args:
        visits (`polars.DataFrame`): `VISIT_SCHEMA`.

    Returns:
        The visits with notes cut to their first letter, `note_words` and `signature`.
    """
    signatures = note_signatures(visits[NOTE]).alias(SIGNATURE)
    counted = with_note_words(visits).with_columns(signatures)
    return counted.with_columns(pl.col(NOTE, ADMISSION_NOTE).str.slice(0, 1))


def merge_shards(folders: Iterable[Path]) -> VisitShard:
    """Read shards that were saved and add them up; the visits themselves are left where they are.

    Args:
        folders (`Iterable[Path]`): one for each shard, in order.

    Returns:
        All patients together, with no `visits`.
    """
    merged: VisitShard | None = None
    for folder in folders:
        shard = _load(folder)
        merged = shard if merged is None else _sum(merged, shard)
    assert merged is not None, "a plan has at least one shard"
    merged.steps = merge_cohort_steps([merged.steps])
    return merged


def _load(folder: Path) -> VisitShard:
    frames = {name: pl.read_parquet(folder / f"{name}.parquet", glob=False) for name in _FRAMES[1:]}
    facts = json.loads((folder / _ACCOUNT_FILE).read_text())
    facts["ledgers"] = {name: RowLedger(**ledger) for name, ledger in facts["ledgers"].items()}
    return VisitShard(visits=pl.DataFrame(schema=VISIT_SCHEMA), **frames, **facts)


def _sum(one: VisitShard, other: VisitShard) -> VisitShard:
    for name, ledger in other.ledgers.items():
        one.ledgers.setdefault(name, RowLedger(0)).add(ledger)
    frames = {name: pl.concat([getattr(one, name), getattr(other, name)]) for name in _FRAMES}
    readable = {
        what: (num_values + other.readable[what][0], num_read + other.readable[what][1])
        for what, (num_values, num_read) in one.readable.items()
    }
    return VisitShard(
        **frames,
        ledgers=one.ledgers,
        tables=one.tables,
        remarks=sum_entries([one.remarks, other.remarks]),
        readable=readable,
        counts=sum_entries([one.counts, other.counts]),
        codes=sorted({*one.codes, *other.codes}),
    )


def _as_written(prescriptions: pl.DataFrame) -> pl.DataFrame:
    """Only who has a string in the record counts as its patient, not who got it by a code."""
    if WRITTEN_DRUG not in prescriptions.columns:
        return prescriptions
    return prescriptions.with_columns(pl.col(WRITTEN_DRUG).alias(DRUG))


def _distinct_prescriptions(prescriptions: pl.DataFrame) -> pl.DataFrame:
    """Count rows of each distinct prescription, for the coverage of the mapping."""
    keys = [name for name in ("drug", "route", "ndc", "atc") if name in prescriptions.columns]
    counts = prescriptions.group_by(*keys, CODE).agg(pl.sum(NUM_ROWS))
    return counts.sort(*keys, CODE)
