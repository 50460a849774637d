"""From prescriptions as hospitals write them to the medication classes of the model: ATC, third level."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl

from medm_plm.ontologies.drug_names import names_a_drug, packaged_table
from medm_plm.ontologies.mapping_files import read_mapping
from medm_plm.ontologies.ndc import normalize_ndc

NameLookup = Callable[[str, str | None], str | None]


class MedicationMapper:
    """Tell the ATC class (third level, such as `N02B`) of a prescription.

    Section 7 of the method: by package number (NDC) where the mapping knows it, else by drug name and route.
    A prescription that neither finds stays unmapped; nothing is filled in from another row.

    Args:
        source (`str`): where the knowledge comes from, for reports.
        by_ndc (`Mapping[str, str]`): 11-digit NDC to ATC third level; may be empty.
        by_name (`Callable`): from drug string and route to ATC third level or `None`.
    """

    def __init__(self, source: str, by_ndc: Mapping[str, str], by_name: NameLookup) -> None:
        self.source = source
        self._by_ndc = by_ndc
        self._by_name = cache(by_name)  # the same few thousand strings come in every shard of patients

    @classmethod
    def from_file(cls, path: str | Path) -> "MedicationMapper":
        """Use a mapping the user has: NDC to ATC, NDC over RXCUI to ATC, or drug name and route to ATC.

        A drug string whose route is missing, or not listed with it, gets the class it has with routes of the
        same group (all eye routes, all injections), else its most frequent class in the file.

        Args:
            path (`str` or `Path`): file or folder; `mapping_files.ACCEPTED_SHAPES` lists the shapes.

        Raises:
            InputError: if the file is missing or its shape is not recognised.
        """
        tables = read_mapping(Path(path))
        return cls(Path(path).name, tables.by_ndc, tables.name_to_atc)

    @classmethod
    def default(cls) -> "MedicationMapper":
        """Use the packaged table of drug names and routes (`drug_names.csv`); no download, no NDC needed."""
        return cls("packaged drug names", {}, packaged_table())

    @property
    def uses_ndc(self) -> bool:
        """Whether the mapping knows any package number."""
        return bool(self._by_ndc)

    def map_one(self, drug: str | None, route: str | None = None, ndc: str | None = None) -> str | None:
        """Map one prescription to ATC third level, or to `None`."""
        return self._map_ndc(ndc) or self._map_name(drug, route)

    def map_table(self, table: pl.DataFrame) -> pl.Series:
        """Map a table of prescriptions; each distinct drug, route and package is looked up once.

        Args:
            table (`polars.DataFrame`): columns `drug`, `route`, `ndc` (String, nullable); more are ignored.

        Returns:
            Series `atc` of the table's length: ATC third level, or null where the prescription is not mapped.
        """
        codes = _map_distinct(table, ["drug", "route"], self._map_name)
        if self.uses_ndc:
            # zip_with keeps the package's class wherever it has one.
            by_package = _map_distinct(table, ["ndc"], self._map_ndc)
            codes = by_package.zip_with(by_package.is_not_null(), codes)
        return codes

    def _map_ndc(self, ndc: str | None) -> str | None:
        package = normalize_ndc(ndc) if self.uses_ndc else None
        return self._by_ndc.get(package) if package else None

    def _map_name(self, drug: str | None, route: str | None) -> str | None:
        return self._by_name(drug, route) if drug and drug.strip() else None


def _map_distinct(
    table: pl.DataFrame, columns: Sequence[str], lookup: Callable[..., str | None]
) -> pl.Series:
    """Look each distinct row of some columns up once and join the answers back, in the table's order."""
    keys = table.select(columns)
    distinct = keys.unique()
    distinct = distinct.with_columns(
        pl.Series("atc", [lookup(*row) for row in distinct.iter_rows()], dtype=pl.String)
    )
    return keys.join(distinct, on=columns, how="left", nulls_equal=True, maintain_order="left")["atc"]


@dataclass(frozen=True)
class Coverage:
    """How much of the prescriptions a mapping understands.

    Args:
        rows (`int`): prescriptions read.
        rows_without_drug (`int`): of these, rows that name no drug: empty, or a package such as `Bag`.
        rows_mapped (`int`): rows with an ATC class.
        drugs (`int`): distinct drug strings that name something.
        drugs_mapped (`int`): of these, strings with an ATC class on at least one row.
        classes (`int`): distinct ATC classes.
        unmapped (`tuple` of `(drug string, rows)`): strings that name something unknown, most frequent first.
    """

    rows: int
    rows_without_drug: int
    rows_mapped: int
    drugs: int
    drugs_mapped: int
    classes: int
    unmapped: tuple[tuple[str, int], ...]

    @property
    def row_share(self) -> float:
        """Share of the rows naming a drug that are mapped, 0 to 1; 1 for an empty table."""
        named = self.rows - self.rows_without_drug
        return self.rows_mapped / named if named else 1.0

    @property
    def drug_share(self) -> float:
        """Share of the distinct drug strings that are mapped, 0 to 1; 1 for an empty table."""
        return self.drugs_mapped / self.drugs if self.drugs else 1.0


def coverage(table: pl.DataFrame, mapper: MedicationMapper) -> Coverage:
    """Count what a mapping does with a table of prescriptions (columns `drug`, `route`, `ndc`)."""
    mapped = table.select("drug", "route", "ndc").with_columns(atc=mapper.map_table(table))
    is_named = _is_named(mapped)
    without_drug = mapped["atc"].is_null() & ~is_named & ~_has_package(mapped, mapper)
    strings = mapped.filter(is_named).group_by("drug").agg(rows=pl.len(), mapped=pl.col("atc").count())
    unknown = strings.filter(pl.col("mapped") == 0).sort("rows", "drug", descending=[True, False])
    return Coverage(
        rows=mapped.height,
        rows_without_drug=int(without_drug.sum()),
        rows_mapped=int(mapped["atc"].count()),
        drugs=strings.height,
        drugs_mapped=strings.height - unknown.height,
        classes=mapped["atc"].drop_nulls().n_unique(),
        unmapped=tuple(unknown.select("drug", "rows").iter_rows()),
    )


def _is_named(table: pl.DataFrame) -> pl.Series:
    return _map_distinct(table, ["drug"], lambda drug: drug if names_a_drug(drug) else None).is_not_null()


def _has_package(table: pl.DataFrame, mapper: MedicationMapper) -> pl.Series:
    """Whether a row's NDC could have told the drug: it names a package and the mapping uses such numbers."""
    if not mapper.uses_ndc:
        return pl.repeat(False, table.height, dtype=pl.Boolean, eager=True)
    return _map_distinct(table, ["ndc"], normalize_ndc).is_not_null()
