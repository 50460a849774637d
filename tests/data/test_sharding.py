"""The number of shards leaves no trace in what is prepared, and no row is lost between shards."""

import csv
import gzip
import io
import shutil
from datetime import datetime, timedelta

import polars as pl
import pytest

from medm_plm.data import mimic3, sharding
from medm_plm.data.checking import check_folder
from medm_plm.data.layout import SourceLayout, SourceTable
from medm_plm.data.preparation import Preparation, source_layout
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import read_visits
from medm_plm.data.sharding import ShardPlan, cut_table, make_plan, read_account, shard_reader
from medm_plm.data.synthetic import write_synthetic_tables
from medm_plm.data.tables import csv_batches
from medm_plm.errors import InputError
from meds_writer import MEDS_SCHEMA, write_meds

FILES = ("visits.parquet", "code_vocabulary.json", "report.json", "report.html")
SOURCES = (
    "mimic3",
    "mimic4",
    "eicu",
    "table",
    "table of parquet",
    "meds",
    "meds without visits",
    "synthetic",
)
MORE_THAN_PATIENTS = 500


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic_tables(folder, num_patients=10, seed=3)
    return folder


@pytest.fixture(scope="module")
def places(project_root, synthetic, tmp_path_factory):
    """Where the tables of each source lie."""
    fixtures = project_root / "tests" / "fixtures"
    folder = tmp_path_factory.mktemp("sources")
    plain = write_tables(folder / "table", synthetic)
    parquet = folder / "parquet"
    parquet.mkdir()
    for path in plain.iterdir():
        pl.read_csv(path, infer_schema=False).write_parquet(parquet / f"{path.stem}.parquet")
    return {
        "mimic3": ("mimic3", fixtures / "mimic3"),
        "mimic4": ("mimic4", fixtures / "mimic4"),
        "eicu": ("eicu", fixtures / "eicu"),
        "table": ("table", plain),
        "table of parquet": ("table", parquet),
        "meds": ("meds", write_meds(synthetic, folder / "meds", num_shards=3)),
        "meds without visits": ("meds", write_meds(synthetic, folder / "bare", with_visits=False)),
        "synthetic": ("synthetic", synthetic),
    }


def write_tables(folder, mimic):
    """The records of a MIMIC-III folder as plain tables."""
    folder.mkdir()
    names = {
        "visits": (
            "ADMISSIONS",
            {
                "subject_id": "subject_id",
                "hadm_id": "hadm_id",
                "admission_time": "admittime",
                "discharge_time": "dischtime",
                "age": None,
                "admission_type": "admission_type",
                "died_in_hospital": "hospital_expire_flag",
            },
        ),
        "diagnoses": (
            "DIAGNOSES_ICD",
            {"hadm_id": "hadm_id", "position": "seq_num", "system": None, "code": "icd9_code"},
        ),
        "prescriptions": (
            "PRESCRIPTIONS",
            {
                "hadm_id": "hadm_id",
                "start_time": "startdate",
                "drug": "drug",
                "route": "route",
                "ndc": "ndc",
                "atc": None,
            },
        ),
        "notes": ("NOTEEVENTS", {"hadm_id": "hadm_id", "note_time": "chartdate", "text": "text"}),
    }
    constants = {"age": "50", "system": "ICD-9-CM", "atc": None}
    for name, (table, columns) in names.items():
        frame = pl.read_csv(mimic / f"{table}.csv", infer_schema=False).rename(str.lower)
        frame.select(
            pl.lit(constants[new]).alias(new) if old is None else pl.col(old).alias(new)
            for new, old in columns.items()
        ).write_csv(folder / f"{name}.csv")
    return folder


def prepare(source, folder, output, num_shards, **more):
    return Preparation(source, folder, output, num_shards=num_shards, **more).run()


def contents(output):
    return {name: (output / name).read_bytes() for name in FILES}


def assert_closed(report, folder):
    """Every account closes, and begins with the rows that a plain loop counts in the file."""
    for name, table in report["tables"].items():
        assert table["rows_in"] == table["rows_out"] + sum(table["rows_dropped"].values()), name
        assert all(num_rows > 0 for num_rows in table["rows_dropped"].values()), name
    assert sum(file["rows"] for file in report["source"]["files"].values()) == sum(
        table["rows_in"] for table in report["tables"].values()
    )
    for name, file in report["source"]["files"].items():
        (path,) = [path for path in [folder, *folder.rglob("*")] if path.name == name]
        if path.is_file() and ".csv" in path.name:
            content = path.read_bytes()
            text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
            assert file["rows"] == sum(1 for _ in csv.reader(io.StringIO(text, newline=""))) - 1, name


