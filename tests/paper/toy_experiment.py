"""An experiment of sums that take no time, whose cells note in the folder when they are computed and by whom."""

import os
import time
from dataclasses import dataclass, replace
from functools import partial

from composite_flow.errors import InputError
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.shared.cells import Cell, Preparation, of_group


@dataclass(frozen=True)
class ToySettings:
    """What the sums depend on: the terms, what all are added to, and how many seeds there are."""

    terms: tuple[int, ...] = (2, 3)
    base: int = 10
    num_seeds: int = 2


def prepare(base, folder, progress):
    """Takes its time, so that cells that do not wait for it would miss it."""
    note(folder, "prepared")
    time.sleep(0.2)
    (folder / "base.txt").write_text(str(base))


def compute(term, seed, workspace):
    """A sum; where the folder says so, it stops, fails or waits for ever instead."""
    name = f"term{term}-seed{seed}"
    note(workspace.folder, name)
    workspace.progress("adding: begun")
    if (workspace.folder / f"fail-{name}").exists():
        raise InputError(f"{term} cannot be added.")
    if (workspace.folder / f"stop-{name}").exists():
        raise KeyboardInterrupt
    while (workspace.folder / f"wait-{name}").exists():
        workspace.progress("adding: waits")
        time.sleep(0.05)
    return {"sum": int((workspace.folder / "base.txt").read_text()) + term + seed}


def note(folder, what):
    """A line with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "notes.txt", "a") as file:
        file.write(f"{what} {os.getpid()}\n")


def notes(folder):
    """What was noted, and the processes that noted it."""
    lines = (folder / "notes.txt").read_text().split()
    return lines[::2], set(map(int, lines[1::2]))


def cells(settings, seed):
    needs = (Preparation("base.txt", partial(prepare, settings.base)),)
    alone = replace(settings, terms=(), num_seeds=1)
    return [
        Cell(f"term{term}", one, [alone, term], partial(compute, term, one), needs)
        for one in range(seed, seed + settings.num_seeds)
        for term in settings.terms
    ]


def summarise(settings, results):
    return {"sums": {group: [one["sum"] for one in of_group(results, group)] for group in results}}


def tables(summary):
    return [("Sums", ["", "of each seed"], [(name, str(values)) for name, values in summary["sums"].items()])]


def draw(result, out):
    path = out / "toy.txt"
    path.write_text("▇" * len(result.cells))
    return [path]


EXPERIMENT = Experiment("toy", {"smoke": ToySettings()}, cells, summarise, tables, draw)
SETTINGS = EXPERIMENT.presets["smoke"]
NAMES = ["term2-seed0", "term3-seed0", "term2-seed1", "term3-seed1"]
SUMS = {"term2": [12, 13], "term3": [13, 14]}
