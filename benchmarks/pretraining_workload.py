"""What `benchmarks/pretraining.py` works on: invented visits of the paper's size, and the models.

Discharge summaries are long: of the invented notes 95 % are cut at the longest length (512 tokens), the
lengths of the others are uniform from an eighth of it. Numbers of diagnoses and medications are log-normal
around 9 and 15, cut so that both and `[CLS]` fill 61 places. Codes are drawn with Zipf's frequencies from
6,646 codes made of all categories of ICD-9-CM and from 155 ATC groups, with their ontologies.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from straightforward_model import StraightforwardModel
from transformers import BertConfig

from configuration_medm_plm import MedMPLMCodeConfig, MedMPLMConfig
from medm_plm.data.collators import CodeMasker, PretrainingCollator
from medm_plm.data.vocabulary import CodeVocabulary
from medm_plm.ontologies import atc, icd9
from medm_plm.training.feature_cache import CacheOptions, add_prefix_states
from modeling_medm_plm import MedMPLMForPreTraining

STRAIGHTFORWARD, SHARED = "straightforward", "straightforward_shared_ontology"
UNCACHED, CACHED, NO_DROPOUT = "uncached", "cached", "cached_no_attention_dropout"
VARIANTS = (STRAIGHTFORWARD, SHARED, UNCACHED, CACHED, NO_DROPOUT)
FULL_SHARE = 0.95
MASK_TOKEN_ID = 2
SEED = 2022


@dataclass(frozen=True)
class Size:
    """Size of the models and of a visit; the paper's by default.

    Args:
        text_layers, text_hidden, text_heads, text_words: shape of the text encoder and its vocabulary.
        text_length, code_length: longest note and code list.
        num_diagnoses, num_medications: codes.
    """

    text_layers: int = 12
    text_hidden: int = 768
    text_heads: int = 12
    text_words: int = 28_996
    text_length: int = 512
    code_length: int = 61
    num_diagnoses: int = 6_646
    num_medications: int = 155


TINY = Size(3, 32, 2, 200, 32, 12, 60, 10)
SIZES = {"paper": Size(), "tiny": TINY}


def make_vocabulary(size: Size) -> CodeVocabulary:
    """Spread codes over all categories of ICD-9-CM and all main groups of ATC."""
    blocks = [
        block.split("-")
        for chapter, (_, blocks) in icd9.CHAPTERS.items()
        for block in (blocks.split() or [chapter])
    ]
    categories = [name for first, last in blocks for name in _categories(first, last)]
    endings = [f"{digit}" for digit in range(10)] + [f"{number:02d}" for number in range(100)]
    codes = (f"ICD9CM:{category}{ending}" for ending in endings for category in categories)
    drugs = (
        f"ATC:{group}{number:02d}{letter}"
        for number, group, letter in itertools.product(range(1, 100), atc.MAIN_GROUPS, "AB")
    )
    return CodeVocabulary.from_codes(
        itertools.islice(codes, size.num_diagnoses), itertools.islice(drugs, size.num_medications)
    )


def _categories(first: str, last: str) -> list[str]:
    """`["V01", "V02"]` from `V01` and `V02`."""
    letter = first[0] if first[0].isalpha() else ""
    width = len(first) - len(letter)
    numbers = range(int(first[len(letter) :]), int(last[len(letter) :]) + 1)
    return [f"{letter}{number:0{width}d}" for number in numbers]


def make_visits(size: Size, num_visits: int, seed: int = SEED) -> list[dict[str, Any]]:
    """Invent tokenised visits."""
    rng = np.random.default_rng(seed)
    first_drug = 4 + size.num_diagnoses
    visits = []
    for number in range(num_visits):
        words = size.text_length
        if rng.random() > FULL_SHARE:
            words = int(rng.integers(size.text_length // 8, size.text_length))
        room = size.code_length - 1
        diagnoses = _draw(rng, size.num_diagnoses, 9, room * 2 // 3) + 4
        drugs = _draw(rng, size.num_medications, 15, room - len(diagnoses)) + first_drug
        visits.append(
            {
                "example_id": f"visit-{number}",
                "epoch": 0,
                "input_ids": rng.integers(5, size.text_words, words).astype(np.int32),
                "code_input_ids": np.concatenate([[1], diagnoses, drugs]).astype(np.int32),
                "code_token_type_ids": np.repeat([0, 1, 2], [1, len(diagnoses), len(drugs)]).astype(np.int8),
            }
        )
    return visits


def _draw(rng: np.random.Generator, num_codes: int, median: int, most: int) -> np.ndarray:
    """Draw distinct codes with Zipf's frequencies."""
    count = int(np.clip(rng.lognormal(np.log(median), 0.5), 1, min(most, num_codes)))
    frequency = 1.0 / np.arange(1, num_codes + 1)
    return rng.choice(num_codes, count, replace=False, p=frequency / frequency.sum())


def make_collator(size: Size) -> PretrainingCollator:
    """Hide codes and pad to the longest of the batch, as a run does."""
    first_drug = 4 + size.num_diagnoses
    code_ids = {1: np.arange(4, first_drug), 2: np.arange(first_drug, first_drug + size.num_medications)}
    return PretrainingCollator(masker=CodeMasker(MASK_TOKEN_ID, code_ids, SEED))


def pad_to_the_maximum(batch: dict[str, torch.Tensor], size: Size) -> dict[str, torch.Tensor]:
    """Widen every field to the longest note or code list there can be."""
    widened = {}
    for name, values in batch.items():
        longest = size.code_length if "code" in name or name == "labels" else size.text_length
        fill = -100 if name == "labels" else 0
        widened[name] = torch.nn.functional.pad(values, (0, longest - values.shape[1]), value=fill)
    return widened


def make_config(size: Size, vocabulary: CodeVocabulary) -> MedMPLMConfig:
    """Shape of the models."""
    text = BertConfig(
        vocab_size=size.text_words,
        hidden_size=size.text_hidden,
        num_hidden_layers=size.text_layers,
        num_attention_heads=size.text_heads,
        intermediate_size=4 * size.text_hidden,
        max_position_embeddings=size.text_length,
    )
    code = MedMPLMCodeConfig(
        vocab_size=vocabulary.num_codes,
        num_ontology_nodes=len(vocabulary.tokens),
        max_ontology_depth=vocabulary.max_depth,
    )
    return MedMPLMConfig(text_config=text, code_config=code)


def make_model(variant: str, size: Size) -> torch.nn.Module:
    """Build one of `VARIANTS` with random weights, in training mode."""
    vocabulary = make_vocabulary(size)
    config = make_config(size, vocabulary)
    torch.manual_seed(SEED)
    if variant in (STRAIGHTFORWARD, SHARED):
        return StraightforwardModel(config, list(vocabulary.node_parents), variant == SHARED).train()
    model = MedMPLMForPreTraining(config)
    model.model.set_ontology(list(vocabulary.node_parents))
    if variant == NO_DROPOUT:
        for layer in model.model.text_model.encoder.layer[config.num_frozen_text_layers :]:
            layer.attention.self.dropout.p = 0.0
    return model.train()


def fill_cache(model: MedMPLMForPreTraining, visits: list[dict[str, Any]], folder: Path) -> None:
    """Give the visits the kept states of their notes, computing those that are missing."""
    add_prefix_states(model.model, visits, CacheOptions(folder))
