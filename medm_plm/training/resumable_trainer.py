"""A Trainer whose checkpoints can be trusted and whose resumed runs equal uninterrupted ones bit for bit.

Each method says what the library leaves open: its checkpoints are written in place and read unchecked, it
forgets the loss summed since the last log, trains another step after the last one, and goes on after a loss
that is not a number.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import logging

from medm_plm.errors import InputError
from medm_plm.training import checkpoints
from medm_plm.training.bucketing import LengthGroupingMixin
from medm_plm.training.finiteness import (
    EXAMPLE_IDS,
    QUANTITIES,
    FinitenessCheck,
    NamedBatches,
    not_finite_error,
)
from medm_plm.training.interruption import Interruption, OutlivingWorker
from medm_plm.training.library_errors import is_writing_error, reason_of
from medm_plm.training.step_callback import StepCallback

logger = logging.get_logger(__name__)


class ResumableTrainer(LengthGroupingMixin, Trainer):
    """`Trainer` with atomic checkpoints, exact resuming, and an end in good order at signals and faults.

    Args:
        kwargs: what `Trainer` takes; the collator gets examples with `example_id`.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.interruption = Interruption()
        self.finiteness = FinitenessCheck()
        self._staging: Path | None = None
        self._resumed_from: Path | None = None
        self._is_over = False
        super().__init__(**kwargs)
        self.add_callback(StepCallback(self))

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: Any) -> Any:
        """Train; end the process in good order if a signal asks for it.

        Args:
            resume_from_checkpoint (`str`, *optional*): folder of an intact checkpoint.
            kwargs: as the library's method.

        Returns:
            What the library's method returns.

        Raises:
            InputError: if a loss, gradient or weight is not finite, or a checkpoint cannot be written.
            SystemExit: with status 143, 130 or 138 after SIGTERM, SIGINT or SIGUSR1.
        """
        self._resumed_from = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        with self.interruption.listening():
            output = super().train(resume_from_checkpoint, **kwargs)
        self.interruption.leave(speaks=self.is_world_process_zero())
        return output

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # Older releases of accelerate number the CPU of each process, and torch loads nothing onto "cpu:0".
        if self.args.device.type == "cpu":
            self.args.__dict__["_setup_devices"] = torch.device("cpu")
        super()._load_optimizer_and_scheduler(checkpoint)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Forward and backward pass of one batch, whose loss is noted with the ids of its examples."""
        example_ids = inputs.pop(EXAMPLE_IDS, ())
        loss = super().training_step(model, inputs, *args, **kwargs)
        self.finiteness.add_loss(loss, example_ids)
        return loss

    def check_step(self) -> bool:
        """Compare notes with the other processes at the end of a step.

        Returns:
            Whether a process has received a signal; then all save now and stop.

        Raises:
            InputError: on the main process, if loss, gradient or weights of any process are not finite.
            SystemExit: with status 1 on the other processes, likewise.
        """
        faults = self.finiteness.faults()
        notes = torch.tensor([self.interruption.signal_number, *faults.values()], device=self.args.device)
        if self.args.world_size > 1:
            torch.distributed.all_reduce(notes, op=torch.distributed.ReduceOp.MAX)
        self.interruption.signal_number, *not_finite = notes.tolist()
        for quantity, is_fault in zip(QUANTITIES, not_finite, strict=True):
            if is_fault:
                example_ids = gather_object(self.finiteness.suspects() if faults[quantity] else [])
                if self.is_world_process_zero():
                    raise not_finite_error(quantity, self.state.global_step, example_ids)
                raise SystemExit(1)
        return self.interruption.signal_number != 0

    def get_train_dataloader(self) -> DataLoader:
        """Build the loader of the training batches, which name their examples."""
        collate, self.data_collator = self.data_collator, NamedBatches(self.data_collator)
        try:
            return _outliving(super().get_train_dataloader())
        finally:
            self.data_collator = collate

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader:
        loader = super()._get_dataloader(*args, **kwargs)
        # Each new iterator of a loader draws a number to seed its workers. With persistent workers a resumed
        # run makes more iterators than an uninterrupted one, so the draw must not come from the state that
        # dropout uses.
        getattr(loader, "base_dataloader", loader).generator = torch.Generator()
        return _outliving(loader)

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        places = super()._init_training_state(*args, **kwargs)
        if self._resumed_from is None:
            return places
        control = self.state.stateful_callbacks.get("TrainerControl", {}).get("args", {})
        stopped_early = self.args.early_stopping_patience is not None and control.get("should_training_stop")
        self._is_over = bool(stopped_early) or self.state.global_step >= self.state.max_steps
        best = checkpoints.best_checkpoint(self._resumed_from)
        if best is not None and (fault := checkpoints.damage(best)) is None:
            self.state.best_model_checkpoint = str(best)
        elif best is not None:
            if self.is_world_process_zero() and self.args.load_best_model_at_end:
                logger.warning(
                    f"{best.name}, the best one so far, is lost ({fault}): the best of the rest is kept"
                )
            self.state.best_model_checkpoint = self.state.best_metric = self.state.best_global_step = None
        return places

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self._is_over:  # the checkpoint is the last one of its run; the library would train another step
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def restore_progress(self) -> None:
        """Take up the loss summed since the last log, which the library forgets at each new start."""
        path = self._resumed_from and self._resumed_from / self._progress_name
        if path and path.is_file():
            progress = json.loads(path.read_text(encoding="utf-8"))
            self._tr_loss += progress["loss_since_log"]
            self._total_loss_scalar = progress["logged_loss"]
            self._globalstep_last_logged = progress["logged_step"]

    @property
    def _progress_name(self) -> str:
        return f"progress_{self.args.process_index}.json"

    def _write_progress(self, folder: Path) -> None:
        progress = {
            "loss_since_log": self._tr_loss.item(),
            "logged_loss": self._total_loss_scalar,
            "logged_step": self._globalstep_last_logged,
        }
        (folder / self._progress_name).write_text(json.dumps(progress) + "\n", encoding="utf-8")

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as the library does; the mean loss of the training is that of the whole run, resumed or not."""
        if "train_loss" in logs:
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
        super().log(logs, *args, **kwargs)

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let the library write into a staging folder; publish it when all processes have written."""
        final = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        staged = final.parent / checkpoints.STAGING_FOLDER / final.name
        with self._one_line_errors(final):
            if self.args.should_save:
                shutil.rmtree(staged.parent, ignore_errors=True)
            self.accelerator.wait_for_everyone()
            self._staging = staged.parent
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._staging = None
            self._write_progress(staged)
            if self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(final)  # not the staging folder
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.state.save_to_json(str(staged / TRAINER_STATE_NAME))
                checkpoints.seal(staged, self.args.world_size, self._files_of_processes())
                checkpoints.publish(staged, final)
                shutil.rmtree(staged.parent, ignore_errors=True)
                best = self.state.best_model_checkpoint
                limit = self.args.save_total_limit
                checkpoints.rotate(final.parent, final, Path(best) if best else None, limit)
            self.accelerator.wait_for_everyone()

    def _files_of_processes(self) -> list[str]:
        """Name what each process writes by itself into a checkpoint from which a run can go on."""
        processes = range(self.args.world_size)
        names = [f"progress_{index}.json" for index in processes]
        if not self.args.save_only_model:
            alone = self.args.world_size == 1
            names += ["rng_state.pth"] if alone else [f"rng_state_{index}.pth" for index in processes]
        return names

    def _load_best_model(self) -> None:
        if self.interruption.saved_step is not None:
            return
        best = Path(str(self.state.best_model_checkpoint))
        if (fault := checkpoints.damage(best, needs_state=False)) is not None:
            if self.is_world_process_zero():
                logger.warning(f"{best.name}, the best one, is damaged ({fault}): the last weights are kept")
            return
        super()._load_best_model()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model so that each of its files is either the old or the complete new one.

        Args:
            output_dir (`str`, *optional*): the folder; that of the checkpoints by default.
        """
        if _internal_call:
            super().save_model(output_dir, _internal_call=True)
            return
        target = Path(output_dir or str(self.args.output_dir))
        staged = target / checkpoints.STAGING_FOLDER
        with self._one_line_errors(target):
            if self.args.should_save:
                shutil.rmtree(staged, ignore_errors=True)
            super().save_model(str(staged), _internal_call=True)
            if self.args.should_save:
                checkpoints.install(staged, target)
            self.accelerator.wait_for_everyone()

    @contextlib.contextmanager
    def _one_line_errors(self, place: Path) -> Iterator[None]:
        """Turn a full or read-only disk into one line; older checkpoints are untouched."""
        try:
            yield
        except Exception as error:
            if not is_writing_error(error) and not isinstance(error, RuntimeError):
                raise
            if self.args.process_index > 0:  # most often because the main process has given up
                logger.warning(f"process {self.args.process_index}: stopped while saving")
                raise SystemExit(1) from error
            if not is_writing_error(error):
                raise
            # A file that is gone needs no room: somebody removes what this run writes.
            first = "see who removes files there" if isinstance(error, FileNotFoundError) else "make room"
            raise InputError(
                f"it cannot be written: {reason_of(error)}",
                file=place,
                remedy=f"older checkpoints are intact; {first} and start the same command again",
            ) from None


def _outliving(loader: DataLoader) -> DataLoader:
    """Let the workers of a loader, for training or evaluation, outlive signals to their process group."""
    inner = getattr(loader, "base_dataloader", loader)
    if not isinstance(inner.worker_init_fn, OutlivingWorker):
        inner.worker_init_fn = OutlivingWorker(inner.worker_init_fn)
    return loader
