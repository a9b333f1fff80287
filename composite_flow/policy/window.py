"""The last observations and actions of each agent while a team acts, which grow step by step."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from composite_flow.history import History, HistoryLayout


def fresh_window(layout: HistoryLayout) -> History:
    """Before an episode: nothing was seen; agents along the leading axis."""
    agents, length = layout.num_agents, layout.length
    return History(
        jnp.zeros((agents, length, layout.observation_size)),
        jnp.zeros((agents, length - 1), jnp.int32),
        jnp.zeros((agents, length), bool),
        jnp.arange(agents, dtype=jnp.int32),
    )


def with_observations(window: History, observations: Float[Array, "agents observation"]) -> History:
    """The histories with what each agent sees now."""
    seen = _shifted(window.observations, observations.astype(jnp.float32))
    return History(seen, window.actions, _shifted(window.mask, jnp.ones(len(seen), bool)), window.agent)


def with_actions(window: History, actions: Int[Array, " agents"]) -> History:
    """The histories with what each agent has just done."""
    return History(window.observations, _shifted(window.actions, actions), window.mask, window.agent)


def _shifted(rows: Array, new: Array) -> Array:
    """The rows of each agent without the oldest, and with a new one."""
    return jnp.concatenate([rows, new[:, None]], axis=1)[:, 1:]
