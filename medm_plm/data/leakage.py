"""Proof that no answer leaks: patients stand in one split, held-out visits are unseen, labels are no inputs.

Sections 5 and 8.5 of the method: the published pre-training had seen the test admissions of two tasks. The
checks run on prepared visits at the end of every preparation and before training, and fail with a table of
counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from medm_plm.data import tasks
from medm_plm.data.schema import DIAGNOSIS_CODES, HADM_ID, MEDICATION_CODES, SPLIT, SPLITS, SUBJECT_ID
from medm_plm.data.vocabulary import SPECIAL_TOKENS, CodeVocabulary
from medm_plm.errors import InputError

TABLE_SCHEMA = pl.Schema({"check": pl.String(), "examined": pl.Int64(), "violations": pl.Int64()})


def check(
    visits: pl.DataFrame,
    vocabulary: CodeVocabulary | None = None,
    pretraining: pl.DataFrame | None = None,
    examples: Mapping[str, Mapping[str, pl.DataFrame]] | None = None,
) -> pl.DataFrame:
    """Check prepared visits, and what is made of them, against leakage.

    Args:
        visits (`polars.DataFrame`): all prepared visits.
        vocabulary (`CodeVocabulary`, *optional*): must hold no code that only held-out patients have.
        pretraining (`polars.DataFrame`, *optional*, defaults to `tasks.pretraining_visits(visits)`): visits
            that are learned from before any task.
        examples (`Mapping`, *optional*, defaults to the ICD coding and medication prediction of `tasks`): by
            task and split, frames with the columns of visits and `labels`.

    Returns:
        A table of the checks: what was looked for, in how many cases, and no violation in any.

    Raises:
        InputError: with the table of violations, if there is any.
    """
    pretraining = tasks.pretraining_visits(visits) if pretraining is None else pretraining
    examples = coding_examples(visits) if examples is None else examples
    rows = [*_visit_checks(visits, pretraining), *_vocabulary_checks(visits, vocabulary)]
    for task, by_split in examples.items():
        for split, frame in by_split.items():
            rows += _example_checks(task, split, frame, visits)
    table = pl.DataFrame(rows, TABLE_SCHEMA, orient="row")
    violated = table.filter(pl.col("violations") > 0)
    if violated.height:
        found = "; ".join(f"{name}: {count} of {examined}" for name, examined, count in violated.iter_rows())
        raise InputError(f"data leak ({found})", remedy="do not train on it; prepare the data again")
    return table


def coding_examples(visits: pl.DataFrame) -> dict[str, dict[str, pl.DataFrame]]:
    """Make the examples of the tasks whose labels are part of the record, in every split.

    Args:
        visits (`polars.DataFrame`): all prepared visits.

    Returns:
        Frames by task and split.
    """
    diagnoses, medications = tasks.icd_coding_labels(visits, None), tasks.medication_prediction_labels(visits)
    return {
        "icd_coding": {split: tasks.icd_coding_visits(visits, split, diagnoses) for split in SPLITS},
        "medication_prediction": {
            split: tasks.medication_prediction_visits(visits, split, medications) for split in SPLITS
        },
    }


def _visit_checks(visits: pl.DataFrame, pretraining: pl.DataFrame) -> Iterator[tuple[str, int, int]]:
    patients = visits.group_by(SUBJECT_ID).agg(pl.col(SPLIT).n_unique())
    yield "patient in two splits", patients.height, patients.filter(pl.col(SPLIT) > 1).height
    yield "visit listed twice", visits.height, visits.height - visits[HADM_ID].n_unique()
    held_out = visits.filter(pl.col(SPLIT) != "train")
    # By patient and by visit: a wrong patient number in the pre-training data would hide a held-out visit.
    seen = pl.col(SUBJECT_ID).is_in(held_out[SUBJECT_ID].implode()) | pl.col(HADM_ID).is_in(
        held_out[HADM_ID].implode()
    )
    yield "pre-training visit of a held-out patient", pretraining.height, pretraining.filter(seen).height


def _vocabulary_checks(
    visits: pl.DataFrame, vocabulary: CodeVocabulary | None
) -> Iterator[tuple[str, int, int]]:
    if vocabulary is None:
        return
    training = visits.filter(pl.col(SPLIT) == "train")
    known = {
        code for column in (DIAGNOSIS_CODES, MEDICATION_CODES) for codes in training[column] for code in codes
    }
    codes = vocabulary.tokens[len(SPECIAL_TOKENS) : vocabulary.num_codes]
    yield "vocabulary code of held-out patients only", len(codes), len(set(codes) - known)


def _example_checks(
    task: str, split: str, frame: pl.DataFrame, visits: pl.DataFrame
) -> Iterator[tuple[str, int, int]]:
    elsewhere = visits.filter(pl.col(SPLIT) != split)[SUBJECT_ID]
    strangers = frame.filter(pl.col(SUBJECT_ID).is_in(elsewhere.implode())).height
    yield f"{task}, {split}: patient of another split", frame.height, strangers
    if tasks.LABELS not in frame.columns:
        return
    inputs = pl.concat_list(DIAGNOSIS_CODES, MEDICATION_CODES)
    answered = frame.filter(inputs.list.set_intersection(tasks.LABELS).list.len() > 0).height
    yield f"{task}, {split}: label code among the inputs", frame.height, answered
