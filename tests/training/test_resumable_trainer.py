"""A resumed run equals an uninterrupted one; signals, faults and full disks end a run in good order."""

import errno
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from medm_plm.errors import InputError
from medm_plm.training import resumable_trainer
from medm_plm.training.arguments import RunArguments
from medm_plm.training.checkpoints import checkpoints_in, damage
from prepared_cohort import tiny_processor
from tiny_trainers import VISITS, logged, pretraining_trainer

EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "max_steps": -1, "num_train_epochs": 2}
BY_EPOCH = {"logging_strategy": "epoch", "eval_strategy": "epoch"}
FIRST_IS_BEST = {
    **EVERY_STEP,
    **BY_EPOCH,
    "save_strategy": "epoch",
    "learning_rate": 0.05,
    "load_best_model_at_end": True,
    "metric_for_best_model": "loss",
    "greater_is_better": True,  # the loss falls, so that the first evaluation is the best
}


@pytest.fixture(scope="module")
def processor():
    return tiny_processor(VISITS)


def trained(trainer, checkpoint=None):
    """Weights and log of a run, before which others drew numbers that must not matter."""
    torch.rand(3)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return trainer.model.state_dict(), logged(trainer)


def assert_same(one, other):
    assert one[1] == other[1]
    for name, weight in one[0].items():
        assert torch.equal(weight, other[0][name]), name


def assert_weights_of(checkpoint, trainer):
    weights = trainer.model.state_dict()
    for name, saved in load_file(checkpoint / "model.safetensors").items():
        assert torch.equal(weights[name], saved), name


def copy_of(checkpoint, folder):
    copy = folder / "checkpoints" / checkpoint.name
    shutil.copytree(checkpoint, copy)
    return copy


@pytest.mark.parametrize(
    "options",
    [
        {"per_device_train_batch_size": 16},
        {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 4},
        {
            "per_device_train_batch_size": 16,
            "dataloader_num_workers": 2,
            "dataloader_persistent_workers": True,
        },
    ],
    ids=["plain", "accumulation", "workers"],
)
def test_a_run_resumed_anywhere_equals_an_uninterrupted_one(options, processor, tmp_path):
    """In the middle of an epoch, at its end, at the end of all; logs and evaluations of epochs included."""
    options = {**EVERY_STEP, **BY_EPOCH, "save_total_limit": 9, **options}
    whole = pretraining_trainer(processor, tmp_path / "whole", **options)
    expected = trained(whole)
    written = checkpoints_in(Path(whole.args.output_dir))
    steps_in_epoch = len(written) // 2
    for step in (steps_in_epoch - 1, steps_in_epoch, 2 * steps_in_epoch):
        folder = tmp_path / str(step)
        checkpoint = copy_of(written[len(written) - step], folder)
        assert_same(trained(pretraining_trainer(processor, folder, **options), checkpoint), expected)


def test_a_run_that_stopped_early_or_in_mid_epoch_is_over(processor, tmp_path):
    early = {
        **EVERY_STEP,
        **BY_EPOCH,
        "num_train_epochs": 9,
        "save_strategy": "epoch",
        "learning_rate": 0.0,
        "load_best_model_at_end": True,
        "early_stopping_patience": 2,
    }
    short = {**EVERY_STEP, **BY_EPOCH, "max_steps": 3}
    for name, options in (("early", early), ("short", short)):
        trainer = pretraining_trainer(processor, tmp_path / name, **options)
        expected = trained(trainer)
        newest = checkpoints_in(Path(trainer.args.output_dir))[0]
        again = pretraining_trainer(processor, tmp_path / name, **options)
        assert_same(trained(again, newest), expected)
        assert again.state.global_step == trainer.state.global_step


def test_the_patience_of_early_stopping_is_resumed(processor, tmp_path):
    options = {
        **EVERY_STEP,
        **BY_EPOCH,
        "num_train_epochs": 9,
        "save_strategy": "epoch",
        "save_total_limit": 9,
        "learning_rate": 0.0,
        "load_best_model_at_end": True,
        "early_stopping_patience": 2,
    }
    trainer = pretraining_trainer(processor, tmp_path / "whole", **options)
    expected = trained(trainer)
    assert Path(trainer.state.best_model_checkpoint).parent == tmp_path / "whole" / "checkpoints"
    second = checkpoints_in(Path(trainer.args.output_dir))[-2]
    first = checkpoints_in(Path(trainer.args.output_dir))[-1]
    copy_of(first, tmp_path / "resumed")
    again = pretraining_trainer(processor, tmp_path / "resumed", **options)
    assert_same(trained(again, copy_of(second, tmp_path / "resumed")), expected)
    assert again.state.best_model_checkpoint == str(tmp_path / "resumed" / "checkpoints" / first.name)


