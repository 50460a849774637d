"""The common test suites of transformers, as modules that our test classes inherit from.

The library ships them in its source distribution and not in its wheel. `make conformance` unpacks that
distribution; the environment variable `TRANSFORMERS_TESTS` names the folder that then holds `tests/`. A
checkout of the library's repository serves as well. The distribution leaves out three files that the suites
import; small stand-ins replace them.
"""

import importlib
import os
import sys
import types
from pathlib import Path
from unittest import mock

import pytest
import transformers

PACKAGE = "transformers_tests"

# Common fields with values that are no defaults: the suite passes them to a configuration and reads them.
COMMON_CONFIG_FIELDS = {
    "return_dict": False,
    "output_hidden_states": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 3,
    "architectures": ["MedMPLMModel"],
    "id2label": {0: "absent", 1: "present"},
    "label2id": {"absent": 0, "present": 1},
    "problem_type": "multi_label_classification",
}
# module -> what it offers. Text generation and export recipes are beside the point for an encoder.
STAND_INS = {
    "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {"config_common_kwargs": COMMON_CONFIG_FIELDS},
}


def import_suite(name: str) -> types.ModuleType:
    """Import one of the library's suites, or skip the calling test module when they are not there.

    Args:
        name: the module's name, for instance `"test_modeling_common"`.

    Returns:
        The imported module.
    """
    folder = _tests_folder()
    if PACKAGE not in sys.modules:
        _enter(PACKAGE, folder)
        for module, contents in STAND_INS.items():
            if not (folder / f"{module.replace('.', '/')}.py").exists():
                _enter(f"{PACKAGE}.{module.partition('.')[0]}", folder / module.partition(".")[0])
                vars(_enter(f"{PACKAGE}.{module}", folder)).update(contents)
    # The suite re-imports the library from beside its own folder; the installed one is the one to be tested.
    installed = mock.Mock(return_value=transformers)
    with mock.patch.object(transformers.utils, "direct_transformers_import", installed):
        return importlib.import_module(f"{PACKAGE}.{name}")


def _tests_folder() -> Path:
    named = os.environ.get("TRANSFORMERS_TESTS")
    if not named:
        pytest.skip("the library's suites are not here: run `make conformance`", allow_module_level=True)
    folder = Path(named) / "tests"
    if not (folder / "test_modeling_common.py").is_file():
        pytest.fail(f"TRANSFORMERS_TESTS={named} holds no tests/test_modeling_common.py: `make conformance`")
    return folder


def _enter(name: str, folder: Path) -> types.ModuleType:
    """Register a package by hand, without writing an `__init__.py` into somebody's folder."""
    module = types.ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module
    return module
