"""Cells: the parts of an experiment that are computed once, kept as small JSON files and read ever after.

A sweep that is killed, or goes on elsewhere from the files already there, computes only the cells that are missing.
A cell remembers the settings that it was computed with, and is refused under others.
"""

import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.errors import MismatchError
from composite_flow.files.plain_json import describe_differences, jsonable, read_json, write_json

Progress = Callable[[str], None]
"""Is told in a sentence what is going on."""

Results = Mapping[str, Mapping[int | None, dict[str, Any]]]
"""What the cells of each group gave, by seed. Groups and seeds without a result are left out."""


@dataclass(frozen=True)
class Workspace:
    """Where something is computed, and who hears of it.

    Attributes:
        folder: of the experiment.
        scratch: for what an interrupted computation leaves to itself; removed when the cell is whole.
        overwrite: begin anew, whatever an earlier run left in the folder.
        progress: told what is going on.
    """

    folder: Path
    scratch: Path
    overwrite: bool
    progress: Progress


@dataclass(frozen=True, eq=False)
class Preparation:
    """What several cells need and is made once, before the first of them.

    Attributes:
        name: a path in the experiment's folder, which is there when it is made.
        make: makes it in that folder, or goes on making it; a module's function or a partial of one, so that other
            processes find it.
    """

    name: str
    make: Callable[[Path, Progress], None]

    def __str__(self) -> str:
        return self.name

    def path(self, folder: Path) -> Path:
        """Where it is."""
        return folder / self.name


@dataclass(frozen=True, eq=False)
class Cell:
    """A part of an experiment: what it depends on, how it is computed, and where its result is kept.

    Attributes:
        group: what it is a cell of, the same for all seeds; the beginning of the file's name.
        seed: of everything that is drawn; None for what has none.
        settings: all that the result depends on but the seed; kept beside it, and compared when it is read again.
        compute: gives the result as a JSON-able dictionary; a module's function or a partial of one.
        needs: made before it.
    """

    group: str
    seed: int | None
    settings: Any
    compute: Callable[[Workspace], dict[str, Any]]
    needs: tuple[Preparation, ...] = ()

    @property
    def name(self) -> str:
        """Of the file, without its ending."""
        return self.group if self.seed is None else f"{self.group}-seed{self.seed}"

    def __str__(self) -> str:
        return self.name

    def path(self, folder: Path) -> Path:
        """The file in the experiment's folder."""
        return folder / f"{self.name}.json"


def read_cell(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """The result that is kept in the folder, None where there is none yet.

    Raises:
        MismatchError: the file was computed with other settings.
    """
    path = cell.path(folder)
    if not path.exists():
        return None
    found, asked = read_json(path), json.loads(json.dumps(jsonable(cell.settings)))
    stored = found.get("settings") if isinstance(found, dict) else None
    if stored != asked:
        raise MismatchError(
            f"{path} was computed with other settings: {describe_differences(stored, asked)}; choose another --out or "
            "add --overwrite."
        )
    return found["result"]


def write_cell(cell: Cell, folder: Path, *, overwrite: bool, progress: Progress) -> None:
    """Compute a cell and keep its result in the folder.

    Args:
        cell: which one.
        folder: of the experiment.
        overwrite: remove what an interrupted computation of it left, and begin anew.
        progress: told what is going on.
    """
    scratch = folder / f"{cell.name}.partial"
    if overwrite:
        shutil.rmtree(scratch, ignore_errors=True)
    result = cell.compute(Workspace(folder, scratch, overwrite, progress))
    write_json(cell.path(folder), {"settings": cell.settings, "machine": machine(), "result": result})
    shutil.rmtree(scratch, ignore_errors=True)


def of_group(results: Results, group: str) -> list[dict[str, Any]]:
    """The results of a group, seed by seed; none where there are none yet."""
    return [*results.get(group, {}).values()]


def told_steps(progress: Progress) -> Callable[[int, int, float], None]:
    """How training tells its steps and loss, in a sentence."""
    return lambda step, total, loss: progress(f"training: step {step} of {total}, loss {loss:.3f}")


def machine() -> dict[str, Any]:
    """What the numbers were computed on and with."""
    import jax

    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "versions": {name: version(name) for name in ("jax", "equinox", "optax", "numpy")},
        "python": platform.python_version(),
    }


def rounded(values: Any, digits: int = 3) -> np.ndarray:
    """What a picture needs of an array, in few characters of JSON."""
    return np.round(np.asarray(values, np.float64), digits)
