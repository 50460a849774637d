"""The processor: note and codes of a visit together, saved and loaded in every supported way."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoProcessor, AutoTokenizer, TokenizersBackend

from tiny_processors import tiny_code_tokenizer, tiny_processor, tiny_text_tokenizer
from tokenization_medm_plm import MedMPLMCodeTokenizer, MedMPLMProcessor

TEXT_NAMES = {"input_ids", "token_type_ids", "attention_mask"}
CODE_NAMES = {"code_input_ids", "code_token_type_ids", "code_attention_mask"}
NOTE = "the patient has fever"
VISITS = {
    "text": [f"{NOTE} and chest pain", None, "", "low lower [MASK] [CLS] new"],
    "diagnosis_codes": [["428.0", "4289", "XYZ"], None, [], ["0389"] * 3],
    "medication_codes": [["n02a"], [], None, ["B01A", "N02B", None]],
}


@pytest.fixture(scope="module")
def processor():
    return tiny_processor()


def lists(encoding):
    """An encoding as plain lists, to compare it bit by bit."""
    return {name: getattr(rows, "tolist", lambda rows=rows: rows)() for name, rows in encoding.items()}


class TestCall:
    def test_a_batch(self, processor):
        inputs = processor(**VISITS, padding=True, return_tensors="pt")
        assert set(inputs) == TEXT_NAMES | CODE_NAMES == set(processor.model_input_names)
        assert inputs["input_ids"].shape[0] == inputs["code_input_ids"].shape[0] == 4
        assert inputs["code_token_type_ids"].tolist()[0] == [0, 1, 1, 1, 2]

    def test_the_halves_are_what_their_tokenizers_say(self, processor):
        inputs = processor(NOTE, ["4280"], ["N02A"])
        assert inputs["input_ids"] == processor.tokenizer(NOTE)["input_ids"]
        assert inputs["code_input_ids"] == processor.code_tokenizer(["4280"], ["N02A"])["input_ids"]

    def test_a_visit_alone_equals_its_row(self, processor):
        batch = processor(**VISITS)
        for row in range(4):
            visit = {name: values[row] for name, values in VISITS.items()}
            visit["text"] = visit["text"] or ""
            if visit["diagnosis_codes"] is None and visit["medication_codes"] is None:
                visit["diagnosis_codes"] = []
            assert lists(processor(**visit)) == {name: rows[row] for name, rows in batch.items()}

    def test_one_visit_as_tensors_has_a_batch_axis(self, processor):
        inputs = processor(NOTE, ["4280"], ["N02A"], return_tensors="pt")
        assert inputs["input_ids"].shape[0] == inputs["code_input_ids"].shape[0] == 1

    def test_text_alone_and_codes_alone(self, processor):
        assert set(processor(NOTE)) == set(processor([NOTE, ""])) == TEXT_NAMES
        assert set(processor(diagnosis_codes=["4280"])) == CODE_NAMES
        assert processor(diagnosis_codes=[["4280"], []])["code_input_ids"] == [[1, 6], [1]]
        assert processor(medication_codes=["N02A"])["code_token_type_ids"] == [0, 2]
        assert processor(text=[NOTE, ""], medication_codes=[["N02A"], None])["code_token_type_ids"] == [
            [0, 2],
            [0],
        ]

    def test_empty_visits(self, processor):
        inputs = processor(["", None], [[], None], [None, [""]])
        cls_id, sep_id = processor.tokenizer.cls_token_id, processor.tokenizer.sep_token_id
        assert inputs["input_ids"] == [[cls_id, sep_id]] * 2
        assert inputs["code_input_ids"] == [[1]] * 2

    def test_any_sequence_will_do(self, processor):
        expected = lists(processor([NOTE], [["4280"]], [["N02A"]]))
        assert lists(processor((NOTE,), (("4280",),), iter([("N02A",)]))) == expected

    @pytest.mark.parametrize(
        ("visit", "error", "message"),
        [
            ({}, ValueError, "received nothing"),
            ({"text": []}, ValueError, "at least one, received 0 in text"),
            (
                {"text": ["", ""], "diagnosis_codes": [[]]},
                ValueError,
                "received 2 in text, 1 in diagnosis_codes",
            ),
            (
                {"diagnosis_codes": [[]], "medication_codes": [[], []]},
                ValueError,
                "1 in diagnosis_codes, 2 in med",
            ),
            ({"text": 7}, TypeError, "text: expected a list, received int"),
            ({"text": b"fever"}, TypeError, "text: expected a list, received bytes"),
            (
                {"text": ["", float("nan")]},
                TypeError,
                "text: expected a note as text or None for each visit, rec",
            ),
            ({"diagnosis_codes": "4280"}, TypeError, "diagnosis_codes: expected a list, received str"),
            (
                {"text": [""], "medication_codes": ["N02A"]},
                TypeError,
                "medication_codes: expected a list of codes",
            ),
            ({"diagnosis_codes": [4280]}, TypeError, "received int; read code columns as text"),
            ({"text": "", "diagnosis_codes": [["4280"]]}, TypeError, "codes: expected text, received list"),
        ],
    )
    def test_bad_visits(self, processor, visit, error, message):
        with pytest.raises(error, match=message) as raised:
            processor(**visit)
        assert "4280" not in str(raised.value)
        assert "fever" not in str(raised.value)

    def test_codes_must_be_a_code_tokenizer(self):
        with pytest.raises(TypeError, match="expected a MedMPLMCodeTokenizer, received BertTokenizer"):
            MedMPLMProcessor(tiny_code_tokenizer(), tiny_text_tokenizer())

    def test_a_text_tokenizer_without_types(self):
        text_tokenizer = tiny_text_tokenizer(model_input_names=["input_ids", "attention_mask"])
        inputs = MedMPLMProcessor(text_tokenizer, tiny_code_tokenizer())(NOTE, ["4280"])
        assert set(inputs) == {"input_ids", "attention_mask"} | CODE_NAMES


class TestOptions:
    def test_lengths(self, processor):
        long_note, many_codes = "low " * 600, [f"{number:03}" for number in range(1, 90)]
        inputs = processor(long_note, many_codes, verbose=False)
        assert (len(inputs["input_ids"]), len(inputs["code_input_ids"])) == (512, 4)
        inputs = processor(long_note, ["4280"], padding="max_length")
        assert (len(inputs["input_ids"]), len(inputs["code_input_ids"])) == (512, 61)
        inputs = processor(long_note, ["4280", "0389"], ["N02A"], max_length=9, code_kwargs={"max_length": 3})
        assert (len(inputs["input_ids"]), len(inputs["code_input_ids"])) == (9, 3)
        assert len(processor(long_note, truncation=False, text_kwargs={"verbose": False})["input_ids"]) == 602

    def test_what_the_tokenizer_allows(self):
        processor = MedMPLMProcessor(tiny_text_tokenizer(model_max_length=7), tiny_code_tokenizer())
        assert len(processor("low " * 50)["input_ids"]) == 7

    def test_options_of_one_half(self, processor):
        inputs = processor(
            [NOTE, ""], [["4280"], []], padding=True, text_kwargs={"pad_to_multiple_of": 8}, code_kwargs={}
        )
        assert [len(row) for row in inputs["input_ids"]] == [8, 8]
        assert [len(row) for row in inputs["code_input_ids"]] == [2, 2]
        assert (
            len(processor([NOTE], [["4280"]], padding=True, pad_to_multiple_of=8)["code_input_ids"][0]) == 2
        )

    def test_options_given_twice_or_unknown(self, processor):
        with pytest.raises(ValueError, match="padding: given by itself and in text_kwargs, expected once"):
            processor(NOTE, padding=True, text_kwargs={"padding": False})
        with pytest.raises(TypeError, match=r"unknown options paddin: expected some of .*padding"):
            processor(NOTE, paddin=True)
        with pytest.raises(TypeError, match="unknown options return_overflowing_tokens"):
            processor(NOTE, text_kwargs={"return_overflowing_tokens": True})


class TestHostileNotes:
    @pytest.mark.parametrize(
        "word", ["[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "x[MASK]y", "[MASK][MASK]"]
    )
    def test_typed_special_tokens_are_words(self, processor, word):
        tokenizer = processor.tokenizer
        ids = processor(f"the {word} patient")["input_ids"]
        special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        assert [token_id for token_id in ids if token_id in special] == [
            tokenizer.cls_token_id,
            tokenizer.sep_token_id,
        ]

    def test_typed_mask_in_numbers(self, processor):
        tokens = processor.tokenizer.convert_ids_to_tokens(processor("has [MASK] fever")["input_ids"])
        assert tokens == ["[CLS]", "has", "[", "mask", "]", "fever", "[SEP]"]

    def test_unigram_vocabularies_hold_special_tokens_as_words(self):
        pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "▁the", "▁", "<", ">", "/", "s"]
        backend = Tokenizer(
            models.Unigram([(piece, -float(index > 4)) for index, piece in enumerate(pieces)], 3)
        )
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
        names = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "mask_token": "<mask>"}
        tokenizer = TokenizersBackend(tokenizer_object=backend, unk_token="<unk>", **names)
        ids = MedMPLMProcessor(tokenizer, tiny_code_tokenizer())("the </s> the <mask>")["input_ids"]
        assert ids[0] == 0
        assert ids[-1] == 2
        assert not {0, 1, 2, 4} & set(ids[1:-1])

    @pytest.mark.parametrize("junk", [chr(0xD800), chr(0xDCFF), "\x00", "\ufffd", "\u200b", "\x1c"])
    def test_what_is_no_character_does_no_harm(self, processor, junk):
        assert processor(f"the {junk} patient{junk}")["input_ids"] == processor("the patient")["input_ids"]
        assert processor(junk * 3)["input_ids"] == processor("")["input_ids"]

    @given(st.text(st.characters(), max_size=40))
    def test_any_text_is_encoded(self, processor, note):
        assert len(processor(note, ["4280"])["input_ids"]) >= 2


def byte_level_tokenizer():
    """A small tokenizer of the kind RoBERTa and ModernBERT use."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<s>", "</s>", "<pad>", "<unk>"], initial_alphabet=alphabet)
    backend.train_from_iterator(["low lower newer fever  the patient \n\n has" + "\x0b " * 32] * 9, trainer)
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 1)])
    names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return TokenizersBackend(tokenizer_object=backend, **names)


