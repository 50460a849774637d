"""Attention and dropout for training on a CPU: numbers as written out, the usual distribution, no trace."""

import copy
import json
import math

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, TrainerCallback

from medm_plm.training import cpu_attention
from medm_plm.training import trainer as trainer_module
from medm_plm.training.arguments import RunArguments
from medm_plm.training.cpu_attention import (
    NAME,
    STEPS,
    BlockwiseAttention,
    BlockwiseDropout,
    RandomMask,
    TrainingDropout,
    blockwise_attention_forward,
    prepare_for_training_on_cpu,
)
from medm_plm.training.resumable_trainer import ResumableTrainer
from modeling_medm_plm import MedMPLMForPreTraining
from prepared_cohort import tiny_processor
from tiny_trainers import VISITS, logged, pretraining_trainer

SHAPE = (2, 3, 7, 4)  # batch, heads, words, size
SCALING = 0.7
PROBABILITY = 0.3
LENGTHS = [7, 5]


def states(dtype=torch.float64, shape=SHAPE, seed=0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3)]
    return [one.requires_grad_() for one in drawn]


def kept_weights(lengths, heads, probability, seed) -> tuple[list[torch.Tensor], float]:
    """Which weights dropout keeps after a seed, as ones and zeros."""
    torch.manual_seed(seed)
    masks = []
    for length in lengths:
        mask = RandomMask((heads, length, length), probability)
        mask.draw(slice(None))
        masks.append(mask.drop_(torch.ones(heads, length, length), mask.numbers(slice(None))).double())
    return masks, mask.scale


def attend_slowly(query, key, value, lengths, kept, scale) -> torch.Tensor:
    """Attention as it is defined, number by number; `(batch, words, heads, size)`."""
    batch, heads, words, size = query.shape
    output = [[[torch.zeros(size, dtype=query.dtype)] * heads for _ in range(words)] for _ in range(batch)]
    for b in range(batch):
        for h in range(heads):
            for i in range(lengths[b]):
                scores = [SCALING * (query[b, h, i] * key[b, h, j]).sum() for j in range(lengths[b])]
                total = sum(score.exp() for score in scores)
                collected = torch.zeros(size, dtype=query.dtype)
                for j, score in enumerate(scores):
                    weight = score.exp() / total * kept[b][h, i, j] * scale
                    collected = collected + weight * value[b, h, j]
                output[b][i][h] = collected
    return torch.stack([torch.stack([torch.stack(row) for row in rows]) for rows in output])


