"""What an exported graph takes and gives: its inputs with their axes, and a model ready to be traced.

Axes: batch (visits, or patients where a visits axis follows), visits, words, codes, current_codes and
current_words (of the visit whose medications are asked for), labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

from modeling_medm_plm import (
    MedMPLMForMedicationRecommendation,
    MedMPLMForPreTraining,
    MedMPLMForTokenClassification,
    MedMPLMOntologyEmbedding,
    MedMPLMPreTrainedModel,
)

FIRST_FREE_ID = 4  # the special tokens of the codes stand before it


@dataclass(frozen=True)
class Axes:
    """Lengths of the axes of one set of inputs."""

    batch: int = 3
    visits: int = 4
    words: int = 11
    codes: int = 7
    current_codes: int = 5
    current_words: int = 9


class OnnxGraph(nn.Module):
    """A model as a function of tensors in a fixed order that returns scores alone.

    Args:
        model (`MedMPLMPreTrainedModel`): any head.
        names (`list[str]`): what the tensors are, in their order.
    """

    def __init__(self, model: MedMPLMPreTrainedModel, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.model(**dict(zip(self.names, tensors, strict=True)), return_dict=True)
        return tuple(outputs[name] for name in output_names(self.model))


def output_names(model: MedMPLMPreTrainedModel) -> list[str]:
    """Names of the scores of a model, which are also those of the graph."""
    if isinstance(model, MedMPLMForPreTraining):
        return ["t2c_logits", "c2c_logits"]
    return ["logits"]


def axis_names(model: MedMPLMPreTrainedModel) -> dict[str, tuple[str, ...]]:
    """Inputs of the graph of a model with the names of their axes.

    Token types of the words are left out: they are zero.
    """
    words = dict.fromkeys(("input_ids", "attention_mask"), ("batch", "words"))
    names = ("code_input_ids", "code_attention_mask", "code_token_type_ids")
    if isinstance(model, MedMPLMForTokenClassification):
        return words
    inputs = {**words, **dict.fromkeys(names, ("batch", "codes"))}
    if not isinstance(model, MedMPLMForMedicationRecommendation):
        return inputs
    inputs = {name: ("batch", "visits", axes[1]) for name, axes in inputs.items()}
    inputs |= {f"current_{name}": ("batch", "visits", "current_codes") for name in names}
    if model.config.use_current_note:
        current = ("current_input_ids", "current_attention_mask")
        inputs |= dict.fromkeys(current, ("batch", "visits", "current_words"))
    return {**inputs, "visit_mask": ("batch", "visits")}


def least_words(model: MedMPLMPreTrainedModel) -> int:
    """Fewest words that the graph takes: where notes may have several chunks, more than one of them."""
    config = model.config
    return config.chunk_length + 1 if config.max_note_chunks > 1 else 1


def most_words(model: MedMPLMPreTrainedModel) -> int:
    """Longest note of the model."""
    return model.config.chunk_length * model.config.max_note_chunks


def example_inputs(model: MedMPLMPreTrainedModel, axes: Axes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Draw inputs with some padding at the end of every row but the first.

    Args:
        model (`MedMPLMPreTrainedModel`): gives the inputs and the sizes of the vocabularies.
        axes (`Axes`): lengths; notes become no shorter and no longer than the graph takes.
        seed (`int`, defaults to 0): of the drawing.

    Returns:
        The inputs by name.
    """
    generator = torch.Generator().manual_seed(seed)
    words = min(max(axes.words, least_words(model)), most_words(model))
    axes = replace(axes, words=words, current_words=min(axes.current_words, model.config.chunk_length))
    lengths, code_config = asdict(axes), model.config.code_config
    inputs: dict[str, torch.Tensor] = {}
    for name, of_axes in axis_names(model).items():
        shape = [lengths[axis] for axis in of_axes]
        if name.endswith("token_type_ids"):
            inputs[name] = torch.randint(0, code_config.type_vocab_size, shape, generator=generator)
        elif name.endswith("mask"):
            inputs[name] = _mask(shape)
        elif "code" in name:
            last = code_config.vocab_size
            inputs[name] = torch.randint(FIRST_FREE_ID, last, shape, generator=generator)
            inputs[name][..., 0] = code_config.cls_token_id
        else:
            inputs[name] = _words(model, shape, generator)
    return inputs


def _mask(shape: list[int]) -> torch.Tensor:
    mask = torch.ones(shape, dtype=torch.long)
    if shape[-1] > 1:
        mask[1:, ..., -(shape[-1] // 3 + 1) :] = 0
    mask[..., 0] = 1
    return mask


def _words(model: MedMPLMPreTrainedModel, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    """Random words, each chunk beginning with the same one, as with `[CLS]`."""
    ids = torch.randint(FIRST_FREE_ID, model.config.text_config.vocab_size, shape, generator=generator)
    ids[..., :: model.config.chunk_length] = FIRST_FREE_ID
    return ids


@contextmanager
def folded_ontology(model: nn.Module) -> Iterator[None]:
    """Put the finished table of code vectors in the place of the graph attention that computes it.

    The vectors of codes depend on the weights alone, so a graph for inference need not compute them again
    for each batch. The results are the same.

    Args:
        model (`torch.nn.Module`): any model; one without an ontology is left as it is.
    """
    replaced: list[tuple[nn.Module, nn.Module]] = []
    for module in list(model.modules()):
        embedding = getattr(module, "word_embeddings", None)
        if isinstance(embedding, MedMPLMOntologyEmbedding):
            with torch.no_grad():
                table = embedding.full_table()
            module.word_embeddings = nn.Embedding.from_pretrained(table, freeze=True)
            replaced.append((module, embedding))
    try:
        yield
    finally:
        for module, embedding in replaced:
            module.word_embeddings = embedding


def graph_inputs(names: Mapping[str, object], batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Choose from a batch what a graph takes, in its order."""
    return {name: batch[name] for name in names}