@pytest.fixture(scope="module", params=["word pieces", "byte-level"])
def cutting(request):
    """A processor whose text tokenizer may be given the beginning of a long note."""
    text = tiny_text_tokenizer() if request.param == "word pieces" else byte_level_tokenizer()
    return MedMPLMProcessor(text, tiny_code_tokenizer())


WORDS = [
    "the",
    "patient",
    "lower",
    "fever",
    "zzz",
    "x" * 101,
    "low" * 40,
    "1.5",
    "[MASK]",
    "b-c,",
    "'s",
    "Σ",
    "ß",
    "İ",
]
MARKS = [
    "é",
    "e\u0301",
    "\u0301",
    "你好",
    "\u200b",
    "\u200d",
    "\u0600",
    "♥\ufe0f",
    "\ufffd",
    "\ud800",
    "\x00",
    "\x07",
]
BLANKS = [
    " ",
    "  ",
    "\n",
    "\t",
    "\r\n",
    "\n \n",
    " " * 30,
    "\x0b",
    "\x1c",
    "\x85",
    "\u00a0",
    "\u2003",
    "\u3000",
]
PIECES_OF_TEXT = st.one_of(st.sampled_from(WORDS), st.sampled_from(MARKS), st.sampled_from(BLANKS))


def assert_ids_of_the_whole_notes(processor, notes, max_length):
    """Compare with what the tokenizer itself makes of the notes, read to their ends."""
    whole = [note.replace("\ud800", "\ufffd") for note in notes]
    expected = processor.tokenizer(whole, truncation=True, max_length=max_length, split_special_tokens=True)
    assert dict(processor(notes, max_length=max_length)) == dict(expected)


