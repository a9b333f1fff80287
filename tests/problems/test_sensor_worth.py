"""What nine sensors can earn in Figure 5: with the true state, from their own views, and sharing what they see."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.problems import SensorNetwork
from composite_flow.problems.sensor import SensorWorld
from composite_flow.problems.subsets import list_subsets


def earned(problem, key, targets, choices):
    """The reward of each of several joint actions where the targets are."""
    world = SensorWorld(jnp.asarray(targets), jnp.int32(0))
    return jax.vmap(lambda actions: problem.step(key, world, actions)[1])(choices)


def test_what_nine_sensors_can_earn_at_most_and_from_their_own_view(key):
    """The scale of Figure 5: 16 steps × 1.6 where both targets can be tracked, 0.8 where they share a sensor.

    Sensors that scan what they see (the first of two) waste one scan where the targets share a sensor. So the true
    state is worth at most 0.62 an episode.
    """
    grid = SensorNetwork.grid(3, 3, num_targets=2)
    best, own = [], []
    for targets in list_subsets(grid.num_areas, 2):
        sensible = [[0, *(1 + np.flatnonzero(np.isin(row, targets)))] for row in np.asarray(grid.slots)]
        rule = [max(actions[:2]) for actions in sensible]
        choices = jnp.asarray([rule, *product(*sensible)])
        rewards = earned(grid, key, targets, choices)
        best.append(float(rewards.max()))
        own.append(float(rewards[0]))
    chances = np.asarray(grid.initial_probabilities(), np.float64)
    assert grid.num_steps * chances @ best == pytest.approx(20.637, abs=1e-3)
    assert grid.num_steps * chances @ own == pytest.approx(20.016, abs=1e-3)


def test_what_nine_sensors_earn_from_their_own_view_where_they_overlook_half_of_the_targets(key):
    """As above, over all that they may overlook. Scanning is worth its cost only where both sensors of a target see it.

    What the true state allows is the same as without misses: 20.64.
    """
    grid = SensorNetwork.grid(3, 3, num_targets=2)
    chances, total = np.asarray(grid.initial_probabilities(), np.float64), 0.0
    for targets, chance in zip(list_subsets(grid.num_areas, 2), chances, strict=True):
        agents, slots = np.nonzero(np.isin(np.asarray(grid.slots), targets))
        actions = []
        for seen in product((False, True), repeat=len(agents)):
            view = np.zeros(grid.slots.shape, int)
            view[agents, slots] = seen
            actions.append(np.where(view.any(axis=1), 1 + view.argmax(axis=1), 0))
        rewards = earned(grid, key, targets, jnp.asarray(actions))
        total += chance * float(np.mean(rewards))
    assert grid.num_steps * total == pytest.approx(4.180, abs=1e-3)


@pytest.fixture(scope="module")
def missing():
    """Nine sensors that overlook half of the targets."""
    return cf.problem_from_text("sensor:3x3,targets=2,miss=0.5")


def most_earned(problem, probabilities):
    """max Σ (P(target) − 0.2) over pairings: both sensors of an area scan it, and each sensor scans one area."""
    sensors = [frozenset(np.flatnonzero(column)) for column in np.asarray(problem.coverage).T]
    pairings = [frozenset()]
    for area, pair in enumerate(sensors):
        pairings += [chosen | {area} for chosen in pairings if not any(pair & sensors[other] for other in chosen)]
    scanned = np.array([np.isin(np.arange(problem.num_areas), list(chosen)) for chosen in pairings], np.float64)
    return np.max((probabilities - 0.2) @ scanned.T, axis=-1)


def test_what_a_team_can_earn_that_shares_what_it_sees(missing):
    """In closed form, as only the areas matter in which somebody sees a target; each target is seen by 3 of 4."""
    occupied = np.asarray(missing.states(), np.float64)
    chances, total = np.asarray(missing.initial_probabilities(), np.float64), 0.0
    for seen in (*((area,) for area in range(missing.num_areas)), *list_subsets(missing.num_areas, 2).tolist(), ()):
        weights = chances * occupied[:, seen].all(axis=1) * 0.75 ** len(seen) * 0.25 ** (2 - len(seen))
        total += weights.sum() * most_earned(missing, weights @ occupied / weights.sum())
    assert missing.num_steps * total == pytest.approx(16.43, abs=0.01)


def test_what_a_team_can_earn_that_shares_three_steps(missing):
    """By exact beliefs of 256 episodes, whose mean is known to 0.1."""
    data = cf.HistoryDataset(cf.collect(missing, 256, key=jax.random.key(0)), 3)
    belief = cf.exact_belief(missing, data.joint(data.steps).structured, joint=True)
    found = most_earned(missing, np.asarray(belief.probabilities, np.float64) @ np.asarray(belief.states))
    assert missing.num_steps * found.mean() == pytest.approx(18.80, abs=0.1)
