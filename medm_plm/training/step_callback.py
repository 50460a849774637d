"""What happens between the end of a step and a checkpoint: checks, signals, and the right moment to save."""

from __future__ import annotations

from typing import Any, Protocol

from transformers import TrainerCallback

from medm_plm.training.finiteness import FinitenessCheck
from medm_plm.training.interruption import Interruption


class SteppingTrainer(Protocol):
    """What of a trainer is needed here (`ResumableTrainer`)."""

    accelerator: Any
    finiteness: FinitenessCheck
    interruption: Interruption

    def restore_progress(self) -> None:
        """Take up what a checkpoint knows of a run."""

    def check_step(self) -> bool:
        """Stop at numbers that are not finite; tell whether a signal came."""


class StepCallback(TrainerCallback):
    """Looks at each step after the library has decided what follows it, and before anything is saved.

    Args:
        trainer (`SteppingTrainer`): the trainer whose steps these are.
    """

    def __init__(self, trainer: SteppingTrainer) -> None:
        self.trainer = trainer
        self._is_interrupted = False
        self._saves_after_epoch = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up the running loss of the run that is resumed."""
        self.trainer.restore_progress()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin a new account of losses."""
        self.trainer.finiteness.start_step()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the gradient, unless it is scaled and may overflow now and then."""
        if self.trainer.accelerator.scaler is None:
            self.trainer.finiteness.add_gradient(kwargs["model"].parameters())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop at numbers that are not finite; save if a signal came."""
        self.trainer.finiteness.add_weights(kwargs["model"].parameters())
        self._is_interrupted = self.trainer.check_step()
        control.should_save |= self._is_interrupted
        # What belongs to the end of an epoch (its log, its evaluation) must be in the checkpoint of its last
        # step: a run resumed from there never comes back to it.
        is_last = float(state.epoch).is_integer() or state.global_step >= state.max_steps
        self._saves_after_epoch = is_last and control.should_save
        control.should_save &= not is_last

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save what was put off; add nothing where the epoch was left in its middle by a signal."""
        if self.trainer.interruption.saved_step is not None:
            control.should_log = control.should_evaluate = control.should_save = False
        control.should_save |= self._saves_after_epoch
        self._saves_after_epoch = False

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop after the checkpoint that a signal asked for."""
        # Not earlier: the checkpoint would say that the training is over.
        if self._is_interrupted:
            self.trainer.interruption.saved_step = state.global_step
            control.should_training_stop = True
