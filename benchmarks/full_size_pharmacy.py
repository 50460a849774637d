"""Drugs as a hospital's pharmacy lists them, thousands of them, for `full_size_tables.py`."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import polars as pl

from medm_plm.ontologies.drug_names import read_rows

NUM_PRODUCTS = 9_000
_WITHOUT_NDC = 0.11  # of the products; the release writes 0 for them
_NEW_PRODUCT = 0.45  # of a visit's orders; the others repeat an earlier one of the same visit
_PACKAGES = ("Bag", "Vial", "Syringe", "Iso-Osmotic Dextrose", "SW", "NS", "D5W", "5% Dextrose", "Soln")
_SALTS = ("Sodium", "HCl", "Sulfate", "Tartrate", "Acetate", "Citrate", "Succinate")
_ROUTES = {
    "": ("PO", "PO", "PO", "IV", "IV", "PO/NG", "SC", "IM", "NG", "IV DRIP", "PB", "ORAL"),
    "eye": ("BOTH EYES", "LEFT EYE", "OU", "RIGHT EYE"),
    "ear": ("BOTH EARS", "AU"),
    "skin": ("TP",),
    "lung": ("IH", "NEB", "INHALATION"),
    "mouth": ("ORAL", "MM"),
    "rectum": ("PR",),
    "vein": ("IV", "IV DRIP"),
    "injection": ("SC", "IM", "IV"),
    "oral": ("PO", "PO/NG", "NG"),
    "patch": ("TD",),
    "nose": ("NU", "NAS"),
    "vagina": ("VG",),
}
_FORMS = (("Tablet", "TAB", "mg"), ("Capsule", "CAP", "mg"), ("Vial", "VIAL", "mg"), ("Bag", "BAG", "mL"),
          ("UD Cup", "UDCUP", "mL"), ("Syringe", "SYR", "UNIT"), ("Patch", "PTCH", "mg"))  # fmt: skip
_STRENGTHS = (0.5, 1, 2, 2.5, 5, 10, 12.5, 20, 25, 40, 50, 80, 100, 250, 500, 1000, 5000)


def drug_catalogue(rng: np.random.Generator) -> pl.DataFrame:
    """List products: a drug under one of several spellings, in one strength, form and package.

    Args:
        rng (`np.random.Generator`): source of chance.

    Returns:
        The columns of PRESCRIPTIONS from DRUG_TYPE on, the most frequent product first.
    """
    rows = [_product(name, group, rng) for name, group in _names(rng)]
    columns = (
        "DRUG_TYPE DRUG DRUG_NAME_POE DRUG_NAME_GENERIC FORMULARY_DRUG_CD GSN NDC PROD_STRENGTH DOSE_VAL_RX "
        "DOSE_UNIT_RX FORM_VAL_DISP FORM_UNIT_DISP ROUTE"
    )
    return pl.DataFrame(rows, schema=dict.fromkeys(columns.split(), pl.String), orient="row")


def _names(rng: np.random.Generator) -> list[tuple[str, str]]:
    """Draw a drug string and a group of routes for each product."""
    text = files("medm_plm.ontologies").joinpath("drug_names.csv").read_text(encoding="utf-8")
    known = []
    for name, group, _, synonyms in read_rows(text.splitlines()):
        known += [(spelling.strip(), group) for spelling in (name, *synonyms.split(";")) if spelling.strip()]
    order = rng.permutation(len(known))
    # Some names have many products, most have one or two.
    chosen = (len(known) * rng.random(NUM_PRODUCTS - len(_PACKAGES)) ** 1.5).astype(np.int64)
    names = [(_spelling(known[order[index]][0], rng), known[order[index]][1]) for index in chosen]
    # Packages and diluents are among the most frequent of all.
    return [(name, "vein") for name in _PACKAGES] + names


def _spelling(name: str, rng: np.random.Generator) -> str:
    """Write a name as an order might."""
    words = name.replace(" + ", "-")
    words = words if any(letter.isupper() for letter in words) else words.title()
    draw = int(rng.integers(0, 20))
    variants = {
        0: f"{words} {_SALTS[int(rng.integers(len(_SALTS)))]}",
        1: f"*NF* {words}",
        2: f"{words} (Liquid)",
        3: words.upper(),
        4: f"{words} {_STRENGTHS[int(rng.integers(len(_STRENGTHS)))]:g}mg",
        5: f'{words} ("own supply")',
        6: f"NEO*PO*{words}",
    }
    return variants.get(draw, words)


def _product(name: str, group: str, rng: np.random.Generator) -> tuple[str | None, ...]:
    form, unit, measure = _FORMS[int(rng.integers(len(_FORMS)))]
    strength = _STRENGTHS[int(rng.integers(len(_STRENGTHS)))]
    letters = "".join(filter(str.isalpha, name)).upper()[:5]
    routes = _ROUTES.get(group, _ROUTES[""])
    drug_type = "BASE" if name in _PACKAGES else ("MAIN", "MAIN", "MAIN", "ADDITIVE")[int(rng.integers(4))]
    listed = rng.random() < 0.6  # the older half of the orders has no name of the order system
    ndc = "0" if rng.random() < _WITHOUT_NDC else f"{int(rng.integers(10**6, 10**11)):011d}"
    return (
        drug_type,
        name,
        name if listed else None,
        name if listed else None,
        f"{letters}{strength:g}",
        f"{int(rng.integers(1, 70_000)):06d}" if rng.random() < 0.88 else None,
        ndc,
        f"{strength:g}{measure} {form}",
        f"{strength * int(rng.integers(1, 4)):g}"
        if rng.random() < 0.97
        else f"{strength:g}-{2 * strength:g}",
        measure,
        f"{int(rng.integers(1, 4))}",
        unit,
        routes[int(rng.integers(len(routes)))],
    )


def draw_orders(visit: np.ndarray, num_products: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the product of each order; about half of a visit's orders repeat an earlier one.

    Args:
        visit (`np.ndarray`): visit of each order, in order.
        num_products (`int`): length of the catalogue.
        rng (`np.random.Generator`): source of chance.

    Returns:
        Row of the catalogue for each order.
    """
    shares = (np.arange(num_products) + 20.0) ** -1.1
    product = rng.choice(num_products, visit.size, p=shares / shares.sum())
    row = np.arange(visit.size)
    first = np.searchsorted(visit, visit)
    source = first + (rng.random(visit.size) * (row - first)).astype(np.int64)
    source = np.where(rng.random(visit.size) < _NEW_PRODUCT, row, source)
    while (source != source[source]).any():
        source = source[source]
    return product[source]
