"""Notes of several chunks: nothing is lost or doubled between them, and the layout is saved and loaded."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import TokenizersBackend

from tiny_processors import PIECES, tiny_code_tokenizer, tiny_processor, tiny_text_tokenizer
from tokenization_medm_plm import MedMPLMProcessor

CLS, SEP, PADDING = 2, 3, 0
WORDS = [piece for piece in PIECES.split() if piece.isalpha()]


def long_processor(max_note_chunks: int = 3, chunk_length: int | None = 6, **options) -> MedMPLMProcessor:
    return MedMPLMProcessor(
        tiny_text_tokenizer(**options), tiny_code_tokenizer(), max_note_chunks, chunk_length
    )


def byte_level_tokenizer() -> TokenizersBackend:
    """Byte pieces with `<s>` and `</s>` around them, as RoBERTa's; it spans no two words either."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: index for index, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    backend.normalizer, backend.decoder = normalizers.NFC(), decoders.ByteLevel()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    return TokenizersBackend(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", model_max_length=512, **names
    )


def assert_laid_out(ids: list[int], content: list[int], length: int, chunks: int, cls: int, sep: int):
    """Chunk after chunk, all but the last full, holding the tokens of the note in their order."""
    rows = [ids[start : start + length] for start in range(0, len(ids), length)]
    assert 1 <= len(rows) <= chunks
    assert all((row[0], row[-1]) == (cls, sep) for row in rows)
    inner = [token for row in rows for token in row[1:-1]]
    assert inner == content[: chunks * (length - 2)]


@given(
    words=st.lists(st.sampled_from([*WORDS, "lowerlower", "x\x07y", "\x07", "[MASK]"]), max_size=60),
    chunks=st.integers(2, 5),
    length=st.integers(3, 9),
)
def test_no_token_is_lost_or_doubled(words, chunks, length):
    note = " ".join(words)
    processor = long_processor(chunks, length)
    inputs = processor([note, "low"])
    options = {"add_special_tokens": False, "split_special_tokens": True}
    content = processor.tokenizer(note, **options)["input_ids"]
    assert_laid_out(inputs["input_ids"][0], content, length, chunks, CLS, SEP)
    assert inputs["attention_mask"][0] == [1] * len(inputs["input_ids"][0])
    assert inputs["input_ids"][1] == processor.tokenizer("low")["input_ids"]


@pytest.mark.parametrize("note", ["", "a bc def é", "one two three " * 9])
def test_another_kind_of_tokenizer(note):
    processor = MedMPLMProcessor(byte_level_tokenizer(), tiny_code_tokenizer(), 4, 7)
    content = processor.tokenizer(note, add_special_tokens=False)["input_ids"]
    assert_laid_out(processor(note)["input_ids"], content, 7, 4, 0, 2)


def test_a_note_of_one_chunk_is_what_it_was():
    note, codes = "the patient has fever and chest pain", ["4280"]
    assert dict(long_processor(4, 512)(note, codes)) == dict(tiny_processor()(note, codes))


def test_the_end_of_a_very_long_note_is_not_read(monkeypatch):
    processor, read = long_processor(2, 6), []
    encode = type(processor.tokenizer)._encode_plus
    monkeypatch.setattr(
        type(processor.tokenizer),
        "_encode_plus",
        lambda self, text, *args, **kwargs: read.append(text[0]) or encode(self, text, *args, **kwargs),
    )
    assert len(processor("low " * 1000)["input_ids"]) == 12
    assert [len(text.split()) for text in read] == [12]


def test_words_that_the_tokenizer_drops_take_no_place():
    inputs = long_processor(2, 4)("\x07 " * 40 + "low " * 9)
    assert len(inputs["input_ids"]) == 8


