"""A world whose trajectory is known exactly: it counts its steps and each agent's actions.

The state is (how many steps have passed, how long the episode will be); agent i sees (i, steps passed, sum of its
own actions). Episodes last from 2 to `longest` steps, drawn at reset.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from composite_flow.problems.base import Policy, Problem


class CounterWorld(Problem):
    longest: int = 6
    num_agents: int = 3
    num_actions: int = 4
    observation_size: int = 3
    state_size: int = 2

    def reset(self, key):
        length = jax.random.randint(key, (), 2, self.longest + 1)
        return jnp.int32(0), length, jnp.zeros(self.num_agents, jnp.int32)

    def step(self, key, world, actions):
        time, length, sums = world
        return (time + 1, length, sums + actions), jnp.sum(actions).astype(jnp.float32), time + 2 == length

    def observe(self, key, world):
        time, _, sums = world
        agents = jnp.arange(self.num_agents)
        return jnp.stack([agents, jnp.full_like(agents, time), sums], axis=1).astype(jnp.float32)

    def state(self, world):
        return jnp.stack([world[0], world[1]]).astype(jnp.float32)

    def available(self, world):
        """The last action only at even times."""
        return jnp.broadcast_to(
            (jnp.arange(self.num_actions) < self.num_actions - 1)[None, :] | (world[0] % 2 == 0),
            (self.num_agents, self.num_actions),
        )

    @property
    def state_names(self):
        return "time", "length"

    @property
    def description(self):
        return {"kind": "counter", "longest": self.longest}


class CyclingPolicy(Policy):
    """Agent i takes action (i + t) mod 3, from its memory of t."""

    def start(self, num_agents: int) -> Int[Array, ""]:
        return jnp.int32(0)

    def act(self, key, memory, observations, available):
        return memory + 1, (jnp.arange(observations.shape[0]) + memory) % 3
