"""The packaged table reads drug strings as American hospitals write them."""

import csv
import itertools
import re
from collections import defaultdict
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medm_plm.ontologies.drug_names import (
    LONGEST_STRING,
    DrugNameTable,
    name_words,
    names_a_drug,
    packaged_table,
    read_rows,
)
from medm_plm.ontologies.drug_words import SALTS, is_packaging, is_passed_over
from medm_plm.ontologies.routes import ROUTE_GROUPS

# Third-level groups that WHO introduced after the list of 2009 used here.
GROUPS_SINCE_2009 = {"C03X", "L01E", "L01F"}


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str, str, str]]:
    text = files("medm_plm.ontologies").joinpath("drug_names.csv").read_text(encoding="utf-8")
    return list(read_rows(text.splitlines()))


@pytest.mark.parametrize(
    ("drug", "route", "atc"),
    [
        ("Metoprolol Tartrate", "PO", "C07A"),
        ("METOPROLOL TARTRATE 12.5 MG HALF TABLET", "PO", "C07A"),
        ("1 EACH PACKAGE CUSTOM NDC : LISINOPRIL 2.5 MG PO TABS (HALF-TAB)", "Oral", "C09A"),
        ("3 ML VIAL: INSULIN LISPRO (HUMAN) 100 UNIT/ML SC SOLN", "SC", "A10A"),
        ("2.5 ML - IPRATROPIUM BROMIDE-ALBUTEROL SULFATE 0.5-2.5 MG IN NEBU", "NEB", "R03A"),
        ("*NF* Caspofungin Acetate", "IV", "J02A"),
        ("Ampicillin-Sulbactam 1 G VIAL", "IV", "J01C"),
        ("Acetaminophen (Liquid)", "PO/NG", "N02B"),
        ("HYDROmorphone (Dilaudid)", "IVPCA", "N02A"),
        ("ASPIRIN EC 325 MG PO TBEC", "PO", "B01A"),
        ("levoFLOXacin in D5W (LEVAQUIN) ivpb 750 mg", "IVPB", "J01M"),
        ("<<vasopressin 20 units/mL Inj", "IV", "H01B"),
        ("Oxycodone--Acetaminophen (5mg-325mg)", "PO", "N02A"),
        ("ACETAMINOPHEN/HYDROCODONE 325MG/5MG", "PO", "N02A"),
        ("LISINOPRIL-HYDROCHLOROTHIAZIDE 10-12.5 MG PO TABS", "PO", "C09B"),
        ("Sulfameth/Trimethoprim DS", "PO", "J01E"),
        ("St. John's Wort", "PO", "N06A"),
        ("NEO*IV*Gentamicin", "IV", "J01G"),
        ("Warfarin - physician monitored", "PO", "B01A"),
        ("Potassium Chloride Replacement (Critical Care)", "IV", "A12B"),
        ("Pneumococcal 23-valent polysaccharide vaccine", "IM", "J07A"),
        ("Influenza Vac Split Quad 0.5 mL IM SUSP", "IM", "J07B"),
        ("Amino Acids 4.25%-Dextrose 5%", "IV", "B05B"),
        ("TPN", "IV", "B05B"),
        ("0.45% Sodium Chloride", "IV", "B05B"),
        ("1000 ML FLEX CONT : DEXTROSE-NACL 5-0.9 % IV SOLN", "IV", "B05B"),
        ("KCL IN DEXTROSE-NACL 40-5-0.45 MEQ/L-%-% IV SOLN", "IV", "B05B"),
        ("Syringe (0.9% Sodium Chloride)", "IV", "B05B"),
        ("SW", "IV", "V07A"),
        ("Heparin Flush (10 units/ml)", "IV", "B01A"),
        ("Magnesium Sulfate 2 GM/50 ML IVPB", "IV", "B05X"),
        ("Magnesium Sulfate 2G/Sodium Chloride 0.9% 100 ML", "IV", "B05X"),
        ("Calcium Gluconate 1 G in Sodium Chloride 50 ML", "IV", "A12A"),
        ("Iopamidol 61 % IV SOLN", "IV", "V08A"),
        ("Artificial Tears Preserv. Free", "BOTH EYES", "S01X"),
        ("Multivitamins W/minerals", "PO", "A11A"),
        ("Vitamin A & D Ointment", "TP", "D02A"),
        ("Vitamin D 1000 units", "PO", "A11C"),
    ],
)
def test_hospital_strings(drug, route, atc):
    assert packaged_table()(drug, route) == atc


