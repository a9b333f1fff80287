"""Radii that promise whole episodes cover so many of them that calibrated nothing, with errors that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear

import composite_flow as cf
from composite_flow.analysis.conformal_radii import conformal_radii

STEPS, EPISODES = 10, 240
POINT = jnp.array([0.5, 0.5])
OPTIONS = {"radius": 0.1, "levels": (0.5, 0.9), "num_samples": 1, "num_sweeps": 12}


class Agreeing(Linear):
    """Both agents' only fixed point is the same, so that every sample ends there."""

    def condition(self, history):
        return super().condition(history[-self.points.shape[0] :])


AGREEING = Agreeing(jnp.stack([POINT, POINT]), 0.4 * jnp.broadcast_to(jnp.eye(2)[None], (2, 2, 2)))


def episodes(count):
    """Episodes of ten steps, whose states are uniform in the square and do not depend on each other."""
    draws, steps = np.random.default_rng(0), count * STEPS
    return cf.HistoryDataset(
        cf.Episodes.from_arrays(
            observations=np.zeros((steps, 2, 1)),
            actions=np.zeros((steps, 2), int),
            states=draws.random((steps, 2)),
            ends=np.arange(1, steps + 1) % STEPS == 0,
        ),
        length=1,
    )


@pytest.fixture(scope="module")
def found():
    return conformal_radii(AGREEING, episodes(EPISODES), key=jax.random.key(0), max_episodes=EPISODES, **OPTIONS)


def share_within(radius):
    """Of the unit square, within a distance of ½ to √½ of its middle: the circle without what lies beyond the sides."""
    return np.pi * radius**2 - 4 * (radius**2 * np.arccos(0.5 / radius) - 0.5 * np.sqrt(radius**2 - 0.25))


@pytest.mark.parametrize("kind", ["deviation", "estimate"])
def test_whole_episodes_are_covered_as_promised(found, kind):
    """Ten steps lie within r with probability P^10, P that of one; a radius for one step would cover P^10 = 35%."""
    told = found[kind]
    assert (told["episodes"], told["other_episodes"]) == (EPISODES // 2, EPISODES // 2)
    for level in OPTIONS["levels"]:
        row, error = told["levels"][f"{level:g}"], np.sqrt(level * (1 - level) / (EPISODES // 2))
        assert row["coverage"] == pytest.approx(level, abs=4 * np.sqrt(2) * error) and row["p_value"] > 0.001
        assert share_within(row["radius"]) ** STEPS == pytest.approx(level, abs=4 * error)


def test_estimates_are_made_in_some_episodes_and_deviations_in_all():
    found = conformal_radii(AGREEING, episodes(20), key=jax.random.key(0), max_episodes=8, **OPTIONS)
    assert [found[kind]["episodes"] + found[kind]["other_episodes"] for kind in ("deviation", "estimate")] == [20, 8]


def test_one_episode_calibrates_and_no_other_shows_what_is_covered():
    found = conformal_radii(AGREEING, episodes(1), key=jax.random.key(0), max_episodes=8, **OPTIONS)
    assert (found["estimate"]["episodes"], found["estimate"]["other_episodes"]) == (1, 0)
    assert set(found["estimate"]["levels"]["0.9"]) == {"radius"} and found["estimate"]["levels"]["0.5"]["radius"] > 0
