"""The privacy report of models that have learnt their patients by heart, other patients, or nothing."""

import hashlib
import json
import shutil

import polars as pl
import pytest
import torch

import run_privacy
from medm_plm.cards.reading import read_run
from medm_plm.data.collators import CodeMasker, PretrainingCollator
from medm_plm.data.schema import read_visits
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.errors import InputError
from medm_plm.privacy import measure_privacy
from medm_plm.privacy.losses import each_code_losses, masked_losses
from medm_plm.training.datasets import tokenize_visits
from medm_plm.training.models import new_model
from medm_plm.training.processors import build_processor
from medm_plm.training.task_examples import task_examples, task_labels
from prepared_cohort import (
    invent_visits,
    tiny_model,
    tiny_model_options,
    tiny_processor,
    write_prepared_folder,
)


def random_codes(num_patients: int) -> pl.DataFrame:
    """Visits in which nothing can be learnt but by heart: notes and codes are drawn independently."""
    visits = invent_visits(num_patients)
    order = torch.randperm(len(visits), generator=torch.Generator().manual_seed(0)).tolist()
    codes = visits.select("diagnosis_codes", "medication_codes")[order]
    return visits.with_columns(codes["diagnosis_codes"], codes["medication_codes"])


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def save(folder, visits_of_vocabulary, data, train=None, epochs=0):
    """A tiny pre-trained model; `train` is learnt by heart, and `data` is the folder that its run names."""
    torch.manual_seed(1)
    train_visits = visits_of_vocabulary.filter(pl.col("split") == "train")
    vocabulary = CodeVocabulary.from_codes(
        *(train_visits[name].explode() for name in ("diagnosis_codes", "medication_codes"))
    )
    options = tiny_model_options(text_hidden_size=32)
    processor = build_processor(vocabulary, train_visits["note"], options)
    model = new_model("pretraining", vocabulary, processor, options)
    if train is not None:
        learn_by_heart(model, processor, train, epochs)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    metrics = {"task": "pretraining", "predictor": "medm_plm", "seed": 1}
    metrics["data_sha256"] = digest(data / "visits.parquet")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def learn_by_heart(model, processor, visits, epochs):
    examples = tokenize_visits(processor, visits)
    masker = CodeMasker.from_tokenizer(processor.code_tokenizer, mask_share=0.4)
    collate = PretrainingCollator.from_processor(processor, masker=masker)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(epochs):
        model.eval()  # without dropout: the faster by heart
        optimizer.zero_grad()
        model(**collate([{**example, "epoch": epoch} for example in examples])).loss.backward()
        optimizer.step()


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """A planned audit, and three models: by heart with canaries, reference, untrained."""
    folder = tmp_path_factory.mktemp("audit")
    data = write_prepared_folder(folder / "prepared", random_codes(100))
    words = ["--insertions", "1", "10", "--num_canaries", "3", "--seed", "1"]
    run_privacy.main(["plan", "--data", str(data), "--output", str(folder / "audit"), *words])
    parts = {name: read_visits(folder / "audit" / name) for name in ("audited", "reference")}
    train = {name: part.filter(pl.col("split") == "train") for name, part in parts.items()}
    data = {name: folder / "audit" / name for name in parts}
    save(folder / "by_heart", parts["audited"], data["audited"], train["audited"], epochs=120)
    save(folder / "other", parts["audited"], data["reference"], train["reference"], epochs=30)
    save(folder / "untrained", parts["audited"], data["audited"])
    return folder


def report_of(audit, model, **options):
    return measure_privacy(audit / model, audit / "audit" / "audited", num_masks=2, **options)


def test_a_model_that_knows_its_patients_by_heart_is_caught(audit):
    attacks = report_of(audit, "by_heart", references=[audit / "other"])["attacks"]
    assert attacks["loss_threshold"]["auc"] > 0.8
    assert attacks["likelihood_ratio"]["auc"] > 0.8
    assert attacks["loss_threshold"]["interval"][0] > 0.6


def test_an_untrained_model_tells_nothing(audit):
    attacks = report_of(audit, "untrained", references=[audit / "other"])["attacks"]
    for attack in attacks.values():
        assert attack["interval"][0] < 0.5 < attack["interval"][1]
        assert abs(attack["auc"] - 0.5) < 0.15


def test_a_model_that_has_seen_other_patients_tells_nothing_and_is_therefore_refused(audit, tmp_path):
    """A good figure of the wrong data would comfort falsely."""
    with pytest.raises(InputError, match="trained on other visits"):
        report_of(audit, "other")
    liar = shutil.copytree(audit / "other", tmp_path / "liar")
    shutil.copy(audit / "by_heart" / "metrics.json", liar)
    attack = measure_privacy(liar, audit / "audit" / "audited", num_masks=2)["attacks"]["loss_threshold"]
    assert abs(attack["auc"] - 0.5) < 0.15


def test_a_run_that_did_not_note_its_data_is_refused(audit, tmp_path):
    model = shutil.copytree(audit / "untrained", tmp_path / "model")
    (model / "metrics.json").write_text('{"task": "pretraining", "seed": 1}')
    with pytest.raises(InputError, match="trained on other visits"):
        measure_privacy(model, audit / "audit" / "audited")


