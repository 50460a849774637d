"""Which files of a model folder may leave the machine. Whatever is not on this list stays."""

from __future__ import annotations

import re

CODE_FILES = (
    "configuration_medm_plm.py",
    "modeling_medm_plm.py",
    "tokenization_medm_plm.py",
    "pipeline_medm_plm.py",
)
CARD_FILE = "README.md"
CONFIG_FILE = "config.json"
INDEX_FILE = "model.safetensors.index.json"
SETTINGS_FILE = "training_settings.json"
LICENSE_FILE = "LICENSE"

_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt"),
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
)
_CODE_TOKENIZER_FOLDER = "code_tokenizer"

NOTE_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
PROCESSOR_FILES = (
    "processor_config.json",
    *NOTE_TOKENIZER_FILES,
    *(f"{_CODE_TOKENIZER_FOLDER}/{name}" for name in NOTE_TOKENIZER_FILES),
)
"""Without one of them the library opens a tokenizer that knows nothing, and says nothing of it."""

SHAREABLE_NAMES = frozenset(
    (
        *(CONFIG_FILE, INDEX_FILE, CARD_FILE, LICENSE_FILE, SETTINGS_FILE, *CODE_FILES),
        *("processor_config.json", "preprocessor_config.json", "code_vocabulary.json"),
        *_TOKENIZER_FILES,
        *(f"{_CODE_TOKENIZER_FOLDER}/{name}" for name in _TOKENIZER_FILES),
    )
)

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_EVAL_RESULTS = re.compile(r"\.eval_results/[A-Za-z0-9][A-Za-z0-9_.-]*\.yaml")
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz")


def is_weights(name: str) -> bool:
    """Tell whether a file holds the weights of the model, or a part of them."""
    return _WEIGHTS.fullmatch(name) is not None


def is_shareable(name: str) -> bool:
    """Tell whether a file may be shared, by its name within the folder of the model.

    Args:
        name (`str`): path within the folder, with slashes.

    Returns:
        Whether it is on the list.
    """
    return name in SHAREABLE_NAMES or is_weights(name) or _EVAL_RESULTS.fullmatch(name) is not None


def may_hold_pickle(name: str) -> bool:
    """Tell whether a file, by its name, is of a kind that runs code when it is opened."""
    return name.lower().endswith(_PICKLE_SUFFIXES)
