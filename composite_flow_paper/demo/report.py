"""What the demo tells: the evaluation's figures, and a table of what each sensor can tell."""

from collections.abc import Mapping, Sequence
from typing import Any

from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.demo.cell import DemoSettings
from composite_flow_paper.shared.cells import Results, of_group

GROUP = "demo"


def summarise(settings: DemoSettings, results: Results) -> dict[str, Any]:
    """The evaluation's figures, with the agents' rows and how the model was trained under "demo"."""
    return of_group(results, GROUP)[0]["summary"]


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
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
        for row in summary["demo"]["agents"]
    ]
    title = "What each sensor can tell from its own view of one held-out step\n"
    title += "(posterior and basin mass: of the true state; distance: total variation over all states)"
    return [(title, columns, rows)]
