"""Entries of the report about the prepared visits: the tables of the paper, histograms, frequent codes.

The paper's numbers are those of Tables I and II of Liu et al. (2022). What it counts is not always said; the
definition beside each of our numbers tells what we count, and where the paper's own numbers disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from medm_plm.data import tasks
from medm_plm.data.report.entries import ICD_TOP_K, NOTE_WORDS, Report, label_counts, with_note_words
from medm_plm.data.schema import (
    AGE,
    CODE,
    DIAGNOSIS_CODES,
    MEDICATION_CODES,
    NOTE,
    SPLIT,
    SPLITS,
    SUBJECT_ID,
)
from medm_plm.ontologies.titles import nearest_title

NUM_TOP_CODES = 20
MINIMUM_PATIENTS = 5  # who must share a drug string or a code before the report names it

# Lowest value of each bin; the last one is open. 60 codes and [CLS] are the longest sequence of the paper.
WORD_BINS = (0, 1, 100, 250, 500, 1000, 1500, 2000, 3000, 5000)
CODE_BINS = (0, 1, 5, 10, 15, 20, 25, 30, 40, 61)
VISIT_BINS = (1, 2, 3, 4, 5, 6, 10)
AGE_BINS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)
UNKNOWN = "unknown"

_HAS = {name: pl.col(name).list.len() > 0 for name in (DIAGNOSIS_CODES, MEDICATION_CODES)}


def paper_tables_entry(visits: pl.DataFrame) -> Report:
    """Put our numbers beside those of Tables I and II of the paper.

    Args:
        visits (`polars.DataFrame`): prepared visits.

    Returns:
        By table, rows with the paper's numbers, ours, and what ours count.
    """
    return {"table_1": list(_first_table(visits)), "table_2": list(_second_table(visits))}


def histograms_entry(visits: pl.DataFrame) -> Report:
    """Count visits and patients in fixed bins.

    Args:
        visits (`polars.DataFrame`): prepared visits, with `note_words` if their notes are cut.

    Returns:
        By quantity: what is counted, and the count of each bin, the last one open; ages without a value are
        counted as unknown.
    """
    visits_of_patient = visits.group_by(SUBJECT_ID).len()["len"]
    return {
        "words_of_note": _histogram("visits", with_note_words(visits)[NOTE_WORDS], WORD_BINS),
        DIAGNOSIS_CODES: _histogram("visits", visits[DIAGNOSIS_CODES].list.len(), CODE_BINS),
        MEDICATION_CODES: _histogram("visits", visits[MEDICATION_CODES].list.len(), CODE_BINS),
        "visits_of_patient": _histogram("patients", visits_of_patient, VISIT_BINS),
        AGE: _histogram("visits", visits[AGE], AGE_BINS),
    }


def top_codes_entry(visits: pl.DataFrame, titles: Mapping[str, str] | None = None) -> Report:
    """List the most frequent codes of the training split.

    Args:
        visits (`polars.DataFrame`): prepared visits.
        titles (`Mapping[str, str]`, *optional*): titles by qualified code, if the user has such a list. Other
            codes bear the title of the narrowest group above them that the package knows.

    Returns:
        By kind of code: the number of training visits, and the codes with their title, the node that bears
        it, and visits and patients. A code of fewer than `MINIMUM_PATIENTS` patients is not listed, since a
        source may have written anything in its place.
    """
    training = visits.filter(pl.col(SPLIT) == "train")
    lists = {name: _frequent(training, name, titles or {}) for name in (DIAGNOSIS_CODES, MEDICATION_CODES)}
    return {"training_visits": training.height, "minimum_patients": MINIMUM_PATIENTS, **lists}


def _first_table(visits: pl.DataFrame) -> Iterator[Report]:
    sizes = visits.group_by(SUBJECT_ID).len()
    complete = visits.filter(pl.col(NOTE) != "", *_HAS.values())[SUBJECT_ID].n_unique()
    rows: list[tuple[str, float, float | None, str]] = [
        ("Total patients", 35_164, sizes.height, "patients with a prepared visit"),
        (
            "Single-visit patients",
            29_734,
            sizes.filter(pl.col("len") == 1).height,
            "patients with one prepared visit",
        ),
        (
            "Multi-visit patients",
            5_159,
            sizes.filter(pl.col("len") > 1).height,
            "patients with two or more prepared visits; the paper's total and Table II mean 5,430",
        ),
        (
            "Selected patients",
            33_413,
            complete,
            "patients with a prepared visit that has a note, a diagnosis and a medication",
        ),
    ]
    for column, word, plural, codes, average in (
        (DIAGNOSIS_CODES, "diagnosis", "diagnoses", 6_646, 11.11),
        (MEDICATION_CODES, "medication", "medications", 155, 9.23),
    ):
        distinct = visits[column].list.explode().drop_nulls().n_unique()
        rows.append((f"Total {plural}", codes, distinct, f"distinct {word} codes of the prepared visits"))
        meaning = (
            f"distinct {word} codes of each patient, summed, divided by the visits, as the code of G-BERT "
            "counts; the usual average per visit stands under lengths"
        )
        rows.append((f"Average number of {plural}", average, _patient_average(visits, column), meaning))
    for quantity, paper, ours, definition in rows:
        yield {"quantity": quantity, "paper": paper, "ours": ours, "definition": definition}


def _patient_average(visits: pl.DataFrame, column: str) -> float | None:
    pairs = visits.select(SUBJECT_ID, pl.col(column)).explode(column).drop_nulls().unique()
    return round(pairs.height / visits.height, 2) if visits.height else None


def _second_table(visits: pl.DataFrame) -> Iterator[Report]:
    icd_labels = tasks.icd_coding_labels(visits, ICD_TOP_K)
    counts: dict[str, list[int]] = {"recommendation": [], "readmission": [], "icd": []}
    for split in SPLITS:
        histories = tasks.medication_recommendation_patients(visits, split)
        labels = label_counts(visits.filter(pl.col(SPLIT) == split))
        labelled = tasks.icd_coding_visits(visits, split, icd_labels, only_labelled=True)
        counts["recommendation"].append(histories[SUBJECT_ID].n_unique())
        counts["readmission"].append(2 * min(labels["positive"], labels["negative"]))
        counts["icd"].append(labelled.height)
    rows: list[tuple[str, Sequence[int | None], Sequence[int | None], str]] = [
        (
            "Pre-training",
            (39_550, None, None),
            (tasks.pretraining_visits(visits).height, None, None),
            "visits of training patients with a code",
        ),
        (
            "Medication recommendation",
            (4_344, 543, 543),
            counts["recommendation"],
            "patients with a medication in a visit after their first",
        ),
        (
            "30-day readmission",
            (4_660, 532, 534),
            counts["readmission"],
            "visits of a sample with as many readmissions as others",
        ),
        (
            "ICD coding",
            (8_066, 1_573, 1_729),
            counts["icd"],
            f"visits with one of the {ICD_TOP_K} most frequent diagnoses, and a note or a medication",
        ),
    ]
    for task, paper, ours, definition in rows:
        numbers = {
            "paper": dict(zip(SPLITS, paper, strict=True)),
            "ours": dict(zip(SPLITS, ours, strict=True)),
        }
        yield {"task": task, **numbers, "definition": definition}


def _histogram(counted: str, values: pl.Series, lowest: Sequence[int]) -> Report:
    known = values.drop_nulls()
    # The place of a value is the number of later bins that begin at or below it.
    places = np.searchsorted(lowest[1:], known.to_numpy(), side="right")
    counts = np.bincount(places, minlength=len(lowest)).tolist()
    bins = dict(zip(_bin_labels(lowest), counts, strict=True))
    if len(known) < len(values):
        bins[UNKNOWN] = len(values) - len(known)
    return {"counted": counted, "bins": bins}


def _bin_labels(lowest: Sequence[int]) -> Iterator[str]:
    for low, following in pairwise(lowest):
        yield str(low) if following == low + 1 else f"{low} to {following - 1}"
    yield f"{lowest[-1]} or more"


def _frequent(training: pl.DataFrame, column: str, titles: Mapping[str, str]) -> list[dict[str, Any]]:
    pairs = training.select(SUBJECT_ID, pl.col(column).alias(CODE)).explode(CODE).drop_nulls()
    counts = pairs.group_by(CODE).agg(visits=pl.len(), patients=pl.col(SUBJECT_ID).n_unique())
    shared = counts.filter(pl.col("patients") >= MINIMUM_PATIENTS)
    listed = shared.sort("visits", CODE, descending=[True, False]).head(NUM_TOP_CODES)
    rows = []
    for code, visits, patients in listed.select(CODE, "visits", "patients").iter_rows():
        title, node = nearest_title(code, titles)
        rows.append({"code": code, "title": title, "title_of": node, "visits": visits, "patients": patients})
    return rows