@pytest.mark.parametrize("lengths", [[7, 7], LENGTHS])
@pytest.mark.parametrize("values_at_once", [1, 2**18])
def test_equals_attention_written_out(lengths, values_at_once, monkeypatch):
    """Values and gradients, in blocks of one head and of all."""
    monkeypatch.setattr(cpu_attention, "VALUES_AT_ONCE", values_at_once)
    kept, scale = kept_weights(lengths, SHAPE[1], PROBABILITY, seed=5)
    assert 0 < sum(mask.sum() for mask in kept) < sum(mask.numel() for mask in kept)
    results = []
    for slowly in (True, False):
        inputs = states()
        torch.manual_seed(5)
        if slowly:
            output = attend_slowly(*inputs, lengths, kept, scale)
        else:
            output = BlockwiseAttention.apply(*inputs, lengths, SCALING, PROBABILITY)
        (output * torch.arange(output.numel()).view_as(output).cos()).sum().backward()
        results.append([output, *(one.grad for one in inputs)])
    for expected, received in zip(*results, strict=True):
        torch.testing.assert_close(received, expected, rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    def attend(*inputs):
        torch.manual_seed(5)
        return BlockwiseAttention.apply(*inputs, LENGTHS, SCALING, PROBABILITY)

    def drop(values):
        torch.manual_seed(5)
        return BlockwiseDropout.apply(values, PROBABILITY)

    assert torch.autograd.gradcheck(attend, states())
    assert torch.autograd.gradcheck(drop, states()[:1])


def test_single_precision_in_the_order_of_the_layers():
    """Heads interleaved in memory, as the layers give them, and an odd number of words."""
    lengths = [33, 20]
    inputs = states(torch.float32, (2, 33, 3, 8))
    results = []
    for dtype in (torch.float64, torch.float32):
        given = [one.detach().to(dtype).transpose(1, 2).requires_grad_() for one in inputs]
        torch.manual_seed(1)
        output = BlockwiseAttention.apply(*given, lengths, SCALING, 0.1)
        output.square().sum().backward()
        results.append([output, *(one.grad for one in given)])
    for expected, received in zip(*results, strict=True):
        torch.testing.assert_close(received, expected.float(), rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing():
    inputs = states()
    torch.manual_seed(2)
    short = BlockwiseAttention.apply(*(one[:, :, :5] for one in inputs), [5, 5], SCALING, PROBABILITY)
    torch.manual_seed(2)
    padded = BlockwiseAttention.apply(*inputs, [5, 5], SCALING, PROBABILITY)
    assert torch.equal(padded[:, :5], short)
    assert not padded[:, 5:].any()
    padded.sum().backward()
    assert all(not one.grad[:, :, 5:].any() for one in inputs)


@pytest.mark.parametrize("probability", [0.1, 0.25, 0.499])
def test_every_pattern_of_15_bits_is_dropped_or_kept_as_often_as_it_should(probability):
    mask = RandomMask((1, 2 * STEPS, 1), probability)
    halves = torch.arange(2**16) % STEPS
    halves = halves - (halves >= STEPS // 2) * (STEPS // 2) + (halves >= STEPS // 2) * 2**15
    assert halves.unique().numel() == STEPS  # 14 low bits and the sign, the highest bit of the exponent clear
    words = (halves[:STEPS] << 16) | halves[:STEPS].flip(0)
    mask.words = words.to(torch.int32).contiguous().view(torch.int64).unsqueeze(0)
    kept = mask.drop_(torch.ones(1, 2 * STEPS, 1), mask.numbers(slice(None))).view(2, STEPS)
    share = 1 - kept.double().mean(dim=1)
    assert share[0] == share[1]
    assert abs(share[0].item() - probability) <= 2**-16
    assert mask.scale == pytest.approx(1 / (1 - share[0].item()), rel=1e-12)


def test_dropout_is_independent_and_does_not_shift_the_mean():
    torch.manual_seed(0)
    mask = RandomMask((50, 200, 100), 0.1)
    mask.draw(slice(None))
    dropped = 1 - mask.drop_(torch.ones(50, 200, 100), mask.numbers(slice(None))).double()
    error = math.sqrt(0.1 * 0.9 / dropped.numel())
    assert dropped.mean().item() == pytest.approx(0.1, abs=5 * error)
    shared = (dropped[:, :100] * dropped[:, 100:]).mean().item()  # the two halves of one number
    assert shared == pytest.approx(0.01, abs=5 * math.sqrt(0.01 * 0.99 * 2 / dropped.numel()))
    neighbours = (dropped[..., 1:] * dropped[..., :-1]).mean().item()
    assert neighbours == pytest.approx(0.01, abs=5 * math.sqrt(0.01 * 0.99 / dropped.numel()))
    values = torch.ones(1000, 100)
    mean = BlockwiseDropout.apply(values, 0.1).mean().item()
    assert mean == pytest.approx(1.0, abs=5 * math.sqrt(0.1 / 0.9 / values.numel()))


def test_mean_over_many_draws_is_attention_without_dropout():
    torch.manual_seed(0)
    inputs = [one.detach() for one in states()]
    many = [one[:1].expand(4000, -1, -1, -1).contiguous() for one in inputs]
    mean = BlockwiseAttention.apply(*many, [7] * 4000, SCALING, PROBABILITY).mean(dim=0)
    plain = nn.functional.scaled_dot_product_attention(*(one[0] for one in inputs), scale=SCALING)
    torch.testing.assert_close(mean, plain.transpose(0, 1), rtol=0, atol=0.06)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_seed_gives_one_result_for_any_number_of_threads(threads):
    inputs = states(torch.float32, (1, 5, 257, 4))
    before = torch.get_num_threads()
    results = []
    try:
        for number in (1, threads):
            torch.set_num_threads(number)
            torch.manual_seed(3)
            results.append(BlockwiseAttention.apply(*inputs, [257], SCALING, 0.1))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)
    next_one = BlockwiseAttention.apply(*inputs, [257], SCALING, 0.1)  # of the same stream
    assert (next_one - results[0]).abs().max() > 0.01


class Layer(nn.Module):
    is_causal = False


def spy(monkeypatch) -> list[str]:
    """Names of the attentions that are called."""
    called = []
    library = cpu_attention.sdpa_attention_forward

    def plain(*args, **kwargs):
        called.append("library")
        return library(*args, **kwargs)

    apply = BlockwiseAttention.apply
    monkeypatch.setattr(cpu_attention, "sdpa_attention_forward", plain)
    monkeypatch.setattr(BlockwiseAttention, "apply", lambda *args: called.append("ours") or apply(*args))
    return called


def prefix_mask(lengths, words) -> torch.Tensor:
    real = torch.arange(words) < torch.tensor(lengths).unsqueeze(-1)
    return real[:, None, None, :].expand(-1, 1, words, -1)


def test_ours_only_for_dropout_in_training_and_masks_of_padding(monkeypatch):
    called = spy(monkeypatch)
    inputs = states(torch.float32)
    holes = prefix_mask(LENGTHS, 7).clone()
    holes[:, :, :, 2] = False
    triangle = torch.ones(7, 7, dtype=torch.bool).tril().expand(2, 1, 7, 7)
    layer, causal = Layer(), Layer()
    causal.is_causal = True
    cases = [
        ("ours", layer, inputs, prefix_mask(LENGTHS, 7), 0.1, {}),
        ("ours", layer, inputs, None, 0.1, {}),
        ("library", layer, inputs, prefix_mask(LENGTHS, 7), 0.0, {}),
        ("library", layer, inputs, None, 0.5, {}),
        ("library", copy.deepcopy(layer).eval(), inputs, None, 0.1, {}),
        ("library", layer, [one.detach().bfloat16() for one in inputs], None, 0.1, {}),
        ("library", layer, inputs, holes, 0.1, {}),
        ("library", layer, inputs, triangle, 0.1, {}),
        ("library", layer, inputs, prefix_mask([7, 0], 7), 0.1, {}),  # a row of padding only
        ("library", causal, inputs, None, 0.1, {}),
        ("library", layer, [inputs[0][:, :, :3], *inputs[1:]], None, 0.1, {}),
    ]
    for expected, module, given, mask, dropout, extra in cases:
        called.clear()
        output, _ = blockwise_attention_forward(module, *given, mask, dropout=dropout, **extra)
        assert called == [expected]
        assert output.shape == (2, given[0].shape[2], 3, 4)
    results = []
    for gradients in (True, False):  # reentrant checkpointing computes the same first without, then with
        called.clear()
        torch.manual_seed(0)
        with torch.set_grad_enabled(gradients):
            results.append(blockwise_attention_forward(layer, *inputs, None, dropout=0.1)[0])
        assert called == ["ours"]
    assert torch.equal(*results)


@pytest.mark.parametrize("name", ["position_bias", "cache", "softcap", "sliding_window", "s_aux"])
def test_further_terms_are_the_librarys(name, monkeypatch):
    received = []
    monkeypatch.setattr(
        cpu_attention, "sdpa_attention_forward", lambda *args, **kwargs: received.append(kwargs[name])
    )
    for value in (None, 1.0):
        blockwise_attention_forward(Layer(), *states(torch.float32), None, dropout=0.1, **{name: value})
    assert received == [1.0]


def test_what_is_compiled_is_the_librarys_in_one_graph():
    def attend(query, key, value):
        return blockwise_attention_forward(layer, query, key, value, prefix_mask([7, 7], 7), dropout=0.1)[0]

    layer, dropout = Layer(), TrainingDropout(0.1)
    inputs = [one.detach() for one in states(torch.float32)]
    for function, arguments in ((attend, inputs), (dropout, inputs[:1])):
        torch.compiler.reset()
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        torch.manual_seed(0)
        assert compiled(*arguments).shape == function(*arguments).shape
    assert (dropout(inputs[0]) == 0).any()


def test_dropout_in_place_changes_its_states():
    values = torch.ones(50, 20)
    dropped = TrainingDropout(0.3, inplace=True)(values)
    assert dropped is values
    assert (values == 0).any()


def test_an_exchanged_dropout_keeps_its_mode_and_its_place():
    model = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.2, inplace=True).eval())
    cpu_attention._exchange_dropout(model)
    assert [(type(m), m.p, m.inplace, m.training) for m in model] == [
        (TrainingDropout, 0.1, False, True),
        (TrainingDropout, 0.2, True, False),
    ]


