"""A source becomes a prepared folder: right visits, closed accounts, the same bytes each time."""

import ast
import json
import random
import shutil

import polars as pl
import pytest

from medm_plm.data.checking import check_folder
from medm_plm.data.cohort import CohortRules
from medm_plm.data.preparation import Preparation
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import VISITS_FILE, VOCABULARY_FILE, read_visits
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError


@pytest.fixture
def fixtures(project_root):
    return project_root / "tests" / "fixtures"


def prepare(source, folder, mapping, output, rules=None):
    return Preparation(source, folder, output, rules or PreparationRules(), drug_map=mapping).run()


def assert_closed(report):
    for name, table in report["tables"].items():
        assert table["rows_in"] == table["rows_out"] + sum(table["rows_dropped"].values()), name


def test_invented_mimic_becomes_these_visits(fixtures, tmp_path):
    report = prepare("mimic3", fixtures / "mimic3", fixtures / "drug_map.csv", tmp_path / "out")
    visits = read_visits(tmp_path / "out")
    columns = ["subject_id", "hadm_id", "visit_number", "diagnosis_codes", "medication_codes", "readmission"]
    assert visits.select(columns).rows() == [
        (
            "11",
            "1101",
            1,
            ["ICD9CM:0389", "ICD9CM:4280", "ICD9CM:V4581"],
            ["ATC:B01A", "ATC:C03C", "ATC:A10A"],
            True,
        ),
        ("11", "1102", 2, ["ICD9CM:4280"], ["ATC:C03C"], False),
        ("11", "1103", 3, ["ICD9CM:41401"], [], False),
        ("12", "1201", 1, ["ICD9CM:5185"], [], False),
        ("14", "1402", 1, ["ICD9CM:4280", "ICD9CM:UNKNOWN9"], [], False),
    ]
    assert_closed(report)
    assert report["tables"]["ADMISSIONS"]["rows_dropped"]["below the minimum age"] == 1
    assert report["visits"]["visits_read"] == 6
    assert report["medications"]["rows_mapped"] == 7
    assert report["codes"]["ICD9CM"] == {"codes": 7, "placed": 7, "under_a_block": 6, "under_a_chapter": 6}


def test_the_rule_of_the_paper(fixtures, tmp_path):
    rules = PreparationRules(cohort=CohortRules(require=("note", "diagnoses", "medications")))
    report = prepare("mimic3", fixtures / "mimic3", fixtures / "drug_map.csv", tmp_path / "out", rules)
    visits = read_visits(tmp_path / "out")
    assert visits["hadm_id"].to_list() == ["1101"]
    # The readmission was to a visit that is left out, and stays one.
    assert visits["readmission"].to_list() == [True]
    assert_closed(report)
    assert report["tables"]["NOTEEVENTS"]["rows_out"] == 3
    assert report["tables"]["PATIENTS"]["rows_out"] == 1


def test_invented_eicu_becomes_these_visits(fixtures, tmp_path):
    report = prepare("eicu", fixtures / "eicu", fixtures / "drug_map.csv", tmp_path / "out")
    visits = read_visits(tmp_path / "out")
    assert visits.select("hadm_id", "visit_number", "readmission").rows() == [
        ("201", 1, None),
        ("202", 2, None),
        ("203", 3, None),
        ("301", 1, None),
    ]
    second = visits.row(1, named=True)
    assert second["medication_codes"] == ["ATC:C03C", "ATC:B01A"]
    assert second["note"].startswith("admission diagnosis: cardiovascular: sepsis, pulmonary; organ system")
    assert_closed(report)
    assert any("readmission" in warning for warning in report["warnings"])


