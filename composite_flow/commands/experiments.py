"""`demo` and `reproduce`: ready-made experiments, whose modules are loaded only when they are asked for."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.commands.options import Shared
from composite_flow.reporting import say, show, table

Experiment = Literal["figure1", "figure4", "scale"]
Preset = Literal["smoke", "laptop", "paper"]


def demo(out: Path = Path("runs/demo"), *, shared: OmitArgPrefixes[Shared] = Shared()) -> None:  # noqa: B008: frozen
    """See nine sensors with partial views agree on where two targets are: collect, train, reconstruct, check.

    Writes summary.json and a picture, reconstruction.svg and .png. Takes about two minutes on two cores.

    Args:
        out: folder for the results.
    """
    from composite_flow.experiments.demo import run_demo

    result, tables = run_demo(out, seed=shared.seed, overwrite=shared.overwrite)
    show(result, tables, as_json=shared.json)
    say(f"The picture is {out / 'reconstruction.png'}.")


def reproduce(
    experiment: Annotated[Positional[Experiment], arg(metavar="{figure1,figure4,scale}")],
    /,
    out: Path | None = None,
    *,
    preset: Preset = "laptop",
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008: frozen
) -> None:
    """Reproduce a figure of the paper, or measure how costs grow with the number of agents.

    What is already computed in --out is kept and not computed again.

    Args:
        experiment: figure1 (fixed points of 2×2 sensors), figure4 (composite diffusion on 5×5), or scale.
        out: folder for the results; outputs/EXPERIMENT-PRESET where not given.
        preset: smoke takes seconds, laptop minutes, paper as long as the paper's own settings need.
    """
    module = importlib.import_module(f"composite_flow.experiments.{experiment}")
    folder = Path("outputs") / f"{experiment}-{preset}" if out is None else out
    settings = module.PRESETS[preset]
    result = module.run(settings, folder, seed=shared.seed, overwrite=shared.overwrite, progress=say)
    module.draw(result, folder)
    show(result, [table(f"{experiment} ({preset})", ("", "value"), list(flat_rows(result)))], as_json=shared.json)
    say(f"Figures and numbers are in {folder}.")


def flat_rows(result: dict[str, Any], prefix: str = ""):
    """The single numbers and words of a nested result, by their path; lists are left to the files."""
    for name, value in result.items():
        path = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, dict):
            yield from flat_rows(value, f"{path}: ")
        elif value is None or isinstance(value, (str, int, float)):
            yield path, value
