"""What fusion's cells of sensor networks are made of: joint histories, samples, messages and costs.

The cells themselves are run by `test_figures.py` and `test_scale.py`.
"""

import time
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer, Answers, Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.fusion.team_denoiser import build_team_denoiser
from composite_flow.fusion.team_sampling import sample_conditional
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.scale.fusion import drawn_half
from composite_flow_paper.scale.fusion_cost import fusion_cost
from composite_flow_paper.scale.message_bytes import bytes_curve, cheapest
from composite_flow_paper.shared.cpu_time import cpu_timed, matrix_product_rate
from composite_flow_paper.shared.fusion_runs import every_state, joint_arrays
from composite_flow_paper.shared.joint_samples import draw_joint_samples

pytestmark = pytest.mark.slow


def test_a_training_step_of_fusion_is_measured():
    found = fusion_cost(3, 1)
    assert found["agents"] == 9 and found["state"] == 12 and found["values_sent"] == 9  # two for each of four areas
    assert 0 < found["estimate_seconds"] and 0 < found["step_seconds"]
    assert 0 < found["estimate_gigabytes"] <= found["step_gigabytes"]


@pytest.fixture
def grid():
    problem = SensorNetwork.grid(2, 3, num_targets=2)
    return problem, HistoryDataset(collect(problem, 8, key=jax.random.key(0)), length=1)


def answers_of(problem, dataset):
    """Untrained answers of the network's agents."""
    size, agents = problem.state_size, problem.num_agents
    prior = Prior(jnp.full(size, 0.3), jnp.ones(size), FeatureTypes(tuple(range(size)), (), size))
    limits = jnp.zeros(dataset.layout.size), jnp.ones(dataset.layout.size)
    return AnswerNetwork(jnp.zeros((agents, dataset.layout.size)), limits, prior, 16, 1, key=jax.random.key(1))


def test_every_state_gives_its_joint_history(grid):
    problem, dataset = grid
    histories, states = every_state(problem, dataset.layout)
    joint = dataset.joint(dataset.steps)
    assert len(states) == 21 and histories.shape == (21, 6, dataset.layout.size)
    same = jnp.all(joint.states[:, None] == states[None], axis=2)
    np.testing.assert_array_equal(histories[jnp.argmax(same, axis=1)], joint.histories)


def test_states_have_no_joint_history_where_targets_are_missed(grid):
    problem = SensorNetwork.grid(2, 3, num_targets=2, miss=0.1)
    with pytest.raises(InputError, match="one joint history"):
        every_state(problem, grid[1].layout)


def test_sparse_answers_read_histories_without_identities(grid):
    problem, dataset = grid
    answers = answers_of(problem, dataset)
    histories, states = joint_arrays(answers, dataset, dataset.steps[:5])
    assert histories.shape == (5, 6, dataset.layout.size) and states.shape == (5, 7)
    own = dataset.layout.size - 6
    slots, usual = np.zeros((6, 2), np.int32), jnp.zeros((6, own))
    sparse = SparseAnswers(slots, usual, (jnp.zeros(own), jnp.ones(own)), answers.prior, key=jax.random.key(0))
    np.testing.assert_array_equal(joint_arrays(sparse, dataset, dataset.steps[:5])[0], histories[..., :own])


def test_samples_of_many_teams_are_those_of_each(grid):
    problem, dataset = grid
    team = build_team_denoiser(answers_of(problem, dataset), 16, 2, 2, speaker_width=8, key=jax.random.key(2))
    histories = dataset.joint(dataset.steps[:3]).histories
    participants, draw = jnp.eye(6, dtype=bool)[:3], partial(sample_conditional, num_steps=4)
    found = draw_joint_samples(team, histories, participants, 5, draw, key=jax.random.key(3), batch_size=2)
    key = jax.random.split(jax.random.key(3), 3)[2]
    alone = draw(team, team.message(histories[2], participants[2]), 5, key=key)
    np.testing.assert_allclose(found[2], alone, atol=1e-5)