@pytest.mark.parametrize("name", SOURCES)
def test_any_number_of_shards_gives_the_same_bytes_and_the_same_report(places, tmp_path, name):
    source, folder = places[name]
    report = prepare(source, folder, tmp_path / "1", 1)
    assert_closed(report, folder)
    expected = contents(tmp_path / "1")
    for num_shards in (2, 8, MORE_THAN_PATIENTS):
        output = tmp_path / str(num_shards)
        assert prepare(source, folder, output, num_shards) == report
        assert contents(output) == expected, num_shards
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES), "nothing else is left"
    assert report["visits"]["patients_prepared"] > 1, "there is something to cut"


@pytest.mark.parametrize(
    ("source", "name"),
    [("mimic3", "mimic3-demo-1.4"), ("mimic4", "mimic4-demo-2.2"), ("eicu", "eicu-demo-2.0.1-part")],
)
def test_shards_of_the_demos(test_data_folder, tmp_path, source, name):
    folder = test_data_folder / name
    report = prepare(source, folder, tmp_path / "1", 1)
    assert_closed(report, folder)
    assert prepare(source, folder, tmp_path / "8", 8) == report
    assert contents(tmp_path / "8") == contents(tmp_path / "1")
    assert check_folder(tmp_path / "8")["violations"].sum() == 0


@pytest.mark.parametrize("num_shards", [1, 2, 3, 9, 10, 1000])
def test_shards_are_ranges_of_whole_patients_and_of_about_equal_size(synthetic, tmp_path, num_shards):
    layout = source_layout("mimic3", synthetic, PreparationRules())
    plan = make_plan(layout, num_shards)
    cut_table("ADMISSIONS", layout.tables["ADMISSIONS"], plan, tmp_path)
    shards = [
        shard_reader({"ADMISSIONS": tmp_path}, shard).frame("ADMISSIONS") for shard in range(plan.num_shards)
    ]
    rows = pl.read_csv(synthetic / "ADMISSIONS.csv", infer_schema=False).rename(str.lower)
    assert plan.num_shards == min(num_shards, 10) or plan.num_shards < num_shards
    assert pl.concat(shards)["hadm_id"].sort().equals(rows["hadm_id"].sort())
    patients = [subject for shard in shards for subject in sorted(set(shard["subject_id"]))]
    assert patients == sorted(set(rows["subject_id"]))
    assert all(shard.height for shard in shards)
    most_of_one = rows["subject_id"].value_counts()["count"].max()
    for shard in shards:
        place = {hadm_id: number for number, hadm_id in enumerate(rows["hadm_id"])}
        order = [place[hadm_id] for hadm_id in shard["hadm_id"]]
        assert order == sorted(order), "the order of the file stays"
        assert abs(shard.height - rows.height / num_shards) <= most_of_one


def test_a_row_goes_to_its_visit_else_to_its_patient_else_to_the_first_shard(tmp_path):
    path = tmp_path / "T.csv"
    path.write_text(
        "p,v,x\nB,20,owner of 20\nA,20,other patient\n,20,no patient\n"
        "B,,no visit\nZ,99,visit unknown\n,,nobody\n0,,first\n"
    )
    table = SourceTable(path, lambda: csv_batches(path, ("p", "v", "x")), "p", "v")
    owners = pl.DataFrame({"visit": ["10", "20"], "owner": ["A", "B"]})
    plan = ShardPlan(("B", "C"), owners)
    cut_table("T", table, plan, tmp_path)
    of_shard = [shard_reader({"T": tmp_path}, shard).frame("T")["x"].to_list() for shard in range(3)]
    assert of_shard == [
        ["nobody", "first"],
        ["owner of 20", "other patient", "no patient", "no visit"],
        ["visit unknown"],
    ]
    assert read_account(tmp_path).num_values == {"p": 5, "v": 4, "x": 7}
    by_visit_alone = SourceTable(path, table.batches, None, "v")
    assert plan.shards_of(pl.DataFrame({"v": ["20", "10", "99", None]}), by_visit_alone).to_list() == [
        1,
        0,
        0,
        0,
    ]


