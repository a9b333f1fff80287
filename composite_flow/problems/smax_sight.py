"""SMAX seen with another sight than a policy was trained with.

SMAX tells how far away a unit is in units of the observer's own sight. Under another sight the same number would mean
another distance, and a policy would not only see less but misjudge what it sees. Here distances are told in the units
of training, so that sight alone changes.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.problems.base import Problem
from composite_flow.problems.smax import SMAX
from composite_flow.problems.smax_scenario import environment, scenario

_POSITION = (1, 2)  # columns of the relative position in what is told of a unit
_UNIT_FEATURES = 7  # of a unit, before those of its type


class OtherSight(Problem):
    """A battle at `sight`, told in the units of `trained`; at the sight of training it is that battle itself.

    Beyond the sight of training a relative position leaves [−1, 1].

    Attributes:
        trained: the battle of training.
        seen: the same battle at the other sight.
    """

    trained: SMAX
    seen: SMAX
    num_agents: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    state_size: int = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)

    def __init__(self, trained: SMAX, sight: float):
        """Replace the sight.

        Args:
            trained: the battle of training.
            sight: how far allies see now.

        Raises:
            InputError: the sight is not a number above 0.
        """
        self.trained, self.seen = trained, SMAX(trained.name, sight=sight, num_steps=trained.num_steps)
        self.num_agents, self.num_actions = trained.num_agents, trained.num_actions
        self.observation_size, self.state_size = trained.observation_size, trained.state_size
        self.num_steps = trained.num_steps

    @property
    def state_names(self) -> tuple[str, ...]:
        return self.seen.state_names

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "smax at another sight", "trained": self.trained.description, "sight": self.seen.sight}

    def reset(self, key):
        return self.seen.reset(key)

    def step(self, key, world, actions):
        return self.seen.step(key, world, actions)

    def won(self, world):
        """Whether every enemy is dead."""
        return self.seen.won(world)

    def available(self, world):
        return self.seen.available(world)

    def state(self, world):
        return self.seen.state(world)

    def observe(self, key, world) -> Float[Array, "agents observation"]:
        """What is within sight, with relative positions in units of the sight of training."""
        ratio = self._ranges(self.seen, world) / self._ranges(self.trained, world)
        columns = jnp.asarray(_position_columns(self.seen.name))[None]
        return self.seen.observe(key, world) * jnp.where(columns, ratio[:, None], 1.0)

    def _ranges(self, problem: SMAX, world: Any) -> Float[Array, " agents"]:
        """How far each ally sees."""
        battle = environment(problem.name, problem.sight, problem.num_steps)
        return battle.unit_type_sight_ranges[world.state.unit_types[: self.num_agents]]


def _position_columns(name: str) -> np.ndarray:
    """Which columns of an observation hold relative positions: two of each other unit, allies first."""
    chosen = scenario(name)
    blocks = [_UNIT_FEATURES + len(chosen.ally_types)] * (chosen.num_allies - 1)
    blocks += [_UNIT_FEATURES + len(chosen.enemy_types)] * chosen.num_enemies
    starts = np.concatenate([[0], np.cumsum(blocks)])
    columns = np.zeros(starts[-1] + 4 + len(chosen.ally_types), bool)
    for start in starts[:-1]:
        columns[[start + place for place in _POSITION]] = True
    return columns
