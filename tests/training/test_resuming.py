"""From which checkpoint a run goes on, and which runs are refused."""

import json
import shutil

import pytest
import torch

from medm_plm.errors import InputError
from medm_plm.training import resuming
from medm_plm.training.arguments import ModelArguments, PretrainingArguments, RunArguments
from medm_plm.training.checkpoints import seal
from medm_plm.training.resuming import describe_run, resume_folder
from prepared_cohort import write_prepared_folder
from run_locks import locked
from tiny_trainers import run_arguments


def make_checkpoint(folder, step: int, best: int | None = None, processes: int = 1):
    checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    named = None if best is None else f"somewhere/else/checkpoint-{best}"
    (checkpoint / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": named}))
    (checkpoint / "scheduler.pt").write_text("s")
    seal(checkpoint, processes)
    return checkpoint


def spoil(checkpoint) -> None:
    (checkpoint / "scheduler.pt").write_text("t")


@pytest.fixture
def started(tmp_path):
    """A folder in which the run has begun; each number is a checkpoint."""
    assert resume_folder(run_arguments(tmp_path)) is None
    return {step: make_checkpoint(tmp_path, step) for step in (8, 9, 10)}


def test_the_newest_checkpoint_is_resumed(started, tmp_path):
    for asked in ("auto", "last", str(started[10])):
        assert resume_folder(run_arguments(tmp_path, resume_from_checkpoint=asked)) == str(started[10])
    assert resume_folder(run_arguments(tmp_path, resume_from_checkpoint=str(started[8]))) == str(started[8])


def test_damaged_newer_ones_are_passed_over_with_one_warning(started, tmp_path, caplog):
    spoil(started[10])
    (started[9] / "manifest.json").unlink()
    assert resume_folder(run_arguments(tmp_path)) == str(started[8])
    (record,) = [record for record in caplog.records if "damaged" in record.message]
    for part in ("checkpoint-10: scheduler.pt", "checkpoint-9: manifest.json", "going on from checkpoint-8"):
        assert part in record.message


def test_without_an_intact_checkpoint_the_same_run_begins_anew(started, tmp_path, caplog):
    for checkpoint in started.values():
        spoil(checkpoint)
    assert resume_folder(run_arguments(tmp_path)) is None
    assert len([record for record in caplog.records if "none is intact" in record.message]) == 1
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        resume_folder(run_arguments(tmp_path, resume_from_checkpoint="last"))


def test_a_checkpoint_whose_best_is_intact_comes_first(tmp_path, caplog):
    best_at_end = {"eval_strategy": "steps", "save_strategy": "steps", "load_best_model_at_end": True}
    assert resume_folder(run_arguments(tmp_path, **best_at_end)) is None
    made = {step: make_checkpoint(tmp_path, step, best) for step, best in ((1, 1), (2, 1), (3, 3), (4, 3))}
    assert resume_folder(run_arguments(tmp_path, **best_at_end)) == str(made[4])
    spoil(made[3])
    assert resume_folder(run_arguments(tmp_path, **best_at_end)) == str(made[2])
    assert "its best predecessor checkpoint-3 is damaged" in caplog.text
    spoil(made[1])
    assert resume_folder(run_arguments(tmp_path, **best_at_end)) == str(made[4])
    assert "without the best weights so far" in caplog.text


def test_another_run_is_refused_by_the_name_of_the_option(started, tmp_path):
    with pytest.raises(InputError, match=r"another run, which differs in seed; received seed 4, expected 3"):
        resume_folder(run_arguments(tmp_path, seed=4))
    with pytest.raises(InputError, match="differs in learning_rate, warmup_steps"):
        resume_folder(
            run_arguments(tmp_path, learning_rate=0.1, warmup_steps=3, resume_from_checkpoint="last")
        )
    with pytest.raises(InputError, match=r"differs in .*text_pooling.*text_vocab_size"):
        resume_folder(run_arguments(tmp_path), ModelArguments())
    named = run_arguments(tmp_path, seed=4, resume_from_checkpoint=str(started[9]))
    assert resume_folder(named) == str(started[9])


def test_options_that_change_no_result_may_change(started, tmp_path):
    free = {"dataloader_num_workers": 2, "save_total_limit": 7, "run_name": "again", "log_level": "info"}
    assert resume_folder(run_arguments(tmp_path, **free)) == str(started[10])
    with pytest.raises(InputError, match="dataloader_drop_last"):
        resume_folder(run_arguments(tmp_path, dataloader_drop_last=True))


def test_other_data_are_another_run_and_another_place_is_not(tmp_path):
    first, moved = (write_prepared_folder(tmp_path / name) for name in ("first", "moved"))
    args, made = run_arguments(tmp_path / "out"), None
    for data in (first, moved):
        assert resume_folder(args, PretrainingArguments(data=str(data))) == made
        made = made or str(make_checkpoint(tmp_path / "out", 1))
    with (moved / "visits.parquet").open("ab") as file:
        file.write(b" ")
    with pytest.raises(InputError, match=r"differs in visits\.parquet"):
        resume_folder(args, PretrainingArguments(data=str(moved)))


def test_the_description_of_a_run_holds_no_secret_and_no_place(tmp_path):
    data = write_prepared_folder(tmp_path / "prepared")
    args = run_arguments(tmp_path / "out", hub_token="hf_secret")
    text = json.dumps(describe_run(args, PretrainingArguments(data=str(data))))
    assert "hf_secret" not in text
    assert str(tmp_path) not in text


def test_checkpoints_of_an_unknown_run_are_left_alone(tmp_path):
    made = make_checkpoint(tmp_path, 1)
    with pytest.raises(InputError, match=r"already holds checkpoints.*resume_from_checkpoint last"):
        resume_folder(run_arguments(tmp_path))
    assert resume_folder(run_arguments(tmp_path, resume_from_checkpoint="last")) == str(made)
    assert resume_folder(run_arguments(tmp_path)) == str(made)


def test_a_run_that_must_begin_afresh_needs_an_empty_folder(tmp_path):
    assert resume_folder(run_arguments(tmp_path, resume_from_checkpoint="never")) is None
    make_checkpoint(tmp_path, 1)
    with pytest.raises(InputError, match="already holds checkpoints"):
        resume_folder(run_arguments(tmp_path, resume_from_checkpoint="never"))


@pytest.mark.parametrize("content", ["", "[1]", "{", "\udcff"])
def test_an_unreadable_description_is_one_clear_error(content, started, tmp_path):
    (tmp_path / "checkpoints" / "run.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"run\.json.*cannot be read"):
        resume_folder(run_arguments(tmp_path))


@pytest.mark.parametrize("asked", ["last", "nowhere"])
def test_nothing_to_resume_is_one_clear_error(asked, tmp_path):
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        resume_folder(run_arguments(tmp_path, resume_from_checkpoint=asked))


def test_a_named_checkpoint_must_be_intact(started, tmp_path):
    spoil(started[9])
    with pytest.raises(InputError, match=r"checkpoint-9: the checkpoint is damaged: scheduler\.pt"):
        resume_folder(run_arguments(tmp_path, resume_from_checkpoint=str(started[9])))


def test_a_checkpoint_of_another_number_of_processes_is_taken_with_a_warning(started, tmp_path, caplog):
    resume_folder(run_arguments(tmp_path, resume_from_checkpoint=str(started[9])))
    assert "bit for bit" not in caplog.text
    of_two = str(make_checkpoint(tmp_path, 11, processes=2))
    assert resume_folder(run_arguments(tmp_path, resume_from_checkpoint=of_two)) == of_two
    assert "checkpoint-11 was written by 2 processes and is read by 1" in caplog.text
    assert "not bit for bit" in caplog.text


def test_what_goes_on_from_a_named_checkpoint_is_that_run_from_then_on(started, tmp_path):
    other = {"seed": 4}
    resume_folder(run_arguments(tmp_path, resume_from_checkpoint=str(started[9]), **other))
    assert resume_folder(run_arguments(tmp_path, **other)) == str(started[9])  # 10 is of the earlier run
    with pytest.raises(InputError, match="another run, which differs in seed"):
        resume_folder(run_arguments(tmp_path))


def names_in(folder) -> set[str]:
    return {path.name for path in folder.iterdir() if "checkpoint-" in path.name}


def test_newer_checkpoints_of_another_run_are_set_aside_and_those_of_this_one_stay(started, tmp_path, caplog):
    folder, named = tmp_path / "checkpoints", {"resume_from_checkpoint": str(started[9])}
    resume_folder(run_arguments(tmp_path, **named))
    assert names_in(folder) == {"checkpoint-8", "checkpoint-9", "checkpoint-10"}
    resume_folder(run_arguments(tmp_path, seed=4, **named))
    aside = "_of_another_run-checkpoint-10"
    assert names_in(folder) == {"checkpoint-8", "checkpoint-9", aside}
    assert f"set aside as {aside}" in caplog.text
    make_checkpoint(tmp_path, 10)
    resume_folder(run_arguments(tmp_path, seed=5, **named))
    assert names_in(folder) == {"checkpoint-8", "checkpoint-9", aside, f"{aside}-2"}


def test_going_on_from_elsewhere_leaves_no_checkpoint_of_another_run_in_the_way(started, tmp_path):
    elsewhere = str(make_checkpoint(tmp_path / "elsewhere", 9))
    named = run_arguments(tmp_path, seed=4, resume_from_checkpoint=elsewhere)
    assert resume_folder(named) == elsewhere
    assert not [name for name in names_in(tmp_path / "checkpoints") if name.startswith("checkpoint-")]


def test_a_folder_in_which_another_process_trains_is_left_alone(started, tmp_path):
    output = tmp_path / "moved"  # where this process holds no lock
    folder = output / "checkpoints"
    shutil.copytree(tmp_path / "checkpoints", folder)
    (folder / "_staging").mkdir()
    with locked(folder):
        for asked in ("auto", str(started[9])):
            with pytest.raises(InputError, match="another process trains in this folder"):
                resume_folder(run_arguments(output, seed=4, resume_from_checkpoint=asked))
    assert names_in(folder) == {"checkpoint-8", "checkpoint-9", "checkpoint-10"}
    assert (folder / "_staging").exists()
    assert resume_folder(run_arguments(output)) == str(folder / "checkpoint-10")
    assert not (folder / "_staging").exists()


def test_a_run_that_reads_rounded_states_is_another_than_one_that_computes_them(tmp_path):
    cached = {"frozen_text_cache": str(tmp_path / "cache")}
    assert resume_folder(run_arguments(tmp_path, **cached)) is None
    checkpoint = str(make_checkpoint(tmp_path, 1))
    moved = run_arguments(tmp_path, frozen_text_cache=str(tmp_path / "moved"), frozen_text_cache_gb=1.0)
    assert resume_folder(moved) == checkpoint
    with pytest.raises(InputError, match="differs in frozen_text_cache;"):
        resume_folder(run_arguments(tmp_path))


def test_each_file_of_a_text_model_counts_and_its_place_does_not(tmp_path):
    def options(folder) -> ModelArguments:
        return ModelArguments(text_model=str(folder))

    first, moved = tmp_path / "first", tmp_path / "moved"
    for folder in (first, moved):
        folder.mkdir()
        (folder / "config.json").write_text('{"hidden_act": "gelu"}')
        (folder / "model-00001-of-00002.safetensors").write_bytes(b"weights")
    assert resume_folder(run_arguments(tmp_path), options(first)) is None
    checkpoint = str(make_checkpoint(tmp_path, 1))
    assert resume_folder(run_arguments(tmp_path), options(moved)) == checkpoint
    (moved / "config.json").write_text('{"hidden_act": "relu"}')
    with pytest.raises(InputError, match="differs in text_model;"):
        resume_folder(run_arguments(tmp_path), options(moved))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("device", lambda patch: patch.setattr(RunArguments, "device", torch.device("meta"))),
        ("precision", lambda patch: patch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")),
        ("revision of the training", lambda patch: patch.setattr(resuming, "TRAINING_REVISION", -1)),
        ("number of processes", lambda patch: patch.setattr(RunArguments, "world_size", 2)),
        ("version of torch", lambda patch: patch.setattr(resuming, "version", lambda package: "0")),
    ],
)
def test_what_no_option_says_counts_too(name, change, started, tmp_path, monkeypatch):
    args = run_arguments(tmp_path)
    before = describe_run(args)
    change(monkeypatch)
    after = describe_run(run_arguments(tmp_path) if name == "precision" else args)
    assert before[name] != after[name]
