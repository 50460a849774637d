"""MEDS: the same visits as from the tables that a dataset was made of, and every odd event counted."""

from datetime import datetime

import polars as pl
import pytest

from medm_plm.data import meds, preparation
from medm_plm.data.meds_events import MedsCodes
from medm_plm.data.preparation import Preparation
from medm_plm.data.rules import PreparationRules
from medm_plm.data.schema import read_visits
from medm_plm.data.synthetic import write_synthetic_tables
from medm_plm.data.visit_shards import prepare_shard
from medm_plm.errors import InputError
from medm_plm.ontologies.mappings import MedicationMapper
from meds_writer import MEDS_SCHEMA, write_meds

BY_PLACE = ["subject_id", "visit_number"]
RECORDS = ["diagnosis_codes", "medication_codes", "note"]
EVENT = ["subject_id", "time", "code", "text_value"]


def prepare(source, folder):
    rules = PreparationRules()
    tables = preparation.read_source(source, folder, rules)
    return prepare_shard(tables, MedicationMapper.default(), rules)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic_tables(folder, num_patients=40, seed=3)
    return folder


@pytest.fixture(params=["synthetic", "demo"])
def mimic(request):
    if request.param == "synthetic":
        return request.getfixturevalue("synthetic")
    return request.getfixturevalue("test_data_folder") / "mimic3-demo-1.4"


def test_the_same_visits_as_from_the_tables(mimic, tmp_path):
    expected, read = prepare("mimic3", mimic), prepare("meds", write_meds(mimic, tmp_path, num_shards=3))
    for column in expected.visits.columns:
        if column != "first_day_medication_codes":
            assert read.visits[column].equals(expected.visits[column]), column
    # The dates of MIMIC-III stand as midnights in the events, where the day after counts by the clock.
    early, earlier = (shard.visits["first_day_medication_codes"] for shard in (read, expected))
    assert earlier.list.set_difference(early).list.len().sum() == 0
    assert expected.visits["note"].str.len_bytes().sum() > 0 or "demo" in str(mimic)
    report = Preparation("meds", tmp_path, tmp_path / "out").run()
    assert report["tables"]["other events"]["rows_dropped"]["code begins with none of the prefixes"] > 0
    assert list(report["source"]["files"]) == ["data"]
    assert report["visits"]["visits_prepared"] == expected.visits.height


def test_shards_do_not_matter(synthetic, tmp_path):
    one, many = (prepare("meds", write_meds(synthetic, tmp_path / str(n), num_shards=n)) for n in (1, 5))
    assert one.visits.equals(many.visits)


def test_without_numbers_of_visits_time_decides(mimic, tmp_path):
    expected = prepare("mimic3", mimic).visits
    visits = prepare("meds", write_meds(mimic, tmp_path, with_visits=False)).visits
    assert visits.select(BY_PLACE).equals(expected.select(BY_PLACE))
    for column in ("admission_time", "discharge_time", "died_in_hospital", "readmission", "age"):
        assert visits[column].equals(expected[column]), column
    num_equal = {column: (visits[column] == expected[column]).sum() for column in RECORDS}
    # Prescriptions dated outside the days of their visit are lost; three visits of the demo miss a class.
    medications = 126 if visits.height == 129 else visits.height
    assert num_equal == {
        "diagnosis_codes": visits.height,
        "medication_codes": medications,
        "note": visits.height,
    }


def write(folder, rows, **more):
    """Write events, each a patient, a time, a code and more values, to one shard."""
    frame = pl.DataFrame(rows, {name: MEDS_SCHEMA[name] for name in EVENT}, orient="row", strict=False)
    frame = frame.with_columns(**{name: pl.Series(values) for name, values in more.items()})
    (folder / "data").mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / "data" / "0.parquet")
    return folder


def at(day, hour=0):
    return datetime(2031, 1, day, hour)


