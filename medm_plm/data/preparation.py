"""From the tables of a source to the prepared folder: visits, code vocabulary, report.

Read, map medications, join notes and codes to visits, label, select, split; then the vocabulary and the
report from all patients. Rows in are rows out plus rows dropped for every table, which is verified against
the finished visits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

import polars as pl

from medm_plm.data import eicu, leakage, meds, mimic3, mimic4, table_format, tasks
from medm_plm.data import report as reporting
from medm_plm.data.assembly import close_ledgers, join_records, map_medications
from medm_plm.data.cohort import CohortRules, select_visits, with_readmissions
from medm_plm.data.files import make_private_folder, write_private
from medm_plm.data.meds_events import MedsCodes
from medm_plm.data.schema import (
    CODE,
    DIAGNOSIS_CODES,
    MEDICATION_CODES,
    NOTE,
    READMISSION,
    REPORT_FILE,
    SPLIT,
    SPLITS,
    SUBJECT_ID,
    VISIT_NUMBER,
    VISIT_SCHEMA,
    VISITS_FILE,
    VOCABULARY_FILE,
    SourceTables,
    read_visits,
    validate_visits,
)
from medm_plm.data.splits import with_splits
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.ontologies.mappings import MedicationMapper

# By name of the source; a synthetic cohort has the tables of MIMIC-III.
NUM_TABLES = {
    "mimic3": len(mimic3.TABLES),
    "mimic4": len(mimic4.TABLES) + 1,  # with the discharge summaries
    "eicu": len(eicu.TABLES),
    "meds": len(meds.TABLES),
    "table": len(table_format.TABLES),
    "synthetic": len(mimic3.TABLES),
}
NUM_STEPS = 4  # of `prepare`, beside the tables

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class PreparationRules:
    """Every choice that changes the prepared visits.

    Args:
        cohort (`CohortRules`): which visits are kept.
        readmission_policy (`str`, *optional*, defaults to "paper"): a name of `cohort.READMISSION_POLICIES`.
        diagnosis_system (`str`, *optional*, defaults to "ICD9CM"): for sources that write each diagnosis in
            two.
        meds_codes (`MedsCodes`, *optional*): which codes of a MEDS dataset mean what, if not the usual.
        seed (`int`, *optional*, defaults to 0): chooses the split.
    """

    cohort: CohortRules = field(default_factory=CohortRules)
    readmission_policy: str = "paper"
    diagnosis_system: str = "ICD9CM"
    meds_codes: MedsCodes | None = None
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """What a preparation has made.

    Args:
        visits (`polars.DataFrame`): `VISIT_SCHEMA`.
        vocabulary (`CodeVocabulary`): codes of the training split.
        report (`dict`): the account, still without the fingerprints of the output.
    """

    visits: pl.DataFrame
    vocabulary: CodeVocabulary
    report: reporting.Report


def read_source(
    source: str, folder: str | Path, rules: PreparationRules, on_step: OnStep, notes: str | Path | None = None
) -> SourceTables:
    """Read the tables of a source.

    Args:
        source (`str`): a name of `NUM_TABLES`.
        folder (`str` or `Path`): where the tables lie.
        rules (`PreparationRules`): choices that a reader needs.
        on_step (`Callable`): told the name of each table.
        notes (`str` or `Path`, *optional*): where the discharge summaries of MIMIC-IV lie, if elsewhere.

    Returns:
        Records under common names.

    Raises:
        InputError: if the source cannot give what the rules ask for, or a table is missing or damaged.
    """
    if notes is not None and source != "mimic4":
        raise InputError(f"notes is an option of mimic4, not of {source}", remedy="leave it out")
    if source != "eicu" and rules.diagnosis_system != PreparationRules.diagnosis_system:
        raise InputError(
            f"diagnosis_system does not exist in {source}",
            received=rules.diagnosis_system,
            remedy="leave it out; it chooses between the two codes of each diagnosis of eicu",
        )
    readers: dict[str, Callable[[], SourceTables]] = {
        "eicu": lambda: eicu.read(folder, on_step, rules.diagnosis_system),
        "mimic4": lambda: mimic4.read(folder, on_step, notes),
        "meds": lambda: meds.read(folder, on_step, rules.meds_codes),
        "table": lambda: table_format.read(folder, on_step),
    }
    return readers.get(source, lambda: mimic3.read(folder, on_step))()


def prepare(
    source: str,
    tables: SourceTables,
    mapper: MedicationMapper,
    rules: PreparationRules,
    on_step: OnStep = lambda name: None,
    mapping_sha256: str | None = None,
) -> Prepared:
    """Turn the records of a source into visits.

    Args:
        source (`str`): name of the source, for the report.
        tables (`SourceTables`): what its reader handed over; its ledgers are completed.
        mapper (`MedicationMapper`): from prescriptions to medication classes.
        rules (`PreparationRules`): the choices.
        on_step (`Callable`, *optional*): told the name of each step, for a progress bar.
        mapping_sha256 (`str`, *optional*): fingerprint of the mapping file, for the report.

    Returns:
        Visits, vocabulary and report.

    Raises:
        InputError: if no visit is left, or the result would leak.
    """
    on_step("medications")
    medications, mapping = map_medications(
        tables.prescriptions, mapper, tables.ledgers[tables.prescription_table]
    )
    on_step("visits")
    labelled = with_readmissions(tables.visits, rules.readmission_policy)
    joined = join_records(labelled, tables.diagnoses, medications, tables.notes)
    kept = select_visits(joined, rules.cohort, tables.ledgers[tables.visit_table])
    if kept.is_empty():
        _refuse_empty_cohort(tables)
    close_ledgers(tables, medications, kept)
    visits = with_splits(kept, rules.seed).select(VISIT_SCHEMA.names()).cast(VISIT_SCHEMA)
    visits = visits.sort(SUBJECT_ID, VISIT_NUMBER)
    validate_visits(visits)
    on_step("vocabulary")
    training = tasks.pretraining_visits(visits)
    vocabulary = CodeVocabulary.from_codes(
        *(
            {code for codes in training[column] for code in codes}
            for column in (DIAGNOSIS_CODES, MEDICATION_CODES)
        )
    )
    on_step("leakage check")
    checks = leakage.check(visits, vocabulary)
    codes = {*tables.diagnoses[CODE], *medications[CODE]}
    report: reporting.Report = {
        "warnings": list(_warnings(visits)),
        "source": reporting.source_entry(source, tables),
        "rules": asdict(rules),
        "tables": {name: reporting.ledger_entry(ledger) for name, ledger in tables.ledgers.items()},
        "visits": reporting.visits_entry(labelled, visits, rules.readmission_policy),
        "medications": {**mapping, "mapping_sha256": mapping_sha256},
        "codes": reporting.codes_entry(codes),
        "lengths": reporting.lengths_entry(visits),
        "splits": reporting.splits_entry(visits),
        "vocabulary": reporting.vocabulary_entry(vocabulary),
        "leakage": {
            name: {"examined": number, "violations": bad} for name, number, bad in checks.iter_rows()
        },
    }
    return Prepared(visits, vocabulary, report)


def _refuse_empty_cohort(tables: SourceTables) -> NoReturn:
    reasons = tables.ledgers[tables.visit_table].dropped
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


def write(prepared: Prepared, folder: str | Path) -> reporting.Report:
    """Write a prepared folder; the report comes last, so that a folder with a report is complete.

    Args:
        prepared (`Prepared`): what `prepare` has made.
        folder (`str` or `Path`): created with rights for its owner only.

    Returns:
        The report as it was written, with the fingerprints of the other files.

    Raises:
        InputError: if the folder cannot be written.
    """
    folder = make_private_folder(folder)
    (folder / REPORT_FILE).unlink(missing_ok=True)
    outputs = {
        VISITS_FILE: write_private(folder / VISITS_FILE, prepared.visits.write_parquet),
        VOCABULARY_FILE: write_private(folder / VOCABULARY_FILE, prepared.vocabulary.save),
    }
    report = {**prepared.report, "output": outputs}
    text = reporting.to_json(report)
    write_private(folder / REPORT_FILE, lambda path: path.write_text(text, encoding="utf-8"))
    return report


def check_folder(folder: str | Path) -> pl.DataFrame:
    """Run the leakage checks on a prepared folder.

    Args:
        folder (`str` or `Path`): what `write` wrote.

    Returns:
        The table of checks, all without violation.

    Raises:
        InputError: if the folder is damaged or leaks.
    """
    visits = read_visits(folder)
    return leakage.check(visits, CodeVocabulary.load(Path(folder) / VOCABULARY_FILE))