def test_the_report_goes_into_the_card_of_its_model_alone(audit, tmp_path):
    report = tmp_path / "privacy.json"
    words = ["--model", str(audit / "untrained"), "--data", str(audit / "audit" / "audited")]
    run_privacy.main(["measure", *words, "--output", str(report), "--num_masks", "1"])
    assert read_run(audit / "untrained", report).privacy["weights_sha256"] == digest(
        audit / "untrained" / "model.safetensors"
    )
    for other in ("by_heart", "other"):  # other weights, and also other data
        with pytest.raises(InputError, match="that of another model"):
            read_run(audit / other, report)


def test_canaries_that_were_learnt_are_exposed_and_others_not(audit, capsys):
    words = ["--model", str(audit / "by_heart"), "--data", str(audit / "audit" / "audited")]
    words += ["--reference", str(audit / "other"), "--canaries", str(audit / "audit" / "canaries.json")]
    words += ["--output", str(audit / "privacy.json"), "--num_candidates", "63", "--num_masks", "1"]
    run_privacy.main(["measure", *words])
    report = json.loads((audit / "privacy.json").read_text())
    exposures = {row["insertions"]: row["mean_exposure"] for row in report["canaries"]}
    assert exposures[10] > 5.0
    assert report["highest_exposure"] == 6.0
    unseen = [bit for row in report["canaries_of_references"] for bit in row["exposures"]]
    assert sum(unseen) / len(unseen) < 3.0
    printed = capsys.readouterr().out
    assert "likelihood ratio" in printed
    assert "Exposure of canaries" in printed


def test_the_report_names_neither_patients_nor_canaries(audit):
    text = json.dumps(
        report_of(audit, "by_heart", canaries=audit / "audit" / "canaries.json", num_candidates=7)
    )
    planted = json.loads((audit / "audit" / "canaries.json").read_text())["canaries"]
    for word in ("p0", "h0", "canary-", str(audit), *(canary["note"] for canary in planted)):
        assert word not in text


def test_losses_of_visits_equal_the_models_own_loss_on_each_alone():
    visits = random_codes(8)
    model, processor = tiny_model("pretraining", visits).eval(), tiny_processor(visits)
    losses = masked_losses(model, processor, visits, num_masks=2, seed=5)
    masker = CodeMasker.from_tokenizer(processor.code_tokenizer, 5)
    collate = PretrainingCollator.from_processor(processor, masker=masker)
    for row, example in enumerate(tokenize_visits(processor, visits)):
        total, hidden = 0.0, 0
        for drawing in range(2):
            batch = collate([{**example, "epoch": f"privacy {drawing}"}])
            count = int((batch["labels"] != -100).sum())
            with torch.no_grad():
                total += float(model(**batch).loss) * count
            hidden += count
        assert losses[row].tolist() == pytest.approx([total, hidden], rel=1e-5)


def test_each_code_is_hidden_once():
    visits = random_codes(4)
    model, processor = tiny_model("pretraining", visits).eval(), tiny_processor(visits)
    losses = each_code_losses(model, processor, visits)
    masker = CodeMasker.from_tokenizer(processor.code_tokenizer)
    collate = PretrainingCollator.from_processor(processor)
    for row, example in enumerate(tokenize_visits(processor, visits)):
        parts = []
        for position in masker.eligible_positions(example["code_input_ids"], example["code_token_type_ids"]):
            codes, labels = example["code_input_ids"].copy(), example["code_input_ids"] * 0 - 100
            labels[position], codes[position] = codes[position], masker.mask_token_id
            with torch.no_grad():
                batch = collate([{**example, "code_input_ids": codes, "labels": labels}])
                parts.append(float(model(**batch).loss))
        assert len(parts) == 6
        assert losses[row] == pytest.approx(sum(parts) / len(parts), rel=1e-5)


@pytest.mark.parametrize("task", ["icd_coding", "readmission", "medication_recommendation"])
def test_fine_tuned_models_are_measured_by_the_loss_of_their_task(task, tmp_path):
    visits = invent_visits(60)
    data = write_prepared_folder(tmp_path / "prepared", visits)
    top = {"icd_coding": 4}.get(task, 50)
    labels = task_labels(task, visits, top)
    model = tiny_model(task, visits, id2label=dict(enumerate(labels)))
    model.save_pretrained(tmp_path / "model")
    tiny_processor(visits).save_pretrained(tmp_path / "model")
    metrics = {"task": task, "predictor": "medm_plm", "seed": 1, "training_ratio": 1.0, "settings": {}}
    metrics["data_sha256"] = digest(data / "visits.parquet")
    (tmp_path / "model" / "metrics.json").write_text(json.dumps(metrics))
    attack = measure_privacy(tmp_path / "model", data)["attacks"]["loss_threshold"]
    expected = task_examples(task, visits, "train", labels, seed=1).targets["subject_id"].n_unique()
    assert attack["members"] == expected
    assert attack["interval"][0] < 0.5 < attack["interval"][1]
    with pytest.raises(InputError, match="pre-trained models only"):
        measure_privacy(tmp_path / "model", data, canaries=tmp_path / "none.json")


def test_what_cannot_be_compared_is_refused(audit, tmp_path):
    with pytest.raises(InputError, match="very same visits"):
        report_of(audit, "by_heart", references=[audit / "by_heart"])
    with pytest.raises(InputError, match="do not hold these canaries"):
        measure_privacy(
            audit / "other", audit / "audit" / "reference", canaries=audit / "audit" / "canaries.json"
        )
    with pytest.raises(InputError, match="no finished run"):
        measure_privacy(tmp_path, audit / "audit" / "audited")
