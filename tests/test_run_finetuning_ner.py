"""`run_finetuning.py --task ner`: from files of labelled words to a saved tagger, in its three forms."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

import run_finetuning
from medm_plm.command_line import run_main
from medm_plm.data.ner import read_corpus
from medm_plm.errors import InputError
from medm_plm.metrics.spans import span_metrics
from prepared_cohort import PROJECT_ROOT, pretrained_folder, smoke_options
from strangers import run_stranger

DRUGS = ("aspirin", "zinc", "morphine", "insulin", "lasix", "heparin")
ILLS = ("fever", "chest pain", "nausea", "low mood", "cough", "rash")
FILLERS = ("the", "patient", "today", "was", "seen", "and", "then", "here", "still", "at", "home")

STRANGER = """
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer
folder, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True).eval()
inputs = tokenizer("zinc for chest pain", return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
torch.save(model.decode(logits, inputs["attention_mask"]), out)
"""


def write_corpus(path: Path, num_sentences: int, seed: int) -> Path:
    """Sentences in which a drug helps against an ill, with words around that say nothing."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(num_sentences):
        drug, ill = DRUGS[rng.integers(len(DRUGS))], ILLS[rng.integers(len(ILLS))].split()
        lines += [f"{filler}\tO" for filler in rng.choice(FILLERS, 4)]
        lines += [f"{drug}\tB-drug", "helps\tO", "against\tO"]
        lines += [f"{word}\t{'BI'[index > 0]}-ill" for index, word in enumerate(ill)]
        lines.append("")
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("corpus")
    return {
        "train": write_corpus(folder / "train.tsv", 120, 0),
        "test": write_corpus(folder / "test.tsv", 30, 1),
    }


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    return pretrained_folder(tmp_path_factory.getbasetemp())


def options(files: dict[str, Path], output: Path, **more: object) -> list[str]:
    places = {"ner_train": files["train"], "ner_test": files["test"], "output_dir": output}
    words = smoke_options("ner")
    return words + [word for name, value in {**places, **more}.items() for word in (f"--{name}", str(value))]


def test_a_tagger_from_files_to_metrics_predictions_and_a_model(files, tmp_path, capsys):
    run_finetuning.main(options(files, tmp_path, num_train_epochs=6))
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert (content["task"], content["pretrained"], content["num_labels"]) == ("ner", False, 5)
    assert content["num_sentences"] == {"train": 108, "validation": 12, "test": 30}
    assert content["test"]["model"]["span_f1"] > 0.9
    assert "ner, strict spans" in capsys.readouterr().out
    rows = pl.read_parquet(tmp_path / "predictions_test.parquet")
    assert set(rows.columns) == {
        "document_id",
        "sentence_number",
        "token_index",
        "label",
        "predicted_label",
    }
    sentences = read_corpus([files["test"]]).sentences
    assert rows["label"].to_list() == [label for s in sentences for label in s.labels]
    by_sentence = rows.group_by("document_id", "sentence_number", maintain_order=True).agg(
        "label", "predicted_label"
    )
    found = span_metrics(by_sentence["predicted_label"].to_list(), by_sentence["label"].to_list())
    assert found == content["test"]["model"]
    text = (tmp_path / "metrics.json").read_text()
    assert not [word for word in (*DRUGS, str(files["train"].parent)) if word in text]

    model = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    inputs = tokenizer("the patient was seen zinc helps against chest pain", return_tensors="pt")
    words = inputs.word_ids()
    is_first = [
        word is not None and word != before for before, word in zip([None, *words], words, strict=False)
    ]
    with torch.no_grad():
        labels = model.decode(model(**inputs).logits, torch.tensor([is_first]))[0].tolist()
    names = [model.config.id2label[label] for label in labels if label != -100]
    assert names == ["O", "O", "O", "O", "B-drug", "O", "O", "B-ill", "I-ill"]
    assert not list(tmp_path.rglob("training_args.bin"))


def test_a_saved_tagger_opens_where_the_project_is_not_importable(files, tmp_path):
    folder, out = tmp_path / "model", tmp_path / "out.pt"
    run_finetuning.main(options(files, folder, num_train_epochs=1))
    run_stranger(tmp_path, STRANGER, folder, out)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)("zinc for chest pain", return_tensors="pt")
    with torch.no_grad():
        expected = model.decode(model(**inputs).logits, inputs["attention_mask"])
    assert torch.equal(torch.load(out, weights_only=True), expected)


