"""The package's front door."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import steering


def test_every_public_name_is_there():
    for name in steering.__all__:
        assert getattr(steering, name) is not None
    assert set(steering.__all__) == set(dir(steering))
    assert not hasattr(steering, "nothing")


def test_importing_the_package_does_not_wait_for_torch():
    code = "import sys, steering, steering.recipe, steering.images; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


CORE = Path(steering.__file__).parent
NAMES = {".".join(path.relative_to(CORE.parent).with_suffix("").parts): path for path in CORE.rglob("*.py")}
NAMES = {name.removesuffix(".__init__"): path for name, path in NAMES.items()}
FILES = [path for path in CORE.rglob("*.py") if "ui" not in path.relative_to(CORE).parts]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_science_does_not_know_the_page(path: Path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= set((node.module or "").split("."))
    if "cli" not in path.relative_to(CORE).parts and path.name != "__main__.py":  # the app command starts the page
        assert not imported & {"gradio", "ui", "spaces", "cli"}


def imports_of(path: Path) -> set[str]:
    """The package's modules that a file imports, at its top or inside its functions, but for type checking alone."""
    inside = path.relative_to(CORE.parent).parts[:-1]
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join([*inside[: len(inside) - node.level + 1], *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in NAMES else base for alias in node.names}
    return found


ROOT = CORE.parent
BESIDE = [
    path.relative_to(ROOT) for folder in ("training", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")
]
OURS = NAMES | {".".join(path.with_suffix("").parts).removesuffix(".__init__"): ROOT / path for path in BESIDE}
OUTSIDE = [name for name in OURS if name not in NAMES]


def names_in(path: Path) -> set[str]:
    """What a module defines or imports at its top, also inside `if` and `try`."""
    found, waiting = set(), list(ast.parse(path.read_text(encoding="utf-8")).body)
    for node in waiting:
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            waiting += [*node.body, *getattr(node, "orelse", []), *getattr(node, "finalbody", [])]
            waiting += [one for handler in getattr(node, "handlers", []) for one in handler.body]
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        else:
            found |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_training_benchmarks_and_tests_import_of_ours_is_there(name: str):
    """Training is no part of the tests, and needs packages that they do not install: read, not run."""
    inside = name if OURS[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(OURS[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = inside.split(".")[: len(inside.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
        else:
            continue
        if module.split(".")[0] not in ("steering", "training", "benchmarks", "tests"):
            continue
        assert module in OURS or any(one.startswith(f"{module}.") for one in OURS), f"{name}: no module {module}"
        there = names_in(OURS[module]) if module in OURS else set()
        there |= set(steering.__all__) if module == "steering" else set()
        for alias in node.names:
            assert alias.name in there or f"{module}.{alias.name}" in OURS, f"{name}: no {alias.name} in {module}"


def test_no_module_hides_a_public_name():
    """An imported module becomes the package's attribute, whatever the package gives under that name."""
    modules = {path.stem for path in CORE.iterdir()}
    assert not modules & set(steering.__all__)


def test_no_two_modules_import_each_other():
    graph = {name: (imports_of(path) & set(NAMES)) - {name, "steering"} for name, path in NAMES.items()}
    assert sum(map(len, graph.values())) > 100
    list(TopologicalSorter(graph).static_order())
