"""The code tokenizer passes the library's common tokenizer tests.

Those tests speak English. They are run over a vocabulary that holds their words, and with the library's
convention for strings (`is_split_into_words=False`), which ours has beside its own for lists of codes.
"""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import pytest

from library_suites import import_suite
from tokenization_medm_plm import SPECIAL_TOKENS, MedMPLMCodeTokenizer

common_suite = import_suite("test_tokenization_common")
TokenizersBackendTesterMixin = import_suite("test_tokenizers_backend_mixin").TokenizersBackendTesterMixin

pytestmark = pytest.mark.conformance

WORDS = "Wonderful no inspiration example with subtoken Amazing full of He is very happy Hello world low"


class WordwiseCodeTokenizer(MedMPLMCodeTokenizer):
    """The code tokenizer with the library's default for plain text."""

    def __call__(self, *args, is_split_into_words=False, **kwargs):
        return super().__call__(*args, is_split_into_words=is_split_into_words, **kwargs)

    def _encode_plus(self, *args, is_split_into_words=False, **kwargs):
        return super()._encode_plus(*args, is_split_into_words=is_split_into_words, **kwargs)


class SavedTokenizer:
    tokenizer_class = WordwiseCodeTokenizer
    rust_tokenizer_class = WordwiseCodeTokenizer
    from_pretrained_id = None

    @classmethod
    def setUpClass(cls):
        # The distribution leaves out a text that the suite reads and no test looks at.
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(common_suite, "get_tests_dir", return_value=folder),
        ):
            text = Path(folder, "fixtures", "sample_text.txt")
            text.parent.mkdir()
            text.write_text(WORDS, encoding="utf-8")
            super().setUpClass()
        # 64 and not 61, because the suite truncates and pads to multiples of eight in one call.
        words = dict.fromkeys(WORDS.split())
        tokenizer = WordwiseCodeTokenizer([*SPECIAL_TOKENS, *words], model_max_length=64)
        tokenizer.save_pretrained(cls.tmpdirname)
        cls.tokenizers_list = [(WordwiseCodeTokenizer, cls.tmpdirname, {})]


class CodeTokenizerConformance(SavedTokenizer, common_suite.TokenizerTesterMixin, unittest.TestCase):
    pass


class CodeTokenizerBackendConformance(SavedTokenizer, TokenizersBackendTesterMixin, unittest.TestCase):
    pass
