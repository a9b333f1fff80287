"""A team that acts can pass messages by any composition rule."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from teams import Linear

from composite_flow.composite.rule import CompositeDiffusion, ParallelMean
from composite_flow.data.scaling import Scaling
from composite_flow.history import HistoryLayout
from composite_flow.policy.inference import Inference, fresh_recollection, infer

AGENTS, CALLS = 3, 2
LAYOUT = HistoryLayout(1, 2, 1, AGENTS)


def team(rule, **options):
    """How they infer, and linear agents who are told apart by the last columns of their histories."""
    points = jnp.zeros((LAYOUT.size, 2)).at[-AGENTS:].set(jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]))
    jacobians = (
        jnp.zeros((LAYOUT.size, 2, 2)).at[-AGENTS:].set(jnp.array([0.2, 0.5, 0.3])[:, None, None] * jnp.eye(2)[None])
    )
    inference = Inference(LAYOUT, Scaling.identity(2), CALLS, 1, together=True, rule=rule, **options)
    return inference, Linear(points, jacobians)


@eqx.filter_jit
def two_steps(inference, denoiser, key):
    first = infer(inference, denoiser, fresh_recollection(inference), jnp.zeros((AGENTS, 2)), key)
    return first, infer(inference, denoiser, first, jnp.zeros((AGENTS, 2)), jax.random.fold_in(key, 1))


def mean_of_answers(denoiser, y):
    points, jacobians = denoiser.points[-AGENTS:], denoiser.jacobians[-AGENTS:]
    return jnp.mean(points + jnp.einsum("ijk,ik->ij", jacobians, y[None] - points), axis=0)


def test_a_parallel_mean_goes_on_from_the_last_steps_message(key):
    inference, denoiser = team(ParallelMean())
    first, second = two_steps(inference, denoiser, key)
    after_one = mean_of_answers(denoiser, first.message.y)
    np.testing.assert_allclose(second.message.y, mean_of_answers(denoiser, after_one), atol=1e-5)
    # everybody's estimate is what the last round began with
    np.testing.assert_allclose(second.y[:, 0], jnp.broadcast_to(after_one[None], (AGENTS, 2)), atol=1e-5)


def test_who_gets_no_message_starts_anew_from_its_own_state(key):
    """All messages lost: each round is over the answer of its last agent alone, from that agent's own y."""
    inference, denoiser = team(ParallelMean(), lost=1.0)
    first, second = two_steps(inference, denoiser, key)
    np.testing.assert_array_equal(second.y, first.y)
    points, jacobians = denoiser.points[-AGENTS:], denoiser.jacobians[-AGENTS:]
    answers = points + jnp.einsum("ijk,ik->ij", jacobians, first.y[:, 0] - points)
    assert np.min(np.max(np.abs(answers - second.message.y[None]), axis=1)) < 1e-5


def test_bytes_are_those_of_the_rules_message():
    assert [team(rule)[0].message_bytes for rule in (CompositeDiffusion(), ParallelMean())] == [8, 20]