def test_messages_are_counted_in_bytes(grid):
    """Of two values in three bits for a feature: 3 + 32, or rounded 3 + 8 and one 32 for each agent that speaks."""
    problem, dataset = grid
    answers = Said(answers_of(problem, dataset).prior)
    histories = jnp.array([[[0.0, 9.0, 0.0, 1.0, 0.0, 0.0, 0.0], [7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]])
    states = jnp.array([[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    whole, rounded, cut, cut_and_rounded = bytes_curve(answers, histories, states, (0.0, 2.0), (32, 8))
    assert whole["bytes"] == 4 * 2 * 7 and whole["exact_rate"] == 0.0  # area 4 is said to hold one, too
    assert (rounded["values"], rounded["speakers"], rounded["bytes"]) == (3, 2, (3 * 11 + 2 * 32) / 8)
    assert (cut["values"], cut["bytes"], cut["exact_rate"]) == (2, 2 * 35 / 8, 1.0)
    assert cut_and_rounded["bytes"] == (2 * 11 + 2 * 32) / 8
    assert cheapest([whole, rounded, cut, cut_and_rounded]) is cut
    assert cheapest([whole]) is None


class Said(Answers):
    """Answers that are the history itself, as evidence."""

    prior: Prior

    def condition(self, history):
        return history

    def answer(self, context):
        nothing = jnp.zeros_like(context)
        return Answer(context, nothing, nothing, nothing[:0])


def test_sparse_answers_send_what_they_say_and_not_what_it_becomes(grid):
    """One agent speaks of feature 2 and of all: two values, of which the second is left out by a threshold."""
    problem, dataset = grid
    prior, own = answers_of(problem, dataset).prior, dataset.layout.size - 6
    limits, usual = (jnp.zeros(own), jnp.ones(own)), jnp.zeros((6, own))
    sparse = SparseAnswers(np.full((6, 1), 2), usual, limits, prior, width=4, depth=1, key=jax.random.key(0))
    sparse = eqx.tree_at(
        lambda a: (a.history_weights, a.embeddings, a.evidence_weights, a.everywhere_weights),
        sparse,
        (jnp.eye(own)[:, :4], jnp.zeros((6, 4)), jnp.full((4, 1), 9.0), jnp.full(4, 1.5)),
    )
    histories = jnp.zeros((1, 6, own)).at[0, 3, 0].set(1.0)
    states = jnp.zeros((1, 7)).at[0, 2].set(1.0)
    whole, cut = bytes_curve(sparse, histories, states, (0.0, 2.0), (32,))
    assert (whole["values"], whole["bytes"]) == (6 * 2, 4 * 6 * 2)
    rounded, few = bytes_curve(sparse, histories, states, (0.5, 2.0), (8,))
    assert [(one["values"], one["speakers"]) for one in (cut, rounded, few)] == [(1, 1), (2, 1), (1, 1)]
    assert cut["bytes"] == (3 + 32) / 8 and rounded["bytes"] == (2 * (3 + 8) + 32) / 8
    assert [one["exact_rate"] for one in (whole, rounded, cut, few)] == [0, 0, 1, 1]  # 1.5 for all is too much


def test_a_half_is_drawn_for_each_joint_history():
    halves = drawn_half(jax.random.key(0), 50, 7)
    np.testing.assert_array_equal(halves.sum(axis=1), 4)
    assert len(np.unique(np.asarray(halves), axis=0)) > 20


def test_cpu_seconds_are_of_work_and_not_of_waiting():
    waited, waiting = cpu_timed(lambda: time.sleep(0.5))
    found, working = cpu_timed(lambda: sum(range(3_000_000)))
    assert waited is None and found == 3_000_000 * 2_999_999 // 2 and waiting < 0.4 and working > 0.01
    rates = matrix_product_rate()
    assert rates["gigaflops_per_cpu_second"] > 0.1 and rates["gigaflops_per_second"] > 0.01
