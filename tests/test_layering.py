"""Modules import downwards only, the files that travel to the Hub stand alone, and there is no cycle."""

import subprocess
import sys

import networkx as nx
import pytest

from shipped_code import PROJECT_ROOT, Import, imports_of, shipped_modules

MODULES = shipped_modules()
KNOWN = frozenset(MODULES)
PACKAGE = "medm_plm"
FLAT_FILES = {"configuration_medm_plm", "tokenization_medm_plm", "modeling_medm_plm", "pipeline_medm_plm"}
HUB_PACKAGES = {"torch", "transformers", "tokenizers", "safetensors", "huggingface_hub"}
TABLE_PACKAGES = {"isal", "numpy", "networkx", "polars", "pyarrow", "yaml"}
METRIC_PACKAGES = TABLE_PACKAGES | {"datasets", "evaluate", "sklearn", "scipy", "tqdm"}
MODEL_PACKAGES = METRIC_PACKAGES | HUB_PACKAGES | {"accelerate"}

# (module or package, height, third-party packages). The longest matching name counts. A module may import
# modules of smaller height, and its own package.
LAYERS: tuple[tuple[str, int, set[str]], ...] = (
    ("configuration_medm_plm", 0, HUB_PACKAGES),
    ("tokenization_medm_plm", 0, HUB_PACKAGES),
    ("modeling_medm_plm", 0, HUB_PACKAGES),
    ("pipeline_medm_plm", 0, HUB_PACKAGES),
    ("medm_plm.errors", 0, set()),
    ("medm_plm.command_line", 1, {"yaml", "transformers"}),
    ("medm_plm.drawing", 1, {"matplotlib"}),
    ("medm_plm.ontologies", 1, TABLE_PACKAGES),
    ("medm_plm.data", 2, METRIC_PACKAGES),
    ("medm_plm.metrics", 2, METRIC_PACKAGES),
    ("medm_plm.data.collators", 3, MODEL_PACKAGES),
    ("medm_plm.baselines", 3, MODEL_PACKAGES),
    ("medm_plm.rivals", 4, MODEL_PACKAGES),
    ("medm_plm.training", 5, MODEL_PACKAGES),
    ("medm_plm.cards", 6, MODEL_PACKAGES),
    ("medm_plm.privacy", 6, MODEL_PACKAGES),
    ("medm_plm.publishing", 6, MODEL_PACKAGES),
    ("medm_plm.explanations", 5, MODEL_PACKAGES | {"captum", "matplotlib"}),
    ("medm_plm.export", 5, MODEL_PACKAGES),
    ("medm_plm.prediction", 5, MODEL_PACKAGES),
    ("medm_plm.doctor", 7, MODEL_PACKAGES | {"packaging"}),
    ("medm_plm.demo", 7, MODEL_PACKAGES | {"gradio"}),
    ("medm_plm.cli", 9, MODEL_PACKAGES),
    ("medm_plm.experiments", 7, MODEL_PACKAGES | {"matplotlib"}),
    (PACKAGE, 6, HUB_PACKAGES),
    ("run_preparation", 7, METRIC_PACKAGES),
    ("run_pretraining", 7, MODEL_PACKAGES),
    ("run_finetuning", 7, MODEL_PACKAGES),
    ("run_card", 7, MODEL_PACKAGES),
    ("run_privacy", 7, MODEL_PACKAGES),
    ("run_explanation", 7, MODEL_PACKAGES),
    ("run_prediction", 7, MODEL_PACKAGES),
    ("run_export", 7, MODEL_PACKAGES),
    ("run_experiments", 8, MODEL_PACKAGES),
    ("run_publishing", 7, MODEL_PACKAGES),
)


def layer_of(module: str) -> tuple[str, int, set[str]]:
    """The row of `LAYERS` a module belongs to; the package's own row holds for its `__init__` alone."""
    rows = [
        row for row in LAYERS if module == row[0] or (row[0] != PACKAGE and module.startswith(f"{row[0]}."))
    ]
    assert rows, f"{module} has no layer: give it a row in LAYERS"
    return max(rows, key=lambda row: len(row[0]))


def is_allowed(imported: Import) -> bool:
    """Tell whether an arrow between two of our modules points down or stays in its folder."""
    importer_name, importer_height, packages = layer_of(imported.importer)
    imported_name, imported_height, _ = layer_of(imported.name)
    if imported.name in FLAT_FILES and imported.importer not in FLAT_FILES and "torch" not in packages:
        return False  # a flat file brings torch with it
    return imported_height < importer_height or imported_name == importer_name


def arrows(module: str) -> list[Import]:
    """Imports of one module that stay within the project."""
    return [item for item in imports_of(module, MODULES[module], KNOWN) if is_ours(item)]


def is_ours(imported: Import) -> bool:
    """Tell whether an imported module is part of this project."""
    return imported.top_level in {name.partition(".")[0] for name in KNOWN}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - FLAT_FILES))
def test_imports_point_down(module):
    wrong = [str(item) for item in arrows(module) if not is_allowed(item)]
    assert not wrong, f"arrows that point up or sideways: {wrong}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_third_party_packages_belong_to_the_layer(module):
    allowed = layer_of(module)[2] | set(sys.stdlib_module_names)
    found = [item for item in imports_of(module, MODULES[module], KNOWN) if not is_ours(item)]
    wrong = [str(item) for item in found if item.top_level not in allowed]
    assert not wrong, f"packages this layer does not use: {wrong}"


@pytest.mark.parametrize("module", sorted(FLAT_FILES))
def test_flat_file_needs_nothing_of_the_project_but_the_configuration(module):
    allowed = {"configuration_medm_plm"} if module == "modeling_medm_plm" else set()
    wrong = [str(item) for item in arrows(module) if item.name not in allowed]
    assert not wrong, f"these are missing on a Hub reader's machine: {wrong}"


def test_preparing_data_loads_neither_torch_nor_transformers():
    """Medical-records people prepare tables on machines that have no deep-learning stack."""
    light = [name for name in MODULES if name.startswith(("medm_plm.data", "medm_plm.ontologies"))]
    light = [name for name in light if layer_of(name)[1] <= 2]
    code = f"import sys, {', '.join(light)}; print({{'torch', 'transformers'}} & sys.modules.keys())"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "set()", run.stdout + run.stderr


def test_there_is_no_import_cycle():
    graph = nx.DiGraph((module, item.name) for module in MODULES for item in arrows(module))
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    assert nx.is_directed_acyclic_graph(graph), nx.find_cycle(graph)


@pytest.mark.parametrize(
    ("importer", "name", "allowed"),
    [
        ("medm_plm.training.trainer", "medm_plm.data.collators", True),
        ("medm_plm.data.cohort", "medm_plm.data.schema", True),
        ("medm_plm.data.cohort", "medm_plm.ontologies.codes", True),
        ("medm_plm.ontologies.codes", "medm_plm.data.schema", False),
        ("medm_plm.data.cohort", "medm_plm.data.collators", False),
        ("medm_plm.data.cohort", "modeling_medm_plm", False),
        ("medm_plm.data.collators", "tokenization_medm_plm", True),
        ("medm_plm.metrics", "medm_plm.data.schema", False),
        ("modeling_medm_plm", "medm_plm.errors", False),
        ("medm_plm.errors", "medm_plm", False),
    ],
)
def test_the_rule_itself(importer, name, allowed):
    assert is_allowed(Import(name, importer, 1)) is allowed