@pytest.mark.parametrize(
    ("drug", "atc_by_route"),
    [
        ("Timolol Maleate 0.5%", {"BOTH EYES": "S01E", "PO": "C07A"}),
        ("Vancomycin", {"IV": "J01X", "PO": "A07A", "PO/NG": "A07A", "PR": "A07A", None: "J01X"}),
        ("Metronidazole", {"IV": "J01X", "PO": "P01A", "TP": "D06B", "VG": "G01A"}),
        ("Flagyl", {"IV": "J01X", "PO": "P01A"}),
        ("Dexamethasone", {"IV": "H02A", "PO": "H02A", "OU": "S01B", "LEFT EAR": "S02B"}),
        ("Hydrocortisone", {"IV": "H02A", "TP": "D07A", "PR": "C05A"}),
        ("Triamcinolone", {"TP": "D07A", "IM": "H02A", "NU": "R01A"}),
        ("Fluticasone", {"IH": "R03B", "NU": "R01A", "TP": "D07A"}),
        ("Budesonide", {"NEB": "R03B", "PO": "A07E", "NU": "R01A"}),
        ("Erythromycin", {"OU": "S01A", "IV": "J01F", "PO": "J01F"}),
        ("Gentamicin", {"IV": "J01G", "LEFT EYE": "S01A", "TP": "D06A"}),
        ("Lidocaine", {"TD": "N01B", "SC": "N01B", "IV DRIP": "C01B", "TP": "N01B"}),
        ("Nystatin", {"PO": "A07A", "SWISH": "A07A", "TP": "D01A", "VG": "G01A"}),
        ("Acyclovir", {"IV": "J05A", "PO": "J05A", "TP": "D06B"}),
        ("Sodium Chloride", {"IV": "B05B", "NEB": "R05C", "NU": "R01A", "PO": "A12C", "IRR": "B05C"}),
        ("Sodium Bicarbonate", {"IV": "B05X", "PO": "A02A"}),
        ("Glucose", {"IV": "B05B", "PO": "V06D"}),
        ("Phenylephrine", {"IV DRIP": "C01C", "NU": "R01A", "OU": "S01F"}),
        ("Acetylcysteine 20%", {"NEB": "R05C", "IV": "V03A"}),
        ("Ketorolac", {"IV": "M01A", "OD": "S01B"}),
        ("Tacrolimus", {"PO": "L04A", "TP": "D11A"}),
        ("Timoptic", {None: "S01E", "MISC": "S01E"}),
    ],
)
def test_route_decides(drug, atc_by_route):
    assert {route: packaged_table()(drug, route) for route in atc_by_route} == atc_by_route


def test_dosage_form_speaks_where_the_route_does_not():
    table = packaged_table()
    assert table("Ciprofloxacin 0.3% Ophth Soln") == "S01A"
    assert table("CIPROFLOXACIN HCL 500 MG PO TABS", "MISC") == "J01M"
    assert table("Hydrocortisone 1 % EX CREA", ".ROUTE") == "D07A"
    assert table("Mupirocin Nasal Ointment 2%", "TP") == "R01A"
    # The chart knows better than the vial: the solution for infusion was drunk.
    assert table("VANCOMYCIN HCL 1000 MG IV SOLR", "PO") == "A07A"


@pytest.mark.parametrize("parts", [*itertools.permutations(["Neomycin", "Polymyxin B", "Dexamethasone"])])
def test_combinations_match_in_any_order(parts):
    assert packaged_table()("-".join(parts), "OU") == "S01C"


@pytest.mark.parametrize(
    "drug",
    [
        "",
        "  ",
        "Bag",
        "Vial",
        "Soln.",
        "Syringe (IV Room)",
        "10 ML",
        "AMP",
        "Insulin Syringe",
        "Yellow CADD Cassette",
        "Placebo",
    ],
)
def test_packages_name_no_drug(drug):
    assert packaged_table()(drug) is None
    assert not names_a_drug(drug)


@pytest.mark.parametrize(
    "drug",
    [
        "Nonexistol",
        "Nonexistol Sodium Phosphate",
        "Nonexistol 5 mg in Sodium Chloride 0.9%",
        "Nonexistol in D5W",
        "Potassium Nonexistate",
        "Calcium Nonexistate",
    ],
)
def test_the_salt_or_the_diluent_of_an_unknown_drug_is_not_the_drug(drug):
    assert packaged_table()(drug) is None
    assert names_a_drug(drug)


