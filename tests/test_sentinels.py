"""Planted words of notes, drug names and ids of patients and visits get out nowhere, from tables to the card.

What must hold them, and so is looked at apart: the tables themselves, `visits.parquet` (notes and ids), and
the ids, no words, of `predictions_*.parquet`. Not run here: an error about a loss that is not finite names
the ids of its visits, so that they can be found.
"""

import logging
import random
import re
import string
import sys
from pathlib import Path

import polars as pl
import pytest

import run_card
import run_finetuning
import run_preparation
import run_pretraining
import run_privacy
from medm_plm.data.synthetic import write_synthetic_tables
from medm_plm.errors import InputError
from prepared_cohort import smoke_options

NUM_PATIENTS, NUM_WORDS = 60, 40
PATIENT_PREFIX, VISIT_PREFIX = "91827", "54637"
ID = re.compile(rb"91827\d{5}|54637\d{5}")
MUST_HOLD_NOTES = {"visits.parquet"}
MUST_HOLD_IDS = {"predictions_validation.parquet", "predictions_test.parquet", *MUST_HOLD_NOTES}


def plant_sentinels(tables: Path) -> list[str]:
    """Give every patient and visit an id that can be looked for, and notes and a drug words of their own."""
    generator = random.Random(0)
    words = ["".join(generator.choices(string.ascii_lowercase, k=12)) for _ in range(NUM_WORDS + 2)]
    for path in sorted(tables.glob("*.csv")):
        table = pl.read_csv(path, infer_schema=False)
        for column, prefix in (("SUBJECT_ID", PATIENT_PREFIX), ("HADM_ID", VISIT_PREFIX)):
            if column in table.columns:
                table = table.with_columns((prefix + pl.col(column).str.zfill(5)).alias(column))
        if path.name == "NOTEEVENTS.csv":
            planted = pl.Series(words[:NUM_WORDS] + [""] * (len(table) - NUM_WORDS))
            table = table.with_columns(pl.col("TEXT") + " Mr. " + planted + " was seen. " + planted)
        if path.name == "PRESCRIPTIONS.csv":
            first = pl.int_range(pl.len()) == 0
            table = table.with_columns(DRUG=pl.when(first).then(pl.lit(words[-1])).otherwise("DRUG"))
        table.write_csv(path, quote_style="non_numeric")
    # A row of two cells: what stands in them must not be repeated.
    broken = tables.parent / "broken"
    broken.mkdir()
    for path in tables.glob("*.csv"):
        (broken / path.name).write_bytes(path.read_bytes())
    with (broken / "ADMISSIONS.csv").open("a") as file:
        file.write(f'"{words[-2]}","{words[-2]}"\n')
    return words


def main_of(script, *options: object) -> None:
    """Run a script in this process."""
    words = [str(option) for option in options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script.__file__, *words])
        script.main()


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """All scripts one after the other, three of them with a mistake; what they wrote, said and raised."""
    folder = tmp_path_factory.mktemp("sentinels")
    tables, output = folder / "tables", folder / "output"
    write_synthetic_tables(tables, NUM_PATIENTS, seed=1)
    words = plant_sentinels(tables)
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(handler.format(record))
    logging.getLogger().addHandler(handler)
    raised = []

    def run(script, *options: object, fails: bool = False) -> None:
        if not fails:
            main_of(script, *options)
            return
        with pytest.raises(InputError) as caught:
            main_of(script, *options)
        raised.append(f"{caught.value!r} {caught.value} {vars(caught.value)}")

    source = ("--source", "mimic3", "--num_processes", 1)
    data, pretrained = output / "prepared", output / "pretrained"
    run(run_preparation, *source, "--input", tables, "--output", data)
    run(run_preparation, *source, "--input", folder / "broken", "--output", output / "broken", fails=True)
    # A vocabulary with room for every word of every note.
    smoke = (*smoke_options("pretraining"), "--text_vocab_size", 8000)
    run(run_pretraining, *smoke, "--data", data, "--output_dir", pretrained)
    tasks = ("icd_coding", "readmission", "medication_recommendation")
    for task in tasks:
        options = (*smoke_options(task), "--data", data, "--model", pretrained)
        run(run_finetuning, *options, "--output_dir", output / task)
    model = ("--model", pretrained, "--data", data, "--num_masks", 1)
    run(run_privacy, "measure", *model, "--output", output / "privacy.json")
    run(run_card, pretrained, "--privacy", output / "privacy.json")
    run(run_card, data)

    leaking = output / "leaking"
    leaking.mkdir()
    visits = pl.read_parquet(data / "visits.parquet")
    twice = pl.concat([visits, visits.head(1).with_columns(split=pl.lit("test"))])
    twice.write_parquet(leaking / "visits.parquet")
    (leaking / "code_vocabulary.json").write_bytes((data / "code_vocabulary.json").read_bytes())
    run(run_pretraining, *smoke, "--data", leaking, "--output_dir", output / "failed", fails=True)
    (leaking / "visits.parquet").write_bytes((data / "visits.parquet").read_bytes()[:-100])
    run(run_pretraining, *smoke, "--data", leaking, "--output_dir", output / "failed", fails=True)
    logging.getLogger().removeHandler(handler)
    return output, [word.encode() for word in words], records, raised


