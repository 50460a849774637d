"""The eICU reader on invented tables and on the demo: order, codes by shape, drugs by code, honest text."""

import shutil

import polars as pl
import pytest

from medm_plm.data import eicu
from medm_plm.data.eicu_codes import codes_of_system, count_names, name_by_code
from medm_plm.data.eicu_notes import describe, pick_list_phrases
from medm_plm.data.preparation import Preparation
from medm_plm.data.schema import RowLedger, read_visits


@pytest.fixture
def folder(project_root):
    return project_root / "tests" / "fixtures" / "eicu"


def test_stays_are_ordered_by_year_hospital_stay_and_unit_visit(folder):
    tables = eicu.read(folder)
    stays = tables.visits.sort("subject_id", "source_order")
    assert stays["hadm_id"].to_list() == ["201", "202", "203", "301", "401", "501"]
    assert stays["age"].to_list() == [70.0, 71.0, 71.0, 90.0, None, 12.0]
    assert stays["died_in_hospital"].to_list() == [False, True, True, False, None, False]
    assert stays["admission_time"].null_count() == 6, "eICU has no calendar dates"
    assert tables.ledgers["patient"].dropped == {"stay is listed again": 1}


@pytest.mark.parametrize(
    ("cell", "icd9", "icd10"),
    [
        ("401.9, I10", ["401.9"], ["I10"]),
        ("I50.9,428.0", ["428.0"], ["I50.9"]),
        ("518.81, 038.9, J96.00, A41.9", ["518.81", "038.9"], ["J96.00", "A41.9"]),
        ("V45.81, Z95.1", ["V45.81"], ["Z95.1"]),
        ("E850.3", ["E850.3"], []),
        ("E87.1", [], ["E87.1"]),
        ("M1A.00", [], ["M1A.00"]),
        ("t43.201a", [], ["T43.201A"]),
        ("99.9, 12, , nonsense", [], []),
    ],
)
def test_codes_are_told_apart_by_their_shape(cell, icd9, icd10):
    assert codes_of_system(cell, "ICD9CM") == icd9
    assert codes_of_system(cell, "ICD10CM") == icd10


def test_diagnoses_come_by_priority_then_time(folder):
    tables = eicu.read(folder)
    codes = tables.diagnoses.filter(pl.col("hadm_id") == "202").sort("position")["code"].to_list()
    wanted = ["ICD9CM:51881", "ICD9CM:0389", "ICD9CM:4280", "ICD9CM:V4581", "ICD9CM:4019", "ICD9CM:4019"]
    assert codes == wanted
    assert tables.diagnoses["num_rows"].sum() == tables.ledgers["diagnosis"].rows_out == 6
    assert tables.ledgers["diagnosis"].dropped["no ICD9CM code"] == 3


def test_icd10_codes_come_by_option_only(folder):
    codes = eicu.read(folder, diagnosis_system="ICD10CM").diagnoses
    assert codes.filter(pl.col("hadm_id") == "203")["code"].to_list() == ["ICD10CM:J9600"]
    assert all(code.startswith("ICD10CM:") for code in codes["code"])


def test_cancelled_orders_go_and_nameless_drugs_are_named_by_their_code(folder):
    tables = eicu.read(folder)
    assert tables.prescriptions.select("hadm_id", "drug").rows() == [
        ("202", "Heparin"),
        ("202", "Furosemide"),
        ("301", "Furosemide"),
    ]
    assert tables.remarks == {"medication rows named by their HICL code": 1}
    assert tables.ledgers["medication"].dropped == {
        "order cancelled": 1,
        "row belongs to no visit that was read": 1,
        "no drug name and no HICL code that names one": 2,
    }


def test_a_name_comes_from_the_code_never_from_the_neighbour():
    rows = [
        ("Lasix", "PO", "200"),
        ("Lasix", "PO", "200"),
        ("Furosemide", "IV", "200"),
        (None, "IV", "200"),
        (None, "PO", "200"),
        (None, "SC", "200"),
        (None, "PO", None),
        (None, None, "300"),
    ]
    frame = pl.DataFrame(rows, ["drug", "route", "drughiclseqno"], orient="row")
    names = count_names(frame.rename({"drug": "drugname", "route": "routeadmin"}))
    named = name_by_code(frame, names)
    assert named["drug"].to_list()[3:] == ["Furosemide", "Lasix", "Lasix", None, None]
    shuffled = frame.with_row_index().sample(fraction=1.0, shuffle=True, seed=3)
    again = name_by_code(shuffled.drop("index"), names).with_columns(shuffled["index"]).sort("index")
    assert again["drug"].equals(named["drug"])


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("notes/X/Organ Systems/Pulmonary/Asthma/asthma", "asthma", ("Pulmonary", "asthma")),
        (
            "notes/X/Cardiovascular (R)/Congestive Heart Failure/CHF",
            "CHF",
            ("Congestive Heart Failure", "CHF"),
        ),
        ("notes/X/Pulmonary/COPD/COPD  - moderate", "COPD  - moderate", ("", "COPD  - moderate")),
        ("notes/X/Eyes/Pupils/(symmetry)/equal", "equal", ("Pupils", "equal")),
        ("notes/X/Affect/calm/appropriate", "calm/appropriate", ("Affect", "calm/appropriate")),
        ('notes/X/Pulmonary/Print "Negative"/negative', "negative", ("Pulmonary", "negative")),
        ("alone", None, ("", "alone")),
    ],
)
def test_pick_list_paths_become_readable(path, value, expected):
    assert describe(path, value) == expected


