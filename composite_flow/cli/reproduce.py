"""`reproduce`: the figures and tables of the paper, whose modules are loaded only when they are asked for."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import say, show, status, table
from composite_flow.errors import InputError
from composite_flow.files.plain_json import jsonable, write_json

Experiment = Literal["figure1", "figure2", "figure3", "figure4", "figure5", "table1", "scale"]
Preset = Literal["smoke", "laptop", "paper"]

_WITH_JOBS = ("figure5", "table1")


def reproduce(
    experiment: Annotated[
        Positional[Experiment], arg(metavar="{figure1,figure2,figure3,figure4,figure5,table1,scale}")
    ],
    /,
    out: Path | None = None,
    *,
    preset: Preset = "laptop",
    jobs: int = 1,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Reproduce a figure or table of the paper, or measure how costs grow with the number of agents.

    What is already computed in --out is kept and not computed again.

    Args:
        experiment: figure1 (fixed points of 2×2 sensors), figure2 (how far they deviate on 5×5, and what bounds that),
            figure3 (what makes them deviate), figure4 (composite diffusion on 5×5), figure5 (policies that act on
            inferred states), table1 (individual against composite diffusion in SMAX battles), or scale.
        out: folder for the results; outputs/EXPERIMENT-PRESET where not given.
        preset: smoke takes seconds to minutes, laptop minutes (figure2, whose battles need a trained team: an hour;
            table1, figure5: hours), paper as long as the paper's own settings need.
        jobs: teams that learn at once, each on its share of the cores; of figure5 and table1, as such training leaves
            a second core idle.

    Raises:
        InputError: jobs for an experiment in which no team learns.
    """
    if jobs != 1 and experiment not in _WITH_JOBS:
        raise InputError(f"No team learns in {experiment}, which uses all cores as it is; leave --jobs away.")
    module = importlib.import_module(f"composite_flow_paper.{experiment}.experiment")
    plot = importlib.import_module(f"composite_flow_paper.{experiment}.plot")
    folder = Path("outputs") / f"{experiment}-{preset}" if out is None else out
    settings = module.PRESETS[preset]
    with status() as progress:
        asked = {"jobs": jobs} if experiment in _WITH_JOBS else {}
        result = module.run(settings, folder, seed=shared.seed, overwrite=shared.overwrite, progress=progress, **asked)
        plot.draw(jsonable(result), folder)
    summary = jsonable(result["summary"])
    write_json(folder / "summary.json", summary)
    if hasattr(module, "tables"):
        tables = [table(*content) for content in module.tables(summary)]
    else:
        tables = [table(f"{experiment} ({preset})", ("", "value"), list(flat_rows(summary)))]
    show(summary, tables, as_json=shared.json)
    say(f"Figures and numbers are in {folder}.")


def flat_rows(result: dict[str, Any], prefix: str = ""):
    """The single numbers and words of a nested result, by their path; lists are left to the files."""
    for name, value in result.items():
        path = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, dict):
            yield from flat_rows(value, f"{path}: ")
        elif value is None or isinstance(value, (str, int, float)):
            yield path, value
