"""Tiny models and inputs for tests; all sizes differ, so that a swapped axis fails."""

import torch

from configuration_medm_plm import MedMPLMConfig

BATCH, VISITS, WORDS, CODES, LABELS = 3, 2, 7, 5, 11
TEXT_VOCABULARY, NUM_CODES, NUM_NODES = 50, 20, 30
# Sixteen codes under five categories, two roots; special tokens stand alone.
NODE_PARENTS = [-1] * 4 + [20 + i % 5 for i in range(16)] + [25, 25, 26, 26, 27, 28, 28, 29, 29, -1]


def tiny_config(**fields) -> MedMPLMConfig:
    """A model of a few thousand parameters that trains all of its text encoder unless told otherwise."""
    text = {
        "model_type": "bert",
        "vocab_size": TEXT_VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 37,
        "max_position_embeddings": 40,
    }
    code = {
        "vocab_size": NUM_CODES,
        "num_ontology_nodes": NUM_NODES,
        "hidden_size": 24,
        "ontology_embedding_size": 6,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "intermediate_size": 29,
    }
    fields = {"num_frozen_text_layers": 0, "num_labels": LABELS, **fields}
    return MedMPLMConfig(
        text_config=text | fields.pop("text_config", {}),
        code_config=code | fields.pop("code_config", {}),
        **fields,
    )


def build(model_class, seed: int = 0, **fields):
    """A model in evaluation mode with the tiny ontology and lively weights."""
    torch.manual_seed(seed)
    model = model_class(tiny_config(**fields))
    for parameter in model.parameters():  # the library's small initial weights hide mistakes
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    base = getattr(model, "model", model)
    if getattr(base, "code_model", base) is not None:  # a tagger has no codes
        base.set_ontology(NODE_PARENTS)
    return model.eval()


def visit_inputs(seed: int = 1, leading: tuple[int, ...] = (BATCH,)) -> dict[str, torch.Tensor]:
    """Random notes and codes with some padding at the end of the later rows."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator)

    words = integers(4, TEXT_VOCABULARY, *leading, WORDS)
    codes = integers(4, NUM_CODES, *leading, CODES)
    codes[..., 0] = 1
    types = 1 + (codes >= 12).long()
    types[..., 0] = 0
    word_mask, code_mask = torch.ones_like(words), torch.ones_like(codes)
    word_mask[1:, ..., -2:] = 0
    code_mask[1:, ..., -1:] = 0
    return {
        "input_ids": words,
        "attention_mask": word_mask,
        "code_input_ids": codes,
        "code_attention_mask": code_mask,
        "code_token_type_ids": types,
    }


def masked_code_labels(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Two chosen codes in the first visit, one in the others."""
    labels = torch.full_like(inputs["code_input_ids"], -100)
    labels[:, 2] = inputs["code_input_ids"][:, 2]
    labels[0, 3] = inputs["code_input_ids"][0, 3]
    return labels


def patient_inputs(seed: int = 1, visits: int = VISITS) -> dict[str, torch.Tensor]:
    """Visits of patients, the last patient with one visit less."""
    inputs = visit_inputs(seed, (BATCH, visits))
    current = visit_inputs(seed + 1, (BATCH, visits))
    inputs |= {f"current_{name}": value for name, value in current.items() if name.startswith("code_")}
    inputs["visit_mask"] = torch.ones(BATCH, visits, dtype=torch.long)
    inputs["visit_mask"][-1, -1] = 0
    return inputs


def medication_labels(inputs: dict[str, torch.Tensor], seed: int = 3) -> torch.Tensor:
    """0 and 1 for visits with an earlier one, -100 for the others."""
    generator = torch.Generator().manual_seed(seed)
    mask = inputs["visit_mask"].bool()
    labels = torch.randint(0, 2, (*mask.shape, LABELS), generator=generator).float()
    labels[:, 0] = -100
    labels[~mask] = -100
    return labels
