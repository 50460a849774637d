"""Entries of the report on what became of the records: visits left out, codes merged, medications unmapped.

Each is counted shard by shard, a shard holding whole patients, and the counts of the shards add up: numbers
of patients do, too, because no patient stands in two shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from medm_plm.data.cohort import READMISSION_POLICIES, CohortRules, select_visits, with_readmissions
from medm_plm.data.report.entries import Report, label_counts
from medm_plm.data.report.tables import MINIMUM_PATIENTS
from medm_plm.data.schema import ATC, CODE, DRUG, HADM_ID, NUM_ROWS, SUBJECT_ID, RowLedger
from medm_plm.ontologies.drug_names import names_a_drug

VISITS_READ = "visits read"  # first step of a flow
MAPPED = "mapped"
NUM_UNMAPPED = 100  # strings listed at most

STEP_SCHEMA = pl.Schema({"step": pl.String(), "visits": pl.Int64(), "patients": pl.Int64()})
DRUG_SCHEMA = pl.Schema(
    {DRUG: pl.String(), "rows": pl.Int64(), "rows_mapped": pl.Int64(), "patients": pl.Int64()}
)


def sum_entries(entries: Iterable[Mapping[str, Any]]) -> Report:
    """Add up the entries of several shards of patients, number by number.

    Args:
        entries (`Iterable[Mapping]`): nested counts; a key that only some entries have counts as 0 in others.

    Returns:
        The entry of all patients, keys in the order in which they are first met; empty for no entries.
    """
    total: Report = {}
    for entry in entries:
        for key, value in entry.items():
            nested = isinstance(value, Mapping)
            total[key] = sum_entries([total.get(key, {}), value]) if nested else total.get(key, 0) + value
    return total


def cohort_steps(visits: pl.DataFrame, rules: CohortRules) -> pl.DataFrame:
    """Apply the cohort rules one after the other and count what is left.

    Args:
        visits (`polars.DataFrame`): all visits that were read, with note and codes, as `cohort.select_visits`
            takes them.
        rules (`CohortRules`): what a visit must have.

    Returns:
        `STEP_SCHEMA`: the visits read, then a row for each rule, named by the reason for leaving visits out,
        with the visits and patients left after it.
    """
    ledger = _FlowLedger(visits.height, steps=[(VISITS_READ, visits.height, visits[SUBJECT_ID].n_unique())])
    select_visits(visits, rules, ledger)
    return pl.DataFrame(ledger.steps, STEP_SCHEMA, orient="row")


def merge_cohort_steps(shards: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Add up the steps of several shards of patients.

    Args:
        shards (`Iterable[polars.DataFrame]`): what `cohort_steps` counted in each, by the same rules.

    Returns:
        The steps of all patients, in their order.
    """
    frame = pl.concat([STEP_SCHEMA.to_frame(), *shards])
    return frame.group_by("step", maintain_order=True).agg(pl.col("visits", "patients").sum())


def exclusions_entry(ledger: RowLedger, steps: pl.DataFrame) -> Report:
    """Tell how the rows of the visit table became the prepared visits.

    Args:
        ledger (`RowLedger`): completed account of the visit table.
        steps (`polars.DataFrame`): what `cohort_steps` counted, merged over the shards.

    Returns:
        Rows read, then each reason in order with the visits dropped for it and the visits and patients left;
        patients are not known while the table is read.
    """
    left, flow = ledger.rows_in, []
    later = set(steps["step"])
    for reason, dropped in sorted(ledger.dropped.items()):  # shards meet the reasons in another order
        if reason in later:
            continue
        left -= dropped
        flow.append(_step(reason, dropped, left, None))
    for reason, visits, patients in steps.iter_rows():
        flow.append(_step(reason, left - visits, visits, patients))
        left = visits
    return {"rows_read": ledger.rows_in, "steps": flow}


def readmission_policies_entry(read: pl.DataFrame, prepared: pl.DataFrame) -> Report:
    """Count the readmission labels under every policy, not only the chosen one.

    Args:
        read (`polars.DataFrame`): all visits that were read, in the columns of `schema.SOURCE_VISIT_SCHEMA`.
        prepared (`polars.DataFrame`): the visits that were kept; only their `hadm_id` is looked at.

    Returns:
        By policy, the labels of the visits read and of those prepared; `sum_entries` adds shards up.
    """
    entry: Report = {}
    for policy in READMISSION_POLICIES:
        labelled = with_readmissions(read, policy)
        kept = labelled.join(prepared, on=HADM_ID, how="semi")
        entry[policy] = {"visits_read": label_counts(labelled), "visits_prepared": label_counts(kept)}
    return entry


def repeated_codes_entry(rows: pl.DataFrame, visits: pl.DataFrame, column: str) -> Report:
    """Count the rows that name a code which their visit has already.

    Args:
        rows (`polars.DataFrame`): coded rows before merging: `hadm_id`, `code`, `num_rows`.
        visits (`polars.DataFrame`): visits whose lists hold every code once; rows of other visits do not
            count.
        column (`str`): the list column, such as `diagnosis_codes`.

    Returns:
        Rows, distinct codes of visits, rows merged into another, and the visits that had such rows;
        `sum_entries` adds shards up.
    """
    rows_of_visit = rows.group_by(HADM_ID).agg(pl.col(NUM_ROWS).sum())
    joined = visits.select(HADM_ID, pl.col(column).list.len().cast(pl.Int64).alias(CODE)).join(
        rows_of_visit, on=HADM_ID, how="inner"
    )
    num_rows, num_codes = int(joined[NUM_ROWS].sum()), int(joined[CODE].sum())
    repeated = joined.filter(pl.col(NUM_ROWS) > pl.col(CODE)).height
    merged = num_rows - num_codes
    return {"rows": num_rows, "codes": num_codes, "rows_merged": merged, "visits_with_repeats": repeated}


