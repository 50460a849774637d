"""The card of prepared data: valid for the Hub, and a warning where the data are patients'."""

import json

import pytest
from huggingface_hub import DatasetCard

import run_card
from medm_plm.cards import dataset_card
from medm_plm.errors import InputError

REPORT = {
    "source": {"name": "synthetic", "files": {"SENTINEL_FILE.csv": {"rows": 1}}},
    "rules": {"cohort": {"minimum_age": 16.0}, "readmission_policy": "paper", "diagnosis_system": "ICD9CM"},
    "tables": {"ADMISSIONS": {"rows_in": 182, "rows_out": 180, "rows_dropped": {"some reason": 2}}},
    "visits": {"visits_read": 182, "visits_prepared": 180, "patients_prepared": 120},
    "medications": {"rows": 3606, "rows_mapped": 3590},
    "splits": {"number_of_labels": {"icd_coding": 50}, "train": {"patients": 95, "visits": 141}},
    "leakage": {"patient in two splits": {"examined": 120, "violations": 0}},
    "fingerprint": "f" * 64,
    "output": {"visits.parquet": "e" * 64},
}


def prepared(folder, source):
    report = {**REPORT, "source": {**REPORT["source"], "name": source}}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_invented_data(tmp_path):
    text = dataset_card(prepared(tmp_path, "synthetic"))
    header = DatasetCard(text).data.to_dict()
    assert (header["license"], header["size_categories"]) == ("apache-2.0", "n<1K")
    assert "Do not publish" not in text
    for fact in (
        "180",
        "f" * 64,
        "e" * 64,
        "| ADMISSIONS | 182 | 2 |",
        "| train: patients / visits | 95 / 141 |",
    ):
        assert fact in text
    assert "SENTINEL_FILE" not in text
    assert "[More Information Needed]" not in text
    assert "$" not in text


@pytest.mark.parametrize(
    ("visits", "category"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (999_999, "100K<n<1M"),
        (1_000_000, "1M<n<10M"),
        (10_000_000, "10M<n<100M"),
        (2_000_000_000, "1B<n<10B"),
        (10**12 - 1, "100B<n<1T"),
        (10**12, "n>1T"),
        (10**15, "n>1T"),
    ],
)
def test_the_size_is_one_of_the_hub_s_categories(visits, category, tmp_path):
    report = {**REPORT, "visits": {"visits_prepared": visits}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert DatasetCard(dataset_card(tmp_path)).data.to_dict()["size_categories"] == category


@pytest.mark.parametrize("source", ["mimic3", "mimic4", "eicu", "meds", "table", "a new one"])
def test_the_data_of_patients_are_not_to_be_published(tmp_path, source):
    text = dataset_card(prepared(tmp_path, source))
    header = DatasetCard(text).data.to_dict()
    assert "**Do not publish this folder.**" in text
    assert header["license"] == "other"
    assert header["viewer"] is False
    assert header["extra_gated_prompt"].startswith("Do not publish.")


def test_the_script_writes_it(tmp_path, capsys):
    run_card.main([str(prepared(tmp_path, "mimic3")), "--contact", "someone"])
    assert "someone" in (tmp_path / "README.md").read_text()
    with pytest.raises(InputError, match="--privacy"):
        run_card.main([str(tmp_path), "--privacy", "x.json"])


def test_a_folder_without_a_report_gets_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        dataset_card(tmp_path)