def test_a_small_table_reads_as_documented():
    table = DrugNameTable(
        [
            ("alphamol", "", "A01A", "Alphax"),
            ("alphamol", "eye", "S01A", "Alphoptic"),
            ("alphamol + betamol", "", "B01A", ""),
            ("alphamol kit", "", "", ""),
        ]
    )
    assert table("Alphax 5 mg", "PO") == "A01A"
    assert table("Alphax", "OU") == "S01A"
    assert table("Alphoptic", "PO") == "S01A"
    assert table("Betamol HCl 2 mg / Alphamol Sodium", "OU") == "B01A"
    assert table("alphamolic") is None
    assert not table.match("Alphamol Kit").names_a_drug


def test_rows_are_well_formed(rows):
    for name, route, atc, synonyms in rows:
        assert route in {"", *ROUTE_GROUPS}, name
        assert re.fullmatch(r"[A-Z]\d\d[A-Z]|", atc), name
        assert all(name_words(each) for each in [name, *synonyms.split("; ")] if each), name
    keys = [row[:2] for row in rows]
    assert len(set(keys)) == len(keys)
    by_class = [(atc or "~", name.lower(), route) for name, route, atc, _ in rows]
    assert by_class == sorted(by_class)


def test_each_substance_has_a_class_for_unknown_routes(rows):
    assert {name for name, route, _, _ in rows if route} <= {name for name, route, _, _ in rows if not route}


def test_no_name_has_two_meanings(rows):
    classes_of_substance = defaultdict(dict)
    for name, route, atc, _ in rows:
        classes_of_substance[name][route] = atc
    meanings = defaultdict(set)
    for name, route, atc, synonyms in rows:
        named = [(name, classes_of_substance[name])]
        named += [
            (synonym, {"": atc} if route else classes_of_substance[name]) for synonym in synonyms.split("; ")
        ]
        for spelling, classes in named:
            for order in itertools.permutations(spelling.split(" + ")):
                meanings[tuple(name_words(" ".join(order)))].add(tuple(sorted(classes.items())))
    meanings.pop((), None)
    assert {" ".join(words) for words, found in meanings.items() if len(found) > 1} == set()
    # A name made of packaging alone would be found in every string.
    single = {words[0] for words in meanings if len(words) == 1}
    assert {word for word in single if is_packaging(word)} <= {"5DW"}
    assert {word for word in single if word in SALTS} == {"CALCIUM", "MAGNESIUM", "POTASSIUM", "TROMETHAMINE"}


def test_packaging_words_and_salts_are_passed_over():
    assert is_packaging("TABS")
    assert is_passed_over("HYDROCHLORIDE")
    assert not is_packaging("HYDROCHLORIDE")
    assert not is_passed_over("ASPIRIN")


def test_classes_exist_and_agree_with_the_names_of_who(rows, test_data_folder):
    path = test_data_folder / "atc-2009-debian" / "atc_only-utf8.csv"
    with path.open(encoding="utf-8", newline="") as file:
        listed = [(row[0], row[1]) for row in csv.reader(file)]
    known = {code for code, _ in listed}
    assert {atc for _, _, atc, _ in rows if atc} - known == GROUPS_SINCE_2009
    classes_of_name = defaultdict(set)
    for code, name in listed:
        if len(code) == 7:
            classes_of_name[name].add(code[:4])
    compared = [
        atc in classes_of_name[name.upper()]
        for name, route, atc, _ in rows
        if name.upper() in classes_of_name and atc not in GROUPS_SINCE_2009
    ]
    assert len(compared) > 1000
    assert sum(compared) / len(compared) > 0.96


def test_a_very_long_string_is_read_from_its_beginning():
    assert packaged_table()("Aspirin " + "sodium chloride " * 200_000) == "B01A"
    assert packaged_table()("x " * LONGEST_STRING + "aspirin") is None


@given(st.text(), st.one_of(st.none(), st.text()))
def test_any_text_is_mapped_or_not_but_never_raises(drug, route):
    atc = packaged_table()(drug, route)
    assert atc is None or re.fullmatch(r"[A-Z]\d\d[A-Z]", atc)


@given(
    st.lists(
        st.sampled_from(
            [
                "Potassium",
                "IN",
                "+",
                "-",
                "sodium",
                "chloride",
                "5%",
                "dextrose",
                "Nonexistol",
                "&",
                "TABS",
                "(Liquid)",
                "W/",
                "lidocaine",
                "Ophth",
            ]
        )
    )
)
def test_any_mixture_of_words_is_read_the_same_in_any_case(words):
    drug = " ".join(words)
    assert packaged_table()(drug.upper()) == packaged_table()(drug.lower())
