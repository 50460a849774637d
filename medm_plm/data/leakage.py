"""Proof that no answer leaks: patients stand in one split, held-out visits are unseen, labels are no inputs.

Sections 5 and 8.5 of the method: the published pre-training had seen the test admissions of two tasks. The
checks run on prepared visits at the end of every preparation and before training, and fail with a table of
counts. What an example may hold at the time of its prediction stands in `tasks.PREDICTION_TIMES`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import polars as pl

from medm_plm.data import tasks
from medm_plm.data.schema import (
    ADMISSION_NOTE,
    DIAGNOSIS_CODES,
    DIED_IN_HOSPITAL,
    FIRST_DAY_MEDICATION_CODES,
    HADM_ID,
    MEDICATION_CODES,
    NOTE,
    SPLIT,
    SPLITS,
    SUBJECT_ID,
)
from medm_plm.data.visit_selection import NO_CODES, is_known
from medm_plm.data.vocabulary import SPECIAL_TOKENS, CodeVocabulary
from medm_plm.errors import InputError

COPIED_NOTE = "note that stands in a later split as well"

Row = tuple[str, int, int]
"""What was looked for, in how many cases, and in how many of them it was found."""

TABLE_SCHEMA = pl.Schema({"check": pl.String(), "examined": pl.Int64(), "violations": pl.Int64()})


def check(
    visits: pl.DataFrame,
    vocabulary: CodeVocabulary | None = None,
    pretraining: pl.DataFrame | None = None,
    examples: Mapping[str, Mapping[str, pl.DataFrame]] | None = None,
    published_held_out: Collection[str] | None = None,
    duplicates: tuple[int, int] | None = None,
) -> pl.DataFrame:
    """Check prepared visits, and what is made of them, against leakage.

    Args:
        visits (`polars.DataFrame`): all prepared visits.
        vocabulary (`CodeVocabulary`, *optional*): must hold no code that only held-out patients have.
        pretraining (`polars.DataFrame`, *optional*, defaults to `tasks.pretraining_visits(visits)`): visits
            that are learned from before any task.
        examples (`Mapping`, *optional*, defaults to the examples of `tasks` that the visits allow): by task
            (a name of `tasks.PREDICTION_TIMES`) and split, frames with the columns of visits and, where a
            label is a part of the record, `labels`.
        published_held_out (`Collection[str]`, *optional*): admission ids that published lists keep for
            validation and test; none may belong to a patient of the training split.
        duplicates (`tuple[int, int]`, *optional*): how many notes were compared, and how many of them stand,
            word for word or nearly, in a later split under another patient.

    Returns:
        A table of the checks: what was looked for, in how many cases, and no violation in any.

    Raises:
        InputError: with the table of violations, if there is any.
    """
    pretraining = tasks.pretraining_visits(visits) if pretraining is None else pretraining
    if examples is None:
        examples = {**coding_examples(visits), **early_examples(visits)}
    rows = [*_visit_checks(visits, pretraining), *_vocabulary_checks(visits, vocabulary)]
    if published_held_out is not None:
        rows.append(_published_check(visits, published_held_out))
    if duplicates is not None:
        rows.append((COPIED_NOTE, *duplicates))
    remedy = "do not train on it; prepare the data again"
    if published_held_out is not None:
        remedy += " with --split_ids and the same lists"
    return _verdict([*rows, *_examples_rows(visits, examples)], remedy)


def check_examples(
    visits: pl.DataFrame, examples: Mapping[str, Mapping[str, pl.DataFrame]], remedy: str | None = None
) -> pl.DataFrame:
    """Check the examples of a run alone.

    Args:
        visits (`polars.DataFrame`): all prepared visits.
        examples (`Mapping`): by task and split, as in `check`.
        remedy (`str`, *optional*): what the user can do about a violation.

    Returns:
        The table of the checks.

    Raises:
        InputError: with the table of violations, if there is any.
    """
    return _verdict([*_examples_rows(visits, examples)], remedy or "do not train on them")


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


def early_examples(visits: pl.DataFrame) -> dict[str, dict[str, pl.DataFrame]]:
    """Make the examples of the tasks whose answer is asked for before discharge, in every split.

    Args:
        visits (`polars.DataFrame`): all prepared visits.

    Returns:
        Frames by task and split: what is read of the visit itself. Tasks that the source does not allow are
        left out.
    """
    examples = {
        "medication_recommendation": {split: _recommendation_targets(visits, split) for split in SPLITS}
    }
    early = (FIRST_DAY_MEDICATION_CODES, ADMISSION_NOTE, DIED_IN_HOSPITAL)
    known = {name for name in early if is_known(visits, name)}
    if FIRST_DAY_MEDICATION_CODES in known:
        labels = tasks.medication_prediction_labels(visits, window="first_day")
        examples[tasks.FIRST_DAY_PREDICTION] = {
            split: tasks.medication_prediction_visits(visits, split, labels, window="first_day")
            for split in SPLITS
        }
    if DIED_IN_HOSPITAL in known and known & {ADMISSION_NOTE, FIRST_DAY_MEDICATION_CODES}:
        examples["mortality"] = {split: tasks.mortality_visits(visits, split) for split in SPLITS}
    return examples


def _recommendation_targets(visits: pl.DataFrame, split: str) -> pl.DataFrame:
    """What medication recommendation reads of the visits whose medications it predicts."""
    patients = tasks.medication_recommendation_patients(visits, split)
    if is_known(visits, ADMISSION_NOTE):
        patients = patients.with_columns(pl.col(ADMISSION_NOTE).fill_null("").alias(tasks.CURRENT_NOTE))
    return tasks.current_inputs(patients).filter(pl.col(tasks.IS_TARGET))


def _verdict(rows: list[Row], remedy: str) -> pl.DataFrame:
    """Make the table, and fail with its violations."""
    table = pl.DataFrame(rows, TABLE_SCHEMA, orient="row")
    violated = table.filter(pl.col("violations") > 0)
    if violated.height:
        found = "; ".join(f"{name}: {count} of {examined}" for name, examined, count in violated.iter_rows())
        raise InputError(f"data leak ({found})", remedy=remedy)
    return table


def _visit_checks(visits: pl.DataFrame, pretraining: pl.DataFrame) -> Iterator[Row]:
    patients = visits.group_by(SUBJECT_ID).agg(pl.col(SPLIT).n_unique())
    yield "patient in two splits", patients.height, patients.filter(pl.col(SPLIT) > 1).height
    yield "visit listed twice", visits.height, visits.height - visits[HADM_ID].n_unique()
    late = pl.col(FIRST_DAY_MEDICATION_CODES).list.set_difference(MEDICATION_CODES).list.len() > 0
    known = visits[FIRST_DAY_MEDICATION_CODES].count()
    yield "first-day medication that the stay does not have", known, visits.filter(late).height
    held_out = visits.filter(pl.col(SPLIT) != "train")
    # By patient and by visit: a wrong patient number in the pre-training data would hide a held-out visit.
    seen = pl.col(SUBJECT_ID).is_in(held_out[SUBJECT_ID].implode()) | pl.col(HADM_ID).is_in(
        held_out[HADM_ID].implode()
    )
    yield "pre-training visit of a held-out patient", pretraining.height, pretraining.filter(seen).height


def _published_check(visits: pl.DataFrame, published_held_out: Collection[str]) -> Row:
    held_out = visits.filter(pl.col(HADM_ID).is_in(list(published_held_out)))
    seen = held_out.filter(pl.col(SPLIT) == "train").height
    return "published held-out admission of a training patient", held_out.height, seen


def _vocabulary_checks(visits: pl.DataFrame, vocabulary: CodeVocabulary | None) -> Iterator[Row]:
    if vocabulary is None:
        return
    training = visits.filter(pl.col(SPLIT) == "train")
    known = {
        code for column in (DIAGNOSIS_CODES, MEDICATION_CODES) for codes in training[column] for code in codes
    }
    codes = vocabulary.tokens[len(SPECIAL_TOKENS) : vocabulary.num_codes]
    yield "vocabulary code of held-out patients only", len(codes), len(set(codes) - known)


def _examples_rows(visits: pl.DataFrame, examples: Mapping[str, Mapping[str, pl.DataFrame]]) -> Iterator[Row]:
    for task, by_split in examples.items():
        for split, frame in by_split.items():
            yield from _example_checks(task, split, frame, visits)


def _example_checks(task: str, split: str, frame: pl.DataFrame, visits: pl.DataFrame) -> Iterator[Row]:
    elsewhere = visits.filter(pl.col(SPLIT) != split)[SUBJECT_ID]
    strangers = frame.filter(pl.col(SUBJECT_ID).is_in(elsewhere.implode())).height
    yield f"{task}, {split}: patient of another split", frame.height, strangers
    if tasks.LABELS in frame.columns:
        inputs = pl.concat_list(DIAGNOSIS_CODES, MEDICATION_CODES)
        answered = frame.filter(inputs.list.set_intersection(tasks.LABELS).list.len() > 0).height
        yield f"{task}, {split}: label code among the inputs", frame.height, answered
    later = _later_fields(task, frame, visits)
    yield f"{task}, {split}: field later than the prediction time", frame.height, later


def _later_fields(task: str, frame: pl.DataFrame, visits: pl.DataFrame) -> int:
    """Count the examples that hold what is not known yet; what is known is looked up in the visits."""
    time = tasks.PREDICTION_TIMES.get(task)
    if time is None:
        raise InputError("task has no prediction time", received=task, remedy="state it in PREDICTION_TIMES")
    medications = NO_CODES if time.medications is None else pl.col(time.medications).fill_null([])
    known = visits.select(
        HADM_ID, pl.col(time.note).fill_null("").alias("known_note"), medications.alias("known_medications")
    )
    # An example that is none of the visits has nothing that is known.
    inputs = frame.select(HADM_ID, NOTE, DIAGNOSIS_CODES, MEDICATION_CODES)
    inputs = inputs.join(known.unique(HADM_ID), on=HADM_ID, how="left")
    later_note = (pl.col(NOTE) != "") & pl.col(NOTE).ne_missing(pl.col("known_note"))
    given = pl.col(MEDICATION_CODES).list.set_difference(pl.col("known_medications").fill_null([]))
    later = later_note | (given.list.len() > 0)
    if not time.diagnoses:
        later |= pl.col(DIAGNOSIS_CODES).list.len() > 0
    return inputs.filter(later).height
