"""The code tokenizer: which ids the codes of a visit get, whatever state they are in."""

import copy
import json
import logging
import pickle
from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, TokenizersBackend

import tokenization_medm_plm
from medm_plm.data.vocabulary import SPECIAL_TOKENS, CodeVocabulary
from medm_plm.ontologies import CODE_TYPE_OF_SYSTEM, ancestors, normalize_code
from tiny_processors import DIAGNOSIS_CODES, MEDICATION_CODES, tiny_code_tokenizer, tiny_vocabulary
from tokenization_medm_plm import KnownGroups, MedMPLMCodeTokenizer

ICD9, ATC = "ICD9CM:{}".format, "ATC:{}".format
MANY_DIAGNOSES = tuple(f"{number:03}" for number in range(1, 90))
MANY_MEDICATIONS = tuple(f"N{number:02}A" for number in range(1, 90))


@pytest.fixture
def tokenizer():
    return tiny_code_tokenizer()


@pytest.fixture(scope="module")
def large():
    """A tokenizer that knows many codes of both kinds."""
    vocabulary = CodeVocabulary.from_codes(map(ICD9, MANY_DIAGNOSES), map(ATC, MANY_MEDICATIONS))
    return MedMPLMCodeTokenizer(list(vocabulary.tokens), num_codes=vocabulary.num_codes)


def tokens_of(tokenizer, *code_lists, **options):
    """The tokens of one visit behind [CLS]."""
    encoding = tokenizer(*code_lists, **options)
    assert encoding["input_ids"][0] == tokenizer.cls_token_id
    return tokenizer.convert_ids_to_tokens(encoding["input_ids"])[1:]


def counted(tokenizer):
    """The counters that are not zero, without the number of codes and visits."""
    return {name: n for name, n in tokenizer.statistics.items() if n and name not in ("codes", "visits")}


class TestLayout:
    def test_special_tokens_have_the_first_ids(self, tokenizer):
        assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["[PAD]", "[CLS]", "[MASK]", "[UNK]"]
        assert (tokenizer.pad_token_id, tokenizer.cls_token_id) == (0, 1)
        assert (tokenizer.mask_token_id, tokenizer.unk_token_id) == (2, 3)

    def test_diagnoses_then_medications_with_their_types(self, tokenizer):
        encoding = tokenizer(["4280", "0389"], ["N02A"])
        expected = ["[CLS]", "ICD9CM:4280", "ICD9CM:0389", "ATC:N02A"]
        assert tokenizer.convert_ids_to_tokens(encoding["input_ids"]) == expected
        assert encoding["token_type_ids"] == [0, 1, 1, 2]
        assert encoding["attention_mask"] == [1, 1, 1, 1]

    def test_medications_alone_keep_their_type(self, tokenizer):
        assert tokenizer([], ["N02A", "A02B"])["token_type_ids"] == [0, 2, 2]

    def test_padding_is_on_the_right_and_masked(self, tokenizer):
        encoding = tokenizer([["4280", "0389"], []], [["N02A"], []], padding=True)
        assert encoding["input_ids"][1] == [1, 0, 0, 0]
        assert encoding["attention_mask"] == [[1, 1, 1, 1], [1, 0, 0, 0]]
        assert encoding["token_type_ids"] == [[0, 1, 1, 2], [0, 0, 0, 0]]

    def test_a_row_does_not_depend_on_its_batch(self, tokenizer):
        visits = [["4280", "v45.81"], [], ["E850.0"]], [["n02a"], ["A02B", "B01A"], []]
        batch = tokenizer(*visits)
        for row, visit in enumerate(zip(*visits, strict=True)):
            assert {name: rows[row] for name, rows in batch.items()} == dict(tokenizer(*visit))

    def test_tensors(self, tokenizer):
        encoding = tokenizer([["4280", "0389"], []], padding=True, return_tensors="pt")
        assert encoding["input_ids"].shape == (2, 3)

    def test_code_ids_leave_out_special_tokens_and_inner_nodes(self, tokenizer):
        assert tokenizer.convert_ids_to_tokens(tokenizer.code_ids(1)) == sorted(DIAGNOSIS_CODES)
        assert tokenizer.convert_ids_to_tokens(tokenizer.code_ids(2)) == sorted(MEDICATION_CODES)
        assert tokenizer.num_codes == 4 + 6 + 3 < len(tokenizer)

    @pytest.mark.parametrize("code_type", [0, 3])
    def test_code_ids_of_no_type(self, tokenizer, code_type):
        with pytest.raises(ValueError, match=f"code_type: received {code_type}, expected 1 .diagnosis"):
            tokenizer.code_ids(code_type)


