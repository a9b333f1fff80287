"""What a team earns on exact beliefs in a world that no action moves.

There what is known decides each step for itself: max_a Σ_s b(s) R(s, a), whatever the discount. Beliefs are those of
episodes that are drawn, so that what they earn is a mean over episodes with an interval. Some episodes pay more than
others; what their states would have paid, whose mean is known exactly, is a control variate that takes this out.
"""

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from composite_flow.belief import exact_belief, state_distributions
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.problems.base import EnumerableProblem, RandomPolicy
from composite_flow.problems.decision_tables import WatchedWorld

_AT_ONCE = 1024  # beliefs


def value_of_watched_state(problem: EnumerableProblem, world: WatchedWorld) -> float:
    """What acting on the state earns, exactly."""
    chances = np.asarray(state_distributions(problem, RandomPolicy(), world.num_steps), np.float64)
    return float(np.sum(chances @ world.rewards.max(axis=1)))


def values_of_watched_beliefs(
    problem: EnumerableProblem, world: WatchedWorld, length: int, num_episodes: int, key: PRNGKeyArray
) -> Float[np.ndarray, " episodes"]:
    """What acting on the team's belief earns in episodes that are drawn, beside what their states pay on average.

    Args:
        problem: the world, with its probabilities.
        world: what it pays.
        length: joint observations that the belief is of.
        num_episodes: how many.
        key: draws them.
    """
    episodes = collect(problem, num_episodes, key=key)
    dataset = HistoryDataset(episodes, length)
    earned = np.zeros(episodes.num_steps)
    for first in range(0, episodes.num_steps, _AT_ONCE):
        steps = np.arange(first, min(first + _AT_ONCE, episodes.num_steps))
        found = exact_belief(problem, dataset.joint(steps).structured, joint=True)
        assert np.array_equal(found.states, world.states), "hidden states are distinct"
        beliefs = np.asarray(found.probabilities, np.float64)
        truth = np.argmin(
            np.sum((np.asarray(episodes.states[steps])[:, None] - world.states[None]) ** 2, axis=2), axis=1
        )
        earned[steps] = np.max(beliefs @ world.rewards, axis=1) - world.rewards.max(axis=1)[truth]
    return value_of_watched_state(problem, world) + np.add.reduceat(earned, np.asarray(episodes.starts))
