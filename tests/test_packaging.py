"""What setup.py says is what the code needs and what gets installed; the public names are there and light."""

import ast
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import medm_plm
from shipped_code import PROJECT_ROOT, imports_of, shipped_modules

DISTRIBUTION_OF_MODULE = {"sklearn": "scikit-learn", "yaml": "PyYAML"}


def setup_value(name: str):
    """Read a literal list of setup.py, or a literal argument of its call of `setup`."""
    for node in ast.walk(ast.parse((PROJECT_ROOT / "setup.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name:
            return ast.literal_eval(node.value)
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"setup.py has no {name}")


def pins(file_name: str) -> dict[str, str]:
    """Exact versions of a constraints file by distribution."""
    lines = (PROJECT_ROOT / file_name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[Requirement]:
    return [Requirement(line) for line in setup_value("REQUIREMENTS")]


def in_new_process(code: str, **kwargs) -> str:
    """What a fresh interpreter prints; its errors are the test's."""
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_every_imported_package_is_required():
    known = frozenset(shipped_modules())
    ours = {name.partition(".")[0] for name in known}
    imported = {
        i.top_level for name, path in shipped_modules().items() for i in imports_of(name, path, known)
    }
    needed = imported - ours - set(sys.stdlib_module_names)
    extras = ("FIGURE_REQUIREMENTS", "EXPLANATION_REQUIREMENTS", "DEMO_REQUIREMENTS")
    optional = [Requirement(line) for name in extras for line in setup_value(name)]
    declared = {canonicalize_name(requirement.name) for requirement in (*requirements(), *optional)}
    missing = {n for n in needed if canonicalize_name(DISTRIBUTION_OF_MODULE.get(n, n)) not in declared}
    assert not missing


def test_the_pictures_package_is_asked_for_by_pictures_only():
    blocked = "import sys; sys.modules['matplotlib'] = None; import run_experiments; "
    assert (
        in_new_process(f"{blocked}import medm_plm.experiments.figures; print('ok')", cwd=PROJECT_ROOT) == "ok"
    )


@pytest.mark.parametrize("file_name", ["constraints.txt", "constraints-minimum.txt"])
def test_pins_lie_in_the_ranges(file_name):
    pinned = pins(file_name)
    for requirement in requirements():
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} excludes the pinned {version}"


def test_minimum_pins_are_the_floors():
    pinned = pins("constraints-minimum.txt")
    floors = {
        canonicalize_name(r.name): s.version
        for r in requirements()
        for s in r.specifier
        if s.operator == ">="
    }
    del floors["torch"], pinned["torch"]  # see the note in the file
    assert pinned.keys() == floors.keys()
    assert all(Version(pinned[name]) == Version(floors[name]) for name in floors)


def test_every_top_level_module_is_installed():
    top_level = {name for name in shipped_modules() if "." not in name} - {"medm_plm"}
    assert set(setup_value("py_modules")) == top_level


def test_installed_files_work_without_the_checkout(tmp_path):
    if find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed; `pip install .` brings its own")
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-base", str(tmp_path / "build")]
    subprocess.run([*command, "--build-lib", str(tmp_path / "lib")], cwd=PROJECT_ROOT, check=True)
    shipped = {path.relative_to(PROJECT_ROOT) for path in shipped_modules().values()}
    shipped |= {path.relative_to(PROJECT_ROOT) for path in (PROJECT_ROOT / "medm_plm").rglob("*.csv")}
    missing = {path for path in shipped if not (tmp_path / "lib" / path).exists()}
    assert not missing, "a folder without __init__.py, or a table that package_data does not name"
    assert (tmp_path / "lib" / "medm_plm" / "py.typed").exists()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "lib")}
    place = in_new_process("import medm_plm; print(medm_plm.__file__)", cwd=tmp_path, env=environment)
    assert place.startswith(str(tmp_path))


@pytest.mark.parametrize("file_name", ["CHANGELOG.md", "CITATION.cff"])
def test_version_is_told_everywhere(file_name):
    text = (PROJECT_ROOT / file_name).read_text(encoding="utf-8")
    newest = re.search(r"^(?:## |version: )(\d+\.\d+\.\d+)", text, re.MULTILINE).group(1)
    assert newest == medm_plm.__version__


def test_public_names_exist():
    assert all(getattr(medm_plm, name) is not None for name in medm_plm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'MedMPLMModle'"):
        medm_plm.MedMPLMModle  # noqa: B018


def test_package_is_light():
    code = "import sys, medm_plm; print({'torch', 'transformers', 'polars'} & sys.modules.keys())"
    assert in_new_process(code, cwd=PROJECT_ROOT) == "set()"


def test_using_a_name_registers_the_auto_classes():
    code = (
        "from medm_plm import MedMPLMConfig\n"
        "from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification as Heads\n"
        "code = dict(hidden_size=8, ontology_embedding_size=2, vocab_size=9)\n"
        "text = dict(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, vocab_size=9)\n"
        "config = AutoConfig.for_model('medm_plm', text_config=text, code_config=code)\n"
        "config.architectures = ['MedMPLMForReadmissionPrediction']\n"
        "print(type(AutoModel.from_config(config)).__name__, type(Heads.from_config(config)).__name__)\n"
    )
    assert in_new_process(code, cwd=PROJECT_ROOT) == "MedMPLMModel MedMPLMForReadmissionPrediction"