def test_of_a_visit_under_two_patients_the_first_row_owns_it(tmp_path):
    path = tmp_path / "T.csv"
    path.write_text("p,v\nB,20\nA,20\n,30\nA,30\nA,\n")
    table = SourceTable(path, lambda: csv_batches(path, ("p", "v")), "p", "v")
    plan = make_plan(SourceLayout({"T": table}, "T", mimic3.records), 2)
    assert dict(plan.owners.select("visit", "owner").iter_rows()) == {"20": "B", "30": "A"}
    assert plan.first_patients == ("B",)
    plan.save(tmp_path)
    loaded = ShardPlan.load(tmp_path)
    assert (loaded.first_patients, loaded.owners.rows()) == (plan.first_patients, plan.owners.rows())


def test_a_table_without_visits_has_one_shard(tmp_path):
    path = tmp_path / "T.csv"
    path.write_text("p,v\n")
    table = SourceTable(path, lambda: csv_batches(path, ("p", "v")), "p", "v")
    assert make_plan(SourceLayout({"T": table}, "T", mimic3.records), 8).num_shards == 1


@pytest.fixture
def odd(synthetic, tmp_path):
    """A MIMIC-III folder with every way in which rows can contradict each other across patients."""
    folder = tmp_path / "odd"
    shutil.copytree(synthetic, folder)
    rows = pl.read_csv(folder / "ADMISSIONS.csv", infer_schema=False).rename(str.lower)
    pairs = rows.select("subject_id", "hadm_id").sort("subject_id").rows()
    (first, first_visit), (last, last_visit) = pairs[0], pairs[-1]
    stay = {"admittime": "2100-01-01 00:00:00", "dischtime": "2100-01-02 00:00:00"}
    append(
        folder / "ADMISSIONS.csv",
        {"subject_id": last, "hadm_id": first_visit, **stay},
        {"subject_id": first, "hadm_id": last_visit, **stay},
        {"subject_id": None, "hadm_id": last_visit, **stay},
        {"subject_id": last, "hadm_id": None, **stay},
        {"subject_id": "unlisted", "hadm_id": "777", **stay},
        {},
    )
    append(folder / "PATIENTS.csv", {"subject_id": last}, {"subject_id": "never admitted"}, {"dob": "x"})
    for name, column in (("DIAGNOSES_ICD", "icd9_code"), ("PRESCRIPTIONS", "drug"), ("NOTEEVENTS", "text")):
        fact = {column: "4280", "category": "Discharge summary"}
        append(
            folder / f"{name}.csv",
            {"subject_id": last, "hadm_id": first_visit, **fact},
            {"subject_id": first, "hadm_id": last_visit, **fact},
            {"subject_id": None, "hadm_id": last_visit, **fact},
            {"subject_id": last, "hadm_id": None, **fact},
            {"subject_id": None, "hadm_id": None, **fact},
            {"subject_id": "zzz", "hadm_id": "zzz", **fact},
            {"category": "Discharge summary"},
        )
    return folder


