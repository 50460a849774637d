"""The processor passes the library's common processor tests.

Most of them are about pictures, videos and sound and skip themselves.
"""

import inspect
import sys
import unittest
from types import SimpleNamespace
from unittest import mock

import pytest
from transformers import ProcessorMixin

from library_suites import import_suite
from tiny_processors import tiny_code_tokenizer, tiny_text_tokenizer
from tokenization_medm_plm import MedMPLMProcessor

# The distribution leaves out a helper that fetches pictures and sound.
HELPER = {"fetch_hub_objects_for_ci": SimpleNamespace(url_to_local_path=lambda url: url)}
with mock.patch.dict(sys.modules, HELPER):
    ProcessorTesterMixin = import_suite("test_processing_common").ProcessorTesterMixin

merging = inspect.signature(ProcessorMixin._merge_kwargs).parameters["ModelProcessorKwargs"]
MERGING_IS_CLOSED = merging.default is inspect.Parameter.empty

pytestmark = pytest.mark.conformance


class ProcessorConformance(ProcessorTesterMixin, unittest.TestCase):
    processor_class = MedMPLMProcessor

    @classmethod
    def _setup_tokenizer(cls):
        return tiny_text_tokenizer()

    @classmethod
    def _setup_code_tokenizer(cls):
        return tiny_code_tokenizer()

    @unittest.skipIf(
        MERGING_IS_CLOSED, "before 5.20 the library merges no groups of options beyond its own four"
    )
    def test_subprocessor_defaults_0_text(self):
        super().test_subprocessor_defaults_0_text()

    def test_model_input_names(self):
        """The library's own passes a note alone; the names of all inputs come from a whole visit."""
        processor = self.get_processor()
        inputs = processor("lower newer", ["4280"], ["N02A"], return_tensors="pt")
        assert set(inputs) == set(processor.model_input_names)
