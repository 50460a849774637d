"""Our configurations pass the library's common configuration tests."""

import unittest

import pytest

from configuration_medm_plm import MedMPLMCodeConfig, MedMPLMConfig
from library_suites import import_suite

ConfigTester = import_suite("test_configuration_common").ConfigTester

pytestmark = pytest.mark.conformance


class CodeConfigConformance(unittest.TestCase):
    model_tester = None

    def test_common(self):
        tester = ConfigTester(
            self,
            config_class=MedMPLMCodeConfig,
            vocab_size=19,
            num_ontology_nodes=29,
            hidden_size=24,
            ontology_embedding_size=6,
        )
        tester.run_common_tests()


class ConfigConformance(unittest.TestCase):
    model_tester = None

    def test_common(self):
        # has_text_modality asks for a `vocab_size` of the whole; ours has two vocabularies, one in each part.
        tester = ConfigTester(
            self, config_class=MedMPLMConfig, has_text_modality=False, use_cross_modal=False
        )
        tester.run_common_tests()