class TestCutting:
    @given(
        notes=st.lists(st.lists(PIECES_OF_TEXT, max_size=60).map("".join), min_size=1, max_size=3),
        max_length=st.integers(2, 14),
    )
    def test_same_ids_as_the_whole_note(self, cutting, notes, max_length):
        assert_ids_of_the_whole_notes(cutting, notes, max_length)

    @pytest.mark.parametrize(
        ("note", "max_length"),
        [
            ("\x07 " * 50 + "low lower fever " * 20, 6),  # more words than ids, and BERT drops them
            ("\x07 \x07 the\x1cthe patient has", 3),  # a blank for Python, nothing for BERT
            ("\x07 \x07 the\u2003the patient has", 3),
            ("\x07 " * 8 + "\u00a0 \u00a0 the patient", 10),
            ("low" + "\x0b " * 100 + "fever", 4),  # byte-level tokens of many blanks
            ("x" * 101 + " " + "x" * 99 + "\x07" * 9 + " patient", 3),
            (" " * 5000 + "low " * 9 + "\n" * 5000 + "fever", 12),
        ],
    )
    def test_words_that_vanish(self, cutting, note, max_length):
        assert_ids_of_the_whole_notes(cutting, [note, "low"], max_length)

    def test_not_where_a_token_spans_words(self):
        tokenizer = byte_level_tokenizer()
        tokenizer.add_tokens(["low lower newer fever the patient"])
        processor = MedMPLMProcessor(tokenizer, tiny_code_tokenizer())
        assert_ids_of_the_whole_notes(processor, ["low lower newer fever the patient " * 10], 8)

    def test_little_of_a_long_note_is_read(self, cutting, monkeypatch):
        read = []
        encode = type(cutting.tokenizer)._encode_plus

        def spy(self, text, **options):
            read.append([len(note) for note in text])
            return encode(self, text, **options)

        monkeypatch.setattr(type(cutting.tokenizer), "_encode_plus", spy)
        cutting(["lower " * 5000, "low"], max_length=20)
        assert read == [[6 * 20 - 1, 3]]
        read.clear()
        vanishing = "\x07 " * 5000
        cutting([vanishing], max_length=20)  # dropped by BERT, kept by byte-level tokenizers
        assert read[0] == [2 * 20 - 1]
        read.clear()
        cutting(["lower " * 5000], max_length=20, truncation=False, verbose=False)
        assert read == [[30000]]

    def test_from_the_left_the_end_is_kept(self):
        processor = MedMPLMProcessor(tiny_text_tokenizer(truncation_side="left"), tiny_code_tokenizer())
        tokens = processor.tokenizer.convert_ids_to_tokens(
            processor("low " * 50 + "fever", max_length=4)["input_ids"]
        )
        assert tokens == ["[CLS]", "low", "fever", "[SEP]"]