ROWS = [
    (1, None, "GENDER//F", None),
    (1, datetime(1980, 1, 1), "MEDS_BIRTH", None),
    (1, at(2), "MEDICATION//START//Furosemide//PO", None),  # the day of admission, before its hour
    (1, at(2, 9), "HOSPITAL_ADMISSION//SURGICAL SAME DAY ADMISSION//CLINIC", None),
    (1, at(3, 5), "ATC/b01ac06", None),
    (1, at(4, 12), "HOSPITAL_DISCHARGE//HOME", None),
    (1, at(4, 12), "DIAGNOSIS//ICD//10//I50.9", None),
    (1, at(4, 12), "DIAGNOSIS//ICD//9//428.0", None),
    (1, at(4, 12), "DIAGNOSIS//ICD//9//", None),
    (1, at(4, 23), "NOTE//DISCHARGE_SUMMARY", "Second part."),  # the day of discharge, after its hour
    (1, at(4, 12), "NOTE//DISCHARGE_SUMMARY", "First part."),
    (1, at(5, 1), "DIAGNOSIS//ICD//9//4280", None),  # between two visits
    (1, at(6), "HOSPITAL_ADMISSION//URGENT", None),  # without a discharge before the next admission
    (1, at(7), "HOSPITAL_ADMISSION//URGENT", None),
    (1, at(7), "HOSPITAL_ADMISSION//URGENT", None),
    (1, at(8), "ICD10CM/J18", None),
    (1, at(8), "NOTE//DISCHARGE_SUMMARY", None),
    (1, at(9), "HOSPITAL_DISCHARGE//UNK", None),
    (1, at(9, 3), "MEDS_DEATH", None),
    (2, at(3), "HOSPITAL_ADMISSION", None),
    (2, at(3, 1), "LAB//1//mg", "text of a laboratory"),
    (2, at(5), "HOSPITAL_DISCHARGE//DIED", None),
    (2, None, "HOSPITAL_ADMISSION//URGENT", None),
    (2, None, "MEDICATION//START//Heparin", None),
]


def test_visits_of_an_invented_stream(tmp_path):
    tables = meds.read(write(tmp_path, ROWS))
    columns = [
        "subject_id",
        "hadm_id",
        "admission_time",
        "discharge_time",
        "admission_type",
        "died_in_hospital",
    ]
    assert tables.visits.select(columns).sort("hadm_id").rows() == [
        ("1", "1-1", at(2, 9), at(4, 12), "ELECTIVE", False),
        ("1", "1-3", at(7), at(9), "URGENT", True),
        ("2", "2-1", at(3), at(5), None, True),
    ]
    assert tables.visits.filter(hadm_id="1-1")["age"].item() == pytest.approx(51.0, abs=0.01)
    assert tables.visits.filter(hadm_id="2-1")["age"].item() is None
    assert tables.diagnoses.select("hadm_id", "code").rows() == [
        ("1-1", "ICD10CM:I509"),
        ("1-1", "ICD9CM:4280"),
        ("1-3", "ICD10CM:J18"),
    ]
    assert tables.prescriptions.select("hadm_id", "drug", "ndc", "atc").rows() == [
        ("1-1", "Furosemide", None, None),
        ("1-1", None, None, "B01A"),
    ]
    assert tables.notes.select("hadm_id", "note", "num_rows").rows() == [
        ("1-1", "first part. second part.", 2)
    ]
    assert {name: (ledger.rows_in, ledger.dropped) for name, ledger in tables.ledgers.items()} == {
        "admission": (
            6,
            {"admission has no time": 1, "admission is listed again": 1, "admission without a discharge": 1},
        ),
        "diagnosis": (5, {"row belongs to no visit that was read": 1, "no code": 1}),
        "medication": (3, {"row belongs to no visit that was read": 1}),
        "note": (3, {"note has no text": 1}),
        "other events": (
            7,
            {
                "discharge, birth or death: gives a time or an age, is no record of its own": 5,
                "code begins with none of the prefixes": 2,
            },
        ),
    }


def test_numbers_of_visits_win_over_times_in_any_type(tmp_path):
    rows = [
        (1, at(2), "HOSPITAL_ADMISSION//URGENT", None),
        (1, at(3), "HOSPITAL_ADMISSION//URGENT", None),  # two visits that overlap
        (1, at(4), "ICD9CM/4280", None),
        (1, at(20), "ICD9CM/0389", None),
        (1, at(4), "ICD9CM/5185", None),
        (1, at(5), "HOSPITAL_DISCHARGE//HOME", None),
        (1, at(6), "HOSPITAL_DISCHARGE//HOME", None),
    ]
    visits = [11.0, 12.0, 11.0, 12.0, 13.0, 12.0, 11.0]
    for values in (visits, [int(visit) for visit in visits], [str(int(visit)) for visit in visits]):
        tables = meds.read(write(tmp_path, rows, visit_id=values))
        assert dict(tables.visits.select("hadm_id", "discharge_time").iter_rows()) == {
            "11": at(6),
            "12": at(5),
        }
        assert tables.diagnoses.select("hadm_id", "code").rows() == [
            ("11", "ICD9CM:4280"),
            ("12", "ICD9CM:0389"),
        ]


