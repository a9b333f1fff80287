"""What the state, a memory, and the others' observations are worth to a policy in a world, before anything is trained.

An agent acts on one of five things:

    own           its own observation of this step, by the same rule at every step
    own-memory    all that it has observed
    all           what everybody observes in this step
    all-memory    what everybody has observed: the most that any inference can give
    state         the true state

The state is worth state − own, a memory own-memory − own, and the others all-memory − own-memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from composite_flow.analysis.probe.earned import Earned
from composite_flow.analysis.probe.exact import value_of_belief, value_of_state
from composite_flow.analysis.probe.search import value_with_clock, value_without_clock
from composite_flow.analysis.probe.short_runs import short_run
from composite_flow.analysis.probe.verdict import Worth, verdict, worth
from composite_flow.analysis.probe.watched import value_of_watched_state, values_of_watched_beliefs
from composite_flow.analysis.probe.windows import windows_of
from composite_flow.errors import InputError
from composite_flow.metrics import normal_interval
from composite_flow.problems.base import EnumerableProblem, Problem
from composite_flow.problems.decision_tables import DecisionTables, WatchedWorld, decision_tables, watched_world
from composite_flow.validation import check_counts

PARTS = {
    "own": ("agent", False),
    "own-memory": ("agent", True),
    "all": ("observations", False),
    "all-memory": ("observations", True),
    "state": ("state", False),
}
"""What is acted on, by the input of a policy and whether it remembers."""

_EPISODES = 1024  # of exact beliefs
_RESTARTS = 24  # of searches
_LONGEST = 3  # observations that searched policies remember


@dataclass(frozen=True)
class Probe:
    """What a world is worth to whom.

    Attributes:
        earned: what acting on each of `PARTS` earns; None where it is not known.
        state, memory, others: what each of them adds.
        discount: by which policies were the best.
        verdict: in one sentence.
    """

    earned: dict[str, Earned | None]
    state: Worth | None
    memory: Worth | None
    others: Worth | None
    discount: float
    verdict: str


def probe(
    problem: Problem,
    *,
    seconds: float = 60.0,
    num_seeds: int = 3,
    discount: float = 0.99,
    seed: int = 0,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Probe:
    """Find what acting on the state, on memories and on the others' observations earns.

    Exactly, or as a bound whose policy is valued exactly, where a problem has tables that are small enough
    (`problems.decision_tables`); on sampled exact beliefs where no action moves the state; by short runs elsewhere.

    Args:
        problem: the world.
        seconds: that a short run learns, for each seed; with 0 there are none.
        num_seeds: short runs of each input.
        discount: γ, in [0, 1], for which policies are the best; what they earn is told without it.
        seed: of whatever is drawn.
        tell: called with what is being done.

    Raises:
        InputError: the world has no state, or a number is out of range.
    """
    check_counts(num_seeds=num_seeds)
    if not 0 <= discount <= 1:
        raise InputError(f"The discount must lie in [0, 1], not {discount}.")
    if not 0 <= seconds < np.inf:
        raise InputError(f"The seconds of a short run are a finite number that is not negative, not {seconds}.")
    if problem.state_size < 1:
        raise InputError("This world has no state, so that there is nothing whose worth could be probed.")
    earned: dict[str, Earned | None] = dict.fromkeys(PARTS)
    earned |= _without_playing(problem, discount, seed, tell)
    for name, (inputs, remembers) in PARTS.items():
        if earned[name] is None and seconds > 0:
            options = {"discount": discount, "seconds": seconds, "seeds": range(seed, seed + num_seeds)}
            told = lambda what, name=name: tell(f"Acting on {name}: a run of {seconds:g} seconds, {what}")  # noqa: E731
            earned[name] = short_run(problem, inputs, remembers=remembers, **options, tell=told)
    own, memory, team, state = (earned[name] for name in ("own", "own-memory", "all-memory", "state"))
    parts = worth(state, own), worth(memory, own), worth(team, memory)
    return Probe(earned, *parts, discount, verdict(earned))


def _without_playing(problem: Problem, discount: float, seed: int, tell) -> dict[str, Earned | None]:
    """What can be said of an enumerable problem."""
    if (tables := decision_tables(problem)) is not None:
        tell("Dynamic programming over the state and over beliefs")
        return _by_tables(tables, discount, seed)
    world = watched_world(problem)
    if world is None or not isinstance(problem, EnumerableProblem):
        return {}
    tell("Exact beliefs of drawn episodes")
    return _by_beliefs(problem, world, seed)


def _by_tables(tables: DecisionTables, discount: float, seed: int) -> dict[str, Earned | None]:
    """Exactly, or by the best policies that were found."""
    random, found = np.random.default_rng(seed), dict[str, Earned | None]()
    found["state"] = Earned(value_of_state(tables, discount), None, "exact")
    team = value_of_belief(tables, discount)
    for name, together in (("own", False), ("all", True)):
        reactive = windows_of(tables, 1, together=together)
        if reactive is not None:
            found[name] = Earned(value_without_clock(reactive, discount, _RESTARTS, random), None, "at least")
        if together and team is not None:
            continue
        lengths = (windows_of(tables, length, together=together) for length in range(1, _LONGEST + 1))
        values = [value_with_clock(each, discount, _RESTARTS, random) for each in lengths if each is not None]
        if values:
            found[f"{name}-memory"] = Earned(max(values), None, "at least")
    if team is not None:
        found["all-memory"] = Earned(team, None, "exact")
    return found


def _by_beliefs(problem: EnumerableProblem, world: WatchedWorld, seed: int) -> dict[str, Earned | None]:
    """The state exactly; beliefs of one step and of all steps in drawn episodes."""
    found: dict[str, Earned | None] = {"state": Earned(value_of_watched_state(problem, world), None, "exact")}
    for name, length in (("all", 1), ("all-memory", world.num_steps)):
        returns = values_of_watched_beliefs(problem, world, length, _EPISODES, jax.random.key(seed))
        found[name] = Earned(float(returns.mean()), normal_interval(returns), "sampled")
    return found