def test_without_dropout_equal_to_the_library():
    inputs = states(torch.float32)
    mask = prefix_mask(LENGTHS, 7)
    output, _ = blockwise_attention_forward(Layer(), *inputs, mask, dropout=0.0, scaling=SCALING)
    plain = nn.functional.scaled_dot_product_attention(*inputs, attn_mask=mask, scale=SCALING)
    assert torch.equal(output, plain.transpose(1, 2))
    blockwise = BlockwiseAttention.apply(*inputs, LENGTHS, SCALING, 1e-9)  # rounds to no dropout
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(blockwise[row, :length], output[row, :length])


@pytest.fixture(scope="module")
def processor():
    return tiny_processor(VISITS)


class Implementation(TrainerCallback):
    """Takes down which attention the text encoder has while it trains."""

    def on_step_begin(self, args, state, control, model, **kwargs):
        self.name = model.model.text_model.config._attn_implementation


def test_a_trainer_on_a_cpu_chooses_it_and_evaluation_does_not(processor, tmp_path, monkeypatch):
    trainer = pretraining_trainer(processor, tmp_path, max_steps=1)
    seen = Implementation()
    trainer.add_callback(seen)
    encoder = trainer.model.model.text_model
    called = spy(monkeypatch)
    trainer.train()
    assert seen.name == NAME
    assert trainer.model.model.code_model.config._attn_implementation == "sdpa"
    assert {type(m) for m in encoder.modules() if isinstance(m, nn.Dropout)} == {TrainingDropout}
    assert set(called) == {"library", "ours"}  # the frozen layer has no dropout
    called.clear()
    trainer.evaluate()
    assert not called  # the library by itself