def append(path, *rows):
    header = next(csv.reader(path.open(newline="")))
    with path.open("a", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
        writer.writerows([[row.get(name.lower()) for name in header] for row in rows])


def test_rows_that_contradict_each_other_across_shards_are_counted_once(odd, synthetic, tmp_path):
    sound = prepare("mimic3", synthetic, tmp_path / "sound", 8)
    report = prepare("mimic3", odd, tmp_path / "1", 1)
    for num_shards in (2, 10):
        assert prepare("mimic3", odd, tmp_path / str(num_shards), num_shards) == report
        assert contents(tmp_path / str(num_shards)) == contents(tmp_path / "1")
    assert_closed(report, odd)
    assert (tmp_path / "1" / "visits.parquet").read_bytes() == (
        tmp_path / "sound" / "visits.parquet"
    ).read_bytes()
    more = {
        name: {
            reason: num_rows - sound["tables"][name]["rows_dropped"].get(reason, 0)
            for reason, num_rows in table["rows_dropped"].items()
        }
        for name, table in report["tables"].items()
    }
    assert {name: {k: n for k, n in reasons.items() if n} for name, reasons in more.items()} == {
        "PATIENTS": {
            "patient is listed again": 1,
            "patient without an admission that was read": 2,
        },
        "ADMISSIONS": {
            "admission is listed again": 2,
            "no patient or admission number": 2,
            "patient is not listed": 1,
            "row has no value in the columns read": 1,
        },
        "DIAGNOSES_ICD": {
            "row belongs to no visit that was read": 6,
            "row has no value in the columns read": 1,
        },
        "PRESCRIPTIONS": {
            "row belongs to no visit that was read": 6,
            "row has no value in the columns read": 1,
        },
        "NOTEEVENTS": {"row belongs to no visit that was read": 6, "note has no text": 1},
    }


def test_a_plain_visit_under_two_patients_counts_for_the_first_row_in_any_shard(places, tmp_path):
    folder = tmp_path / "table"
    shutil.copytree(places["table"][1], folder)
    path = folder / "visits.csv"
    header, *rows = path.read_text().splitlines()
    ordered = sorted(rows)
    copied = ordered[0].split(",")
    copied[0] = ordered[-1].split(",")[0]
    path.write_text("\n".join([header, ",".join(copied), *rows, ",,,,,,"]) + "\n")
    report = prepare("table", folder, tmp_path / "1", 1)
    assert prepare("table", folder, tmp_path / "8", 8) == report
    assert contents(tmp_path / "8") == contents(tmp_path / "1")
    assert report["tables"]["visits"]["rows_dropped"] == {
        "admission is listed again": 1,
        "row has no value in the columns read": 1,
    }
    visits = read_visits(tmp_path / "8")
    assert visits.filter(hadm_id=copied[1])["subject_id"].item() == copied[0]


def test_an_admission_number_of_two_meds_patients_counts_for_one_of_them(tmp_path):
    def events(subject, day, number):
        begin = datetime(2031, 1, day)
        birth = datetime(1980, 1, 1)
        return [
            (subject, birth, "MEDS_BIRTH", None, None, None, None),
            (subject, begin, "HOSPITAL_ADMISSION//URGENT", None, None, number, None),
            (subject, begin, "ICD9CM/4280", None, None, number, None),
            (subject, begin + timedelta(days=2), "HOSPITAL_DISCHARGE//HOME", None, None, number, None),
        ]

    rows = [*events(4, 1, 70), *events(1, 2, 70), *events(1, 9, 71), *events(2, 1, 72), *events(3, 1, 73)]
    rows += [(5, datetime(2031, 1, 1), "ICD9CM/4280", None, None, 70, None)]
    (tmp_path / "meds" / "data").mkdir(parents=True)
    pl.DataFrame(rows, MEDS_SCHEMA, orient="row").write_parquet(tmp_path / "meds" / "data" / "0.parquet")
    report = prepare("meds", tmp_path / "meds", tmp_path / "1", 1)
    for num_shards in (2, 4):
        assert prepare("meds", tmp_path / "meds", tmp_path / str(num_shards), num_shards) == report
    visits = read_visits(tmp_path / "4").select("subject_id", "hadm_id", "diagnosis_codes").rows()
    assert visits == [
        (s, h, ["ICD9CM:4280"]) for s, h in (("1", "70"), ("1", "71"), ("2", "72"), ("3", "73"))
    ]
    assert report["tables"]["admission"]["rows_dropped"] == {"number of another patient's admission": 1}
    assert report["tables"]["diagnosis"]["rows_dropped"] == {"row belongs to no visit that was read": 2}


def test_shards_are_written_in_groups_of_bounded_size(synthetic, tmp_path, monkeypatch):
    layout = source_layout("mimic3", synthetic, PreparationRules())
    plan = make_plan(layout, 3)
    table = layout.tables["PRESCRIPTIONS"]
    (tmp_path / "whole").mkdir()
    cut_table("PRESCRIPTIONS", table, plan, tmp_path / "whole")
    monkeypatch.setattr("medm_plm.data.csv_blocks._CHUNK_BYTES", 500)
    monkeypatch.setattr("medm_plm.data.sharding._ROWS_OF_GROUP", 7)
    (tmp_path / "parts").mkdir()
    cut_table("PRESCRIPTIONS", table, plan, tmp_path / "parts")
    for shard in range(3):
        frames = [
            shard_reader({"T": tmp_path / name}, shard).frame("T").rows() for name in ("whole", "parts")
        ]
        assert frames[0] == frames[1]
    accounts = [read_account(tmp_path / name) for name in ("whole", "parts")]
    assert accounts[0].file == accounts[1].file
    assert accounts[0].ledger == accounts[1].ledger
    assert accounts[0].num_values == accounts[1].num_values


def test_an_impossible_number_of_shards_is_refused(tmp_path):
    with pytest.raises(ValueError, match="num_shards is impossible; received 0, expected 1 or more"):
        Preparation("mimic3", tmp_path, tmp_path, num_shards=0)


def test_a_shard_of_too_many_rows_is_refused_before_it_is_read(project_root, tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "MOST_ROWS", 3)
    folder = project_root / "tests" / "fixtures" / "mimic3"
    with pytest.raises(InputError, match=r"table \w+ has \d+ rows for the patients of one shard.*num_shards"):
        Preparation("mimic3", folder, tmp_path / "out").run()
