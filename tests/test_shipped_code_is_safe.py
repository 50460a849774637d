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
    "runpy",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_UNLESS_FALSE = {"shell", "allow_pickle", "trust_remote_code"}
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
    *(("os", f"exec{kind}") for kind in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    *(("os", f"spawn{kind}") for kind in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
}
MAY_PRINT = {"medm_plm.command_line"}
ABSOLUTE_PATH = re.compile(r"(^|[\s'\"=])(/(home|root|tmp|work|mnt|opt|usr|var|data|Users)/|[A-Za-z]:\\)")


def findings(tree: ast.Module, may_print: bool) -> list[str]:
    """Say what a module does that shipped code must not do, with its line."""
    renamed = {
        name.asname: name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
        if name.asname
    }
    judged = ((node, what) for node in ast.walk(tree) for what in _judge(node, may_print, renamed))
    return [f"line {node.lineno}: {what}" for node, what in judged]


def _judge(node: ast.AST, may_print: bool, renamed: dict[str, str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [f"imports {name.name}" for name in node.names if _is_forbidden_module(name.name)]
    if isinstance(node, ast.ImportFrom):
        return _judge_import_from(node)
    if isinstance(node, ast.Call):
        return _judge_call(node, may_print, renamed)
    if isinstance(node, ast.Attribute):
        return _judge_attribute(node.value, node.attr, renamed)
    if isinstance(node, ast.Dict):  # `f(**{"shell": True})` too
        named = (
            (key.value, value) for key, value in zip(node.keys, node.values, strict=True) if _is_text(key)
        )
        return [f"sets {name}" for name, value in named if _is_unsafe(name, value)]
    if _is_text(node) and ABSOLUTE_PATH.search(node.value):
        return ["names a folder of some machine"]
    return []


def _is_forbidden_module(name: str) -> bool:
    return name.partition(".")[0] in FORBIDDEN_MODULES or tuple(name.split(".")[:2]) in FORBIDDEN_ATTRIBUTES


def _judge_import_from(node: ast.ImportFrom) -> list[str]:
    package = (node.module or "").partition(".")[0]
    if _is_forbidden_module(node.module or ""):
        return [f"imports from {node.module}"]
    return [f"imports {package}.{a.name}" for a in node.names if (package, a.name) in FORBIDDEN_ATTRIBUTES]


def _judge_attribute(value: ast.expr, attribute: str, renamed: dict[str, str]) -> list[str]:
    if not isinstance(value, ast.Name):
        return []
    pair = (renamed.get(value.id, value.id), attribute)
    return [f"uses {'.'.join(pair)}"] if pair in FORBIDDEN_ATTRIBUTES else []


def _judge_call(node: ast.Call, may_print: bool, renamed: dict[str, str]) -> list[str]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    found = [f"calls {name}()"] if name in FORBIDDEN_CALLS else []
    if name == "print" and not may_print:
        found.append("calls print()")
    if name == "getattr" and len(node.args) > 1 and _is_text(node.args[1]):
        found += _judge_attribute(node.args[0], node.args[1].value, renamed)
    return found + [f"passes {k.arg}" for k in node.keywords if _is_unsafe(k.arg, k.value)]


def _is_unsafe(name: str | None, value: ast.expr) -> bool:
    """Whether one of the dangerous options is given anything but the word False."""
    return name in UNSAFE_UNLESS_FALSE and not (isinstance(value, ast.Constant) and value.value is False)


def _is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


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
        "import torch as t\nt.load('weights.bin')",
        "import os as o\no.system('ls')",
        "import torch.hub as h\nh.load('a/b', 'c')",
        "getattr(torch, 'load')('weights.bin')",
        "f(**{'trust_remote_code': True})",
        "import runpy",
        "import os\nos.execv(program, words)",
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
        "f(**{'trust_remote_code': False})",
        "getattr(torch, 'float32')",
    ],
)
def test_the_check_leaves_alone(code):
    assert findings(ast.parse(code), may_print=False) == []
