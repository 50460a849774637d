"""Neither notes nor codes of the invented cohort suffice alone: a linear model is better with both."""

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from medm_plm.data.synthetic import DRUG_MAP_FILE, read_truth, write_synthetic_tables

NUM_PATIENTS = 600
NUM_LABELS = 6


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_synthetic_tables(folder, NUM_PATIENTS, seed=0)

    def read(name):
        return pl.read_csv(folder / f"{name}.csv", infer_schema=False)

    summaries = (pl.col("CATEGORY") == "Discharge summary") & pl.col("ISERROR").is_null()
    notes = read("NOTEEVENTS").filter(summaries).group_by("HADM_ID").agg(note=pl.col("TEXT").str.join(" "))
    diagnoses = read("DIAGNOSES_ICD").drop_nulls("ICD9_CODE").group_by("HADM_ID").agg(diagnoses="ICD9_CODE")
    drug_map = pl.read_csv(folder / DRUG_MAP_FILE)
    given = read("PRESCRIPTIONS").join(drug_map, left_on=["DRUG", "ROUTE"], right_on=["drug", "route"])
    medications = given.group_by("HADM_ID").agg(medications=pl.col("atc").unique())
    truth = read_truth(folder).select(HADM_ID="hadm_id", chance="readmission_probability")
    times = pl.col("ADMITTIME", "DISCHTIME").str.to_datetime()
    frame = read("ADMISSIONS").with_columns(times).sort("SUBJECT_ID", "ADMITTIME")
    gap = pl.col("ADMITTIME").shift(-1).over("SUBJECT_ID") - pl.col("DISCHTIME")
    frame = frame.with_columns(readmitted=(gap < pl.duration(days=30)).fill_null(False))
    for table in (notes, diagnoses, medications, truth):
        frame = frame.join(table, on="HADM_ID", maintain_order="left")
    return frame


def bag_of_words(visits):
    text = visits["note"].str.replace_all(r"\[\*\*.*?\*\*\]", " ").str.to_lowercase()
    return TfidfVectorizer(min_df=4, ngram_range=(1, 2), sublinear_tf=True).fit_transform(text.to_list())


def bag_of_codes(lists):
    return csr_matrix(CountVectorizer(analyzer=list, binary=True).fit_transform(lists.to_list()), dtype=float)


def held_out_predictions(features, labels, groups, strength):
    """Predict each patient's visits by a model of other patients, (visits,)."""
    predicted = np.zeros(len(labels))
    for train, test in GroupKFold(3).split(features, labels, groups):
        model = LogisticRegression(C=strength, solver="liblinear").fit(features[train], labels[train])
        predicted[test] = model.predict_proba(features[test])[:, 1]
    return predicted


def test_readmission_needs_the_note_and_the_codes(visits):
    alive = visits.filter(pl.col("DEATHTIME").is_null())
    text = bag_of_words(alive)
    codes = hstack([bag_of_codes(alive["diagnoses"]), bag_of_codes(alive["medications"])]).tocsr()
    labels, groups = alive["readmitted"].to_numpy(), alive["SUBJECT_ID"].to_numpy()

    def score(features, strength):
        return roc_auc_score(labels, held_out_predictions(features, labels, groups, strength))

    alone = max(score(text, 3.0), score(codes, 0.1))
    both = score(hstack([text, 0.2 * codes]).tocsr(), 3.0)
    ceiling = roc_auc_score(labels, alive["chance"].to_numpy())
    assert alone > 0.6
    assert both > alone + 0.02
    assert ceiling > both + 0.03


def test_coding_needs_the_note_and_the_medications(visits):
    codes = visits["diagnoses"].explode().value_counts(sort=True).sort("count", "diagnoses", descending=True)
    names = codes["diagnoses"].to_list()[:NUM_LABELS]
    labels = np.stack([visits["diagnoses"].list.contains(name).to_numpy() for name in names], axis=1)
    text, medications = bag_of_words(visits), bag_of_codes(visits["medications"])
    groups = visits["SUBJECT_ID"].to_numpy()

    def score(features):
        columns = [held_out_predictions(features, label, groups, 1.0) for label in labels.T]
        return roc_auc_score(labels.ravel(), np.stack(columns, axis=1).ravel())

    alone = max(score(text), score(medications))
    both = score(hstack([text, 0.5 * medications]).tocsr())
    assert alone > 0.7
    assert both > alone + 0.02
