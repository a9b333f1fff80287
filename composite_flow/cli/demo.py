"""`demo`: a ready-made experiment, whose modules are loaded only when it is asked for."""

from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes

from composite_flow.cli.evaluate import evaluation_tables
from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import say, show, status, table


def demo(out: Path = Path("runs/demo"), *, shared: OmitArgPrefixes[Shared] = Shared()) -> None:  # noqa: B008 (frozen)
    """See nine sensors with partial views agree on where two targets are: collect, train, reconstruct, check.

    Writes summary.json and a picture, reconstruction.svg and .png. Takes about two minutes on two cores.

    Args:
        out: folder for the results.
    """
    from composite_flow_paper.demo import experiment
    from composite_flow_paper.demo import plot as demo_plot

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
