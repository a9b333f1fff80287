"""Pairs drawn for points of flows have the ideal denoiser as the mean of their states."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_fit import CONFIG, TABLE, assert_same_bits

from composite_flow.denoiser import Uniform
from composite_flow.errors import InputError
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow.training.flow_loss import (
    FlowLosses,
    contradicted_points,
    draw_candidates,
    log_kernel_ratio,
    undecided_points,
)
from composite_flow.training.loss import pair_losses
from composite_flow_paper.shared.sensor_runs import SensorSettings, collect_sensors

pytestmark = pytest.mark.slow

DRAWS = 40_000
STATES = jnp.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
HISTORY_OF = np.array([0, 0, 1, 1, 1, 0, 1, 2])  # of each candidate; history 2 knows its state
STATE_OF = np.array([0, 1, 1, 2, 2, 3, 3, 2])
Y = jnp.array([0.6, 0.5, 0.45, 0.1])


@partial(jax.jit, static_argnums=0)
def answer(history):
    """f*(τ, y) of the candidates' own frequencies, in closed form."""
    members = STATE_OF[history == HISTORY_OF]
    squared = jnp.sum((Y[None] - STATES[members]) ** 2, axis=1)
    return jax.nn.softmax(Uniform().log_kernel(squared, 4)) @ STATES[members]


def weighted_means(drawn, weights):
    """Mean state of the pairs that were drawn, for each history, and its standard error."""
    for history in range(3):
        mine = HISTORY_OF[drawn] == history
        states, share = np.asarray(STATES)[STATE_OF[drawn[mine]]], weights[mine] / weights[mine].sum()
        mean = share @ states
        yield history, mean, np.sqrt(np.sum((share[:, None] * (states - mean)) ** 2, axis=0))


def test_pairs_drawn_for_a_point_have_the_ideal_answer_as_their_mean():
    drawn = np.asarray(draw_candidates(jnp.tile(Y, (DRAWS, 1)), STATES[STATE_OF], jax.random.key(0)))
    for history, mean, error in weighted_means(drawn, np.ones(DRAWS)):
        np.testing.assert_allclose(mean, answer(history), atol=5 * error.max() + 1e-6)


def test_pairs_drawn_for_a_moved_point_have_it_by_their_odds():
    moved = Y + jnp.array([-0.5, 0.4, 0.3, 0.4])
    drawn = np.asarray(draw_candidates(jnp.tile(moved, (DRAWS, 1)), STATES[STATE_OF], jax.random.key(1)))
    states = STATES[STATE_OF[drawn]]
    odds = log_kernel_ratio(jnp.tile(Y, (DRAWS, 1)), jnp.tile(moved, (DRAWS, 1)), states)
    assert np.ptp(np.asarray(odds)) > 1.0  # the points differ enough for the weights to matter
    for history, mean, error in weighted_means(drawn, np.exp(np.asarray(odds, np.float64))):
        np.testing.assert_allclose(mean, answer(history), atol=5 * error.max() + 1e-6)


@pytest.fixture(scope="module")
def sensors():
    return collect_sensors(SensorNetwork.grid(3, 3, 2), SensorSettings(num_episodes=256), key=jax.random.key(2))


def answered(ideal, near, histories, states):
    """Whether the history of each point allows the state that is nearest to it, and whether that is the answer."""
    every = ideal.belief.states
    nearest = jnp.argmin(jnp.sum((near[:, None] - every[None]) ** 2, axis=2), axis=1)
    allowed = jnp.isfinite(jax.vmap(ideal.condition)(histories))[jnp.arange(len(near)), nearest]
    return np.asarray(allowed), np.asarray(jnp.all(every[nearest] == states, axis=1))


def test_contradicted_points_seldom_have_a_rival_of_an_allowed_state_for_an_answer(sensors):
    histories, states = sensors.train.sample(jax.random.key(3), 1024)
    near = sensors.train.sample(jax.random.key(4), 512)[1]
    drawn = draw_candidates(near + 0.45 * jax.random.normal(jax.random.key(5), near.shape), states, jax.random.key(6))
    allowed, own = answered(sensors.ideal, near, histories[drawn], states[drawn])
    without_weights = np.mean(~own[allowed])
    lesson = eqx.filter_jit(contradicted_points)(sensors.ideal, near, histories, states, 256, jax.random.key(5))
    allowed, own = answered(sensors.ideal, lesson.y, lesson.histories, lesson.states)
    assert jnp.all(lesson.weights == 1.0)
    assert np.mean(~allowed) > 0.2, "contradictions are what these points are for"
    assert not np.any(own & ~allowed), "a pair's history allows its own state"
    assert np.mean(~own[allowed]) < 0.75 * without_weights  # 0.31 and 0.51, each with a standard error of 0.04


def test_undecided_points_lie_between_states(sensors):
    histories, states = sensors.train.sample(jax.random.key(3), 1024)
    lesson = eqx.filter_jit(undecided_points)(sensors.ideal, histories[:256], histories, states, jax.random.key(6))
    distance = jnp.sqrt(jnp.min(jnp.sum((lesson.y[:, None] - states[None]) ** 2, axis=2), axis=1))
    assert jnp.mean(distance > 0.3) > 0.2 and jnp.max(distance) < 1.5  # half the distance of two states is 0.7


def test_the_batch_itself_is_learned_from_as_ever(sensors):
    histories, states = sensors.train.sample(jax.random.key(3), 5 * 64)
    key = jax.random.key(7)
    losses = eqx.filter_jit(FlowLosses(64, 32))(sensors.ideal, histories, states, key)
    assert losses.shape == (96,)
    expected = eqx.filter_jit(pair_losses)(sensors.ideal, histories[:64], states[:64], jax.random.split(key, 3)[0])
    np.testing.assert_allclose(losses[:64], expected, rtol=1e-6)


def test_a_run_with_points_of_flows_resumes_to_the_same_bits(tmp_path):
    config = dataclasses.replace(CONFIG, flow_points=16)
    whole = fit(TABLE, TABLE, config, key=jax.random.key(1))

    def stop(step, total, loss):
        if step >= 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(TABLE, TABLE, config, key=jax.random.key(1), folder=tmp_path, progress=stop)
    assert_same_bits(fit(TABLE, TABLE, config, key=jax.random.key(1), folder=tmp_path, resume=True), whole)
    assert whole.curves[-1]["validation_loss"] < whole.curves[0]["validation_loss"]


@pytest.mark.parametrize("points", [-2, 3, 34])
def test_points_of_flows_are_even_and_no_more_than_the_batch(points):
    with pytest.raises(InputError, match="an even number up to the batch, 32"):
        TrainingConfig(batch=32, flow_points=points)
