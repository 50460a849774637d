"""Attention and dropout for training on a CPU, where the library has no fused kernel for them.

With dropout, PyTorch's `scaled_dot_product_attention` writes all attention weights to memory several times.
Here one block of heads after the other goes through scores, softmax, dropout and sum while it lies in the
cache of the core, and the backward pass computes the weights again. The distribution of the dropout is the
usual one; only the stream of random numbers differs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "medm_plm_cpu"
"""Name of the attention in the library's registry; it is never saved."""

TEXT_ENCODER_NAME = "text_model"  # attribute of `MedMPLMModel`

VALUES_AT_ONCE = 2**18
"""Values a core works on at a time: 1 MB in single precision, about its second-level cache."""

STEPS = 2**15
"""Probabilities of dropout are multiples of one in so many: they are off by 2 ** -16 at most."""

PROBABILITY_LIMIT = 0.5
"""A dropped value has a negative number, and half of the numbers are."""

_FINITE = -0x40004001  # all bits but the highest one of the exponent, in both halves of a 32-bit number
_keep_above = torch.ops.aten.threshold_backward.grad_input


class RandomMask:
    """What dropout keeps, drawn from PyTorch's own generator.

    Each half of a 32-bit number decides over one value. It is compared as a float, because there is a fast
    kernel for that; without the highest bit of the exponent it always is a number, and its sign and 14 more
    bits are random. The same numbers are drawn in blocks of any size.

    Args:
        shape (`tuple[int, int, int]`): shape of the values; two along the second axis share a number.
        probability (`float`): share of the values to drop, below 0.5.
    """

    def __init__(self, shape: tuple[int, int, int], probability: float) -> None:
        first, self.second, self.third = shape
        self.upper = (self.second + 1) // 2
        dropped = round(probability * STEPS)
        self.scale = STEPS / (STEPS - dropped)
        # The most negative numbers, `dropped` of the `STEPS` patterns.
        self.limit = -struct.unpack("f", struct.pack("I", (STEPS // 2 - dropped) << 16))[0]
        self.words = torch.empty((first, (self.upper * self.third + 1) // 2), dtype=torch.int64)

    def draw(self, part: slice) -> None:
        """Draw the numbers of a part of the first axis; parts must be drawn in their order."""
        self.words[part].random_(-(2**63), None).view(torch.int32).bitwise_and_(_FINITE)

    def numbers(self, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """What decides over the first and over the second half of the second axis, in a part drawn before."""
        upper = self.words[part].view(torch.int32)[:, : self.upper * self.third]
        upper = upper.view(len(upper), self.upper, self.third)
        lower = upper[:, : self.second - self.upper] << 16
        return upper.view(torch.float32), lower.view(torch.float32)

    def drop_(self, values: torch.Tensor, numbers: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Set to zero what is dropped of a part of the values; the caller scales the rest.

        Args:
            values (`torch.FloatTensor` of shape `(part, second axis, third axis)`): changed in place.
            numbers (`tuple[torch.Tensor, torch.Tensor]`): those of the part.

        Returns:
            `values`.
        """
        halves = values[:, : self.upper], values[:, self.upper :]
        for half, deciding in zip(halves, numbers, strict=True):
            _keep_above(half, deciding.to(half.dtype), self.limit, grad_input=half)
        return values


class BlockwiseAttention(torch.autograd.Function):
    """Attention with dropout whose weights exist block by block; padded words neither ask nor answer."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: Sequence[int],
        scaling: float,
        probability: float,
    ) -> torch.Tensor:
        """Attend.

        Args:
            query, key, value (`torch.FloatTensor` of shape `(batch, heads, words, size)`): as usual.
            lengths (`Sequence[int]`): words of each example before its padding.
            scaling (`float`): factor of the scores.
            probability (`float`): of dropping a weight, below 0.5.

        Returns:
            `torch.FloatTensor` of shape `(batch, words, heads, size)`, zero at padded words.
        """
        batch, heads, words, size = query.shape
        output = query.new_zeros((batch, words, heads, size))
        logsumexp = query.new_zeros((batch, heads, words, 1))
        masks = [RandomMask((heads, length, length), probability) for length in lengths]
        for place, (weights, _), mask in _blocks(query, lengths, masks):
            asked, keys, values = (_own_copy(states[place]) for states in (query, key, value))
            torch.bmm(asked.mul_(scaling), keys.transpose(1, 2), out=weights)
            highest = weights.amax(dim=-1, keepdim=True)
            total = weights.sub_(highest).exp_().sum(dim=-1, keepdim=True)
            logsumexp[place] = total.log().add_(highest)
            mask.draw(place[1])
            kept = mask.drop_(weights, mask.numbers(place[1]))
            output.transpose(1, 2)[place] = torch.bmm(kept, values).mul_(mask.scale / total)
        ctx.save_for_backward(query, key, value, output, logsumexp)
        ctx.lengths, ctx.scaling, ctx.masks = lengths, scaling, masks
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Compute the weights again, and from them the gradients."""
        query, key, value, output, logsumexp = ctx.saved_tensors
        by_query, by_key, by_value = (torch.zeros_like(states) for states in (query, key, value))
        # The sum over the keys of each weight times its gradient is the same with dropout and without.
        sums = (gradient * output).sum(dim=-1, keepdim=True).transpose(1, 2)
        gradient = gradient.transpose(1, 2)
        for place, (weights, by_score), mask in _blocks(query, ctx.lengths, ctx.masks):
            copies = (_own_copy(states[place]) for states in (query, key, value, gradient))
            asked, keys, values, incoming = copies
            torch.bmm(asked.mul_(ctx.scaling), keys.transpose(1, 2), out=weights)
            weights.sub_(logsumexp[place]).exp_()
            torch.bmm(incoming.mul_(mask.scale), values.transpose(1, 2), out=by_score)
            numbers = mask.numbers(place[1])
            mask.drop_(by_score, numbers).sub_(sums[place]).mul_(weights)
            by_query[place] = torch.bmm(by_score, keys).mul_(ctx.scaling)
            by_key[place] = torch.bmm(by_score.transpose(1, 2), asked)
            kept = mask.drop_(weights, numbers)
            by_value[place] = torch.bmm(kept.transpose(1, 2), incoming)
        return by_query, by_key, by_value, None, None, None


def _own_copy(states: torch.Tensor) -> torch.Tensor:
    """Heads one behind the other in memory: matrix products of interleaved ones are much slower."""
    return states.clone(memory_format=torch.contiguous_format)


def _blocks(
    states: torch.Tensor, lengths: Sequence[int], masks: Sequence[RandomMask]
) -> Iterator[tuple[tuple[int, slice, slice], torch.Tensor, RandomMask]]:
    """Heads of an example to work on together: their place, room for two sets of weights, the mask."""
    heads, longest = states.shape[1], max(lengths)
    room = states.new_empty((2, max(longest * longest, VALUES_AT_ONCE * torch.get_num_threads())))
    for row, (length, mask) in enumerate(zip(lengths, masks, strict=True)):
        matrix = length * length
        at_once = max(1, room.shape[1] // matrix)
        for begin in range(0, heads, at_once):
            part = slice(begin, min(begin + at_once, heads))
            shape = (2, part.stop - begin, length, length)
            yield (row, part, slice(length)), room[:, : math.prod(shape[1:])].view(shape), mask


class BlockwiseDropout(torch.autograd.Function):
    """Dropout with half the random bits, and with nothing kept but these."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, probability: float) -> torch.Tensor:
        """Drop some of the states `(..., hidden)` and scale the others."""
        ctx.mask = RandomMask((states[..., 0].numel(), states.shape[-1], 1), probability)
        return BlockwiseDropout._apply(states, ctx.mask, is_first=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Drop and scale the same."""
        return BlockwiseDropout._apply(gradient, ctx.mask, is_first=False), None

    @staticmethod
    def _apply(states: torch.Tensor, mask: RandomMask, is_first: bool) -> torch.Tensor:
        result = torch.empty_like(states, memory_format=torch.contiguous_format)
        source, target = (values.reshape(-1, values.shape[-1], 1) for values in (states, result))
        at_once = max(1, VALUES_AT_ONCE * torch.get_num_threads() // states.shape[-1])
        for begin in range(0, len(source), at_once):
            part = slice(begin, min(begin + at_once, len(source)))
            if is_first:
                mask.draw(part)
            torch.mul(source[part], mask.scale, out=target[part])
            mask.drop_(target[part], mask.numbers(part))
        return result


class TrainingDropout(nn.Dropout):
    """`nn.Dropout` that takes `BlockwiseDropout` for training on a CPU."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Drop in training mode."""
        if not self.training or not _is_served(states, self.p) or self.inplace:
            return super().forward(states)
        return BlockwiseDropout.apply(states, self.p)


def blockwise_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function of the library's registry.

    Args:
        module (`nn.Module`): the attention layer.
        query, key, value (`torch.FloatTensor` of shape `(batch, heads, words, size)`): as usual.
        attention_mask (`torch.BoolTensor` of shape `(batch, 1, words, words)`, *optional*): true at words.
        dropout (`float`, defaults to 0): probability, 0 outside of training.
        scaling (`float`, *optional*): factor of the scores, one over the root of the size by default.
        kwargs: passed on to the library's function.

    Returns:
        The result `(batch, words, heads, size)` and None. It comes from the library's `sdpa` where there is
        no dropout, no CPU, or a mask that does more than hide what is behind each note's end.
    """
    lengths = None
    if module.training and _is_served(query, dropout) and _is_plain(module, query, key, value, kwargs):
        lengths = _lengths(attention_mask, query)
    if lengths is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return BlockwiseAttention.apply(query, key, value, lengths, scaling, dropout), None


def _is_served(states: torch.Tensor, probability: float) -> bool:
    return (
        0 < probability < PROBABILITY_LIMIT
        and states.device.type == "cpu"
        and states.dtype in (torch.float32, torch.float64)
        and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
    )


def _is_plain(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, extra: Any
) -> bool:
    """Tell whether every word of a note looks at every other one, with no further terms."""
    same = query.shape == key.shape == value.shape
    causal = extra.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    others = ("position_bias", "cache", "softcap", "sliding_window", "s_aux")
    return same and not causal and all(extra.get(name) is None for name in others)


def _lengths(mask: torch.Tensor | None, query: torch.Tensor) -> list[int] | None:
    """Words of each example, if the mask hides what is behind them from all queries alike."""
    batch, _, words, _ = query.shape
    if mask is None:
        return [words] * batch
    if mask.dtype != torch.bool or mask.shape[1] != 1 or not (mask == mask[:, :, :1]).all():
        return None
    real = mask[:, 0, 0].expand(batch, -1)
    lengths = real.sum(dim=-1)
    is_prefix = (real == (torch.arange(words) < lengths.unsqueeze(-1))).all()
    return lengths.tolist() if is_prefix and lengths.min() > 0 else None


def prepare_for_training_on_cpu(model: nn.Module) -> None:
    """Let the text encoder of a model train with the functions above. Nothing that is saved changes.

    Args:
        model (`nn.Module`): a model with a text encoder whose attention is the library's `sdpa`.
    """
    for name, encoder in model.named_modules():
        if name.split(".")[-1] == TEXT_ENCODER_NAME and isinstance(encoder, PreTrainedModel):
            if encoder.config._attn_implementation == "sdpa":
                encoder.set_attn_implementation(NAME)
            _exchange_dropout(encoder)


def end_training_on_cpu(model: nn.Module) -> None:
    """Give the text encoder the library's attention back, so that copies of the model open anywhere.

    Args:
        model (`nn.Module`): what `prepare_for_training_on_cpu` was given.
    """
    for encoder in model.modules():
        if isinstance(encoder, PreTrainedModel) and encoder.config._attn_implementation == NAME:
            encoder.set_attn_implementation("sdpa")


def _exchange_dropout(encoder: nn.Module) -> None:
    for parent in list(encoder.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, TrainingDropout(child.p, child.inplace).train(child.training))


AttentionInterface.register(NAME, blockwise_attention_forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
