"""`demo` and `reproduce`: ready-made experiments, whose modules are loaded only when they are asked for."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.commands.infer import evaluation_tables
from composite_flow.commands.options import Shared
from composite_flow.errors import InputError
from composite_flow.json_files import jsonable, write_json
from composite_flow.reporting import say, show, status, table

Experiment = Literal["figure1", "figure2", "figure3", "figure4", "figure5", "table1", "scale"]
Preset = Literal["smoke", "laptop", "paper"]

_WITH_JOBS = ("figure5", "table1")


def demo(out: Path = Path("runs/demo"), *, shared: OmitArgPrefixes[Shared] = Shared()) -> None:  # noqa: B008 (frozen)
    """See nine sensors with partial views agree on where two targets are: collect, train, reconstruct, check.

    Writes summary.json and a picture, reconstruction.svg and .png. Takes about two minutes on two cores.

    Args:
        out: folder for the results.
    """
    from composite_flow.experiments import demo as experiment
    from composite_flow.experiments import demo_plot

    with status() as progress:
        settings = experiment.DemoSettings()
        result = experiment.run(settings, out, seed=shared.seed, overwrite=shared.overwrite, progress=progress)
        demo_plot.draw(result, out)
    tables = (agents_table(result["agents"]), *evaluation_tables(result["summary"]))
    show(result["summary"], tables, as_json=shared.json)
    say(f"One reconstruction is drawn in {out / 'reconstruction.png'}; all numbers are in {out / 'summary.json'}.")


def agents_table(agents: list[dict[str, Any]]):
    """Each sensor's own view of one joint history: its fixed points beside its exact belief."""
    columns = ("sensor", "sees target in", "states allowed", "fixed points", "posterior", "basin mass", "distance")
    rows = [
        (
            str(row["agent"]),
            ", ".join(map(str, row["sees_target_in_areas"])) or None,
            row["states_allowed"],
            row["fixed_points"],
            row["posterior_of_the_true_state"],
            row["basin_mass_of_the_true_state"],
            row["total_variation"],
        )
        for row in agents
    ]
    title = "What each sensor can tell from its own view of one held-out step\n"
    title += "(posterior and basin mass: of the true state; distance: total variation over all states)"
    return table(title, columns, rows)


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
    module = importlib.import_module(f"composite_flow.experiments.{experiment}")
    plot = importlib.import_module(f"composite_flow.experiments.{experiment}_plot")
    folder = Path("outputs") / f"{experiment}-{preset}" if out is None else out
    settings = module.PRESETS[preset]
    with status() as progress:
        asked = {"jobs": jobs} if experiment in _WITH_JOBS else {}
        result = module.run(settings, folder, seed=shared.seed, overwrite=shared.overwrite, progress=progress, **asked)
        plot.draw(jsonable(result), folder)
    summary = jsonable(result["summary"])
    write_json(folder / "summary.json", summary)
    if hasattr(module, "tables"):
        tables = module.tables(summary)
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
