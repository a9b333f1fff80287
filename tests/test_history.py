"""Histories survive the round trip through their flat form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.errors import InputError
from composite_flow.history import History, HistoryLayout

LAYOUT = HistoryLayout(length=3, observation_size=2, num_actions=4, num_agents=5)


def random_histories(key, count):
    """Windows that begin at, or up to two steps after, the start of their episode."""
    key_observations, key_actions, key_start, key_agent = jax.random.split(key, 4)
    start = jax.random.randint(key_start, (count, 1), 0, 3)
    mask = jnp.arange(3)[None] >= start
    observations = jax.random.normal(key_observations, (count, 3, 2)) * mask[..., None].astype(jnp.float32)
    actions = jax.random.randint(key_actions, (count, 2), 0, 4) * mask[:, :-1].astype(jnp.int32)
    return History(observations, actions, mask, jax.random.randint(key_agent, (count,), 0, 5))


def test_decode_inverts_encode(key):
    histories = random_histories(key, 20)
    decoded = LAYOUT.decode(LAYOUT.encode(histories))
    for field, recovered in zip(jax.tree.leaves(histories), jax.tree.leaves(decoded), strict=True):
        np.testing.assert_array_equal(field, recovered)


def test_parts_tile_the_columns_in_order():
    stops = [0] + [part.stop for part in LAYOUT.parts.values()]
    assert [part.start for part in LAYOUT.parts.values()] == stops[:-1]
    assert LAYOUT.size == 3 * 2 + 2 * 4 + 3 + 5


def test_masked_steps_are_zero_whatever_they_hold(key):
    history = History(jnp.full((3, 2), 7.0), jnp.array([3, 3]), jnp.array([False, False, True]), jnp.array(1))
    flat = LAYOUT.encode(history)
    assert float(jnp.sum(jnp.abs(flat[LAYOUT.parts["actions"]]))) == 0.0
    np.testing.assert_array_equal(flat[LAYOUT.parts["observations"]], [0, 0, 0, 0, 7, 7])


def test_another_width_is_refused():
    with pytest.raises(InputError, match="22 columns, not 7"):
        LAYOUT.decode(jnp.zeros(7))
