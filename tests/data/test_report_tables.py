"""Tables, histograms and frequent codes against counts made by loops over the rows."""

from collections import Counter

import polars as pl
import pytest

from medm_plm.data import tasks
from medm_plm.data.report import tables as report_tables
from medm_plm.data.report.entries import with_note_words
from prepared_cohort import invent_visits


@pytest.fixture
def visits():
    """Invented visits, some without note, diagnoses or medications."""
    number = pl.int_range(pl.len())
    empty = pl.lit([], dtype=pl.List(pl.String))
    return invent_visits(80).with_columns(
        pl.when(number % 7 == 0).then(pl.lit("")).otherwise("note").alias("note"),
        pl.when(number % 5 == 0).then(empty).otherwise("diagnosis_codes").alias("diagnosis_codes"),
        pl.when(number % 3 == 0).then(empty).otherwise("medication_codes").alias("medication_codes"),
        pl.when(number % 11 == 0).then(None).otherwise("readmission").alias("readmission"),
    )


def cut(visits):
    """The notes cut to a letter, as the preparation hands them over."""
    return with_note_words(visits).with_columns(pl.col("note").str.head(1))


def test_first_table_of_the_paper(visits):
    rows = visits.to_dicts()
    of_patient = Counter(row["subject_id"] for row in rows)
    complete = {
        row["subject_id"]
        for row in rows
        if row["note"] and row["diagnosis_codes"] and row["medication_codes"]
    }
    entry = report_tables.paper_tables_entry(cut(visits))["table_1"]
    assert [(row["quantity"], row["paper"]) for row in entry] == [
        ("Total patients", 35164),
        ("Single-visit patients", 29734),
        ("Multi-visit patients", 5159),
        ("Selected patients", 33413),
        ("Total diagnoses", 6646),
        ("Average number of diagnoses", 11.11),
        ("Total medications", 155),
        ("Average number of medications", 9.23),
    ]
    ours = [row["ours"] for row in entry]
    single = sum(count == 1 for count in of_patient.values())
    assert ours[:4] == [80, single, 80 - single, len(complete)]
    assert 0 < len(complete) < 80
    for place, column in ((4, "diagnosis_codes"), (6, "medication_codes")):
        pairs = {(row["subject_id"], code) for row in rows for code in row[column]}
        assert ours[place] == len({code for _, code in pairs})
        assert ours[place + 1] == round(len(pairs) / len(rows), 2)
    assert all(row["definition"] for row in entry)


def test_second_table_of_the_paper(visits, monkeypatch):
    monkeypatch.setattr(report_tables, "ICD_TOP_K", 3)
    entry = {row["task"]: row for row in report_tables.paper_tables_entry(cut(visits))["table_2"]}
    rows = visits.to_dicts()
    frequent = Counter(code for row in rows if row["split"] == "train" for code in row["diagnosis_codes"])
    top = {code for code, _ in sorted(frequent.items(), key=lambda pair: (-pair[1], pair[0]))[:3]}
    for split in ("train", "validation", "test"):
        chosen = [row for row in rows if row["split"] == split]
        later = {row["subject_id"] for row in chosen if row["visit_number"] > 1 and row["medication_codes"]}
        labels = [row["readmission"] for row in chosen]
        coded = [
            row
            for row in chosen
            if top & set(row["diagnosis_codes"]) and (row["note"] or row["medication_codes"])
        ]
        assert entry["Medication recommendation"]["ours"][split] == len(later)
        assert entry["30-day readmission"]["ours"][split] == 2 * min(labels.count(True), labels.count(False))
        sampled = tasks.readmission_visits(visits, split, balanced=True).height
        assert entry["30-day readmission"]["ours"][split] == sampled
        assert entry["ICD coding"]["ours"][split] == len(coded)
    learned = [r for r in rows if r["split"] == "train" and r["diagnosis_codes"] + r["medication_codes"]]
    assert entry["Pre-training"]["ours"] == {"train": len(learned), "validation": None, "test": None}
    assert "the 3 most frequent" in entry["ICD coding"]["definition"]
    assert {task: tuple(row["paper"].values()) for task, row in entry.items()} == {
        "Pre-training": (39550, None, None),
        "Medication recommendation": (4344, 543, 543),
        "30-day readmission": (4660, 532, 534),
        "ICD coding": (8066, 1573, 1729),
    }


def test_tables_of_no_visits():
    entry = report_tables.paper_tables_entry(invent_visits(1).clear())
    assert [row["ours"] for row in entry["table_1"]] == [0, 0, 0, 0, 0, None, 0, None]


