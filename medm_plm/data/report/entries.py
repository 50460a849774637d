"""The account of a preparation: what was read, what became of every row, and what is in the prepared folder.

Counts, shares and fingerprints only; no text and no number of any patient or visit. What a source may have
filled with free text, drug strings and codes, is named only where several patients have it (`accounts`
and `tables`, which hold the further entries). Every function takes visits with their notes, or with
notes cut to their first letter and their lengths in a column `note_words`, so that no text need be in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from medm_plm.data import tasks
from medm_plm.data.cohort import READMISSION_WINDOW_DAYS
from medm_plm.data.schema import (
    DIAGNOSIS_CODES,
    DIED_IN_HOSPITAL,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    READMISSION,
    SPLIT,
    SPLITS,
    SUBJECT_ID,
    RowLedger,
    SourceFile,
)
from medm_plm.data.vocabulary import SPECIAL_TOKENS, CodeVocabulary
from medm_plm.ontologies import get_ontology, split_qualified

ICD_TOP_K = 50
NOTE_WORDS = "note_words"  # column of visits: number of words of the note

Report = dict[str, Any]


def with_note_words(visits: pl.DataFrame) -> pl.DataFrame:
    """Count the words of each note, unless that was done before the notes were cut.

    Args:
        visits (`polars.DataFrame`): visits with `note`, or with `note_words` already.

    Returns:
        The visits with a column `note_words`; 0 where there is no note.
    """
    if NOTE_WORDS in visits.columns:
        return visits
    # Notes are on one line, with single blanks between the words.
    words = pl.col(NOTE).str.count_matches(" ", literal=True).cast(pl.Int64) + 1
    return visits.with_columns(pl.when(pl.col(NOTE) != "").then(words).otherwise(0).alias(NOTE_WORDS))


def ledger_entry(ledger: RowLedger) -> Report:
    """Write the account of one table.

    Args:
        ledger (`RowLedger`): what became of its rows.

    Returns:
        Rows in, rows out, and rows dropped by reason; the first is the sum of the others.
    """
    return {
        "rows_in": ledger.rows_in,
        "rows_out": ledger.rows_out,
        "rows_dropped": dict(sorted(ledger.dropped.items())),
    }


def source_entry(name: str, files: Iterable[SourceFile], remarks: Mapping[str, int]) -> Report:
    """Write what was read: files with rows and fingerprints, in the order of reading.

    Args:
        name (`str`): name of the source.
        files (`Iterable[SourceFile]`): files that were read.
        remarks (`Mapping[str, int]`): further counts of the reader.

    Returns:
        The entry; files are named without their folder.
    """
    facts = {file.name: {"rows": file.num_rows, "sha256": file.sha256} for file in files}
    return {"name": name, "files": facts, "remarks": dict(remarks)}


def visits_read_entry(read: pl.DataFrame) -> Report:
    """Count the visits before the cohort rules.

    Args:
        read (`polars.DataFrame`): all visits that were read, with their readmission label.

    Returns:
        The counts; those of shards of patients add up.
    """
    return {
        "visits_read": read.height,
        "patients_read": read[SUBJECT_ID].n_unique(),
        "labels": label_counts(read),
    }


def visits_entry(read: Mapping[str, Any], prepared: pl.DataFrame, policy: str) -> Report:
    """Count visits, patients and readmissions before and after the cohort rules.

    Args:
        read (`Mapping`): what `visits_read_entry` counted.
        prepared (`polars.DataFrame`): the visits that were kept.
        policy (`str`): readmission policy.

    Returns:
        The entry.
    """
    several = prepared.group_by(SUBJECT_ID).len().filter(pl.col("len") > 1).height
    return {
        "visits_read": read["visits_read"],
        "patients_read": read["patients_read"],
        "visits_prepared": prepared.height,
        "patients_prepared": prepared[SUBJECT_ID].n_unique(),
        "patients_with_several_visits": several,
        "visits_with_note": prepared.filter(pl.col(NOTE) != "").height,
        "visits_with_diagnoses": prepared.filter(pl.col(DIAGNOSIS_CODES).list.len() > 0).height,
        "visits_with_medications": prepared.filter(pl.col(MEDICATION_CODES).list.len() > 0).height,
        "deaths_in_hospital": int(prepared[DIED_IN_HOSPITAL].sum()),
        "readmission": {
            "policy": policy,
            "window_days": READMISSION_WINDOW_DAYS,
            "visits_read": read["labels"],
            "visits_prepared": label_counts(prepared),
        },
    }


def lengths_entry(visits: pl.DataFrame) -> Report:
    """Summarise how long notes and code lists are, over the visits that have any.

    Args:
        visits (`polars.DataFrame`): prepared visits, with `note_words` if their notes are cut.

    Returns:
        Mean, quartiles and maximum of words and of codes.
    """
    words = with_note_words(visits).filter(pl.col(NOTE) != "")[NOTE_WORDS]
    lists = {name: visits[name].list.len() for name in (DIAGNOSIS_CODES, MEDICATION_CODES)}
    return {
        "words_of_note": _summary(words),
        **{name: _summary(lengths.filter(lengths > 0)) for name, lengths in lists.items()},
    }


def codes_entry(codes: Iterable[str]) -> Report:
    """Count distinct codes and where they stand in their trees.

    Args:
        codes (`Iterable[str]`): qualified codes.

    Returns:
        By code system: distinct codes, how many have a path to the root, and how many of those by the level
        of their nearest group (a code in no known block still hangs under its chapter or the root).
    """
    by_system: dict[str, set[str]] = {}
    for qualified in codes:
        by_system.setdefault(split_qualified(qualified)[0], set()).add(qualified)
    return {system: _placement(system, by_system[system]) for system in sorted(by_system)}


def splits_entry(visits: pl.DataFrame) -> Report:
    """Count patients, visits and the examples of every task in each split.

    Args:
        visits (`polars.DataFrame`): prepared visits.

    Returns:
        By split: patients, visits, pre-training visits, and examples and labels of the tasks.
    """
    icd_labels = tasks.icd_coding_labels(visits, ICD_TOP_K)
    medication_labels = tasks.medication_prediction_labels(visits)
    entry: Report = {}
    for split in SPLITS:
        chosen = visits.filter(pl.col(SPLIT) == split)
        histories = tasks.medication_recommendation_patients(visits, split)
        entry[split] = {
            "patients": chosen[SUBJECT_ID].n_unique(),
            "visits": chosen.height,
            "readmission": label_counts(chosen),
            "icd_coding": _coding_counts(tasks.icd_coding_visits(visits, split, icd_labels)),
            "medication_prediction": _coding_counts(
                tasks.medication_prediction_visits(visits, split, medication_labels)
            ),
            "medication_recommendation": {
                "patients": histories[SUBJECT_ID].n_unique(),
                "targets": int(histories[tasks.IS_TARGET].sum()),
            },
        }
    entry["train"]["pretraining_visits"] = tasks.pretraining_visits(visits).height
    labels = {"icd_coding": len(icd_labels), "medication_prediction": len(medication_labels)}
    return {"number_of_labels": labels, **entry}


def vocabulary_entry(vocabulary: CodeVocabulary) -> Report:
    """Count the tokens of the code vocabulary.

    Args:
        vocabulary (`CodeVocabulary`): made from the training split.

    Returns:
        The counts.
    """
    codes = vocabulary.tokens[len(SPECIAL_TOKENS) : vocabulary.num_codes]
    medications = sum(split_qualified(code)[0] == "ATC" for code in codes)
    return {
        "diagnosis_codes": len(codes) - medications,
        "medication_codes": medications,
        "inner_nodes": len(vocabulary.tokens) - vocabulary.num_codes,
        "tokens": len(vocabulary.tokens),
        "deepest_path": vocabulary.max_depth,
    }


def label_counts(visits: pl.DataFrame) -> dict[str, int]:
    """Count the readmission labels.

    Args:
        visits (`polars.DataFrame`): visits with `readmission`.

    Returns:
        Visits with a readmission, without one, and without a label.
    """
    labels = visits[READMISSION]
    positive = int(labels.sum())
    return {
        "positive": positive,
        "negative": len(labels) - labels.null_count() - positive,
        "none": labels.null_count(),
    }


def to_json(report: Mapping[str, Any]) -> str:
    """Write a report as text that is the same for the same report.

    Args:
        report (`Mapping`): a finished report.

    Returns:
        Indented JSON.
    """
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _coding_counts(examples: pl.DataFrame) -> dict[str, int]:
    num_labels = examples[tasks.LABELS].list.len()
    return {"visits": examples[HADM_ID].n_unique(), "labels": int(num_labels.sum())}


def _summary(lengths: pl.Series) -> dict[str, float | int | None]:
    values = lengths.cast(pl.Float64)
    mean = values.mean()
    return {
        "visits": len(values),
        "mean": None if mean is None else round(float(mean), 2),  # type: ignore[arg-type]
        "lower_quartile": _quantile(values, 0.25),
        "median": _quantile(values, 0.5),
        "upper_quartile": _quantile(values, 0.75),
        "maximum": _quantile(values, 1.0),
    }


def _quantile(values: pl.Series, share: float) -> int | None:
    value = values.quantile(share, "nearest")
    return None if value is None else int(value)


def _placement(system: str, codes: set[str]) -> Report:
    ontology = get_ontology(system)
    paths = [ontology.path(code) for code in codes]
    inner = [{node.split(":")[1] for node in path} for path in paths]
    return {
        "codes": len(codes),
        "placed": sum(path[-1] == f"{system}:root" for path in paths),
        "under_a_block": sum("block" in levels for levels in inner),
        "under_a_chapter": sum("chapter" in levels for levels in inner),
    }
