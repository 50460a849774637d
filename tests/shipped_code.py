"""The modules that MedM-PLM ships, and what each of them imports, read from their syntax trees."""

import ast
from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Import:
    """One imported module: its dotted name, whose it is, and where it stands."""

    name: str
    importer: str
    line: int

    @property
    def top_level(self) -> str:
        """First part of the dotted name, which is what has to be installed."""
        return self.name.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.name}"


def shipped_modules() -> dict[str, Path]:
    """Every module of the wheel by its dotted name."""
    files = [*PROJECT_ROOT.glob("*_medm_plm.py"), *PROJECT_ROOT.glob("run_*.py")]
    files += (PROJECT_ROOT / "medm_plm").rglob("*.py")
    return {dotted_name(path.relative_to(PROJECT_ROOT)): path for path in sorted(files)}


def dotted_name(relative_path: Path) -> str:
    """`medm_plm/data/__init__.py` is the module `medm_plm.data`."""
    parts = relative_path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def syntax_tree(path: Path) -> ast.Module:
    """Parse one module."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=path.name)


def imports_of(module: str, path: Path, known_modules: frozenset[str]) -> list[Import]:
    """All imports of a module at any depth, functions and `try` blocks included.

    Args:
        module: dotted name of the importing module.
        path: its file.
        known_modules: dotted names of our modules, which tell a module after `from package import` from a
            function.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, module, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base_of(node, package)
            names = [f"{base}.{alias.name}" for alias in node.names]
            submodules = [name for name in names if name in known_modules]
            found += [Import(name, module, node.lineno) for name in submodules]
            if len(submodules) < len(names):
                found.append(Import(base, module, node.lineno))
    return found


def _base_of(node: ast.ImportFrom, package: str) -> str:
    """Absolute name of the module after `from`."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])
