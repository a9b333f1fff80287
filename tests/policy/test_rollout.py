"""Worlds that reset themselves, and what is recorded of them, on a world whose trajectory is known exactly."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counter_world import CounterWorld

from composite_flow.policy.config import MappoConfig
from composite_flow.policy.curves import rows_of
from composite_flow.policy.mappo import Measures, new_networks
from composite_flow.policy.rollout import play, start_worlds
from composite_flow.policy.team import Team
from composite_flow.problems.base import tells_wins

CONFIG = MappoConfig(width=8, depth=1, worlds=5, rollout=24, piece=6)


class WonWorld(CounterWorld):
    """Won where the episode had an even length; a new world holds a plain number."""

    def reset(self, key):
        return 0, *super().reset(key)[1:]

    def won(self, world):
        return world[1] % 2 == 0


@eqx.filter_jit
def played(problem, team, key):
    live = start_worlds(problem, team, key, CONFIG.worlds)
    return (live, *play(problem, team, live, key, CONFIG.rollout // CONFIG.piece, CONFIG.piece))


@pytest.fixture(scope="module")
def record():
    problem, key = WonWorld(), jax.random.key(0)
    networks = new_networks(problem, CONFIG, key)
    first, live, pieces, finished = played(problem, Team(networks), key)
    # (time, worlds, steps, ...) to (worlds, steps, ...)
    flat = jax.tree.map(lambda part: np.moveaxis(np.asarray(part), 1, 0).reshape(5, 24, *part.shape[3:]), pieces.steps)
    return problem, networks, first, live, pieces, flat, finished


def test_worlds_start_anew_after_each_end(record):
    _, _, _, live, _, steps, _ = record
    time, length = np.moveaxis(steps.state, -1, 0)
    # an episode of this world is over after length − 1 steps; the record has one row per step that was taken
    np.testing.assert_array_equal(steps.ends, time + 2 == length)
    np.testing.assert_array_equal(steps.starts, time == 0)
    np.testing.assert_array_equal(steps.starts[:, 1:], steps.ends[:, :-1])
    np.testing.assert_array_equal(time[:, 1:], np.where(steps.ends[:, :-1], 0, time[:, :-1] + 1))
    np.testing.assert_array_equal(live.starts, steps.ends[:, -1])
    assert len(np.unique(length[steps.starts])) > 3


def test_types_stay_what_they_are(record):
    """Else every run would compile twice."""
    _, _, first, live, *_ = record
    for before, after in zip(jax.tree.leaves(first), jax.tree.leaves(live), strict=True):
        assert before.aval == after.aval and not before.weak_type


def test_steps_hold_what_was_seen_and_done(record):
    problem, _, _, _, _, steps, _ = record
    np.testing.assert_array_equal(steps.inputs[..., 3:], np.broadcast_to(np.eye(3), (5, 24, 3, 3)))
    np.testing.assert_array_equal(steps.inputs[..., 1], np.repeat(steps.state[..., :1], 3, axis=-1))
    assert np.take_along_axis(steps.available, steps.actions[..., None], axis=-1).all()
    assert (steps.actions[steps.state[..., 0] % 2 == 0] == problem.num_actions - 1).any()
    np.testing.assert_array_equal(steps.reward, steps.actions.sum(axis=-1))
    assert (steps.log_probabilities < 0).all()


def test_sums_over_finished_episodes(record):
    _, _, _, live, _, steps, finished = record
    earned, count, won, lengths = 0.0, 0, 0, 0
    for world in range(5):
        ends = np.flatnonzero(steps.ends[world])
        parts = np.split(steps.reward[world], ends + 1)
        earned += sum(part.sum() for part in parts[:-1])
        assert float(live.earned[world]) == parts[-1].sum()
        count, lengths = count + len(ends), lengths + sum(len(part) for part in parts[:-1])
        won += int(np.sum(steps.state[world, ends, 1] % 2 == 0))
    sums = (finished.count, finished.earned, finished.length, finished.won)
    np.testing.assert_array_equal([float(number) for number in sums], [count, earned, lengths, won])


def test_unrolled_pieces_repeat_what_was_played(record):
    """Memories at the start of each piece, forgetting at each episode's start: the same logits and values."""
    _, networks, _, _, pieces, _, _ = record

    @eqx.filter_jit
    @partial(jax.vmap, in_axes=(None, 0))
    @partial(jax.vmap, in_axes=(None, 0))
    def again(networks, piece):
        steps = piece.steps
        over_agents = jax.vmap(networks.actor.unroll, in_axes=(0, 1, None), out_axes=(0, 1))
        memory, logits = over_agents(piece.actor_memory, steps.inputs, steps.starts)
        values = networks.critic.unroll(piece.critic_memory, steps.state, steps.starts)[1][:, 0]
        masked = jnp.where(steps.available, logits, -jnp.inf)
        chosen = jax.nn.one_hot(steps.actions, logits.shape[-1], dtype=bool)
        log = jnp.where(chosen, jax.nn.log_softmax(masked), 0.0).sum(axis=-1)
        return memory, log, values

    memory, log, values = again(networks, pieces)
    # the same sums in another order
    np.testing.assert_allclose(log, pieces.steps.log_probabilities, atol=1e-5)
    np.testing.assert_allclose(values, pieces.steps.value, atol=1e-5)
    ended = np.asarray(pieces.steps.ends)[:-1, :, -1]
    carried = np.where(ended[..., None, None], 0.0, np.asarray(memory)[:-1])
    np.testing.assert_allclose(pieces.actor_memory[1:], carried, atol=1e-5)


def test_rows_tell_means_over_episodes(record):
    problem, *_, finished = record
    measures = Measures(jax.tree.map(lambda total: total[None], finished), *(jnp.full(1, 0.5),) * 7)
    row = rows_of(measures, 4, 1, CONFIG.steps_per_update, tells_wins(problem))[0]
    assert (row["update"], row["steps"], row["episodes"]) == (5, 5 * 120, int(finished.count))
    assert row["return"] == pytest.approx(float(finished.earned) / int(finished.count))
    assert row["win_rate"] == pytest.approx(float(finished.won) / int(finished.count))
    nothing = jax.tree.map(lambda total: 0 * total[None], finished)
    row = rows_of(Measures(nothing, *(jnp.full(1, 0.5),) * 7), 0, 1, 1, False)[0]
    assert (row["return"], row["length"], row["win_rate"]) == (None, None, None)
    assert not tells_wins(CounterWorld())