def test_padding_and_tensors():
    processor = long_processor()
    notes = ["low " * 13, "low", ""]
    batch = processor(notes, padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == batch["token_type_ids"].shape == (3, 18)
    assert batch["attention_mask"].sum(1).tolist() == [18, 3, 2]
    assert (batch["input_ids"][1, 3:] == PADDING).all()
    assert processor("low " * 7, padding=True, return_tensors="pt")["input_ids"].shape == (1, 11)
    assert processor(notes[1:], padding="max_length", return_tensors="np")["input_ids"].shape == (2, 18)
    stepped = processor(notes[1:], padding=True, text_kwargs={"pad_to_multiple_of": 8}, return_tensors="pt")
    assert stepped["input_ids"].shape == (2, 8)
    marked = processor(notes, padding=True, return_special_tokens_mask=True, return_offsets_mapping=True)
    assert marked["special_tokens_mask"][1] == [1, 0, 1] + [1] * 15
    assert marked["offset_mapping"][0][7] == (16, 19)
    assert [len(row) for row in marked["offset_mapping"]] == [18] * 3
    assert len(processor("low " * 50, truncation=False)["input_ids"]) == 50 + 2 * 13


def test_special_tokens_that_a_unigram_vocabulary_lets_through_are_hidden_in_every_chunk():
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "▁the", "▁", "<", ">", "/", "s"]
    backend = Tokenizer(models.Unigram([(piece, -float(i > 4)) for i, piece in enumerate(pieces)], 3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    ends = [("<s>", 0), ("</s>", 2)]
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", None, ends)
    names = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "mask_token": "<mask>"}
    tokenizer = TokenizersBackend(tokenizer_object=backend, unk_token="<unk>", **names)
    ids = MedMPLMProcessor(tokenizer, tiny_code_tokenizer(), 3, 5)("the </s> the <mask> the </s>")[
        "input_ids"
    ]
    assert [position for position, token in enumerate(ids) if token in (0, 1, 2, 4)] == [
        *(0, 4, 5, 9, 10),
        len(ids) - 1,
    ]


@pytest.mark.parametrize("name", ["max_length", "stride", "return_length", "padding_side"])
def test_options_that_move_the_borders_are_refused(name):
    value = {"padding_side": "left", "return_length": True}.get(name, 4)
    with pytest.raises(ValueError, match=f"{name}: not possible with max_note_chunks 3"):
        long_processor()("low", **{name: value})


@pytest.mark.parametrize("side", ["truncation_side", "padding_side"])
def test_a_tokenizer_that_cannot_make_chunks_is_refused(side):
    with pytest.raises(TypeError, match="cannot make several chunks, expected a fast tokenizer"):
        long_processor(**{side: "left"})("low")
    long_processor(1, **{side: "left"})("low")


@pytest.mark.parametrize(("chunks", "length"), [(0, 6), (2, 2), (-1, None)])
def test_impossible_layouts_are_refused(chunks, length):
    with pytest.raises(ValueError, match="expected at least 1 chunk of more than 2 tokens"):
        long_processor(chunks, length)


def test_the_layout_is_saved_and_can_be_overridden(tmp_path):
    long_processor(3, 6).save_pretrained(tmp_path)
    loaded = MedMPLMProcessor.from_pretrained(tmp_path)
    assert (loaded.max_note_chunks, loaded.chunk_length) == (3, 6)
    assert dict(loaded("low " * 50)) == dict(long_processor(3, 6)("low " * 50))
    other = MedMPLMProcessor.from_pretrained(tmp_path, max_note_chunks=2)
    assert (other.max_note_chunks, other.chunk_length) == (2, 6)


def test_a_processor_saved_without_the_fields_loads(tmp_path):
    tiny_processor().save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    fields = json.loads(path.read_text())
    assert (fields.pop("max_note_chunks"), fields.pop("chunk_length")) == (1, 512)
    path.write_text(json.dumps(fields))
    loaded = MedMPLMProcessor.from_pretrained(tmp_path)
    assert (loaded.max_note_chunks, loaded.chunk_length) == (1, 512)