def test_text_is_composed_in_sections_and_says_each_thing_once(folder):
    notes = eicu.read(folder).notes.filter(pl.col("hadm_id") == "202").sort("position")
    assert notes["note"].to_list() == [
        "admission diagnosis: cardiovascular: sepsis, pulmonary; organ system: cardiovascular.",
        "past history: congestive heart failure: chf; pulmonary: asthma.",
        "allergies: penicillin.",
        "history and course: smoking status: denies smoking.",
        "physical exam: affect: calm/appropriate; motor score: 6; pupils: equal.",
        "vital signs and fluids: hr current 76.",
    ]


def test_text_never_comes_from_the_tables_that_hold_the_answers(folder, tmp_path):
    for path in folder.iterdir():
        frame = pl.read_csv(path, infer_schema=False)
        if path.stem in ("diagnosis", "medication"):
            frame = frame.clear()
        frame.write_csv(tmp_path / path.name)
    assert eicu.read(folder).notes.equals(eicu.read(tmp_path).notes)


def test_rows_of_the_demo_are_accounted_for(test_data_folder):
    tables = eicu.read(test_data_folder / "eicu-demo-2.0.1-part")
    assert tables.visits.height == 1783
    assert tables.ledgers["medication"].rows_in == 53253
    assert tables.ledgers["diagnosis"].rows_out == tables.diagnoses["num_rows"].sum()
    words = (
        tables.notes.group_by("hadm_id").agg(pl.col("note").str.join(" "))["note"].str.count_matches(r"\S+")
    )
    assert 90 < words.median() < 200
    assert not tables.notes["note"].str.contains("notes/|view options|performed - structured").any()


def test_what_is_known_on_the_first_day(folder, tmp_path):
    """Offsets are minutes since the admission to the unit."""
    tables = tmp_path / "tables"
    shutil.copytree(folder, tables)
    change = {
        "medication": [("1,202,30,No,Heparin", "1,202,1440,No,Heparin"), ("4,301,5,", "4,301,,")],
        "pastHistory": [("2,202,5,", "2,202,5000,"), ("3,202,9,", "3,202,5000,")],
    }
    for name, pairs in change.items():
        path = tables / f"{name}.csv"
        for old, new in pairs:
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
    visits = {}
    for name, place in (("out", folder), ("later", tables)):
        Preparation("eicu", place, tmp_path / name, drug_map=folder.parent / "drug_map.csv").run()
        visits[name] = {row["hadm_id"]: row for row in read_visits(tmp_path / name).to_dicts()}
    first_day = {hadm_id: visit["first_day_medication_codes"] for hadm_id, visit in visits["out"].items()}
    assert first_day == {"201": [], "202": ["ATC:C03C", "ATC:B01A"], "203": [], "301": ["ATC:C03C"]}
    later = {hadm_id: visit["first_day_medication_codes"] for hadm_id, visit in visits["later"].items()}
    assert later == {"201": [], "202": ["ATC:C03C"], "203": [], "301": None}
    second = visits["later"]["202"]
    assert "asthma" in second["note"]
    assert "asthma" not in second["admission_note"]
    assert "congestive heart failure: chf" in second["admission_note"]


def test_what_is_entered_within_24_hours_counts_as_known_at_admission():
    offsets = ["-30", "1439", "1440", None]
    frame = pl.DataFrame(
        {
            "hadm_id": ["1"] * 4,
            "offset": offsets,
            "path": [f"notes/Progress Notes/Exam {n}" for n in range(4)],
            "value": [f"finding {n}" for n in range(4)],
            "text": [None] * 4,
        },
        schema_overrides={"text": pl.String},
    )
    phrases = pick_list_phrases(frame, "physicalExam", RowLedger(4))
    assert phrases["is_early"].to_list() == [True, True, False, False]
