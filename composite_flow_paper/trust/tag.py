"""JaxMARL's `simple_tag`: three pursuers and their prey, recorded with the simulator's own state.

Everybody observes all positions relative to its own, and the pursuers the prey's velocity; of each other's velocity
they know nothing. The state holds all positions and velocities.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.episodes import Episodes

CHASING = "chasing"
_AT_ONCE = 512  # episodes in one compiled call
_ANCHORS = 2  # obstacles, whose places belong to the state


def collect_tag(num_episodes: int, key: PRNGKeyArray, policy: str = "random") -> Episodes:
    """Record episodes.

    Args:
        num_episodes: of 25 steps each.
        key: of all that is drawn.
        policy: "random", or "chasing": every pursuer goes for the prey, and the prey acts at random.
    """
    import jaxmarl  # pyright: ignore[reportMissingImports] (an extra)

    env = jaxmarl.make("MPE_simple_tag_v3")
    run = jax.jit(jax.vmap(partial(_episode, env, policy == CHASING)))
    keys, parts = jax.random.split(key, num_episodes), []
    for first in range(0, num_episodes, _AT_ONCE):
        parts.append([np.asarray(part) for part in run(keys[first : first + _AT_ONCE])])
    observations, actions, states = (np.concatenate(part) for part in zip(*parts, strict=True))
    steps = observations.shape[1]
    return Episodes.from_arrays(
        observations=observations.reshape(-1, *observations.shape[2:]),
        actions=actions.reshape(-1, actions.shape[2]),
        states=states.reshape(-1, states.shape[2]),
        ends=np.arange(num_episodes * steps) % steps == steps - 1,
        state_names=_names(env),
    )


def _names(env) -> tuple[str, ...]:
    moving = [f"{name} {feature}" for feature in ("x", "y", "vx", "vy") for name in env.agents]
    return (*moving, *(f"obstacle {place} {axis}" for axis in ("x", "y") for place in range(_ANCHORS)))


def _episode(env, chasing: bool, key: PRNGKeyArray):
    """Observations, actions and states of one episode."""
    key_start, key_steps = jax.random.split(key)
    widest = max(space.shape[0] for space in env.observation_spaces.values())

    def flat(observed) -> Float[Array, "agents columns"]:
        rows = [observed[name] for name in env.agents]
        return jnp.stack([jnp.pad(row, (0, widest - len(row))) for row in rows])

    def step(carry, key):
        observed, world = carry
        key_action, key_step = jax.random.split(key)
        actions = jax.random.randint(key_action, (env.num_agents,), 0, 5)
        if chasing:
            actions = _chase(env, world, actions)
        moving = jnp.concatenate([world.p_pos[: env.num_agents], world.p_vel[: env.num_agents]], axis=1)
        state = jnp.concatenate([moving.T.reshape(-1), world.p_pos[env.num_agents :].T.reshape(-1)])
        chosen = {name: actions[place] for place, name in enumerate(env.agents)}
        following, after, *_ = env.step_env(key_step, world, chosen)
        return (following, after), (flat(observed), actions, state)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as JaxMARL is written
        _, recorded = jax.lax.scan(step, env.reset(key_start), jax.random.split(key_steps, env.max_steps))
    return recorded


def _chase(env, world, actions):
    """Pursuers accelerate along the axis on which the prey is farther: 1 and 2 are left and right, 3 and 4 the rest."""
    prey = env.num_agents - 1
    away = world.p_pos[prey][None] - world.p_pos[:prey]
    across = jnp.abs(away[:, 0]) > jnp.abs(away[:, 1])
    chosen = jnp.where(across, 1 + (away[:, 0] > 0), 3 + (away[:, 1] > 0))
    return actions.at[:prey].set(chosen)
