"""`collect`: let a problem's team act at random and write what it saw, did, and the states."""

from pathlib import Path
from typing import Annotated

import jax
from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.commands.options import Shared
from composite_flow.data.collect import collect_to
from composite_flow.problems import problem_from_text
from composite_flow.reporting import progress_bar, show, table


def collect(
    problem: Annotated[Positional[str], arg(metavar="PROBLEM")],
    /,
    out: Path,
    *,
    episodes: int = 4096,
    steps: int | None = None,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Collect episodes of a problem with random actions.

    Args:
        problem: such as sensor:5x5,targets=2 or sensor:2x2,miss=0.5/0.5/0/0.
        out: folder for the episodes, HDF5 files.
        episodes: how many.
        steps: most steps of an episode; the problem's own number where not given.
    """
    world = problem_from_text(problem)
    with progress_bar("episodes") as advance:
        collected = collect_to(
            out,
            world,
            episodes,
            key=jax.random.key(shared.seed),
            num_steps=steps,
            overwrite=shared.overwrite,
            progress=advance,
        )
    result = {
        "data": str(out),
        "episodes": collected.num_episodes,
        "steps": collected.num_steps,
        "agents": collected.num_agents,
        "observation_features": collected.observation_size,
        "actions": collected.num_actions,
        "state_features": collected.state_size,
        "megabytes": round(collected.num_bytes / 1e6, 3),
        "problem": collected.description,
    }
    rows = [(name.replace("_", " "), value) for name, value in result.items() if name != "problem"]
    show(result, [table(f"Collected {problem}", ("", "value"), rows)], as_json=shared.json)