def test_prefixes_can_be_chosen_and_the_longest_counts(tmp_path):
    rows = [
        (1, at(2), "Visit/IP/start", None),
        (1, at(2), "RX/heparin", None),
        (1, at(2), "RX/NDC/00000000001", None),
        (1, at(2), "DX:I10", None),
        (1, at(3), "LOINC/18842-5", "A summary."),
        (1, at(3), "Visit/IP/end", None),
    ]
    codes = MedsCodes(
        admission=("Visit/IP/start",),
        discharge=("Visit/IP/end",),
        diagnosis=("DX:=ICD10CM",),
        medication=("RX/=drug", "RX/NDC/=ndc"),
        note=("LOINC/18842-5",),
    )
    tables = meds.read(write(tmp_path, rows), codes=codes)
    assert tables.visits.height == tables.notes.height == 1
    assert tables.diagnoses["code"].to_list() == ["ICD10CM:I10"]
    assert tables.prescriptions.select("drug", "ndc").rows() == [("heparin", None), (None, "00000000001")]
    assert meds.read(tmp_path / "data").visits.is_empty(), "the usual prefixes find nothing here"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diagnosis": ("DX/",)}, "does not say what follows it; received 'DX/', expected PREFIX=ICD9CM or"),
        ({"diagnosis": ("DX/=SNOMED",)}, "does not say what follows it"),
        ({"medication": ("RX/=name",)}, "expected PREFIX=drug or PREFIX=ndc or PREFIX=atc"),
        ({"note": ("",)}, "empty or given twice"),
        ({"note": ("HOSPITAL_ADMISSION",)}, "empty or given twice"),
    ],
)
def test_prefixes_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        MedsCodes(**options)


def test_text_is_no_duty_of_a_dataset(tmp_path):
    path = write(tmp_path, ROWS) / "data" / "0.parquet"
    pl.read_parquet(path).drop("text_value").write_parquet(path)
    tables = meds.read(tmp_path)
    assert tables.notes.is_empty()
    assert tables.ledgers["note"].dropped["note has no text"] == 3


@pytest.mark.parametrize("column", ["subject_id", "time", "code"])
def test_each_missing_column_is_named(tmp_path, column):
    path = write(tmp_path, ROWS) / "data" / "0.parquet"
    pl.read_parquet(path).drop(column).write_parquet(path)
    with pytest.raises(InputError, match=rf"0.parquet: column {column} is missing.*root of a MEDS dataset"):
        meds.read(tmp_path)


def test_folders_and_files_that_are_no_dataset(tmp_path):
    with pytest.raises(InputError, match="input folder does not exist"):
        meds.read(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no event is there.*data/\*\*/\*.parquet"):
        meds.read(tmp_path)
    path = write(tmp_path, ROWS) / "data" / "0.parquet"
    pl.read_parquet(path).with_columns(pl.col("time").cast(pl.String)).write_parquet(path)
    with pytest.raises(InputError, match="column time has a wrong type"):
        meds.read(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="cannot be read as parquet"):
        meds.read(tmp_path)


def test_what_is_known_on_the_first_day(tmp_path):
    """The first drug is dated to the midnight before the admission, the second 20 hours after it; moved by
    five hours the second is a day and an hour away."""
    for hour, expected in ((5, ["ATC:C03C", "ATC:B01A"]), (10, ["ATC:C03C"])):
        rows = [(*row[:1], at(3, hour), *row[2:]) if row[2] == "ATC/b01ac06" else row for row in ROWS]
        text = "History of Present Illness:\nThree days of cough.\n\nBrief Hospital Course:\nCeftriaxone.\n"
        rows = [(*row[:3], text) if row[3] == "First part." else row for row in rows]
        Preparation("meds", write(tmp_path / str(hour), rows), tmp_path / f"out{hour}").run()
        visit = read_visits(tmp_path / f"out{hour}").filter(hadm_id="1-1").row(0, named=True)
        assert visit["medication_codes"] == ["ATC:C03C", "ATC:B01A"]
        assert visit["first_day_medication_codes"] == expected
        assert "three days of cough" in visit["admission_note"]
        assert "ceftriaxone" in visit["note"]
        assert "ceftriaxone" not in visit["admission_note"]


def test_a_number_of_two_patients_counts_for_the_first_of_them(tmp_path):
    rows = [
        (2, at(2), "HOSPITAL_ADMISSION//URGENT", None),
        (2, at(3), "HOSPITAL_DISCHARGE//HOME", None),
        (1, at(4), "HOSPITAL_ADMISSION//URGENT", None),
        (1, at(5), "HOSPITAL_DISCHARGE//HOME", None),
    ]
    tables = meds.read(write(tmp_path, rows, hadm_id=["7", "7", "7", "7"]))
    assert tables.visits.select("subject_id", "hadm_id").rows() == [("1", "7")]
    assert tables.ledgers["admission"].dropped == {"number of another patient's admission": 1}
