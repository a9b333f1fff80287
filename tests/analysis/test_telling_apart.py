"""Ways are told apart by episodes, and features that nobody knows are found, from errors that are made up."""

import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.analysis.comparison import spread_of
from composite_flow.analysis.telling_apart import certainly_less, tell_apart

NAMES = ("speed", "sin heading (degrees)", "cos heading (degrees)", "cargo")
EPISODES = np.repeat(np.arange(12), 4)
TRUTH = jnp.zeros((48, 4))


def off_by(*errors):
    """One estimate of each joint history."""
    return jnp.broadcast_to(jnp.asarray(errors, jnp.float32), TRUTH.shape)[:, None]


def test_what_is_not_below_the_mean_state_is_unknown_and_left_out_of_what_is_known():
    ways = {"fusion": off_by(0.1, 0.1, 0.3, 0.4), "constant": off_by(0.3, 0.3, 0.3, 0.4)}
    found = tell_apart(ways, TRUTH, NAMES, "fusion", EPISODES)
    # an angle is unknown where both of its columns are
    assert found.unknown == ["cos heading (degrees)", "cargo"] and found.known_places == [0, 1]
    assert found.psnr_of_known["fusion"] == pytest.approx(20.0, abs=1e-4)
    assert found.psnr_of_known["constant"] == pytest.approx(-20 * np.log10(0.3), abs=1e-4)
    ways["fusion"] = off_by(0.1, 0.4, 0.3, 0.1)
    assert tell_apart(ways, TRUTH, NAMES, "fusion", EPISODES).unknown == ["heading"]


def test_where_all_or_nothing_is_known_nothing_is_left_out():
    for error, unknown in ((0.1, []), (0.3, ["speed", "heading", "cargo"])):
        ways = {"fusion": off_by(*[error] * 4), "constant": off_by(*[0.3] * 4)}
        found = tell_apart(ways, TRUTH, NAMES, "fusion", EPISODES)
        assert found.unknown == unknown and found.known_places == [0, 1, 2, 3] and not found.psnr_of_known


def test_a_constant_feature_is_not_called_unknown_and_few_episodes_call_nothing_so():
    ways = {"fusion": off_by(0.1, 0.1, 0.1, 0.0), "constant": off_by(0.3, 0.3, 0.3, 0.0)}
    assert tell_apart(ways, TRUTH, NAMES, "fusion", EPISODES).unknown == []
    ways["fusion"] = ways["constant"]
    assert tell_apart(ways, TRUTH, NAMES, "fusion", EPISODES).unknown == ["speed", "heading"]
    assert tell_apart(ways, TRUTH, NAMES, "fusion", EPISODES % 9).unknown == []


def test_what_happens_in_one_episode_alone_and_is_known_there_is_not_called_unknown():
    """Of one episode no difference is certain; but there is nothing left that would not be known."""
    once = jnp.asarray(EPISODES == 3, jnp.float32)[:, None]
    truth = jnp.concatenate([once, jnp.zeros((48, 3))], axis=1)
    ways = {"fusion": truth[:, None], "constant": jnp.broadcast_to(truth.mean(axis=0), truth.shape)[:, None]}
    assert tell_apart(ways, truth, NAMES, "fusion", EPISODES).unknown == []
    guess = 0.97 * ways["constant"] + 0.03 * truth[:, None]
    assert tell_apart({**ways, "fusion": guess}, truth, NAMES, "fusion", EPISODES).unknown == ["speed"]


def test_ways_are_level_where_episodes_do_not_agree_on_a_difference():
    """One way is better by 0.1 in every episode; the other by as much in the mean, in one episode alone."""
    always, once = off_by(*[0.2] * 4), jnp.where(EPISODES[:, None, None] == 3, 0.0, off_by(*[0.3] * 4))
    ways = {"a": off_by(*[0.3] * 4), "b": always, "c": once}
    found = tell_apart(ways, TRUTH, NAMES, None, EPISODES)
    assert found.level == {"a": ["c"], "b": [], "c": ["a"]}


def test_two_standard_errors_over_episodes_decide():
    random = np.random.default_rng(0)
    noise = random.normal(size=400)
    noise = (noise - noise.mean()) / noise.std(ddof=1)  # its standard error is 0.05
    assert not certainly_less(noise, noise.mean() + 0.0 * noise + 0.099)
    assert certainly_less(noise, noise.mean() + 0.0 * noise + 0.101)
    assert not certainly_less(noise[:1], noise[:1] + 1.0)


def test_samples_of_the_exact_posterior_have_a_spread_of_one():
    """s and S samples are drawn alike; samples half as wide about the same centre have half of it, or less."""
    random = np.random.default_rng(0)
    states, samples = random.normal(size=(4000, 2)), random.normal(size=(4000, 16, 2))
    assert spread_of(jnp.asarray(samples), jnp.asarray(states)) == pytest.approx(1.0, abs=0.03)
    # the mean of narrow samples is nearer to the centre: √((1 + 1/16)/4 / (1 + 1/64)) of it
    narrow = spread_of(jnp.asarray(samples / 2), jnp.asarray(states))
    assert narrow == pytest.approx(((1 + 1 / 16) / 4 / (1 + 1 / 64)) ** 0.5, abs=0.03)
    assert spread_of(jnp.zeros((3, 16, 2)), jnp.zeros((3, 2))) is None
