"""Batches of notes and code lists of about one length, so that little of a batch is padding.

The order of an epoch follows from (seed, epoch) alone and is worked out alike on every process: examples are
shuffled, sorted by length within large windows, cut into global batches, and the global batches are shuffled
again. So a broken-off run goes on with the batches it would have had, whatever the number of workers, and two
processes with batches of 16 see together what one process with batches of 32 sees. The library's sampler of
the same purpose draws from the global random state, which differs after resuming and between processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainerCallback

from medm_plm.data.collators import keyed_generator

GROUP_BY_LENGTH = "group_by_length"
"""Value of the library's option `train_sampling_strategy` that asks for these batches."""

BATCHES_PER_WINDOW = 64
"""Sorting stays within windows of this many global batches: an example meets others in each epoch."""

TEXT_STEP = 16
"""Notes whose lengths fall into the same step of this many tokens are sorted by the number of codes."""


class LengthGroupedBatches(torch.utils.data.Sampler[list[int]]):
    """All batches of an epoch, those of one global batch side by side, one for each process.

    `accelerate` gives batch `i` to process `i % num_processes`. Sizes of global batches differ by one at
    most, because a tail of a few examples would weigh as much as a full batch; no example is left out, and
    one is repeated only where a global batch has fewer examples than there are processes.

    Args:
        text_lengths (`Sequence[int]`): tokens of the note of each example.
        code_lengths (`Sequence[int]`): codes of each example.
        batch_size (`int`): largest number of examples on one process.
        num_processes (`int`, defaults to 1): processes that share a global batch.
        seed (`int`, defaults to 0): with the epoch, decides the order.
        drop_last (`bool`, defaults to `False`): leave out the examples beyond the last full global batch,
            other ones in each epoch, instead of making batches smaller.
    """

    def __init__(
        self,
        text_lengths: Sequence[int] | np.ndarray,
        code_lengths: Sequence[int] | np.ndarray,
        batch_size: int,
        num_processes: int = 1,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.text_steps = -(-np.asarray(text_lengths, dtype=np.int64) // TEXT_STEP)
        self.code_lengths = np.asarray(code_lengths, dtype=np.int64)
        self.num_processes = num_processes
        self.seed = seed
        self.epoch = 0
        num_examples, global_size = len(self.text_steps), batch_size * num_processes
        self.num_used = num_examples - num_examples % global_size if drop_last else num_examples
        self.num_global_batches = -(-self.num_used // global_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_global_batches * self.num_processes

    def __iter__(self) -> Iterator[list[int]]:
        for examples in self.global_batches():
            if len(examples) < self.num_processes:
                examples = np.resize(examples, self.num_processes)
            for part in np.array_split(examples, self.num_processes):
                yield part.tolist()

    def global_batches(self) -> list[np.ndarray]:
        """Examples of each optimizer step (without accumulation) of this epoch, over all processes.

        Returns:
            `list[np.ndarray]`: indices, in the order of training.
        """
        if not self.num_global_batches:
            return []
        generator = keyed_generator(self.seed, "order of examples", self.epoch)
        shuffled = generator.permutation(len(self.text_steps))[: self.num_used]
        sizes = [len(part) for part in np.array_split(shuffled, self.num_global_batches)]
        ends = np.cumsum(sizes)
        batches: list[np.ndarray] = []
        for first in range(0, len(sizes), BATCHES_PER_WINDOW):
            last = min(first + BATCHES_PER_WINDOW, len(sizes))
            window = self._sorted(shuffled[ends[first] - sizes[first] : ends[last - 1]])
            batches += np.split(window, np.cumsum(sizes[first : last - 1]))
        return [batches[index] for index in generator.permutation(len(batches))]

    def _sorted(self, examples: np.ndarray) -> np.ndarray:
        """By length of the note, then by number of codes; equal ones stay in their random order."""
        return examples[np.lexsort((self.code_lengths[examples], self.text_steps[examples]))]


class EpochOfBatches(TrainerCallback):
    """Tell the batches which epoch begins, also where a run is resumed in its middle.

    Args:
        batches (`LengthGroupedBatches`): the batches; the loader's own way to them differs between releases.
    """

    def __init__(self, batches: LengthGroupedBatches) -> None:
        self.batches = batches

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pass on the epoch."""
        self.batches.set_epoch(int(state.epoch or 0))


def example_lengths(examples: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Measure tokenised visits or patients.

    Args:
        examples (`Sequence[dict]`): what a dataset of `medm_plm.training.datasets` holds, without padding.

    Returns:
        Tokens of text and number of codes of each example; of all visits together for a patient.
    """
    text, codes = np.zeros((2, len(examples)), dtype=np.int64)
    for index, example in enumerate(examples):
        for visit in example.get("visits", [example]):
            text[index] += len(visit["input_ids"])
            codes[index] += len(visit["code_input_ids"])
    return text, codes


if TYPE_CHECKING:
    from transformers import Trainer as _Base
else:
    _Base = object


class LengthGroupingMixin(_Base):
    """`Trainer` with batches of one length where `--train_sampling_strategy group_by_length` is given.

    Put it right before `Trainer` among the bases. Evaluation keeps the order of the examples, while the
    library would sort them as well: predictions are matched with visits by their place.
    """

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Load batches of one length if they are asked for."""
        dataset = self.train_dataset
        examples = getattr(dataset, "examples", None)
        if self.args.train_sampling_strategy != GROUP_BY_LENGTH or dataset is None or examples is None:
            return super().get_train_dataloader()
        args = self.args
        batches = LengthGroupedBatches(
            *example_lengths(examples),
            batch_size=self._train_batch_size,
            num_processes=args.world_size,
            seed=args.seed if args.data_seed is None else args.data_seed,
            drop_last=args.dataloader_drop_last,
        )
        self.remove_callback(EpochOfBatches)
        self.add_callback(EpochOfBatches(batches))
        loader = torch.utils.data.DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            generator=torch.Generator(),  # seeds the workers; dropout must not notice how often that is
        )
        # Every process has as many batches as the others; older releases refuse to even out such batches.
        even_batches, self.accelerator.even_batches = self.accelerator.even_batches, False
        try:
            return self.accelerator.prepare(loader)
        finally:
            self.accelerator.even_batches = even_batches

    def _get_eval_sampler(self, eval_dataset: Any) -> torch.utils.data.Sampler | None:
        if self.args.train_sampling_strategy == GROUP_BY_LENGTH:
            return (
                torch.utils.data.SequentialSampler(eval_dataset) if hasattr(eval_dataset, "__len__") else None
            )
        return super()._get_eval_sampler(eval_dataset)