def test_the_same_bytes_again_and_from_shuffled_or_upper_case_tables(fixtures, tmp_path):
    mapping = fixtures / "drug_map.csv"
    prepare("mimic3", fixtures / "mimic3", mapping, tmp_path / "one")
    prepare("mimic3", fixtures / "mimic3", mapping, tmp_path / "two")
    shuffled = tmp_path / "tables"
    shutil.copytree(fixtures / "mimic3", shuffled)
    for path in shuffled.iterdir():
        if path.name not in ("ADMISSIONS.csv", "PATIENTS.csv"):  # where the first of repeated rows counts
            frame = pl.read_csv(path, infer_schema=False)
            frame.sample(fraction=1.0, shuffle=True, seed=7).rename(str.lower).write_csv(path)
    prepare("mimic3", shuffled, mapping, tmp_path / "three")
    for name in (VISITS_FILE, VOCABULARY_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()
    assert (tmp_path / "one" / "report.json").read_bytes() == (tmp_path / "two" / "report.json").read_bytes()


def test_the_vocabulary_holds_training_codes_only_in_sorted_order(fixtures, tmp_path):
    rules = PreparationRules(seed=3)
    prepare("mimic3", fixtures / "mimic3", fixtures / "drug_map.csv", tmp_path / "out", rules)
    training = read_visits(tmp_path / "out").filter(pl.col("split") == "train")
    vocabulary = CodeVocabulary.load(tmp_path / "out" / VOCABULARY_FILE)
    codes = [
        sorted({c for codes in training[n] for c in codes}) for n in ("diagnosis_codes", "medication_codes")
    ]
    assert list(vocabulary.tokens[4 : vocabulary.num_codes]) == codes[0] + codes[1]


def test_no_text_and_no_number_of_a_patient_in_the_report(fixtures, tmp_path):
    report = prepare("mimic3", fixtures / "mimic3", fixtures / "drug_map.csv", tmp_path / "out")
    text = json.dumps(report)
    for cell in ("Heparin", "sepsis", "Zyzzyx", '"1101"', "metoprolol", str(tmp_path)):
        assert cell not in text, cell
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == json.loads(text)


def test_a_demand_that_nothing_meets_is_explained_with_counts(fixtures, tmp_path):
    rules = PreparationRules(cohort=CohortRules(minimum_age=95))
    with pytest.raises(InputError, match=r"no visit is left; received .*6 dropped \(below the minimum age\)"):
        prepare("mimic3", fixtures / "mimic3", fixtures / "drug_map.csv", tmp_path / "out", rules)
    assert not (tmp_path / "out" / "report.json").exists()
    rules = PreparationRules(diagnosis_system="ICD10CM")
    with pytest.raises(InputError, match="diagnosis_system does not exist in mimic3"):
        prepare("mimic3", fixtures / "mimic3", fixtures / "drug_map.csv", tmp_path / "out", rules)


def test_a_new_run_removes_the_old_report_first(fixtures, tmp_path, monkeypatch):
    arguments = ("mimic3", fixtures / "mimic3", fixtures / "drug_map.csv", tmp_path / "out")
    prepare(*arguments)
    monkeypatch.setattr(
        CodeVocabulary, "save", lambda self, path: (_ for _ in ()).throw(OSError(5, "I/O error"))
    )
    with pytest.raises(InputError, match="I/O error"):
        prepare(*arguments, PreparationRules(seed=1))
    assert not (tmp_path / "out" / "report.json").exists(), "a folder with a report must be complete"


def test_the_check_finds_a_folder_that_was_tampered_with(fixtures, tmp_path):
    prepare("mimic3", fixtures / "mimic3", fixtures / "drug_map.csv", tmp_path / "out")
    assert check_folder(tmp_path / "out")["violations"].sum() == 0
    visits = read_visits(tmp_path / "out")
    split = (
        pl.when(pl.col("hadm_id") == "1102").then(pl.lit("test")).otherwise(pl.lit("train")).alias("split")
    )
    visits.with_columns(split).write_parquet(tmp_path / "out" / VISITS_FILE)
    with pytest.raises(InputError, match="patient in two splits: 1 of 3"):
        check_folder(tmp_path / "out")


def test_random_damage_is_counted_or_refused(fixtures, tmp_path):
    """Cells of every table are emptied, doubled or garbled: the account closes or one clear error comes."""
    random.seed(5)
    outcomes, messages = set(), []
    for attempt in range(25):
        folder = tmp_path / str(attempt)
        shutil.copytree(fixtures / "mimic3", folder)
        victim = random.choice(sorted(folder.iterdir()))
        lines = victim.read_text().splitlines()
        place = random.randrange(1, len(lines))
        cells = lines[place].split(",")
        spot = random.randrange(len(cells))
        cells[spot] = random.choice(["", "garbage", '"', "-1", "9" * 40, cells[spot]])
        lines[place] = ",".join(cells + random.choice([[], [], [], ["extra"]]))
        victim.write_text("\n".join(lines + random.choice([[], [lines[place]]])) + "\n")
        try:
            report = prepare("mimic3", folder, fixtures / "drug_map.csv", tmp_path / f"out{attempt}")
        except InputError as error:
            outcomes.add("refused")
            messages.append(str(error))
        else:
            outcomes.add("counted")
            assert_closed(report)
    assert outcomes == {"refused", "counted"}
    assert not any("garbage" in message for message in messages)


def test_no_file_is_evaluated_and_no_value_filled_from_the_row_above(project_root):
    """Section 8.6 of the method: the published preparation ran eval() on a file and padded missing drugs."""
    forbidden = {"eval", "exec", "forward_fill", "ffill", "pad"}
    for path in [*(project_root / "medm_plm").rglob("*.py"), project_root / "run_preparation.py"]:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {func.id for func in calls if isinstance(func, ast.Name)}
        if path.parent.name == "data":
            names |= {func.attr for func in calls if isinstance(func, ast.Attribute)}
        assert not names & forbidden, path


@pytest.mark.parametrize(
    ("source", "folder", "visits", "codes", "share"),
    [("mimic3", "mimic3-demo-1.4", 129, 581, 0.98), ("eicu", "eicu-demo-2.0.1-part", 1600, 390, 0.96)],
)
def test_the_demos(test_data_folder, tmp_path, source, folder, visits, codes, share):
    mapping = test_data_folder / "drug2atc3-demo" / "drug2atc3.csv"
    report = prepare(source, test_data_folder / folder, mapping, tmp_path / "out")
    assert_closed(report)
    assert report["visits"]["visits_prepared"] == visits
    placed = report["codes"]["ICD9CM"]
    assert (placed["codes"], placed["placed"]) == (codes, codes)
    assert report["medications"]["share_of_rows"] >= share
    if source == "mimic3":
        assert report["visits"]["readmission"]["visits_read"]["positive"] == 11
        assert any("no visit has a note" in warning for warning in report["warnings"])


def test_the_demo_in_upper_case_gives_the_same_bytes(test_data_folder, tmp_path):
    from medm_plm.data import mimic3

    demo = test_data_folder / "mimic3-demo-1.4"
    upper = tmp_path / "upper"
    upper.mkdir()
    for name in mimic3.TABLES:
        header, rest = (demo / f"{name}.csv").read_text().split("\n", 1)
        (upper / f"{name}.csv").write_text(header.upper() + "\n" + rest)
    mapping = test_data_folder / "drug2atc3-demo" / "drug2atc3.csv"
    prepare("mimic3", demo, mapping, tmp_path / "one")
    prepare("mimic3", upper, mapping, tmp_path / "two")
    for name in (VISITS_FILE, VOCABULARY_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
