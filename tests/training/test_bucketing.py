"""Batches of one length: every example once, the same on every process, in every run, after resuming."""

from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from hypothesis import given
from hypothesis import strategies as st

from medm_plm.data.collators import CodeMasker, PretrainingCollator
from medm_plm.training.arguments import RunArguments
from medm_plm.training.bucketing import (
    BATCHES_PER_WINDOW,
    EpochOfBatches,
    LengthGroupedBatches,
    example_lengths,
)
from medm_plm.training.datasets import tokenize_visits
from medm_plm.training.trainer import MedMPLMTrainer
from prepared_cohort import invent_visits, tiny_model, tiny_processor

NUM_EXAMPLES = 1003


def invent_lengths(num_examples: int = NUM_EXAMPLES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Notes of 2 to 512 tokens, half of them full, and lists of 1 to 61 codes."""
    rng = np.random.default_rng(seed)
    text = np.where(rng.random(num_examples) < 0.5, 512, rng.integers(2, 513, num_examples))
    return text, rng.integers(1, 62, num_examples)


def batches_of(num_examples: int = NUM_EXAMPLES, epoch: int = 0, **options: int) -> list[list[int]]:
    batches = LengthGroupedBatches(*invent_lengths(num_examples), **{"batch_size": 8, **options})
    batches.set_epoch(epoch)
    assert len(batches) == len(list(batches))
    return list(batches)


@given(
    num_examples=st.integers(1, 300),
    batch_size=st.integers(1, 9),
    num_processes=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_every_example_once_and_as_many_batches_on_every_process(
    num_examples, batch_size, num_processes, epoch
):
    batches = batches_of(num_examples, epoch, batch_size=batch_size, num_processes=num_processes)
    seen = Counter(example for batch in batches for example in batch)
    assert len(batches) % num_processes == 0
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert set(seen) == set(range(num_examples))
    steps = [batches[i : i + num_processes] for i in range(0, len(batches), num_processes)]
    if all(len(set().union(*step)) >= num_processes for step in steps):
        assert set(seen.values()) == {1}
    sizes = [len(set().union(*step)) for step in steps]
    assert max(sizes) - min(sizes) <= 1


def test_order_depends_on_seed_and_epoch_alone():
    first = batches_of(seed=3, epoch=1)
    np.random.default_rng(0).random()
    torch.manual_seed(77)  # what else was drawn does not matter
    assert batches_of(seed=3, epoch=1) == first
    assert batches_of(seed=3, epoch=2) != first
    assert batches_of(seed=4, epoch=1) != first
    neighbours = [{frozenset(batch) for batch in batches_of(seed=3, epoch=epoch)} for epoch in (1, 2)]
    assert not neighbours[0] & neighbours[1]  # company changes as well as order


@pytest.mark.parametrize("num_processes", [2, 4])
def test_processes_share_the_global_batch_of_one_process(num_processes):
    alone = batches_of(batch_size=8)
    shared = batches_of(batch_size=8 // num_processes, num_processes=num_processes)
    joined = [
        [example for batch in shared[first : first + num_processes] for example in batch]
        for first in range(0, len(shared), num_processes)
    ]
    assert joined == alone


def test_padding_shrinks_and_every_epoch_meets_all_lengths():
    text, codes = invent_lengths()

    def padded(batches: list[list[int]], lengths: np.ndarray) -> int:
        return sum(len(batch) * lengths[batch].max() for batch in batches)

    random = np.array_split(np.random.default_rng(0).permutation(NUM_EXAMPLES), NUM_EXAMPLES // 8)
    grouped = batches_of()
    assert padded(grouped, text) < 1.05 * text.sum() < 0.9 * padded(random, text)
    assert padded(grouped, codes) < 1.5 * codes.sum() < 0.9 * padded(random, codes)


def test_long_and_short_batches_come_in_random_order():
    text, _ = invent_lengths(400)
    means = [text[batch].mean() for batch in batches_of(400)]  # 50 batches, one window
    assert abs(np.mean(means[:25]) - np.mean(means[25:])) < 120  # about 200 where they come sorted


def test_sorting_stays_within_windows():
    many = np.arange(4 * BATCHES_PER_WINDOW)  # all lengths differ
    batches = LengthGroupedBatches(16 * many, np.ones_like(many), batch_size=2)
    spans = [np.ptp(batch) for batch in batches.global_batches()]
    assert max(spans) > 2  # not one sort over all: with one, the two of a batch would be neighbours


def test_drop_last_leaves_out_other_examples_each_epoch():
    dropped = []
    for epoch in (0, 1):
        batches = batches_of(epoch=epoch, num_processes=3, drop_last=True)
        assert {len(batch) for batch in batches} == {8}
        dropped.append(set(range(NUM_EXAMPLES)) - set().union(*batches))
    assert len(dropped[0]) == NUM_EXAMPLES % 24
    assert dropped[0] != dropped[1]


@pytest.mark.parametrize(("num_examples", "skipped"), [(1000, 0), (1003, 2), (13, 1), (5, 0), (2, 0)])
def test_accelerate_gives_each_process_its_part(num_examples, skipped):
    """Three processes, as `accelerate` splits and, after resuming, skips."""
    options = {"batch_size": 2, "num_processes": 3, "seed": 1}
    expected = batches_of(num_examples, epoch=1, **options)
    for rank in range(3):
        batches = LengthGroupedBatches(*invent_lengths(num_examples), **options)
        loader = torch.utils.data.DataLoader(
            torch.arange(num_examples), batch_sampler=batches, collate_fn=lambda rows: [int(r) for r in rows]
        )
        prepared = prepare_data_loader(
            loader, num_processes=3, process_index=rank, put_on_device=False, even_batches=False
        )
        if skipped:
            prepared = skip_first_batches(prepared, skipped)
        batches.set_epoch(1)
        assert list(prepared) == expected[rank::3][skipped:]


def test_lengths_of_visits_and_patients():
    visits = [
        {"input_ids": np.zeros(words), "code_input_ids": np.zeros(codes)} for words, codes in ((5, 2), (3, 9))
    ]
    text, codes = example_lengths([*visits, {"visits": visits}])
    assert text.tolist() == [5, 3, 8]
    assert codes.tolist() == [2, 9, 11]


class Recorder(PretrainingCollator):
    """Remembers which examples each batch held."""

    seen: ClassVar[list[list[str]]] = []

    def __call__(self, examples):
        self.seen.append([example["example_id"] for example in examples])
        return super().__call__(examples)


def train(folder, resume: bool = False, **options) -> tuple[list[list[str]], dict[str, torch.Tensor]]:
    """Train for two epochs of five steps of two batches; return the batches and the final weights."""
    visits = invent_visits(20)
    processor = tiny_processor(visits)
    torch.manual_seed(0)
    model = tiny_model("pretraining", visits, num_frozen_text_layers=1)
    collator = Recorder.from_processor(processor, masker=CodeMasker.from_tokenizer(processor.code_tokenizer))
    Recorder.seen = []
    arguments = RunArguments(
        output_dir=str(folder),
        use_cpu=True,
        disable_tqdm=True,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=3,
        save_total_limit=None,
        load_best_model_at_end=False,
        num_train_epochs=2,
        per_device_train_batch_size=5,
        gradient_accumulation_steps=2,
        dataloader_pin_memory=False,
        train_sampling_strategy="group_by_length",
        **options,
    )
    trainer = MedMPLMTrainer(
        model=model,
        args=arguments,
        train_examples=tokenize_visits(processor, visits),
        data_collator=collator,
        processing_class=processor,
    )
    checkpoint = str(folder / "checkpoints" / "checkpoint-3") if resume else None
    trainer.train(resume_from_checkpoint=checkpoint)
    return Recorder.seen, model.state_dict()


def test_trainer_resumes_in_the_middle_of_an_epoch_with_the_same_batches(tmp_path):
    seen, weights = train(tmp_path)
    assert len(seen) == 20
    assert len({example for batch in seen[:10] for example in batch}) == sum(map(len, seen[:10])) == 50
    assert seen[:10] != seen[10:]
    rest, resumed = train(tmp_path, resume=True)
    assert rest == seen[6:]
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


@pytest.fixture
def grouping_trainer(tmp_path):
    return MedMPLMTrainer(
        model=tiny_model("pretraining", invent_visits(8)),
        args=RunArguments(
            output_dir=str(tmp_path),
            use_cpu=True,
            eval_strategy="no",
            load_best_model_at_end=False,
            train_sampling_strategy="group_by_length",
        ),
        train_examples=[
            {"example_id": str(index), "input_ids": np.zeros(3), "code_input_ids": np.zeros(2)}
            for index in range(4)
        ],
        data_collator=lambda examples: {},
    )


def test_dropout_does_not_notice_how_often_the_batches_begin(grouping_trainer):
    loader = grouping_trainer.get_train_dataloader()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for _ in range(2):
        assert len(list(loader)) == 1
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("even_batches", [True, False])
def test_other_loaders_are_evened_out_as_before(even_batches, grouping_trainer):
    grouping_trainer.accelerator.even_batches = even_batches
    grouping_trainer.get_train_dataloader()
    assert grouping_trainer.accelerator.even_batches is even_batches


def test_batches_hear_of_the_epoch_from_the_trainer_itself(grouping_trainer):
    """What the library passes on by itself does not reach them when several processes resume."""
    trainer = grouping_trainer
    loaders = [trainer.get_train_dataloader() for _ in range(2)]
    trainer.callback_handler.train_dataloader = loaders[1]  # as while training
    trainer.state.epoch = 2.5
    trainer.callback_handler.on_epoch_begin(trainer.args, trainer.state, trainer.control)
    callbacks = [c for c in trainer.callback_handler.callbacks if isinstance(c, EpochOfBatches)]
    assert [callback.batches for callback in callbacks] == [loaders[1].batch_sampler]
    assert loaders[1].batch_sampler.epoch == 2


def test_evaluation_keeps_its_order(tmp_path):
    visits = invent_visits(8)
    arguments = RunArguments(
        output_dir=str(tmp_path), use_cpu=True, train_sampling_strategy="group_by_length"
    )
    trainer = MedMPLMTrainer(
        model=tiny_model("pretraining", visits),
        args=arguments,
        eval_examples=tokenize_visits(tiny_processor(visits), visits),
        data_collator=lambda examples: {"ids": [example["example_id"] for example in examples]},
    )
    order = [hadm_id for batch in trainer.get_eval_dataloader() for hadm_id in batch["ids"]]
    assert order == visits["hadm_id"].to_list()