def test_a_trainer_on_a_gpu_does_not_choose_it(processor, tmp_path, monkeypatch):
    trainer = pretraining_trainer(processor, tmp_path)
    chosen = []
    monkeypatch.setattr(trainer_module, "prepare_for_training_on_cpu", chosen.append)
    monkeypatch.setattr(ResumableTrainer, "train", lambda self: None)
    trainer.train()
    assert chosen == [trainer.model]
    monkeypatch.setattr(RunArguments, "device", torch.device("meta"))
    trainer.train()
    assert len(chosen) == 1


def test_what_is_saved_does_not_name_it(processor, tmp_path):
    trainer = pretraining_trainer(processor, tmp_path, max_steps=1)
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    for path in (tmp_path / "model").rglob("*.json"):
        assert NAME not in path.read_text(encoding="utf-8")
    loaded = MedMPLMForPreTraining.from_pretrained(tmp_path / "model")
    assert loaded.model.text_model.config._attn_implementation == "sdpa"
    assert loaded.state_dict().keys() == trainer.model.state_dict().keys()
    saved = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert saved["text_config"]["attention_probs_dropout_prob"] == 0.1


def test_another_attention_that_was_asked_for_stays():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            config = BertConfig(
                hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8
            )
            self.text_model = BertModel._from_config(config, attn_implementation="eager")

    holder = Holder()
    prepare_for_training_on_cpu(holder)
    assert holder.text_model.config._attn_implementation == "eager"


def test_resuming_goes_on_with_the_same_random_numbers(processor, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2, "logging_steps": 1, "logging_strategy": "steps"}
    whole = pretraining_trainer(processor, tmp_path / "a", max_steps=4, **options)
    whole.train()
    resumed = pretraining_trainer(processor, tmp_path / "a", max_steps=4, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoints" / "checkpoint-2"))
    assert logged(resumed) == logged(whole)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weight), name


def test_after_training_a_copy_of_the_model_needs_nothing_of_ours(processor, tmp_path):
    trainer = pretraining_trainer(processor, tmp_path, max_steps=1)
    seen = Implementation()
    trainer.add_callback(seen)
    trainer.train()
    assert seen.name == NAME
    assert trainer.model.model.text_model.config._attn_implementation == "sdpa"
    assert NAME not in repr(copy.deepcopy(trainer.model.config).__dict__)