class TestCleaning:
    @pytest.mark.parametrize("code", ["428.0", " 4280", "42 80", "icd9cm:428.0", "ICD9CM:4280", "4280\t"])
    def test_spellings_of_one_code(self, tokenizer, code):
        assert tokens_of(tokenizer, [code]) == ["ICD9CM:4280"]

    def test_lower_case_medication(self, tokenizer):
        assert tokens_of(tokenizer, [], ["n02a", "atc:a02b"]) == ["ATC:N02A", "ATC:A02B"]

    def test_qualified_codes_keep_their_system(self, tokenizer):
        assert tokens_of(tokenizer, ["ICD10CM:I50.9"]) == ["ICD10CM:I509"]
        assert tokens_of(tiny_code_tokenizer(diagnosis_system="ICD10CM"), ["i50.9"]) == ["ICD10CM:I509"]

    def test_leading_zeros_matter(self, tokenizer):
        assert tokens_of(tokenizer, ["0389"]) == ["ICD9CM:0389"]
        assert tokens_of(tokenizer, ["389"]) != ["ICD9CM:0389"]

    def test_duplicates_keep_the_first(self, tokenizer):
        assert tokens_of(tokenizer, ["4280", "0389", "428.0", "ICD9CM:4280"]) == [
            "ICD9CM:4280",
            "ICD9CM:0389",
        ]
        assert counted(tokenizer) == {"duplicates": 2}

    def test_empty_codes_are_dropped(self, tokenizer):
        assert tokens_of(tokenizer, [None, "", " ", ".", "ICD9CM:", "4280"], [None]) == ["ICD9CM:4280"]
        assert counted(tokenizer) == {"empty": 6}

    @pytest.mark.parametrize("visit", [[], [None], [""]])
    def test_empty_visit_is_cls(self, tokenizer, visit):
        assert tokenizer(visit)["input_ids"] == [1]
        assert tokenizer(visit, [])["input_ids"] == [1]
        assert tokenizer([visit, ["4280"]], [[], []])["input_ids"][0] == [1]

    @pytest.mark.parametrize("code", [4280, 4280.0, float("nan"), b"4280"])
    def test_codes_must_be_text(self, tokenizer, code):
        with pytest.raises(TypeError, match=f"expected text, received {type(code).__name__}") as raised:
            tokenizer([code])
        assert "4280" not in str(raised.value)

    def test_visits_must_match(self, tokenizer):
        with pytest.raises(ValueError, match="received 2 visits with 1, expected equal numbers"):
            tokenizer([["4280"], []], [["N02A"]])

    def test_strings_hold_codes_separated_by_blanks(self, tokenizer):
        assert tokenizer("428.0 0389")["input_ids"] == tokenizer(["4280", "0389"])["input_ids"]
        assert tokenizer.tokenize("428.0") == ["ICD9CM:4280"]
        assert tokenizer.encode(["428.0"], ["n02a"]) == tokenizer(["428.0"], ["n02a"])["input_ids"]

    def test_mask_may_stand_among_codes(self, tokenizer):
        assert tokens_of(tokenizer, ["4280", "[MASK]", "[MASK]"]) == ["ICD9CM:4280", "[MASK]", "[MASK]"]
        assert tokens_of(tokenizer, ["[MASK]"], split_special_tokens=True) == ["[UNK]"]

    def test_hostile_characters(self, tokenizer):
        codes = ["\ud800", "a\x00b", "4280\x00", "é" * 300, "::", ":", "ICD9CM:block:420-429:", "\u2028"]
        assert set(tokens_of(tokenizer, codes)) <= {"[UNK]", "ICD9CM:428", "ICD9CM:4280"}


