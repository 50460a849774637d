"""From the shards of visits to the prepared folder: what only all patients together can tell.

Copies of notes across splits go, the code vocabulary is made, everything is checked against leakage, and the
visits are written one shard after the other. No more text than that of one shard is in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from medm_plm.data import leakage, tasks
from medm_plm.data.files import make_private_folder, write_private
from medm_plm.data.layout import TableAccount, refuse_unreadable
from medm_plm.data.near_duplicates import OTHER_SPLIT, SIGNATURE, find_duplicates
from medm_plm.data.parquet import RowGroupWriter
from medm_plm.data.published_ids import held_out_ids
from medm_plm.data.report import accounts as report_accounts
from medm_plm.data.report import entries as reporting
from medm_plm.data.report import tables as report_tables
from medm_plm.data.report.page import to_html
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import (
    DIAGNOSIS_CODES,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    NUM_ROWS,
    READMISSION,
    REPORT_FILE,
    REPORT_PAGE_FILE,
    SPLIT,
    SPLITS,
    SUBJECT_ID,
    TABLE,
    VISIT_NUMBER,
    VISIT_SCHEMA,
    VISITS_FILE,
    VOCABULARY_FILE,
    RowLedger,
    validate_visits,
)
from medm_plm.data.visit_shards import VisitShard, visits_file
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError

DUPLICATE = "note stands, word for word or nearly, in a later split under another patient"
_VISITS_OF_GROUP = 2048  # rows of the visits that are written together


def finish(
    shard: VisitShard,
    folders: Sequence[Path],
    accounts: Iterable[TableAccount],
    rules: PreparationRules,
    output: Path,
    facts: dict[str, Any],
    published_ids: Mapping[str, Collection[str]] | None = None,
) -> reporting.Report:
    """Make the prepared folder; the report comes last, so that a folder with a report is complete.

    Args:
        shard (`VisitShard`): all shards added up; its ledgers are completed.
        folders (`Sequence[Path]`): where the visits of each shard lie, in order.
        accounts (`Iterable[TableAccount]`): what went before there were shards.
        rules (`PreparationRules`): the choices, for the report.
        output (`Path`): created with rights for its owner only.
        facts (`dict`): `source`, `mapping`, `mapping_sha256` and `fingerprint`, for the report.
        published_ids (`Mapping[str, Collection[str]]`, *optional*): admission ids by split that have decided
            the splits.

    Returns:
        The report as it was written.

    Raises:
        InputError: if no visit is left, the result would leak, or the folder cannot be written.
    """
    accounts = list(accounts)
    refuse_unreadable(shard.readable)
    for account in accounts:
        shard.ledgers.setdefault(account.ledger_name, RowLedger(0)).add(account.ledger)
    if shard.outlines.is_empty():
        _refuse_empty_cohort(shard)
    shard.remarks |= _published_remarks(shard.outlines, published_ids or {})
    num_examined = shard.outlines[SIGNATURE].count()
    dropped = _drop_duplicates(shard)
    visits = shard.outlines
    validate_visits(visits.select(VISIT_SCHEMA.names()))
    vocabulary = vocabulary_of(visits)
    checks = leakage.check(
        visits,
        vocabulary,
        published_held_out=None if published_ids is None else held_out_ids(published_ids),
        duplicates=(num_examined - len(dropped), 0),
    )
    files = [account.file for account in accounts]
    prescriptions = {"mapping": facts["mapping"], "mapping_sha256": facts["mapping_sha256"]}
    counts = shard.counts
    visit_ledger = shard.ledgers[str(shard.tables["visits"])]
    report: reporting.Report = {
        "warnings": list(_warnings(visits)),
        "source": reporting.source_entry(facts["source"], files, shard.remarks),
        "rules": asdict(rules),
        "tables": {name: reporting.ledger_entry(ledger) for name, ledger in shard.ledgers.items()},
        "visits": reporting.visits_entry(counts["visits_read"], visits, rules.readmission_policy),
        "exclusions": report_accounts.exclusions_entry(visit_ledger, shard.steps),
        "paper_tables": report_tables.paper_tables_entry(visits),
        "readmission_policies": counts["readmission_policies"],
        "medications": {**prescriptions, **report_accounts.mapping_entry(shard.prescriptions)},
        "medication_coverage": report_accounts.medication_coverage_entry([shard.drugs]),
        "codes": reporting.codes_entry(shard.codes),
        "repeated_codes": counts["repeated_codes"],
        "top_codes": report_tables.top_codes_entry(visits),
        "lengths": reporting.lengths_entry(visits),
        "histograms": report_tables.histograms_entry(visits),
        "splits": reporting.splits_entry(visits),
        "vocabulary": reporting.vocabulary_entry(vocabulary),
        "leakage": {
            name: {"examined": number, "violations": bad} for name, number, bad in checks.iter_rows()
        },
        "fingerprint": facts["fingerprint"],
    }
    make_private_folder(output)
    (output / REPORT_FILE).unlink(missing_ok=True)
    outputs = {
        VISITS_FILE: write_private(output / VISITS_FILE, lambda path: _write_visits(path, folders, dropped)),
        VOCABULARY_FILE: write_private(output / VOCABULARY_FILE, vocabulary.save),
    }
    report["output"] = outputs
    page, text = to_html(report), reporting.to_json(report)
    write_private(output / REPORT_PAGE_FILE, lambda path: path.write_text(page, encoding="utf-8"))
    write_private(output / REPORT_FILE, lambda path: path.write_text(text, encoding="utf-8"))
    return report


def vocabulary_of(visits: pl.DataFrame) -> CodeVocabulary:
    """Make the code vocabulary from the visits that are pre-trained on.

    Args:
        visits (`polars.DataFrame`): prepared visits.

    Returns:
        The vocabulary.
    """
    training = tasks.pretraining_visits(visits)
    return CodeVocabulary.from_codes(
        *(
            {code for codes in training[column] for code in codes}
            for column in (DIAGNOSIS_CODES, MEDICATION_CODES)
        )
    )


def later_duplicates(visits: pl.DataFrame) -> list[str]:
    """Find the visits whose note stands in a later split as well, under another patient.

    Args:
        visits (`polars.DataFrame`): outlines of visits.

    Returns:
        Their numbers, sorted.
    """
    rank = {split: place for place, split in enumerate(SPLITS)}
    found = find_duplicates(visits.select(SUBJECT_ID, HADM_ID, SPLIT, SIGNATURE))
    places = [pl.col(name).replace_strict(rank, return_dtype=pl.Int8) for name in (SPLIT, OTHER_SPLIT)]
    return sorted(found.filter(places[0] < places[1])[HADM_ID].unique())


def _drop_duplicates(shard: VisitShard) -> set[str]:
    """Take copies out of the earlier split until there are none; the neighbours that go uncover others."""
    dropped: set[str] = set()
    while found := later_duplicates(shard.outlines):
        dropped.update(found)
        shard.outlines = _without(shard.outlines, dropped)
    if not dropped:
        return dropped
    rows = shard.rows.filter(pl.col(HADM_ID).is_in(sorted(dropped))).group_by(TABLE).agg(pl.sum(NUM_ROWS))
    for name, num_rows in rows.iter_rows():
        shard.ledgers[name].drop(num_rows, DUPLICATE)
    num_patients = shard.outlines[SUBJECT_ID].n_unique()
    if (patient_table := shard.tables["patients"]) is not None:
        ledger = shard.ledgers[patient_table]
        ledger.drop(ledger.rows_out - num_patients, DUPLICATE)
    step = pl.DataFrame([(DUPLICATE, shard.outlines.height, num_patients)], shard.steps.schema, orient="row")
    shard.steps = pl.concat([shard.steps, step])
    return dropped


def _without(visits: pl.DataFrame, dropped: Collection[str]) -> pl.DataFrame:
    """Leave visits out and number the others again."""
    kept = visits.filter(~pl.col(HADM_ID).is_in(sorted(dropped)))
    number = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over(SUBJECT_ID)
    return kept.with_columns(number.alias(VISIT_NUMBER))


def _write_visits(path: Path, folders: Sequence[Path], dropped: Collection[str]) -> None:
    """Write groups of equal size whatever the shards, so that these leave no trace in the file."""
    writer = RowGroupWriter(path, "zstd")
    waiting = pl.DataFrame(schema=VISIT_SCHEMA)
    for folder in folders:
        visits = pl.read_parquet(visits_file(folder), glob=False)
        waiting = pl.concat([waiting, _without(visits, dropped) if dropped else visits])
        while waiting.height >= _VISITS_OF_GROUP:
            writer.write(waiting[:_VISITS_OF_GROUP])
            waiting = waiting[_VISITS_OF_GROUP:]
    writer.write(waiting)
    writer.close()


def _published_remarks(visits: pl.DataFrame, published_ids: Mapping[str, Collection[str]]) -> dict[str, int]:
    listed = {hadm_id for ids in published_ids.values() for hadm_id in ids}
    if not listed:
        return {}
    num_known = visits.filter(pl.col(HADM_ID).is_in(sorted(listed))).height
    if not num_known:
        raise InputError(
            "none of the published admission ids is among the visits",
            received=f"{len(listed)} ids",
            remedy="check that --split_ids belongs to this source; without it a hash of the patient decides",
        )
    return {"published admission ids": len(listed), "published admission ids among the visits": num_known}


def _refuse_empty_cohort(shard: VisitShard) -> NoReturn:
    reasons = shard.ledgers[str(shard.tables["visits"])].dropped
    raise InputError(
        "no visit is left",
        received=", ".join(f"{count} dropped ({reason})" for reason, count in reasons.items())
        or "an empty table",
        remedy="check the input, or ask for less with --require and --minimum_age",
    )


def _warnings(visits: pl.DataFrame) -> Iterator[str]:
    """Say what the folder cannot be used for."""
    if not (visits[NOTE] != "").any():
        yield "no visit has a note: every text is empty, and T2C and ICD coding learn nothing from it"
    for column, word in ((DIAGNOSIS_CODES, "diagnosis"), (MEDICATION_CODES, "medication")):
        if not visits[column].list.len().sum():
            yield f"no visit has a {word}"
    if visits[READMISSION].null_count() == visits.height:
        yield "no visit has a readmission label: the source has no dates of admission"
    for split in SPLITS:
        if not (visits[SPLIT] == split).any():
            yield f"split {split} is empty: there are too few patients"