def mapping_entry(prescriptions: pl.DataFrame) -> Report:
    """Tell how many prescriptions have a medication class.

    Args:
        prescriptions (`polars.DataFrame`): prescriptions of all shards: `code` (null where there is no
            class), `num_rows`, and what tells prescriptions apart (`drug`, `route`, `ndc`, perhaps `atc`).

    Returns:
        The counts.
    """
    mapped = prescriptions.filter(pl.col(CODE).is_not_null())
    keys = [name for name in prescriptions.columns if name not in (CODE, NUM_ROWS)]
    rows, rows_mapped = int(prescriptions[NUM_ROWS].sum()), int(mapped[NUM_ROWS].sum())
    entry: Report = {
        "rows": rows,
        "rows_mapped": rows_mapped,
        "share_of_rows": _share(rows_mapped, rows),
        "distinct_prescriptions": prescriptions.select(keys).n_unique(),
        "distinct_prescriptions_mapped": mapped.select(keys).n_unique(),
        "distinct_drug_names": prescriptions[DRUG].drop_nulls().n_unique(),
        "distinct_drug_names_mapped": mapped[DRUG].drop_nulls().n_unique(),
        "medication_classes": mapped[CODE].n_unique(),
    }
    if ATC in keys:
        named = prescriptions.filter(pl.col(ATC).is_not_null())
        entry["rows_with_a_class_of_the_source"] = int(named[NUM_ROWS].sum())
    return entry


def count_drugs(rows: pl.DataFrame) -> pl.DataFrame:
    """Count how often each drug string is written and mapped in one shard of patients.

    Args:
        rows (`polars.DataFrame`): prescriptions: `subject_id`, `drug` (null where there is none), `mapped`
            (whether the row has a class) and `num_rows`.

    Returns:
        `DRUG_SCHEMA`: one row for each string, sorted.
    """
    counts = rows.group_by(DRUG).agg(
        pl.col(NUM_ROWS).sum().cast(pl.Int64).alias("rows"),
        pl.col(NUM_ROWS).filter(pl.col(MAPPED)).sum().cast(pl.Int64).alias("rows_mapped"),
        pl.col(SUBJECT_ID).n_unique().cast(pl.Int64).alias("patients"),
    )
    return counts.select(DRUG_SCHEMA.names()).sort(DRUG)


def medication_coverage_entry(shards: Iterable[pl.DataFrame]) -> Report:
    """Tell how much of the prescriptions is mapped, and which drug strings are not.

    Args:
        shards (`Iterable[polars.DataFrame]`): what `count_drugs` counted in each shard of patients.

    Returns:
        Coverage of rows and of distinct strings. A row that is not mapped and names no drug (empty, or a
        package such as `Bag`) counts apart. Strings with unmapped rows are listed by the number of these, if
        at least `MINIMUM_PATIENTS` patients have the string, since it may be free text; the others are summed
        up.
    """
    frame = pl.concat([DRUG_SCHEMA.to_frame(), *shards]).group_by(DRUG).agg(pl.all().sum())
    is_named = pl.Series([names_a_drug(drug) for drug in frame[DRUG]], dtype=pl.Boolean)
    named = frame.filter(is_named)
    unmapped = (pl.col("rows") - pl.col("rows_mapped")).alias("rows_unmapped")
    unknown = named.with_columns(unmapped).filter(pl.col("rows_unmapped") > 0)
    unknown = unknown.sort("rows_unmapped", DRUG, descending=[True, False])
    shared = unknown.filter(pl.col("patients") >= MINIMUM_PATIENTS)
    rare = unknown.filter(pl.col("patients") < MINIMUM_PATIENTS)
    rows, rows_mapped = int(frame["rows"].sum()), int(frame["rows_mapped"].sum())
    without_drug = int(frame.filter(~is_named).select(unmapped).sum().item())
    strings_mapped = named.filter(pl.col("rows_mapped") > 0).height
    return {
        "rows": rows,
        "rows_without_drug": without_drug,
        "rows_mapped": rows_mapped,
        "share_of_rows_naming_a_drug": _share(rows_mapped, rows - without_drug),
        "strings": named.height,
        "strings_mapped": strings_mapped,
        "share_of_strings": _share(strings_mapped, named.height),
        "minimum_patients": MINIMUM_PATIENTS,
        "unmapped": shared.head(NUM_UNMAPPED).select(DRUG, "rows_unmapped", "rows", "patients").to_dicts(),
        "unmapped_beyond_the_list": _strings_and_rows(shared[NUM_UNMAPPED:]),
        "unmapped_of_fewer_patients": _strings_and_rows(rare),
    }


@dataclass
class _FlowLedger(RowLedger):
    """A ledger that also notes what is left after each rule, even one that leaves nothing out."""

    steps: list[tuple[str, int, int]] = field(default_factory=list)

    def keep(self, frame: pl.DataFrame, condition: pl.Expr, reason: str) -> pl.DataFrame:
        kept = super().keep(frame, condition, reason)
        self.steps.append((reason, kept.height, kept[SUBJECT_ID].n_unique()))
        return kept


def _step(reason: str, dropped: int, visits_left: int, patients_left: int | None) -> Report:
    return {
        "reason": reason,
        "visits_dropped": dropped,
        "visits_left": visits_left,
        "patients_left": patients_left,
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _strings_and_rows(frame: pl.DataFrame) -> dict[str, int]:
    return {"strings": frame.height, "rows": int(frame["rows_unmapped"].sum())}