class TestUnknownCodes:
    @pytest.mark.parametrize(
        ("code", "token"),
        [
            ("428.20", "ICD9CM:4282"),  # a longer code that the vocabulary knows
            ("428.9", "ICD9CM:428"),  # the category
            ("428", "ICD9CM:428"),  # an inner node itself
            ("425.4", "ICD9CM:block:420-429"),
            ("401.9", "ICD9CM:chapter:390-459"),
            ("E851", "ICD9CM:block:E850-E858"),
            ("V46", "ICD9CM:block:V40-V49"),
            ("ICD10CM:I50.1", "ICD10CM:I50"),
            ("ICD10CM:I10", "ICD10CM:chapter:I00-I99"),
            ("250.00", "[UNK]"),  # no node of its chapter is known
            ("XYZ", "[UNK]"),
            ("ICD11:4280", "[UNK]"),
        ],
    )
    def test_nearest_known_node(self, tokenizer, code, token):
        assert tokens_of(tokenizer, [code]) == [token]
        assert counted(tokenizer) == {"unknown" if token == "[UNK]" else "unknown_placed": 1}

    @pytest.mark.parametrize(
        ("code", "token"),
        [("N02AB03", "ATC:N02A"), ("N02B", "ATC:N02"), ("N05C", "ATC:N"), ("N", "ATC:N"), ("NONE", "[UNK]")],
    )
    def test_nearest_known_medication_group(self, tokenizer, code, token):
        assert tokens_of(tokenizer, [], [code]) == [token]

    def test_codes_on_one_node_count_once_and_unknown_ones_each(self, tokenizer):
        assert tokens_of(tokenizer, ["428.8", "428.9", "XY1", "XY2", "xy.1"]) == [
            "ICD9CM:428",
            "[UNK]",
            "[UNK]",
        ]
        assert counted(tokenizer) == {"unknown_placed": 2, "unknown": 3, "duplicates": 2}

    def test_one_warning_that_names_no_code(self, tokenizer, caplog):
        with caplog.at_level(logging.WARNING):
            tokenizer([["4289", "XYZZY"], ["4280"]], [["N02B"], []])
        (record,) = caplog.records
        expected = "3 of 4 codes are not in the vocabulary (2 placed on an ontology node, 1 read as unknown)"
        assert record.getMessage() == expected

    def test_silence(self, tokenizer, caplog):
        with caplog.at_level(logging.WARNING):
            tokenizer(["4280"], ["N02A"])
            tokenizer(["XYZ"], verbose=False)
        assert caplog.records == []

    ontology_codes = st.one_of(
        st.from_regex(r"ICD9CM:([0-9]{3}|V[0-9]{2}|E[0-9]{3})[0-9]{0,2}", fullmatch=True),
        st.from_regex(r"ICD10CM:([A-Z][0-9][0-9AB]|QA[0-9])[0-9A-Z]{0,4}", fullmatch=True),
        st.from_regex(r"ATC:[A-DGHJLMNPRSV][0-9]{2}[A-Z]([A-Z]([0-9]{2})?)?", fullmatch=True),
    )
    any_code = st.one_of(ontology_codes, st.text(max_size=8).map(ICD9), st.text(max_size=8).map(ATC))

    # Printed inside a block although its range does not reach them; by ranges alone they reach the chapter.
    outside_their_range = ("ICD10CM:C4A", "ICD10CM:M1A", "ICD10CM:Z3A")

    @given(
        known=st.lists(ontology_codes, min_size=1, max_size=8),
        other=any_code,
        beginning=st.integers(0, 8),
        ending=st.text("0123456789AB", max_size=2),
    )
    def test_agrees_with_the_ontologies(self, known, other, beginning, ending):
        relative = known[0][: known[0].index(":") + 1 + beginning] + ending if beginning else other
        unknown = max(relative, known[0].partition(":")[0] + ":0", key=len)
        diagnoses = [code for code in known if not code.startswith("ATC")]
        vocabulary = CodeVocabulary.from_codes(diagnoses, set(known) - set(diagnoses))
        system, _, code = unknown.partition(":")
        code = normalize_code(code)
        if not code or f"{system}:{code}".startswith(self.outside_their_range):
            return
        found = KnownGroups(vocabulary.tokens).nearest(system, code)
        path = (f"{system}:{code}", *ancestors(f"{system}:{code}"))
        expected = next((node for node in path[:-1] if node in vocabulary.tokens), None)
        if found in known and found not in path:
            assert path[0].startswith(found)  # a shorter code, between the code and its category
            assert len(found) > len(next((node for node in path[1:] if node in path[0]), ""))
        else:
            assert found == expected


