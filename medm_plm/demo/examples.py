"""Examples of the page: visits of invented patients, made when the page starts. None of them is a person."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from medm_plm.data.preparation import Preparation
from medm_plm.data.schema import (
    DIAGNOSIS_CODES,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    SUBJECT_ID,
    VISIT_NUMBER,
    read_visits,
)
from medm_plm.data.synthetic import DRUG_MAP_FILE, write_synthetic_tables
from medm_plm.demo.codes import CodeList
from medm_plm.demo.entries import MAX_CODES, MAX_NOTE_CHARACTERS, Entry

NUM_PATIENTS = 60
SEED = 20_220_101
"""None that our configurations use, so that no example is a patient their models have seen."""


@dataclass(frozen=True)
class Example:
    """An invented visit with the diagnoses of the visit after it.

    Args:
        name (`str`): what the page calls it.
        entry (`Entry`): what is filled in.
    """

    name: str
    entry: Entry


def invented_examples(diagnoses: CodeList, medications: CodeList, count: int = 3) -> list[Example]:
    """Invent patients and take one visit of each of some who come back.

    Args:
        diagnoses, medications (`CodeList`): codes that can be picked; others are left out.
        count (`int`, defaults to 3): how many examples.

    Returns:
        At most `count` examples, with a note and a code of every kind in each.
    """
    visits = _invented_visits()
    found: list[Example] = []
    for _, patient in visits.group_by(SUBJECT_ID, maintain_order=True):
        if len(found) == count:
            break
        if patient.height > 1:
            first, after = patient.rows(named=True)[:2]
            entry = Entry(
                (first[NOTE] or "")[:MAX_NOTE_CHARACTERS],
                tuple(diagnoses.known(first[DIAGNOSIS_CODES])[:MAX_CODES]),
                tuple(medications.known(first[MEDICATION_CODES])[:MAX_CODES]),
                tuple(diagnoses.known(after[DIAGNOSIS_CODES])[:MAX_CODES]),
            )
            if all((entry.note, entry.diagnosis_codes, entry.medication_codes, entry.next_diagnosis_codes)):
                found.append(Example(f"Invented patient {len(found) + 1}", entry))
    return found


def _invented_visits() -> pl.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        tables, prepared = Path(folder, "tables"), Path(folder, "prepared")
        write_synthetic_tables(tables, num_patients=NUM_PATIENTS, seed=SEED)
        Preparation("synthetic", tables, prepared, drug_map=tables / DRUG_MAP_FILE).run()
        return read_visits(prepared).sort(SUBJECT_ID, VISIT_NUMBER, HADM_ID)
