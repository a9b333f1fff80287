"""`worlds`: which worlds can be collected from here, and how large they are."""

from dataclasses import dataclass
from typing import Any

from tyro.conf import OmitArgPrefixes

from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import show, status, table
from composite_flow.errors import CompositeFlowError
from composite_flow.problems.base import EnumerableProblem, Problem
from composite_flow.problems.host import HostProblem
from composite_flow.problems.kinds import world_from_text

EXAMPLES = (
    "sensor:5x5,targets=2",
    "tabular:tiger",
    "smax:zerg_5_vs_5",
    "jaxmarl:MPE_simple_tag_v3",
    "jaxmarl:hanabi",
    "jaxmarl:overcooked_v2,agent_view_size=2",
    "jaxmarl:jaxnav",
    "jumanji:LevelBasedForaging-v0",
    "jumanji:RobotWarehouse-v0",
    "jumanji:SearchAndRescue-v0",
    "pettingzoo:pursuit_v5",
    "mpe2:simple_tag_v3",
    "lbf:Foraging-2s-8x8-2p-2f-v3",
    "rware:rware-tiny-2ag-v2",
    "smacv2:zerg_5_vs_5",
)
"""One of each kind, by which its sizes are shown; each kind has more."""


@dataclass(frozen=True)
class Listed:
    """A world, and what can be done in it.

    Attributes:
        world: how the command line names it.
        agents, actions, observation, state, steps: its sizes; None where it is not installed.
        use: what it gives.
    """

    world: str
    agents: int | None
    actions: int | None
    observation: int | None
    state: int | None
    steps: int | None
    use: str


def worlds(
    world: tuple[str, ...] = (),
    *,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """List worlds that are installed, with their sizes, and what is missing for the others.

    A world that is compiled can train policies too; one on the host gives episodes alone. Of one whose states can be
    listed, beliefs are exact.

    Args:
        world: other worlds to look at, such as lbf:Foraging-8x8-2p-2f-v3 or tiger.dpomdp; one of each kind where none
            is given.
    """
    with status() as progress:
        found = []
        for text in world or EXAMPLES:
            progress(f"Looking at {text}: it is made once")
            found.append(look_at(text))
    rows = [(one.world, one.agents, one.actions, one.observation, one.state, one.steps, one.use) for one in found]
    columns = ("world", "agents", "actions", "observation", "state", "steps", "gives")
    result: dict[str, Any] = {"worlds": [vars(one) for one in found]}
    show(result, [table("Worlds, and features of observations and states", columns, rows)], as_json=shared.json)


def look_at(text: str) -> Listed:
    """Make a world, measure it and stop it again; the reason where it cannot be made."""
    try:
        made = world_from_text(text)
    except CompositeFlowError as error:
        return Listed(text, None, None, None, None, None, str(error))
    if isinstance(made, HostProblem):
        made.close()
    agents, actions, steps = made.num_agents, made.num_actions, made.num_steps
    return Listed(text, agents, actions, made.observation_size, made.state_size, steps, _use(made))


def _use(made: Problem | HostProblem) -> str:
    if isinstance(made, HostProblem):
        return "episodes"
    return "episodes, policies, exact beliefs" if isinstance(made, EnumerableProblem) else "episodes, policies"
