"""Codes of eICU: two diagnosis systems in one column, and drugs that only a code names."""

from __future__ import annotations

import re

import polars as pl

from medm_plm.data.schema import DRUG, ROUTE

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


def name_by_code(prescriptions: pl.DataFrame) -> pl.DataFrame:
    """Name drugs that are given by their HICL code alone, as the same code is named elsewhere in the table.

    In eICU two fifths of the medication rows have no name, in some hospitals all of them; the HICL code
    stands for the list of ingredients, which decides the medication class. The name is the most frequent one
    that the table gives the code with the same route, else with any route; nothing is taken from neighbouring
    rows.

    Args:
        prescriptions (`polars.DataFrame`): columns `drug`, `route` and `drughiclseqno`, text or null.

    Returns:
        The same rows in the same order, with more names.
    """
    code = "drughiclseqno"
    named = prescriptions.filter(pl.col(DRUG).is_not_null() & pl.col(code).is_not_null())
    for keys in ([code, ROUTE], [code]):
        names = (
            named.group_by(*keys, DRUG)
            .len()
            .sort("len", DRUG, descending=[True, False])
            .group_by(keys, maintain_order=True)
            .agg(pl.col(DRUG).first().alias("name"))
        )
        prescriptions = (
            prescriptions.join(names, on=keys, how="left", nulls_equal=ROUTE in keys, maintain_order="left")
            .with_columns(pl.coalesce(DRUG, "name").alias(DRUG))
            .drop("name")
        )
    return prescriptions