LOADING = """
import json, sys
sys.modules.update(dict.fromkeys(["tokenization_medm_plm", "medm_plm"]))  # importing them fails from here on
from transformers import AutoProcessor, AutoTokenizer
folder, second_folder, visits = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
processor.save_pretrained(second_folder)
again = AutoProcessor.from_pretrained(second_folder, trust_remote_code=True)
text = AutoTokenizer.from_pretrained(folder)
codes = AutoTokenizer.from_pretrained(second_folder, subfolder="code_tokenizer")
print(json.dumps({
    "classes": [type(thing).__name__ for thing in (processor, processor.code_tokenizer, text, codes)],
    "inputs": [dict(processor(**visits)), dict(again(**visits))],
    "text": text("the patient has fever")["input_ids"],
    "codes": codes(["ICD9CM:4280"], ["ATC:N02A"], is_split_into_words=True)["input_ids"],
}))
"""


class TestSaving:
    def test_files(self, processor, tmp_path):
        processor.save_pretrained(tmp_path)
        names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        assert names == {
            "code_tokenizer/tokenizer.json",
            "code_tokenizer/tokenizer_config.json",
            "processor_config.json",
            "tokenization_medm_plm.py",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        config = json.loads((tmp_path / "processor_config.json").read_text())
        assert config["auto_map"] == {"AutoProcessor": "tokenization_medm_plm.MedMPLMProcessor"}

    def test_files_do_not_depend_on_what_was_encoded(self, tmp_path):
        def contents(processor, folder):
            processor.save_pretrained(folder)
            return {
                path.name + path.parent.name: path.read_bytes()
                for path in (folder / "code_tokenizer").iterdir()
            } | {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

        processor = tiny_processor()
        before = contents(processor, tmp_path)
        processor(**VISITS, padding=True, max_length=5, verbose=False)
        assert contents(processor, tmp_path) == before
        assert contents(MedMPLMProcessor.from_pretrained(tmp_path), tmp_path).keys() == before.keys()

    def test_halves_load_by_auto_tokenizer(self, processor, tmp_path):
        processor.save_pretrained(tmp_path)
        text = AutoTokenizer.from_pretrained(tmp_path)
        assert text(NOTE)["input_ids"] == processor.tokenizer(NOTE)["input_ids"]
        codes = AutoTokenizer.from_pretrained(tmp_path, subfolder="code_tokenizer")
        encoding = codes(["ICD9CM:4280"], ["ATC:N02A"], is_split_into_words=True)
        assert dict(encoding) == dict(processor.code_tokenizer(["4280"], ["N02A"]))

    def test_auto_processor(self, processor, tmp_path):
        processor.save_pretrained(tmp_path)
        loaded = AutoProcessor.from_pretrained(tmp_path, trust_remote_code=True)
        assert lists(loaded(**VISITS, padding=True)) == lists(processor(**VISITS, padding=True))
        assert loaded.code_tokenizer.statistics["unknown"] == 1

    def test_from_pretrained_gives_our_code_tokenizer(self, processor, tmp_path):
        processor.save_pretrained(tmp_path)
        loaded = MedMPLMProcessor.from_pretrained(tmp_path)
        assert isinstance(loaded.code_tokenizer, MedMPLMCodeTokenizer)
        assert lists(loaded(**VISITS)) == lists(processor(**VISITS))

    def test_where_the_project_is_not_installed(self, processor, tmp_path):
        """Loaded from a folder in another process, saved from there, and loaded again."""
        processor.save_pretrained(tmp_path / "model")
        arguments = [str(tmp_path / "model"), str(tmp_path / "second"), json.dumps(VISITS)]
        done = subprocess.run(
            [sys.executable, "-c", LOADING, *arguments],
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["classes"] == [
            "MedMPLMProcessor",
            "MedMPLMCodeTokenizer",
            "BertTokenizer",
            "TokenizersBackend",
        ]
        assert result["inputs"] == [json.loads(json.dumps(lists(processor(**VISITS))))] * 2
        assert result["text"] == processor.tokenizer(NOTE)["input_ids"]
        assert result["codes"] == processor.code_tokenizer(["4280"], ["N02A"])["input_ids"]
