"""Codes of eICU: two diagnosis systems in one column, and drugs that only a code names."""

from __future__ import annotations

import re

import polars as pl

from medm_plm.data.schema import DRUG, NUM_ROWS, ROUTE

_CODE = "drughiclseqno"

# Both systems stand in one column: "401.9, I10". E codes tell themselves apart by their digits before the dot
# (three in ICD-9, two in ICD-10); the few V codes that fit both are read as ICD-9, as its supplementary codes
# are common.
CODE_SHAPES = {
    "ICD9CM": re.compile(r"(\d{3}(\.\d{1,2})?|V\d{2}(\.\d{1,2})?|E\d{3}(\.\d)?)"),
    "ICD10CM": re.compile(r"(?!V\d{2}(\.\d{1,2})?$)(?!E\d{3}(\.\d)?$)[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?"),
}


def codes_of_system(cell: str, system: str) -> list[str]:
    """Pick the codes of one system from a cell such as `401.9, I10`, by their shape.

    Args:
        cell (`str`): codes with commas between them.
        system (`str`): "ICD9CM" or "ICD10CM".

    Returns:
        The codes as they are written, in their order.
    """
    codes = (code.strip().upper() for code in cell.split(","))
    return [code for code in codes if CODE_SHAPES[system].fullmatch(code)]


def count_names(prescriptions: pl.DataFrame) -> pl.DataFrame:
    """Count how often each HICL code is written with each name and route.

    Args:
        prescriptions (`polars.DataFrame`): columns `drugname`, `routeadmin` and `drughiclseqno`, as in the
            table.

    Returns:
        Columns `drughiclseqno`, `route`, `name` and `num_rows`; counts of parts of the table add up.
    """
    named = prescriptions.filter(pl.col("drugname").is_not_null() & pl.col(_CODE).is_not_null())
    columns = (_CODE, pl.col("routeadmin").alias(ROUTE), pl.col("drugname").alias("name"))
    return named.group_by(columns).agg(pl.len().cast(pl.Int64).alias(NUM_ROWS))


def name_by_code(prescriptions: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Name drugs that are given by their HICL code alone, as the same code is named elsewhere in the table.

    In eICU two fifths of the medication rows have no name, in some hospitals all of them; the HICL code
    stands for the list of ingredients, which decides the medication class. The name is the most frequent one
    that the table gives the code with the same route, else with any route; nothing is taken from neighbouring
    rows.

    Args:
        prescriptions (`polars.DataFrame`): columns `drug`, `route` and `drughiclseqno`, text or null.
        names (`polars.DataFrame`): what `count_names` counted in the whole table.

    Returns:
        The same rows in the same order, with more names.
    """
    for keys in ([_CODE, ROUTE], [_CODE]):
        most_frequent = (
            names.group_by(*keys, "name")
            .agg(pl.sum(NUM_ROWS))
            .sort(NUM_ROWS, "name", descending=[True, False])
            .group_by(keys, maintain_order=True)
            .agg(pl.col("name").first())
        )
        prescriptions = (
            prescriptions.join(
                most_frequent, on=keys, how="left", nulls_equal=ROUTE in keys, maintain_order="left"
            )
            .with_columns(pl.coalesce(DRUG, "name").alias(DRUG))
            .drop("name")
        )
    return prescriptions
