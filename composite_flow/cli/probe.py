"""`probe`: what the state, a memory and the others' observations are worth in a world."""

from dataclasses import asdict
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import say, show, status, table
from composite_flow.problems.kinds import problem_from_text

_ACTS_ON = {
    "own": "own observation",
    "own-memory": "own observations, remembered",
    "all": "everybody's observations",
    "all-memory": "everybody's, remembered",
    "state": "the true state",
}


def probe(
    world: Annotated[Positional[str], arg(metavar="WORLD")],
    /,
    *,
    seconds: float = 60.0,
    seeds: int = 3,
    discount: float = 0.99,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Say what the state, a memory, and the others' observations are worth to a policy, before one is trained for long.

    Exactly where the problem's tables are small: by dynamic programming over the state and over the team's beliefs,
    and by a search for policies of agents that see a part each, which tells what can be earned at least. By short runs
    of small policies elsewhere.

    Args:
        world: such as sensor:3x3,targets=2,miss=0.5, tiger.dpomdp, smax:zerg_5_vs_5, or MODULE:FACTORY.
        seconds: that each short run learns, on top of compiling; 0 for no short runs.
        seeds: short runs of each kind.
        discount: of the next step's reward, in [0, 1], for which policies are the best; what they earn is told without
            it.
    """
    from composite_flow.analysis import probe as probing

    problem = problem_from_text(world)
    options = {"seconds": seconds, "num_seeds": seeds, "discount": discount, "seed": shared.seed}
    with status() as progress:
        found = probing.probe(problem, **options, tell=lambda sentence: progress(f"{world}: {sentence}"))
    result: dict[str, Any] = {"world": world, **asdict(found), "seconds": seconds, "seeds": seeds}
    rows = []
    for name, earned in found.earned.items():
        low, high = (earned and earned.interval) or (None, None)
        rows.append(
            (_ACTS_ON[name], *((None,) * 5 if earned is None else (earned.value, low, high, earned.how, earned.steps)))
        )
    if not shared.json:
        say(found.verdict)
    columns = ("acts on", "earns", "95% from", "to", "how", "steps learned")
    show(result, [table(f"What an episode of {world} earns", columns, rows)], as_json=shared.json)