class SignalAt(TrainerCallback):
    """Sends a signal to this process as a step begins."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def on_step_begin(self, args, state, control, **kwargs):
        """Send it once."""
        if state.global_step + 1 == self.step:
            signal.raise_signal(self.number)


@pytest.mark.parametrize(
    ("number", "status", "step"),
    [(signal.SIGTERM, 143, 2), (signal.SIGINT, 130, 7), (signal.SIGUSR1, 138, 14), (signal.SIGTERM, 143, 9)],
)
def test_a_signal_saves_at_the_end_of_the_step(number, status, step, processor, tmp_path, caplog):
    """Step 7 is the last of the first epoch and 14 that of the run, with an evaluation before the save."""
    options = {**EVERY_STEP, **BY_EPOCH, "save_strategy": "epoch"}
    whole = pretraining_trainer(processor, tmp_path / "whole", **options)
    expected = trained(whole)
    assert whole.state.global_step == 14
    trainer = pretraining_trainer(processor, tmp_path / "stopped", **options)
    trainer.add_callback(SignalAt(number, step))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end:
        trained(trainer)
    assert end.value.code == status
    assert signal.getsignal(number) == before
    assert f"stopped by {number.name}: checkpoint-{step} is saved" in caplog.text
    saved = checkpoints_in(Path(trainer.args.output_dir))[0]
    assert saved.name == f"checkpoint-{step}"
    assert_same(trained(pretraining_trainer(processor, tmp_path / "stopped", **options), saved), expected)


def test_a_second_interrupt_from_the_keyboard_does_not_wait(processor, tmp_path):
    trainer = pretraining_trainer(processor, tmp_path)
    for _ in range(2):
        trainer.add_callback(SignalAt(signal.SIGINT, 1))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def poisoned(trainer, quantity, step):
    """Spoil a quantity in the second of the two batches of a step."""
    original, compute = trainer.training_step, trainer.compute_loss
    batches = []

    def training_step(model, inputs, *args, **kwargs):
        batches.append(list(inputs["example_ids"]))
        is_chosen = len(batches) == 2 * step
        weight = next(weight for weight in trainer.model.parameters() if weight.requires_grad)
        if is_chosen and quantity == "loss":
            trainer.compute_loss = lambda *a, **k: compute(*a, **k) * float("nan")
        loss = original(model, inputs, *args, **kwargs)
        if is_chosen and quantity == "gradient":
            weight.grad.view(-1)[3] = float("inf")
        if is_chosen and quantity == "weights":
            weight.data.view(-1)[3] = float("nan")
        return loss

    trainer.training_step = training_step
    return batches


@pytest.mark.parametrize("quantity", ["loss", "gradient", "weights"])
def test_a_number_that_is_not_finite_stops_the_run(quantity, processor, tmp_path):
    options = {**EVERY_STEP, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
    trainer = pretraining_trainer(processor, tmp_path, **options)
    batches = poisoned(trainer, quantity, step=3)
    with pytest.raises(InputError) as error:
        trainer.train()
    line = str(error.value)
    assert quantity in line
    assert "step 3 " in line
    for example_id in batches[5] if quantity == "loss" else batches[4] + batches[5]:
        assert example_id in line
    assert not any(example_id in line for example_id in batches[3])
    assert (quantity == "loss") == (batches[4][0] not in line)
    newest = checkpoints_in(Path(trainer.args.output_dir))[0]
    assert newest.name == "checkpoint-2"
    assert all(weight.isfinite().all() for weight in load_file(newest / "model.safetensors").values())


@pytest.mark.parametrize("limit", [20_000, 100_000], ids=["weights", "optimizer"])
def test_a_full_disk_is_one_clear_error(limit, processor, tmp_path):
    """A limit on the size of files fails in the same calls as a disk without room."""
    trainer = pretraining_trainer(processor, tmp_path, **EVERY_STEP)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Fill(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))

    trainer.add_callback(Fill())
    try:
        with pytest.raises(
            InputError, match=r"checkpoint-3: it cannot be written: .*older checkpoints are intact"
        ):
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    folder = Path(trainer.args.output_dir)
    assert [(path.name, damage(path)) for path in checkpoints_in(folder)] == [
        ("checkpoint-2", None),
        ("checkpoint-1", None),
    ]


def test_files_that_somebody_removes_need_no_room(processor, tmp_path, monkeypatch):
    def fail(staged, final):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(resumable_trainer.checkpoints, "publish", fail)
    trainer = pretraining_trainer(processor, tmp_path, **EVERY_STEP)
    with pytest.raises(InputError, match=r"No such file or directory; .*intact; see who removes files there"):
        trainer.train()


def test_a_finished_model_is_replaced_file_by_file(processor, tmp_path, monkeypatch):
    trainer = pretraining_trainer(processor, tmp_path)
    trainer.save_model(str(tmp_path / "model"))
    old = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir() if path.is_file()}
    with torch.no_grad():
        next(trainer.model.parameters()).add_(1.0)

    def fail(staged, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(resumable_trainer.checkpoints, "install", fail)
        with pytest.raises(InputError, match="No space left on device"):
            trainer.save_model(str(tmp_path / "model"))
    assert all((tmp_path / "model" / name).read_bytes() == content for name, content in old.items())
    trainer.save_model(str(tmp_path / "model"))
    assert (tmp_path / "model" / "model.safetensors").read_bytes() != old["model.safetensors"]
    assert not (tmp_path / "model" / "_staging").exists()


def test_a_damaged_best_checkpoint_is_said_and_not_loaded(processor, tmp_path, caplog):
    trainer = pretraining_trainer(processor, tmp_path, **FIRST_IS_BEST)

    class Spoil(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 10:
                (tmp_path / "checkpoints" / "checkpoint-7" / "model.safetensors").write_bytes(b"")

    trainer.add_callback(Spoil())
    trainer.train()
    assert "checkpoint-7, the best one, is damaged (model.safetensors" in caplog.text
    assert_weights_of(checkpoints_in(Path(trainer.args.output_dir))[0], trainer)


def test_a_checkpoint_needs_the_state_of_every_process(processor, tmp_path, monkeypatch):
    """As on two machines that do not see the same disk: the files of the second process are missing."""
    trainer = pretraining_trainer(processor, tmp_path, **{**EVERY_STEP, "max_steps": 1})
    assert trainer._files_of_processes() == ["progress_0.json", "rng_state.pth"]
    trainer.train()
    written = {path.name for path in (tmp_path / "checkpoints" / "checkpoint-1").iterdir()}
    assert set(trainer._files_of_processes()) <= written
    monkeypatch.setattr(RunArguments, "world_size", 2)
    assert trainer._files_of_processes() == [
        *("progress_0.json", "progress_1.json"),
        *("rng_state_0.pth", "rng_state_1.pth"),
    ]
    monkeypatch.undo()
    monkeypatch.setattr(trainer, "_files_of_processes", lambda: ["rng_state_1.pth"])
    with pytest.raises(InputError, match=r"checkpoint-1: .*lacks rng_state_1\.pth"):
        trainer.train()


def test_a_stray_file_beside_what_is_staged_does_not_spoil_a_save(processor, tmp_path, monkeypatch):
    publish = resumable_trainer.checkpoints.publish

    def publish_and_litter(staged, final):
        publish(staged, final)
        (staged.parent / ".nfs0001").touch()  # as NFS does while somebody reads

    monkeypatch.setattr(resumable_trainer.checkpoints, "publish", publish_and_litter)
    trainer = pretraining_trainer(processor, tmp_path, **{**EVERY_STEP, "max_steps": 2})
    trainer.train()
    assert [damage(path) for path in checkpoints_in(tmp_path / "checkpoints")] == [None, None]


def test_after_a_lost_best_checkpoint_the_best_of_the_rest_is_found(processor, tmp_path, caplog):
    options = {**FIRST_IS_BEST, "save_total_limit": 9, "num_train_epochs": 3}
    whole = pretraining_trainer(processor, tmp_path / "whole", **options)
    trained(whole)
    assert whole.state.best_global_step == 7
    second = copy_of(tmp_path / "whole" / "checkpoints" / "checkpoint-14", tmp_path / "lost")
    again = pretraining_trainer(processor, tmp_path / "lost", **options)
    trained(again, second)
    assert "checkpoint-7, the best one so far, is lost" in caplog.text
    assert again.state.best_global_step == 21
    third = tmp_path / "lost" / "checkpoints" / "checkpoint-21"
    assert again.state.best_model_checkpoint == str(third)
    assert_weights_of(third, again)


def test_a_run_that_a_signal_stops_does_not_go_back_to_its_best_weights(processor, tmp_path):
    trainer = pretraining_trainer(processor, tmp_path, **FIRST_IS_BEST, save_total_limit=9)
    trainer.add_callback(SignalAt(signal.SIGTERM, 9))
    with pytest.raises(SystemExit):
        trainer.train()
    assert trainer.state.best_global_step == 7
    assert_weights_of(tmp_path / "checkpoints" / "checkpoint-9", trainer)


def test_the_best_weights_are_taken_from_a_checkpoint_of_a_model_alone(processor, tmp_path):
    options = {**FIRST_IS_BEST, "save_only_model": True}
    trainer = pretraining_trainer(processor, tmp_path, **options)
    trainer.train()
    assert_weights_of(tmp_path / "checkpoints" / "checkpoint-7", trainer)