def hits(content: bytes, words: list[bytes], may_hold_ids: bool = False) -> list[bytes]:
    """Sentinels in some bytes, in either case."""
    lower = content.lower()
    found = [word for word in words if word in lower]
    return found if may_hold_ids else found + ID.findall(content)


def test_the_sentinels_have_reached_what_is_learnt_from(everything):
    output, words, _, _ = everything
    visits = pl.read_parquet(output / "prepared" / "visits.parquet")
    text = " ".join(visits["note"]).encode()
    assert len([word for word in words if word in text.lower()]) > NUM_WORDS // 2
    assert visits["subject_id"].str.starts_with(PATIENT_PREFIX).all()
    assert visits["hadm_id"].str.starts_with(VISIT_PREFIX).all()


def test_no_file_and_no_file_name_holds_a_sentinel(everything):
    output, words, _, _ = everything
    files = [path for path in output.rglob("*") if path.is_file()]
    assert len(files) > 60
    for needed in (
        "README.md",
        "tokenizer.json",
        "report.html",
        "model.safetensors",
        "optimizer.pt",
        "run.json",
    ):
        assert any(path.name == needed for path in files), needed
    found = {}
    for path in files:
        name = path.relative_to(output).as_posix()
        names = hits(name.encode(), words)
        inside = [] if path.name in MUST_HOLD_IDS else hits(path.read_bytes(), words)
        if names or inside:
            found[name] = names + inside
    assert not found


def test_predictions_hold_ids_and_no_words(everything):
    output, words, _, _ = everything
    paths = list(output.rglob("predictions_*.parquet"))
    assert len(paths) == 6
    for path in paths:
        table = pl.read_parquet(path)
        assert set(table.columns) == {"subject_id", "hadm_id", "visit_number", "probabilities", "labels"}
        assert not hits(repr(table.rows()).encode(), words, may_hold_ids=True)
        assert not hits(path.read_bytes(), words, may_hold_ids=True)


def test_no_error_repeats_what_it_is_about(everything):
    _, words, _, raised = everything
    assert len(raised) == 3
    assert not hits(" ".join(raised).encode(), words)


def test_no_log_holds_a_sentinel(everything):
    _, words, records, _ = everything
    assert not hits(" ".join(records).encode(), words)


def test_nothing_is_printed_that_holds_a_sentinel(tmp_path, capfd):
    """Once more with the output of the process at hand, in the steps that print most."""
    write_synthetic_tables(tmp_path / "tables", NUM_PATIENTS, seed=1)
    words = [word.encode() for word in plant_sentinels(tmp_path / "tables")]
    source = ("--source", "mimic3", "--num_processes", 1)
    data = tmp_path / "prepared"
    main_of(run_preparation, *source, "--input", tmp_path / "tables", "--output", data)
    with pytest.raises(InputError):
        main_of(run_preparation, *source, "--input", tmp_path / "broken", "--output", tmp_path / "b")
    options = (*smoke_options("icd_coding"), "--data", data, "--num_train_epochs", 1)
    main_of(run_finetuning, *options, "--output_dir", tmp_path / "out")
    printed = capfd.readouterr()
    assert "icd_coding, test split" in printed.out
    assert not hits((printed.out + printed.err).encode(), words)
