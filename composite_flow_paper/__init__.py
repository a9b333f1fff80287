"""The paper's figures and tables, beyond the library: `composite-flow reproduce figure1`, and so on.

One folder per figure or table. Its `experiment.py` has its settings and cells, `cell.py` what a cell computes,
`report.py` what the cells come to, and `plot.py` what is drawn; `experiment.py` beside the folders holds the contract
that all follow, and the one runner. An experiment computes cells (small JSON files, one per seed or setting), each of
which is done once and never again; reports and plots read cells and compute nothing.
"""

import ast
from pathlib import Path


def experiments() -> dict[str, str]:
    """The names of this package's experiments, and what each is in a sentence, without importing them."""
    files = sorted(path for place in __path__ for path in Path(place).glob("*/experiment.py"))
    return {path.parent.name: _first_line(path.parent / "__init__.py") for path in files}


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