class TestTruncation:
    def test_at_most_61_ids_by_default(self, large):
        assert len(large(MANY_DIAGNOSES)["input_ids"]) == 61
        assert len(large(MANY_DIAGNOSES, truncation=False, verbose=False)["input_ids"]) == 90

    @pytest.mark.parametrize(
        "sizes", [(70, 0), (0, 70), (60, 10), (10, 60), (50, 50), (61, 60), (30, 30), (31, 30)]
    )
    def test_the_longer_list_is_cut_first_from_its_end(self, large, sizes):
        diagnoses, medications = MANY_DIAGNOSES[: sizes[0]], MANY_MEDICATIONS[: sizes[1]]
        types = large(diagnoses, medications)["token_type_ids"]
        kept = types.count(1), types.count(2)
        assert sum(kept) == min(60, sum(sizes))
        shorter = sizes.index(min(sizes))
        assert kept[shorter] == min(sizes[shorter], 30) or abs(kept[0] - kept[1]) <= 1
        expected = [*map(ICD9, diagnoses[: kept[0]]), *map(ATC, medications[: kept[1]])]
        assert tokens_of(large, diagnoses, medications) == expected

    def test_cuts_are_counted_and_told(self, large, caplog):
        large.reset_statistics()
        with caplog.at_level(logging.WARNING):
            large([MANY_DIAGNOSES[:65], MANY_DIAGNOSES[:3]], [MANY_MEDICATIONS[:5], []])
        assert counted(large) == {"truncated_codes": 10, "truncated_visits": 1}
        assert [record.getMessage() for record in caplog.records] == ["10 codes of 1 visits were cut off"]

    @given(sizes=st.tuples(st.integers(0, 12), st.integers(0, 12)), max_length=st.integers(1, 15))
    def test_count_is_what_is_missing(self, large, sizes, max_length):
        large.reset_statistics()
        visit = MANY_DIAGNOSES[: sizes[0]], MANY_MEDICATIONS[: sizes[1]]
        encoding = large(*visit, max_length=max_length, verbose=False)
        assert large.statistics["truncated_codes"] == 1 + sum(sizes) - len(encoding["input_ids"])

    def test_duplicates_take_no_room(self, large):
        codes = [code for pair in zip_longest(MANY_DIAGNOSES[:60], MANY_DIAGNOSES[:60]) for code in pair]
        assert tokens_of(large, codes) == list(map(ICD9, MANY_DIAGNOSES[:60]))

    def test_statistics_sum_over_calls_until_reset(self, tokenizer):
        tokenizer([["4280", "XYZ"], [None]], verbose=False)
        tokenizer(["4280", "4280"])
        assert (tokenizer.statistics["visits"], tokenizer.statistics["codes"]) == (3, 5)
        assert counted(tokenizer) == {"unknown": 1, "empty": 1, "duplicates": 1}
        tokenizer.reset_statistics()
        assert set(tokenizer.statistics.values()) == {0}


