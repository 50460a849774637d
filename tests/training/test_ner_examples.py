"""Labels at first word pieces, windows without a lost word, and the way back to words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import RobertaTokenizer

from medm_plm.data.ner import Sentence
from medm_plm.errors import InputError
from medm_plm.training.ner_examples import (
    TokenCollator,
    prediction_table,
    tokenize_sentences,
    words_of_tokens,
)
from tiny_processors import tiny_text_tokenizer

NAMES = ["O", "B-pain", "I-pain"]
TOKENIZER = tiny_text_tokenizer()
WORDS = ["the", "patient", "newly", "lower", "chest", "pain", "xyz", "\u0001"]  # the last has no piece


def sentence(words, labels=None, number=1) -> Sentence:
    return Sentence("d", number, tuple(words), tuple(labels or ["O"] * len(words)))


def test_the_label_stands_at_the_first_piece():
    words, labels = ["the", "newly", "lower", "pain", "xyz"], ["O", "B-pain", "I-pain", "O", "O"]
    (example,), counts = tokenize_sentences(TOKENIZER, [sentence(words, labels)], NAMES, 32)
    pieces = TOKENIZER.convert_ids_to_tokens(example["input_ids"].tolist())
    assert pieces == ["[CLS]", "the", "new", "##ly", "low", "##er", "pain", "[UNK]", "[SEP]"]
    assert example["labels"].tolist() == [-100, 0, 1, -100, 2, -100, 0, 0, -100]
    assert not counts


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=15), min_size=1, max_size=4))
def test_no_word_is_lost_and_no_window_is_too_long(texts):
    sentences = [
        sentence(words, [NAMES[index % 3] for index in range(len(words))], number)
        for number, words in enumerate(texts)
    ]
    examples, counts = tokenize_sentences(TOKENIZER, sentences, NAMES, 7)
    assert max(len(example["input_ids"]) for example in examples) <= 7
    for example in examples:
        assert len(example["input_ids"]) == len(example["labels"])
        assert (example["input_ids"][0], example["input_ids"][-1]) == (2, 3)
    width = max(len(example["labels"]) for example in examples) + 3
    rows = np.full((len(examples), width), -100)
    for row, example in zip(rows, examples, strict=True):
        row[: len(example["labels"])] = example["labels"]
    back = words_of_tokens(rows, examples, len(sentences), NAMES)
    assert back == [list(s.labels) for s in sentences]
    whole, _ = tokenize_sentences(TOKENIZER, sentences, NAMES, 100)
    assert len(whole) == len(sentences)
    inner = [np.concatenate([e["input_ids"][1:-1] for e in part]) for part in (examples, whole)]
    assert np.array_equal(*inner), "the windows side by side are the sentence"
    cut = sum(len(example["input_ids"]) > 7 for example in whole)
    assert counts["sentences_cut_into_windows"] == cut
    assert counts["distinct_words_without_a_piece"] == any("\u0001" in words for words in texts)


def test_a_word_longer_than_a_window_keeps_its_label():
    examples, counts = tokenize_sentences(
        TOKENIZER, [sentence(["a,b,c,1", "pain"], ["B-pain", "O"])], NAMES, 5
    )
    assert [example["labels"].tolist() for example in examples] == [
        [-100, 1, -100, -100, -100],
        [-100, 0, -100],
    ]
    assert counts == {"distinct_words_cut_to_a_window": 1, "sentences_cut_into_windows": 1}


def test_a_word_that_just_fills_a_window_is_not_cut():
    _, counts = tokenize_sentences(TOKENIZER, [sentence(["a,b"])], NAMES, 5)
    assert not counts


def test_encoders_that_count_the_blank_to_the_word_see_it(tmp_path):
    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "\u0120": 6, "\u0120a": 7}
    tokenizer = RobertaTokenizer(vocab=vocabulary, merges=[("\u0120", "a")])
    (example,), _ = tokenize_sentences(tokenizer, [sentence(["a", "a"])], NAMES, 9)
    assert example["input_ids"].tolist() == [0, 7, 7, 1]


def test_batches_are_padded():
    examples, _ = tokenize_sentences(
        TOKENIZER, [sentence(["the", "lower"]), sentence(["pain"], ["B-pain"])], NAMES, 9
    )
    batch = TokenCollator.from_tokenizer(TOKENIZER)(examples)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    assert batch["labels"].tolist() == [[-100, 0, 0, -100, -100], [-100, 1, -100, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]


def test_labels_that_were_never_learnt_are_refused():
    with pytest.raises(InputError, match="received test, expected pain"):
        tokenize_sentences(TOKENIZER, [sentence(["a"], ["B-test"])], NAMES, 9)


def test_predictions_on_disk_hold_places_and_labels_only():
    table = prediction_table([sentence(["secret", "pain"], ["O", "B-pain"], 4)], [["B-pain", "O"]])
    assert table.to_dicts() == [
        {
            "document_id": "d",
            "sentence_number": 4,
            "token_index": index,
            "label": label,
            "predicted_label": guess,
        }
        for index, (label, guess) in enumerate([("O", "B-pain"), ("B-pain", "O")])
    ]