def test_a_tagger_without_a_text_encoder(files, tmp_path):
    run_finetuning.main(options(files, tmp_path, num_train_epochs=12, ner_encoder="none"))
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["test"]["model"]["span_f1"] > 0.9
    model = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert not [name for name, _ in model.named_parameters() if "text_model" in name]


def test_a_tagger_over_a_pretrained_model_with_kept_states(files, pretrained, tmp_path):
    more = {"model": pretrained, "num_frozen_text_layers": 1, "frozen_text_cache": tmp_path / "cache"}
    run_finetuning.main(options(files, tmp_path / "out", num_train_epochs=1, **more))
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["pretrained"] is True
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "out")
    body = AutoModelForTokenClassification.from_pretrained(pretrained)
    name = "embeddings.word_embeddings.weight"  # frozen, so still that of the pre-training
    assert torch.equal(*(m.model.text_model.state_dict()[name] for m in (model, body)))
    assert list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_share_of_the_training_sentences(files, tmp_path):
    run_finetuning.main(options(files, tmp_path, num_train_epochs=1, training_ratio=0.25))
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["num_sentences"] == {"train": 27, "validation": 12, "test": 30}


def test_a_folder_is_gone_on_with_by_the_same_sentences_only(files, tmp_path):
    run_finetuning.main(options(files, tmp_path / "out", num_train_epochs=1))
    before = json.loads((tmp_path / "out" / "metrics.json").read_text())
    moved = Path(shutil.copy(files["train"], tmp_path / "train.tsv"))  # the sentences count, not their place
    run_finetuning.main(options({**files, "train": moved}, tmp_path / "out", num_train_epochs=1))
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test"] == before["test"]
    other = write_corpus(moved, 120, seed=2)
    with pytest.raises(InputError, match="another run, which differs in ner_data_sha256"):
        run_finetuning.main(options({**files, "train": other}, tmp_path / "out", num_train_epochs=1))


def test_two_processes_predict_every_word_once(files, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = options(files, tmp_path, use_cpu=True, per_device_eval_batch_size=4, num_train_epochs=1)
    done = subprocess.run(
        [*command, "run_finetuning.py", *words],
        cwd=PROJECT_ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = pl.read_parquet(tmp_path / "predictions_test.parquet")
    sentences = read_corpus([files["test"]]).sentences
    assert rows["label"].to_list() == [label for s in sentences for label in s.labels]
    assert done.stdout.count("ner, strict spans") == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ner_test": "nowhere"}, "no such file"),
        ({"ner_validation": "{train}"}, "more than half of the validation sentences are training sentences"),
        ({"baseline": "linear"}, "--baseline has no place in task ner"),
        ({"frozen_text_cache": "c", "ner_encoder": "none"}, "--frozen_text_cache has no place beside"),
        ({"architecture": "gbert"}, "architecture"),
        ({"model": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes_are_one_clear_line(more, message, files, tmp_path, capsys):
    words = options(files, tmp_path, **{k: str(v).format(**files) for k, v in more.items()})
    with pytest.raises(SystemExit) as end:
        run_main(lambda: run_finetuning.main(words))
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 1
    assert message in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "ner", "--data", "d"], "--data has no place in task ner"),
        (["--task", "readmission"], "--data is missing"),
        (["--task", "ner", "--current_note", "full"], "--current_note has no place in task ner"),
        (["--task", "ner", "--ner_max_length", "2"], "--ner_max_length; received 2, expected at least 3"),
    ],
)
def test_options_of_other_tasks_are_usage_errors(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run_finetuning.main([*words, "--output_dir", str(tmp_path)])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_options_of_ner_have_no_place_elsewhere(tmp_path, capsys):
    words = ["--task", "readmission", "--data", "d", "--ner_train", "x", "--output_dir", str(tmp_path)]
    with pytest.raises(SystemExit):
        run_main(lambda: run_finetuning.main(words))
    assert "--ner_train has no place in task readmission" in capsys.readouterr().err
