"""Shipped code runs nothing that comes from a file, prints nothing unasked, and names no machine's folders.

Read off the syntax trees, so a mention in a docstring is fine and a disguise by import is not.
"""

import ast
import re

import pytest

from shipped_code import shipped_modules, syntax_tree

MODULES = shipped_modules()
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "ctypes",
    "pty",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
REMOTE_CODE = "trust_remote_code"
FORBIDDEN_ATTRIBUTES = {
    ("torch", "load"),
    ("torch", "save"),
    ("os", "system"),
    ("os", "popen"),
    ("subprocess", "getoutput"),
    ("subprocess", "getstatusoutput"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("pandas", "read_pickle"),
    ("yaml", "load"),
    ("yaml", "load_all"),
    ("yaml", "full_load"),
    ("yaml", "unsafe_load"),
    ("torch", "hub"),
}
MAY_PRINT = {"medm_plm.command_line"}
ABSOLUTE_PATH = re.compile(r"(^|[\s'\"=])(/(home|root|tmp|work|mnt|opt|usr|var|data|Users)/|[A-Za-z]:\\)")


def findings(tree: ast.Module, may_print: bool) -> list[str]:
    """Say what a module does that shipped code must not do, with its line."""
    return [f"line {node.lineno}: {what}" for node in ast.walk(tree) for what in _judge(node, may_print)]


def _judge(node: ast.AST, may_print: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [f"imports {a.name}" for a in node.names if a.name.partition(".")[0] in FORBIDDEN_MODULES]
    if isinstance(node, ast.ImportFrom):
        return _judge_import_from(node)
    if isinstance(node, ast.Call):
        return _judge_call(node, may_print)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        pair = (node.value.id, node.attr)
        return [f"uses {'.'.join(pair)}"] if pair in FORBIDDEN_ATTRIBUTES else []
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and ABSOLUTE_PATH.search(node.value):
        return ["names a folder of some machine"]
    return []


def _judge_import_from(node: ast.ImportFrom) -> list[str]:
    package = (node.module or "").partition(".")[0]
    if package in FORBIDDEN_MODULES:
        return [f"imports from {package}"]
    return [f"imports {package}.{a.name}" for a in node.names if (package, a.name) in FORBIDDEN_ATTRIBUTES]


def _judge_call(node: ast.Call, may_print: bool) -> list[str]:
    unsafe_keyword = any(
        k.arg in ("shell", "allow_pickle", REMOTE_CODE)
        and not (isinstance(k.value, ast.Constant) and k.value.value is False)
        for k in node.keywords
    )
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    found = [f"calls {name}()"] if name in FORBIDDEN_CALLS else []
    if name == "print" and not may_print:
        found.append("calls print()")
    return (
        [*found, "passes shell, allow_pickle or trust_remote_code that is not False"]
        if unsafe_keyword
        else found
    )


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_is_safe(module):
    may_print = module in MAY_PRINT or module.startswith("run_")
    assert findings(syntax_tree(MODULES[module]), may_print) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('weights.bin')",
        "from torch import load",
        "def read(text):\n    return eval(text)",
        "exec('1')",
        "print('a note')",
        "f(allow_pickle=True)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess\nsubprocess.run('ls', shell=shell)",
        "import os\nos.popen('ls')",
        "import yaml\nyaml.full_load(text)",
        "import torch\ntorch.hub.load('a/b', 'c')",
        "model = AutoModel.from_pretrained(folder, trust_remote_code=True)",
        "model = AutoModel.from_pretrained(folder, trust_remote_code=options.trust)",
        "FOLDER = '/home/someone/data'",
        "HELP = 'written to C:\\\\Users'",
    ],
)
def test_the_check_finds(code):
    assert findings(ast.parse(code), may_print=False)


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "'eval(x) is never called'",
        "PATH = 'configs/smoke.yaml'",
        "f(trust_remote_code=False)",
    ],
)
def test_the_check_leaves_alone(code):
    assert findings(ast.parse(code), may_print=False) == []