class TestVocabularyArgument:
    def test_default_is_the_special_tokens(self):
        assert len(MedMPLMCodeTokenizer()) == MedMPLMCodeTokenizer().num_codes == 4

    def test_dict_list_and_files_are_the_same(self, tmp_path):
        vocabulary = tiny_vocabulary()
        by_id = {token: index for index, token in enumerate(vocabulary.tokens)}
        vocabulary.save(tmp_path / "code_vocabulary.json")
        (tmp_path / "ids.json").write_text(json.dumps(by_id))
        expected = tiny_code_tokenizer().get_vocab()
        assert MedMPLMCodeTokenizer(by_id).get_vocab() == expected
        assert MedMPLMCodeTokenizer(str(tmp_path / "ids.json")).get_vocab() == expected
        from_file = MedMPLMCodeTokenizer(str(tmp_path / "code_vocabulary.json"))
        assert (from_file.get_vocab(), from_file.num_codes) == (expected, vocabulary.num_codes)

    @pytest.mark.parametrize(
        ("vocab", "num_codes", "message"),
        [
            ({"[PAD]": 0, "[CLS]": 1, "[MASK]": 2, "[UNK]": 4}, None, "expected the ids 0 to 3, each once"),
            ({"[PAD]": 0, "[CLS]": 1, "[MASK]": 2, "[UNK]": 2}, None, "expected the ids 0 to 3, each once"),
            ([*SPECIAL_TOKENS, "ATC:N02A", "ATC:N02A"], None, "1 tokens occur again"),
            ([*SPECIAL_TOKENS, "ATC:N 02A"], None, "holds a blank"),
            ([*SPECIAL_TOKENS, ""], None, "is empty"),
            (["[PAD]", "[CLS]", "ATC:N02A"], None, r"\[MASK\], \[UNK\] missing"),
            ([*SPECIAL_TOKENS, "ATC:N02A"], 6, "num_codes: received 6, expected at most 5"),
        ],
    )
    def test_bad_vocabularies(self, vocab, num_codes, message):
        with pytest.raises(ValueError, match=message):
            MedMPLMCodeTokenizer(vocab, num_codes=num_codes)


class TestSaving:
    visits = ([["428.0", "4289", "XYZ", "0389", ""], [], ["v45.81"]], [["n02a", "N02B"], ["A02B"], []])

    def test_ids_are_equal_after_reload_and_second_save(self, tokenizer, tmp_path):
        expected = tokenizer(*self.visits)
        for step in ("first", "second"):
            tokenizer.save_pretrained(tmp_path / step)
            tokenizer = MedMPLMCodeTokenizer.from_pretrained(tmp_path / step)
            assert dict(tokenizer(*self.visits)) == dict(expected)
            trusted = MedMPLMCodeTokenizer.from_pretrained(tmp_path / step, trust_remote_code=True)
            assert dict(trusted(*self.visits)) == dict(expected)
        assert (tokenizer.num_codes, tokenizer.model_max_length) == (13, 61)
        assert tokenizer.code_ids(1) == tiny_code_tokenizer().code_ids(1)

    def test_options_are_kept(self, tmp_path):
        tiny_code_tokenizer(diagnosis_system="ICD10CM", model_max_length=7).save_pretrained(tmp_path)
        loaded = MedMPLMCodeTokenizer.from_pretrained(tmp_path)
        assert (loaded.diagnosis_system, loaded.model_max_length) == ("ICD10CM", 7)
        assert tokens_of(loaded, ["I50.9"]) == ["ICD10CM:I509"]

    def test_loads_as_a_plain_tokenizer_of_the_library(self, tokenizer, tmp_path):
        tokenizer.save_pretrained(tmp_path)
        plain = TokenizersBackend.from_pretrained(tmp_path)
        visit = ["ICD9CM:4280", "ICD9CM:0389"], ["ATC:N02A"]
        assert dict(plain(*visit, is_split_into_words=True)) == dict(tokenizer(*visit))
        assert isinstance(AutoTokenizer.from_pretrained(tmp_path), TokenizersBackend)

    def test_a_plain_one_becomes_ours_again(self, tokenizer, tmp_path):
        tokenizer.save_pretrained(tmp_path)
        ours = MedMPLMCodeTokenizer.from_backend(TokenizersBackend.from_pretrained(tmp_path))
        assert dict(ours(*self.visits)) == dict(tokenizer(*self.visits))
        assert (ours.num_codes, ours.model_max_length) == (tokenizer.num_codes, 61)

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
    def test_copies_and_workers(self, tokenizer, duplicate):
        assert dict(duplicate(tokenizer)(*self.visits)) == dict(tokenizer(*self.visits))


class TestOneFactOneHome:
    """The file travels alone and repeats three facts of the package; here they are held together."""

    @given(st.text())
    def test_normalisation(self, code):
        assert tokenization_medm_plm.normalize_code(code) == normalize_code(code)

    def test_code_types_and_special_tokens(self):
        assert tokenization_medm_plm.CODE_TYPE_OF_SYSTEM == CODE_TYPE_OF_SYSTEM
        assert tokenization_medm_plm.SPECIAL_TOKENS == SPECIAL_TOKENS
