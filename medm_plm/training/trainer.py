"""What the library's Trainer lacks for this project: epochs for the masks, two learning rates, no pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import logging

from medm_plm.errors import InputError
from medm_plm.training.arguments import RunArguments
from medm_plm.training.cpu_attention import end_training_on_cpu, prepare_for_training_on_cpu
from medm_plm.training.datasets import ExampleDataset
from medm_plm.training.evaluation import example_losses, mean_loss
from medm_plm.training.resumable_trainer import ResumableTrainer
from medm_plm.training.settings_file import SETTINGS_FILE, write_settings

TEXT_ENCODER_NAME = "text_model"  # attribute of `MedMPLMModel`
TOKEN_WEIGHTS_NAME = "token_weights"


def start_run(args: RunArguments) -> None:
    """Make a run repeatable from its first random number on, and keep progress bars out of log files."""
    set_seed(args.seed)
    if args.disable_tqdm:
        logging.disable_progress_bar()


class EpochCallback(TrainerCallback):
    """Tell the data set which epoch begins; the masks of pre-training are keyed by it.

    `DataLoader.set_epoch` of accelerate reaches only the sampler when there is a seedable one.
    """

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pass on the epoch, also where a run is resumed in its middle."""
        kwargs["train_dataloader"].dataset.set_epoch(int(state.epoch or 0))


class MedMPLMTrainer(ResumableTrainer):
    """`ResumableTrainer` with the epoch in each example and a learning rate of its own for the text encoder.

    Its evaluation loss is that of all examples as one batch, which the library's mean over batches is not.

    Args:
        train_examples (`Sequence[dict]`, *optional*), eval_examples (`Sequence[dict]`, *optional*): tokenised
            examples (see `medm_plm.training.datasets`).
        args (`RunArguments`): options of the run.
        kwargs: everything else that `Trainer` takes.
    """

    def __init__(
        self,
        *,
        args: RunArguments,
        train_examples: Sequence[dict[str, Any]] | None = None,
        eval_examples: Sequence[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        callbacks: list[TrainerCallback] = [EpochCallback()]
        if args.early_stopping_patience is not None:
            callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
        super().__init__(
            args=args,
            train_dataset=None if train_examples is None else ExampleDataset(train_examples),
            eval_dataset=None if eval_examples is None else ExampleDataset(eval_examples),
            callbacks=callbacks,
            **kwargs,
        )

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as `ResumableTrainer` does; on a CPU with the attention made for it."""
        if self.args.device.type == "cpu":
            prepare_for_training_on_cpu(self.model)
        try:
            return super().train(*args, **kwargs)
        finally:
            end_training_on_cpu(self.model)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Build the optimizer and give parts of the model their own learning rates if any are set."""
        created_before = self.optimizer is not None
        optimizer = super().create_optimizer() if model is None else super().create_optimizer(model)
        learning_rates = {
            TEXT_ENCODER_NAME: self.args.text_learning_rate,
            TOKEN_WEIGHTS_NAME: self.args.token_weights_learning_rate,
        }
        for part, learning_rate in learning_rates.items():
            if learning_rate is not None and not created_before:
                named = (self.model if model is None else model).named_parameters()
                chosen = {id(parameter) for name, parameter in named if part in name.split(".")}
                if part == TOKEN_WEIGHTS_NAME and not chosen:
                    raise InputError(
                        "option --token_weights_learning_rate has no effect: the model has no token weights",
                        remedy="add --classifier_token_weights true, or leave it out",
                    )
                split_groups(optimizer, chosen, learning_rate)
        return optimizer

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """Evaluate or predict; the loss depends neither on batches and their order nor on processes."""
        self._example_losses: list[torch.Tensor] = []
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        if (name := f"{metric_key_prefix}_loss") in output.metrics:
            output.metrics[name] = mean_loss(self._example_losses)
        return output

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Any, Any, Any]:
        """Predict a batch, and note the loss of each of its examples."""
        loss, logits, labels = super().prediction_step(model, inputs, False, *args, **kwargs)
        if labels is not None:
            with torch.no_grad():
                losses = self.example_losses(self.accelerator.unwrap_model(model), loss, logits, labels)
            # Leaves out what is repeated so that all processes have batches of one size.
            self._example_losses.append(self.accelerator.gather_for_metrics(losses))
        return (loss, None, None) if prediction_loss_only else (loss, logits, labels)

    def example_losses(
        self, model: torch.nn.Module, loss: torch.Tensor, logits: Any, labels: torch.Tensor
    ) -> torch.Tensor:
        """Take the loss of an evaluation batch apart; for models with losses of their own to override.

        Args:
            model (`nn.Module`): the model itself, unwrapped.
            loss (`torch.FloatTensor` of shape `()`): what it gave for the batch.
            logits, labels: as `medm_plm.training.evaluation.example_losses` takes them.

        Returns:
            `torch.DoubleTensor` of shape `(batch, 2)`: loss and weight of each example.
        """
        return example_losses(logits, labels, model.config.pretraining_target)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        # A pickle with local paths and the Hub token in clear; nothing reads it back.
        folder = Path(output_dir or self.args.output_dir)
        (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        if self.args.should_save:  # the library lets every process in here, but only one makes the folder
            write_settings(folder / SETTINGS_FILE, self.args)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the library uploads the whole folder of a run, checkpoints and predictions among it."""
        raise InputError(
            "a folder of training is never uploaded",
            remedy="publish the finished model by run_publishing.py or medm_plm.publishing.publish",
        )

    # What the library calls by itself where its own `push_to_hub` is switched on.
    init_hf_repo = _push_from_checkpoint = push_to_hub


def split_groups(optimizer: torch.optim.Optimizer, chosen: set[int], learning_rate: float) -> None:
    """Move some parameters of an optimizer into groups of their own with another learning rate.

    Args:
        optimizer (`torch.optim.Optimizer`): an optimizer that has not stepped yet; changed in place.
        chosen (`set[int]`): `id` of the parameters to move.
        learning_rate (`float`): their learning rate.
    """
    groups = []
    for group in optimizer.param_groups:
        moved = [parameter for parameter in group["params"] if id(parameter) in chosen]
        kept = [parameter for parameter in group["params"] if id(parameter) not in chosen]
        groups += [{**group, "params": kept}, {**group, "params": moved, "lr": learning_rate}]
    optimizer.param_groups[:] = [group for group in groups if group["params"]]
