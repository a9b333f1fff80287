"""A world, and an input of actors, as a user would write them in a module of their own.

A target goes round a ring of cells, one cell forwards or backwards in each step. Two agents watch a half of the ring
each. An agent that calls (action 1) earns 1 while the target is in the first cell, and pays a tenth at any other time.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import composite_flow as cf
from composite_flow.problems import HostProblem


class Ring(cf.Problem):
    size: int = eqx.field(static=True)
    num_steps: int = eqx.field(static=True, default=3)  # type: ignore[assignment]
    num_agents: int = eqx.field(static=True, default=2)
    num_actions: int = eqx.field(static=True, default=2)

    @property
    def observation_size(self):
        return self.size // 2

    @property
    def state_size(self):
        return self.size

    @property
    def state_names(self):
        return tuple(f"cell {cell}" for cell in range(self.size))

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "ring_world:Ring", "size": self.size, "num_steps": self.num_steps}

    def reset(self, key):
        return jax.random.randint(key, (), 0, self.size), jnp.int32(0)

    def step(self, key, world, actions):
        cell, time = world
        move = jnp.where(jax.random.bernoulli(key), 1, -1)
        pay = jnp.where(cell == 0, 1.0, -0.1) * jnp.sum(actions).astype(jnp.float32)
        return ((cell + move) % self.size, time + 1), pay, time + 1 >= self.num_steps

    def observe(self, key, world):
        return self.state(world).reshape(2, self.size // 2)

    def state(self, world):
        return jax.nn.one_hot(world[0], self.size)

    def available(self, world):
        return jnp.ones((2, 2), bool)

    def won(self, world):
        return world[0] == 0


class PaintedRing(Ring):
    """A ring that draws itself in `play`."""

    def painter(self, record):
        return RingPainter(record)


class RingPainter:
    key = "The dot is the target."

    def __init__(self, record):
        self.cells = record.states.argmax(axis=1)

    def world(self, axes, step):
        axes.scatter([self.cells[step]], [0.0])

    def agent(self, axes, step, agent):
        axes.set_title(f"Agent {agent}")


def make(size: int = 4, *, steps: int | None = None) -> Ring:
    """A ring by its size."""
    return Ring(size) if steps is None else Ring(size, num_steps=steps)


def sensors(cells) -> cf.SensorNetwork:
    """Sensors with a coverage of one's own: each covers all areas."""
    return cf.SensorNetwork(np.ones((2, cells), bool))


def broken() -> cf.Problem:
    raise RuntimeError("no ring\ntoday")


def nothing() -> cf.Problem:
    return None  # type: ignore[return-value]


def unannotated(size=4):
    return Ring(size)


class Forgetful(Ring):
    """Its description lacks its size."""

    @property
    def description(self):
        return {"kind": "ring_world:Forgetful", "num_steps": self.num_steps}


class Nameless(Ring):
    @property
    def description(self):
        return {"size": self.size}


class Other(Ring):
    """Its description gives another problem."""

    @property
    def description(self):
        return {"kind": "ring_world:Other", "size": 6 if self.size == 4 else 4}


class Unwritable(Ring):
    @property
    def description(self):
        return {"kind": "ring_world:Unwritable", "size": jnp.int32(self.size)}


class Registered(Ring):
    """Its description has a kind that only Python code in the same process may have registered."""

    @property
    def description(self):
        return {"kind": "ring", "size": self.size, "num_steps": self.num_steps}


class HostRing(HostProblem):
    """A ring outside of JAX, whose target stays."""

    num_agents, num_actions, observation_size, state_size, num_steps = 2, 2, 2, 4, 3
    state_names = Ring(4).state_names
    description = {"kind": "ring_world:HostRing"}

    def reset(self, key):
        self.time = 0

    def step(self, key, actions):
        self.time += 1
        return 1.0, self.time >= self.num_steps

    def observe(self, key):
        return np.eye(4, dtype=np.float32)[0].reshape(2, 2)

    def state(self):
        return np.eye(4, dtype=np.float32)[0]

    def available(self):
        return np.ones((2, 2), bool)

    def close(self):
        self.time = 0


class BothValues(cf.PolicyInput):
    """An input of one's own: the state of least value among the samples, and the mean of its action values."""

    infers = weighs_samples = needs_state_values = needs_action_values = True

    def columns(self, problem):
        return problem.state_size + problem.num_actions

    def shown(self, known):
        least = jax.vmap(known.networks.least_valued)(known.samples)
        return jnp.concatenate([least, known.action_values.mean(axis=1)], axis=1)