@pytest.mark.parametrize(
    ("quantity", "lowest"),
    [
        ("words_of_note", report_tables.WORD_BINS),
        ("diagnosis_codes", report_tables.CODE_BINS),
        ("age", report_tables.AGE_BINS),
    ],
)
def test_every_value_is_in_the_bin_that_holds_it(quantity, lowest):
    """Values on, just below and far above each edge, one visit each."""
    edges = sorted({value for low in lowest for value in (low - 1, low)} | {lowest[-1] * 2})
    values = [value for value in edges if value >= 0]
    visits = (
        invent_visits(60)
        .head(len(values))
        .with_columns(
            pl.Series("note", [" ".join("x" * n) if quantity == "words_of_note" else "x" for n in values]),
            pl.Series(
                "diagnosis_codes", [[f"ICD9CM:{i}" for i in range(min(value, 130))] for value in values]
            ),
            pl.Series("age", [float(value) + (0.9 if value < 200 else 0) for value in values]),
        )
    )
    bins = report_tables.histograms_entry(cut(visits))[quantity]["bins"]
    expected = [
        sum(low <= value < high for value in values)
        for low, high in zip(lowest, [*lowest[1:], 10**9], strict=True)
    ]
    assert list(bins.values()) == expected
    assert list(bins)[-1] == f"{lowest[-1]} or more"


def test_histograms_of_patients_and_of_unknown_ages(visits):
    of_patient = Counter(Counter(visits["subject_id"]).values())
    unknown = visits.with_columns(
        pl.when(pl.col("visit_number") > 2).then(None).otherwise("age").alias("age")
    )
    entry = report_tables.histograms_entry(unknown)
    bins = entry["visits_of_patient"]["bins"]
    assert {label: count for label, count in bins.items() if count} == {
        str(number): of_patient[number] for number in (1, 2, 3, 4)
    }
    assert list(bins) == ["1", "2", "3", "4", "5", "6 to 9", "10 or more"]
    assert entry["age"]["bins"]["50 to 59"] == visits.filter(pl.col("visit_number") <= 2).height
    assert entry["age"]["bins"]["unknown"] == visits.filter(pl.col("visit_number") > 2).height
    assert "unknown" not in report_tables.histograms_entry(visits)["age"]["bins"]
    assert (entry["visits_of_patient"]["counted"], entry["age"]["counted"]) == ("patients", "visits")


def test_top_codes_are_those_of_the_training_split(visits):
    entry = report_tables.top_codes_entry(visits, {"ICD9CM:4019": "Hypertension NOS"})
    training = [row for row in visits.to_dicts() if row["split"] == "train"]
    assert entry["training_visits"] == len(training)
    for column in ("diagnosis_codes", "medication_codes"):
        counts = Counter(code for row in training for code in row[column])
        expected = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        assert [(row["code"], row["visits"]) for row in entry[column]] == expected
        for row in entry[column]:
            having = {visit["subject_id"] for visit in training if row["code"] in visit[column]}
            assert row["patients"] == len(having)
    titles = {row["code"]: (row["title"], row["title_of"]) for row in entry["diagnosis_codes"]}
    assert titles["ICD9CM:4280"] == ("Other heart disease", "ICD9CM:block:420-429")
    assert titles["ICD9CM:4019"] == ("Hypertension NOS", "ICD9CM:4019")


def test_codes_of_few_patients_are_not_named(visits):
    train = visits.filter(pl.col("split") == "train")
    patients = train["subject_id"].unique(maintain_order=True).to_list()
    codes = [
        ["ICD9CM:JOHNDOE"] * (patient in patients[:4]) + ["ICD9CM:0389"] * (patient in patients[:5])
        for patient in train["subject_id"]
    ]
    entry = report_tables.top_codes_entry(train.with_columns(pl.Series("diagnosis_codes", codes)))
    assert [(row["code"], row["patients"]) for row in entry["diagnosis_codes"]] == [("ICD9CM:0389", 5)]


def test_no_more_than_twenty_codes(visits):
    codes = [[f"ICD9CM:{number:03d}" for number in range(1, 31)]] * visits.height
    entry = report_tables.top_codes_entry(visits.with_columns(pl.Series("diagnosis_codes", codes)))
    assert [row["code"] for row in entry["diagnosis_codes"]] == [f"ICD9CM:{n:03d}" for n in range(1, 21)]
