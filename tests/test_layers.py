"""Data flows one way: no module imports, directly or through others, from one that imports it."""

import ast
import re
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import composite_flow

ROOT = Path(composite_flow.__file__).parent.parent
EXPERIMENTS = "composite_flow_paper"
COMMAND_LINE = ("composite_flow.cli", "composite_flow.__main__")
ENTRIES = """
    __init__.py __main__.py py.typed errors.py history.py belief.py metrics.py validation.py denoiser.py network.py
    linear_gaussian.py flow.py probability_ode.py push_forward.py fixed_points.py jacobian.py relu_jacobian.py
    sensitivity.py deviation.py model.py evaluation.py runs.py
    composite fusion certificate analysis baselines training numerics files problems data policy
    runtime export plots page cli
""".split()


def name_of(path: Path) -> str:
    """The module's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = [path for package in ("composite_flow", EXPERIMENTS) for path in (ROOT / package).rglob("*.py")]
MODULES = {name_of(path): path for path in PATHS}


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


PROVIDED_BY = {"zenoh": "eclipse-zenoh"}
"""Packages that are installed under another name."""


def missing_types(path: Path) -> set[str]:
    """The foreign packages that a module imports, but those of which a comment says that their types cannot be read.

    A file that runs on its own may import the one beside it.
    """
    lines = path.read_text().splitlines()
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        if names and "reportMissingImports" not in lines[node.lineno - 1]:
            tops = {name.partition(".")[0] for name in names}
            found |= {PROVIDED_BY.get(top, top) for top in tops if not (path.parent / f"{top}.py").exists()}
    return found - set(sys.stdlib_module_names) - {"composite_flow", EXPERIMENTS}


def test_the_types_of_every_import_are_there_when_they_are_checked():
    """`make check` on a new machine installs the package with its extra `dev`, and nothing else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = project["dependencies"] + project["optional-dependencies"]["dev"]
    installed = {re.match(r"[\w-]+", requirement).group() for requirement in required}
    assert set.union(*map(missing_types, PATHS)) <= installed


def test_the_root_has_the_chapters_of_the_paper_and_no_others():
    found = {path.name for path in (ROOT / "composite_flow").iterdir()} - {"__pycache__"}
    assert found == set(ENTRIES)
