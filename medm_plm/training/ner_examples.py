"""Sentences of words as token ids with labels, and back from predicted tokens to words.

Axes: batch, words (tokens of the text tokenizer, as everywhere), labels. Each word of a sentence is cut into
word pieces; its label stands at the first piece, -100 at the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from medm_plm.data.collators import IGNORED_LABEL, VisitCollator, pad_sequences
from medm_plm.data.ner import Sentence
from medm_plm.errors import InputError

NUM_SPECIAL_TOKENS = 2  # one before and one after the sentence
_NO_CODES = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True)
class TokenCollator:
    """Pad the tokens and the labels of a batch of sentences to the longest.

    Args:
        text (`VisitCollator`): pads the tokens.
    """

    text: VisitCollator

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> TokenCollator:
        """Take the padding id and the names of the inputs from a text tokenizer."""
        with_types = "token_type_ids" in tokenizer.model_input_names
        return cls(VisitCollator(text_padding_id=tokenizer.pad_token_id, with_text_types=with_types))

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad a batch.

        Args:
            examples (`Sequence[Mapping]`): examples of `tokenize_sentences`.

        Returns:
            The text inputs and `labels`, each of shape `(batch, words)`.
        """
        labels = pad_sequences([example["labels"] for example in examples], IGNORED_LABEL)
        return {**self.text.pad_text(examples), "labels": labels}


def tokenize_sentences(
    tokenizer: Any, sentences: Sequence[Sentence], names: Sequence[str], max_length: int
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Cut words into pieces and sentences that are too long into windows; no word is left out.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the text tokenizer.
        sentences (`Sequence[Sentence]`): labelled sentences.
        names (`Sequence[str]`): the label list; a kind of entity that it lacks is an error.
        max_length (`int`): longest window in tokens, special tokens included.

    Returns:
        Examples `example_id`, `input_ids`, `labels`, `code_input_ids` (none, so that batches of one length
        can be made), in order, and counts: sentences cut into windows, distinct words cut to a window and
        distinct words without a piece of their own, which become the unknown token.

    Raises:
        InputError: if a label is not in the list, or `max_length` has no room for a word.
    """
    if max_length <= NUM_SPECIAL_TOKENS:
        raise InputError("longest sentence in tokens", received=max_length, expected=NUM_SPECIAL_TOKENS + 1)
    label_ids = {name: index for index, name in enumerate(names)}
    _check_labels(sentences, label_ids)
    room = max_length - NUM_SPECIAL_TOKENS
    pieces, counts = _pieces_of_words(tokenizer, {word for s in sentences for word in s.tokens}, room)
    examples: list[dict[str, Any]] = []
    for index, sentence in enumerate(sentences):
        windows = _windows([pieces[word] for word in sentence.tokens], room)
        counts["sentences_cut_into_windows"] += len(windows) > 1
        for first, last in windows:
            words = [pieces[word] for word in sentence.tokens[first:last]]
            labels = [label_ids[label] for label in sentence.labels[first:last]]
            examples.append(
                {
                    "example_id": f"{index}:{first}",
                    "input_ids": _row([tokenizer.cls_token_id], words, [tokenizer.sep_token_id]),
                    "labels": _row(
                        [IGNORED_LABEL],
                        [
                            [label] + [IGNORED_LABEL] * (len(word) - 1)
                            for label, word in zip(labels, words, strict=True)
                        ],
                        [IGNORED_LABEL],
                    ),
                    "code_input_ids": _NO_CODES,
                }
            )
    return examples, +counts


def words_of_tokens(
    predicted: np.ndarray, examples: Sequence[Mapping[str, Any]], num_sentences: int, names: Sequence[str]
) -> list[list[str]]:
    """Bring predictions at tokens back to the words of the sentences.

    Args:
        predicted (`np.ndarray` of shape `(examples, words)`): label ids at first pieces.
        examples (`Sequence[Mapping]`): what `tokenize_sentences` returned, in the same order.
        num_sentences (`int`): number of sentences.
        names (`Sequence[str]`): the label list.

    Returns:
        The labels of each word of each sentence.
    """
    labels: list[list[str]] = [[] for _ in range(num_sentences)]
    for row, example in zip(predicted, examples, strict=True):
        index = int(example["example_id"].partition(":")[0])
        is_word = example["labels"] != IGNORED_LABEL
        labels[index] += [names[label] for label in row[: len(is_word)][is_word]]
    return labels


def prediction_table(sentences: Sequence[Sentence], predictions: Sequence[Sequence[str]]) -> pl.DataFrame:
    """Make one row for each word: where it stands, its label and the predicted one, never the word.

    Args:
        sentences (`Sequence[Sentence]`): the sentences.
        predictions (`Sequence[Sequence[str]]`): predicted labels of their words.

    Returns:
        `document_id`, `sentence_number`, `token_index` (from 0), `label`, `predicted_label`.
    """
    rows = [
        (sentence.document_id, sentence.number, index, label, guess)
        for sentence, guesses in zip(sentences, predictions, strict=True)
        for index, (label, guess) in enumerate(zip(sentence.labels, guesses, strict=True))
    ]
    schema = {
        "document_id": pl.String,
        "sentence_number": pl.Int64,
        "token_index": pl.Int64,
        "label": pl.String,
        "predicted_label": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _check_labels(sentences: Sequence[Sentence], label_ids: Mapping[str, int]) -> None:
    unknown = {label for sentence in sentences for label in sentence.labels} - label_ids.keys()
    if unknown:
        raise InputError(
            "a kind of entity that the label list lacks",
            received=", ".join(sorted({label[2:] for label in unknown})),
            expected=", ".join(sorted({name[2:] for name in label_ids if name != "O"})) or "none",
            remedy="give training, validation and test data of one corpus",
        )


def _pieces_of_words(tokenizer: Any, words: set[str], room: int) -> tuple[dict[str, list[int]], Counter[str]]:
    """Ids of the pieces of each distinct word, at least one and no more than a window holds."""
    distinct = sorted(words)
    # A blank before the word: encoders that count it to the word then see the word as inside a sentence.
    rows = tokenizer([f" {word}" for word in distinct], add_special_tokens=False, verbose=False)["input_ids"]
    counts = Counter(
        distinct_words_without_a_piece=sum(not row for row in rows),
        distinct_words_cut_to_a_window=sum(len(row) > room for row in rows),
    )
    unknown = [tokenizer.unk_token_id]
    return {word: (row or unknown)[:room] for word, row in zip(distinct, rows, strict=True)}, counts


def _windows(words: Sequence[Sequence[int]], room: int) -> list[tuple[int, int]]:
    """First word and the word after the last one of each window."""
    windows, first, length = [], 0, 0
    for index, pieces in enumerate(words):
        if length + len(pieces) > room:
            windows.append((first, index))
            first, length = index, 0
        length += len(pieces)
    return [*windows, (first, len(words))]


def _row(before: list[int], words: Sequence[Sequence[int]], after: list[int]) -> np.ndarray:
    return np.asarray([*before, *(piece for word in words for piece in word), *after], dtype=np.int32)
