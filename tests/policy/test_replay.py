"""Histories drawn from the ring of latest steps are those that a plain walk through the episodes gives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.data.scaling import Scaling
from composite_flow.history import HistoryLayout
from composite_flow.policy.replay import ReplaySegments, empty_replay

LAYOUT = HistoryLayout(length=3, observation_size=2, num_actions=4, num_agents=2)
WORLDS, ROLLOUT, ROLLOUTS = 3, 4, 3


def walk(rng, steps):
    """Steps of worlds whose episodes last 1 to 6 steps; every number tells where it is from."""
    ages = np.zeros((WORLDS, steps), np.int32)
    for world in range(WORLDS):
        for time in range(1, steps):
            ages[world, time] = 0 if rng.random() < 0.3 else ages[world, time - 1] + 1
    observations = rng.random((WORLDS, steps, 2, 2)).astype(np.float32) + 1.0
    actions = rng.integers(0, 4, (WORLDS, steps, 2)).astype(np.int32)
    return observations, actions, rng.random((WORLDS, steps, 5)).astype(np.float32), ages


def expected(observations, actions, ages, world, time, agent):
    """The flat history, by DESIGN's words: observations, one-hot actions, mask, agent; zeros where masked."""
    steps = [(time - back, back <= ages[world, time]) for back in (2, 1, 0)]
    seen = [observations[world, step, agent] if inside else np.zeros(2) for step, inside in steps]
    done = [np.eye(4)[actions[world, step, agent]] * inside for step, inside in steps[:-1]]
    return np.concatenate([*seen, *done, [inside for _, inside in steps], np.eye(2)[agent]])


def test_histories_are_those_of_the_episodes(key):
    rng = np.random.default_rng(0)
    observations, actions, states, ages = walk(rng, 5 * ROLLOUT)
    scaling = Scaling(jnp.zeros(5), jnp.full(5, 2.0))
    replay = empty_replay(LAYOUT, scaling, WORLDS, ROLLOUTS * ROLLOUT)
    extended, sample = eqx.filter_jit(type(replay).extended), eqx.filter_jit(type(replay).sample)
    for first in range(0, 5 * ROLLOUT, ROLLOUT):
        part = slice(first, first + ROLLOUT)
        replay = extended(replay, *(jnp.asarray(record[:, part]) for record in (observations, actions, states, ages)))
        histories, drawn = sample(replay, jax.random.fold_in(key, first), 400)
        newest = first + ROLLOUT - 1
        oldest = max(0, newest + 1 - (ROLLOUTS * ROLLOUT - 2))
        pairs = {}
        for world in range(WORLDS):
            for time in range(oldest, newest + 1):
                for agent in range(2):
                    history = expected(observations, actions, ages, world, time, agent)
                    pairs[history.astype(np.float32).tobytes()] = states[world, time] / 2.0
        found = {np.asarray(history).tobytes() for history in histories}
        # nothing but these, each with its own state; 400 draws miss few of at most 60
        assert found <= set(pairs) and len(found) > 0.9 * len(pairs)
        for history, state in zip(histories, drawn, strict=True):
            np.testing.assert_allclose(state, pairs[np.asarray(history).tobytes()], rtol=1e-6)


def test_segments_are_consecutive_steps_of_what_is_kept(key):
    """All agents' histories and the state at each step; steps count while they are of the episode that began it."""
    rng, length, layout = np.random.default_rng(1), 3, HistoryLayout(1, 2, 4, 2)
    observations, actions, states, ages = walk(rng, 5 * ROLLOUT)
    replay = empty_replay(layout, Scaling(jnp.zeros(5), jnp.full(5, 2.0)), WORLDS, ROLLOUTS * ROLLOUT)
    sample = eqx.filter_jit(ReplaySegments.sample)
    for first in range(0, 5 * ROLLOUT, ROLLOUT):
        part = slice(first, first + ROLLOUT)
        replay = replay.extended(*(jnp.asarray(record[:, part]) for record in (observations, actions, states, ages)))
        segments, drawn = sample(ReplaySegments(replay, length), jax.random.fold_in(key, first), 400)
        stop = first + ROLLOUT
        begins = {
            states[world, time].tobytes(): (world, time)
            for world in range(WORLDS)
            for time in range(max(0, stop - ROLLOUTS * ROLLOUT), stop - length + 1)
        }
        found = [begins[np.asarray(2.0 * state[0]).astype(np.float32).tobytes()] for state in drawn]
        assert len(set(found)) > 0.9 * len(begins)
        for (world, time), histories, counts, state in zip(
            found, segments.histories, segments.counts, drawn, strict=True
        ):
            for step in range(length):
                np.testing.assert_allclose(state[step], states[world, time + step] / 2.0, rtol=1e-6)
                for agent in range(2):
                    wanted = [*observations[world, time + step, agent], 1.0, *np.eye(2)[agent]]
                    np.testing.assert_array_equal(histories[step, agent], np.float32(wanted))
                same = np.array_equal(ages[world, time : time + step + 1], ages[world, time] + np.arange(step + 1))
                assert bool(counts[step]) == same
