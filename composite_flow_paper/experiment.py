"""The contract of an experiment, and the one runner of them all.

    settings → cells → results → summary → tables, pictures

An experiment is a folder of this package whose `experiment.py` has a value `EXPERIMENT`. Its settings say which cells
there are; each cell is computed once and kept as a JSON file; everything after that is computed from these files
alone, in seconds. The runner computes the cells that are missing, one after the other, in several processes
(`process_pool.py`) or on a cluster (`cluster.py`), and sums up after each. Interrupted, it goes on where it was.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from composite_flow.errors import InputError
from composite_flow.files.plain_json import jsonable, write_json
from composite_flow.files.plain_table import PlainTable, in_markdown
from composite_flow_paper.process_pool import Executor, one_by_one
from composite_flow_paper.shared.cells import Cell, Preparation, Progress, Results, read_cell, write_cell

Settings = TypeVar("Settings")
Task = Cell | Preparation


@dataclass(frozen=True, eq=False)
class Result(Generic[Settings]):
    """What the cells of an experiment come to.

    Attributes:
        settings: of the experiment.
        cells: the results of the cells that are there.
        summary: of them, as it is read from `summary.json`.
    """

    settings: Settings
    cells: Results
    summary: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Experiment(Generic[Settings]):
    """A figure or table: what it computes, and how that is told.

    Attributes:
        name: of its folder in this package, and of its files.
        presets: settings by name.
        cells: from the settings and the first seed, in the order in which they are computed.
        summarise: from the settings and the results of some of the cells, to a JSON-able dictionary.
        tables: from a summary, to titles, headers and rows.
        draw: writes pictures of all cells to a folder, and returns their paths.
    """

    name: str
    presets: Mapping[str, Settings]
    cells: Callable[[Settings, int], Sequence[Cell]]
    summarise: Callable[[Settings, Results], Mapping[str, Any]]
    tables: Callable[[Mapping[str, Any]], Sequence[PlainTable]]
    draw: Callable[[Result[Settings], Path], Sequence[Path]]

    def preset(self, name: str) -> Settings:
        """The settings of this name.

        Raises:
            InputError: there are none.
        """
        if name not in self.presets:
            raise InputError(f"{self.name} has no preset '{name}'; choose one of {', '.join(self.presets)}.")
        return self.presets[name]


def load_experiment(name: str) -> Experiment[Any]:
    """The experiment in this package's folder of that name."""
    return import_module(f"composite_flow_paper.{name}.experiment").EXPERIMENT


def run(
    experiment: Experiment[Settings],
    settings: Settings,
    folder: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress,
    execute: Executor = one_by_one,
) -> Result[Settings]:
    """Compute the cells that are missing, and draw. Summary and tables are written after each cell.

    Args:
        experiment: which one.
        settings: of it.
        folder: for cells, `summary.json`, the tables as Markdown, and pictures.
        seed: the first of the cells' seeds.
        overwrite: compute all cells again.
        progress: told what is going on.
        execute: computes tasks, such as `processes(2)`.

    Raises:
        MismatchError: a cell is there that was computed with other settings.
    """
    cells = experiment.cells(settings, seed)
    found = {} if overwrite else {cell.name: kept for cell in cells if (kept := read_cell(cell, folder)) is not None}
    result = _sum_up(experiment, settings, cells, found, folder)
    for cell in _compute([cell for cell in cells if cell.name not in found], folder, overwrite, progress, execute):
        found[cell.name] = _read(cell, folder)
        result = _sum_up(experiment, settings, cells, found, folder)
    experiment.draw(result, folder)
    return result


def read_result(experiment: Experiment[Settings], settings: Settings, folder: Path, seed: int = 0) -> Result[Settings]:
    """What the cells in a folder come to, without computing or writing any.

    Raises:
        MismatchError: a cell was computed with other settings.
    """
    cells = experiment.cells(settings, seed)
    return _result(experiment, settings, cells, {cell.name: read_cell(cell, folder) for cell in cells})


def tables_in_markdown(experiment: Experiment[Any], result: Result[Any], planned: int) -> str:
    """The tables as text, which says how many cells are missing where some are."""
    done = sum(len(by_seed) for by_seed in result.cells.values())
    begun = f"So far {done} of {planned} cells.\n\n" if done < planned else ""
    return begun + in_markdown(experiment.tables(result.summary))


def _compute(
    missing: Sequence[Cell], folder: Path, overwrite: bool, progress: Progress, execute: Executor
) -> Iterator[Cell]:
    """Compute cells and, before them, what they need and is not there; yields each cell when it is done."""
    tasks = tasks_of(missing, folder)
    waited_for = {task.name for task in tasks if isinstance(task, Preparation)}

    def ready(task: Task) -> bool:
        return isinstance(task, Preparation) or not waited_for & {need.name for need in task.needs}

    for task in execute(partial(perform, folder, overwrite, len(tasks) > 1), tasks, ready, progress):
        if isinstance(task, Cell):
            yield task
        else:
            waited_for.remove(task.name)


def tasks_of(cells: Sequence[Cell], folder: Path) -> list[Task]:
    """The cells in their order, and before each of them what it needs and nothing has made yet, each once."""
    tasks: dict[str, Task] = {}
    for cell in cells:
        tasks |= {need.name: need for need in cell.needs if need.name not in tasks and not need.path(folder).exists()}
        tasks[cell.name] = cell
    return list(tasks.values())


def perform(folder: Path, overwrite: bool, several: bool, task: Task, progress: Progress) -> None:
    """Compute a task, whose result goes to the folder; where there are several, each sentence says which it is of."""

    def tell(sentence: str) -> None:
        progress(f"{task.name}, {sentence}" if several else sentence)

    if isinstance(task, Cell):
        write_cell(task, folder, overwrite=overwrite, progress=tell)
    else:
        task.make(folder, tell)


def _read(cell: Cell, folder: Path) -> dict[str, Any]:
    result = read_cell(cell, folder)
    assert result is not None, f"{cell} was computed and is not there"
    return result


def _sum_up(
    experiment: Experiment[Settings], settings: Settings, cells: Sequence[Cell], found: Mapping[str, Any], folder: Path
) -> Result[Settings]:
    """What is there so far, also written as `summary.json` and as tables."""
    result = _result(experiment, settings, cells, found)
    if found:
        write_json(folder / "summary.json", result.summary)
        (folder / f"{experiment.name}.md").write_text(tables_in_markdown(experiment, result, len(cells)))
    return result


def _result(
    experiment: Experiment[Settings], settings: Settings, cells: Sequence[Cell], found: Mapping[str, Any]
) -> Result[Settings]:
    """In the order of the cells, whichever was done first."""
    results: dict[str, dict[int | None, Any]] = {}
    for cell in cells:
        if found.get(cell.name) is not None:
            results.setdefault(cell.group, {})[cell.seed] = found[cell.name]
    # as it will be read: numbers that JSON lacks are null, keys are words
    summary = json.loads(json.dumps(jsonable(experiment.summarise(settings, results)))) if results else {}
    return Result(settings, results, summary)
