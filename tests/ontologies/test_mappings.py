"""Prescription tables get their medication classes, by a file or by the packaged names, and it is counted."""

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medm_plm.ontologies.mapping_files import read_mapping
from medm_plm.ontologies.mappings import Coverage, MedicationMapper, coverage

# Demo -> prescription table, column of the drug, column of the route, whether it has NDCs.
DEMOS = {
    "mimic3-demo-1.4": ("mimic3-demo-1.4/PRESCRIPTIONS.csv", "drug", "route", True),
    "mimic4-demo-2.2": ("mimic4-demo-2.2/hosp/prescriptions.csv.gz", "drug", "route", True),
    "eicu-demo-2.0.1": ("eicu-demo-2.0.1-part/medication.csv.gz", "drugname", "routeadmin", False),
}
WANTED_SHARE = 0.97


def prescriptions(*rows: tuple[str | None, str | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"drug": pl.String, "route": pl.String, "ndc": pl.String}, orient="row")


def demo_table(folder, demo: str) -> pl.DataFrame:
    path, drug, route, has_ndc = DEMOS[demo]
    frame = pl.read_csv(folder / path, infer_schema=False)
    ndc = pl.col("ndc") if has_ndc else pl.lit(None, dtype=pl.String)
    return frame.select(drug=pl.col(drug), route=pl.col(route), ndc=ndc)


def mapper_of(tmp_path, text: str) -> MedicationMapper:
    path = tmp_path / "map.csv"
    path.write_text(text, encoding="utf-8")
    return MedicationMapper.from_file(path)


def test_the_package_decides_before_the_name(tmp_path):
    mapper = mapper_of(tmp_path, "ndc,drug,atc\n2456789,Alphamol,A10BA02\n,Betamol,B01AC\n")
    table = prescriptions(
        ("Betamol", "PO", "00002-4567-89"),
        ("Betamol", "PO", "0"),
        ("Gammamol", "PO", "2456789"),
        ("Gammamol", "PO", "0"),
        (None, None, None),
    )
    assert mapper.map_table(table).to_list() == ["A10B", "B01A", "A10B", None, None]
    assert mapper.source == "map.csv"
    assert mapper.uses_ndc


def test_nothing_is_filled_in_from_a_neighbouring_row(tmp_path):
    mapper = mapper_of(tmp_path, "ndc,atc\n2456789,A10BA02\n")
    table = prescriptions(("x", "PO", "2456789"), ("x", "PO", None), ("x", None, "0"), ("x", "PO", "2456789"))
    assert mapper.map_table(table).to_list() == ["A10B", None, None, "A10B"]


def test_each_distinct_prescription_is_looked_up_once():
    asked = Counter()

    def lookup(drug, route):
        asked[drug, route] += 1
        return "A01A"

    mapper = MedicationMapper("test", {}, lookup)
    table = pl.concat([prescriptions(("x", "PO", "1"), ("x", None, "2"), ("y", "PO", None))] * 1000)
    assert mapper.map_table(table).to_list() == ["A01A"] * 3000
    assert set(asked.values()) == {1}
    assert len(asked) == 3


@given(
    st.lists(st.tuples(*[st.one_of(st.none(), st.sampled_from(["Aspirin", "IV", "0", ""]), st.text())] * 3))
)
def test_a_table_is_mapped_like_its_rows(rows):
    mapper = MedicationMapper.default()
    assert mapper.map_table(prescriptions(*rows)).to_list() == [mapper.map_one(*row) for row in rows]


def test_an_empty_table_is_mapped():
    mapped = MedicationMapper.default().map_table(prescriptions())
    assert (mapped.len(), mapped.dtype, mapped.name) == (0, pl.String, "atc")
    assert coverage(prescriptions(), MedicationMapper.default()).row_share == 1.0


def test_coverage_counts_rows_and_strings():
    table = prescriptions(
        *[("Aspirin", "PO", None)] * 3,
        *[("Nonexistol", "PO", None)] * 2,
        ("Unknownib", "IV", None),
        ("Vancomycin", "PO", None),
        ("Vancomycin", "IV", None),
        ("Bag", "IV", "12345678901"),
        ("", "IV", None),
        (None, None, None),
    )
    assert coverage(table, MedicationMapper.default()) == Coverage(
        rows=11,
        rows_without_drug=3,
        rows_mapped=5,
        drugs=4,
        drugs_mapped=2,
        classes=3,
        unmapped=(("Nonexistol", 2), ("Unknownib", 1)),
    )
    assert coverage(table, MedicationMapper.default()).row_share == pytest.approx(5 / 8)
    assert coverage(table, MedicationMapper.default()).drug_share == pytest.approx(2 / 4)


def test_a_package_number_names_a_drug_only_for_a_mapping_that_uses_it(tmp_path):
    table = prescriptions(("Bag", "IV", "12345678901"), ("Bag", "IV", "0"))
    mapper = mapper_of(tmp_path, "ndc,atc\n2456789,A10BA02\n")
    assert coverage(table, mapper).rows_without_drug == 1
    assert coverage(table, MedicationMapper.default()).rows_without_drug == 2


@pytest.mark.parametrize("demo", DEMOS)
def test_the_packaged_table_covers_the_demos(test_data_folder, demo):
    found = coverage(demo_table(test_data_folder, demo), MedicationMapper.default())
    assert found.row_share >= WANTED_SHARE
    assert found.drug_share >= WANTED_SHARE


@pytest.mark.parametrize("demo", DEMOS)
def test_the_packaged_table_agrees_with_an_independent_one(test_data_folder, demo):
    path = test_data_folder / "drug2atc3-demo" / "drug2atc3.csv"
    other = MedicationMapper("other", {}, read_mapping(path).name_to_atc)
    table = demo_table(test_data_folder, demo)
    ours, theirs = MedicationMapper.default().map_table(table), other.map_table(table)
    both = ours.is_not_null() & theirs.is_not_null()
    assert both.sum() > 10_000
    assert (ours == theirs).filter(both).mean() >= WANTED_SHARE


def test_a_name_and_route_file_maps_the_demo_it_was_made_for(test_data_folder):
    mapper = MedicationMapper.from_file(test_data_folder / "drug2atc3-demo" / "drug2atc3.csv")
    mapped = mapper.map_table(demo_table(test_data_folder, "mimic3-demo-1.4"))
    assert mapped.is_not_null().mean() >= 0.98
