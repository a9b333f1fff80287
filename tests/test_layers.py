"""Data flows one way: no module imports, directly or through others, from one that imports it."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import composite_flow

PACKAGE = Path(composite_flow.__file__).parent
EXPERIMENTS = "composite_flow.experiments"
COMMAND_LINE = ("composite_flow.commands", "composite_flow.cli", "composite_flow.__main__")


def name_of(path: Path) -> str:
    """The module's dotted name."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(path: Path) -> set[str]:
    """The package's modules that a module imports, at its top or within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= full & MODULES.keys() or {node.module}
    return found & MODULES.keys() - {name_of(path)}


IMPORTS = {name: imports_of(path) for name, path in MODULES.items()}


def test_no_module_imports_itself_through_others():
    order = list(TopologicalSorter(IMPORTS).static_order())  # raises CycleError
    assert len(order) == len(MODULES) > 100


def layer(name: str) -> int:
    """0 for the library, 1 for experiments, 2 for the command line."""
    return 2 if name.startswith(COMMAND_LINE) else int(name.startswith(EXPERIMENTS))


def test_the_library_stands_below_experiments_and_these_below_the_command_line():
    assert set(map(layer, IMPORTS)) == {0, 1, 2}
    assert not {(name, other) for name, others in IMPORTS.items() for other in others if layer(other) > layer(name)}
