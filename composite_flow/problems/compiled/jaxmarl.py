"""JaxMARL's environments beside SMAX, whose simulators' states the library itself never shows (extra `smax`).

| world | the state |
|---|---|
| MPE_* | positions, velocities of agents, what is said, who has which goal |
| hanabi | all hands, the fireworks, the discarded cards by kind, tokens, whose turn it is |
| overcooked_v2 | agents' places, directions and loads, what lies on each cell, timers, the recipe |
| jaxnav | positions, directions, speeds, goals, who has crashed or arrived, and the map |

The order of Hanabi's deck is left out: nobody can know it. The team's reward is the mean of the agents', which share
theirs in most of these worlds.
"""

import importlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.errors import CompositeFlowError, InputError
from composite_flow.files.names import in_short
from composite_flow.problems.compiled.features import Parts, bits, one_hot, turned
from composite_flow.problems.compiled.jaxmarl_pictures import picture_of
from composite_flow.problems.compiled.simulator import Moment, Simulator
from composite_flow.problems.smax_scenario import library

WORLDS = ("MPE_", "hanabi", "overcooked_v2", "jaxnav")
HANABI_STEPS = 90  # more than a game of two to five has


def make(name: str, options: dict[str, Any]) -> Simulator:
    """The environment of a name.

    Raises:
        InputError: there is none, or an option is wrong.
    """
    library()  # in silence: importing it prints
    package = importlib.import_module("jaxmarl")
    known = [world for world in package.registered_envs if world.startswith(WORLDS)]
    if name not in known:
        raise InputError(f"There is no world jaxmarl:{name}: there are {', '.join(known)}; and smax:SCENARIO.")
    if name == "jaxnav":
        options = {"act_type": "Discrete", **options}
    try:
        return JaxMARL(name, package.make(name, **options))
    except CompositeFlowError:
        raise
    except Exception as error:  # whatever the library raises
        raise InputError(f"jaxmarl:{name} cannot be made: {in_short(error)}.") from error


class JaxMARL(Simulator):
    """One environment, its agents in the library's order."""

    def __init__(self, name: str, world: Any):
        self.name, self.world = name, world
        self.num_steps = int(getattr(world, "max_steps", None) or HANABI_STEPS)
        spaces = [world.action_space(agent) for agent in world.agents]
        if not all(hasattr(space, "n") for space in spaces):
            raise InputError(f"Agents of jaxmarl:{name} do not choose among numbered actions.")
        self.choices = [int(space.n) for space in spaces]
        self.read = next(read for start, read in _READERS.items() if name.startswith(start))

    def reset(self, key):
        """The library's start."""
        seen, state = self.world.reset(key)
        return Moment(state, self._views(seen), self._available(state))

    def step(self, key, state, actions):
        """The library's step without its own reset."""
        chosen = dict(zip(self.world.agents, actions, strict=True))
        seen, moved, rewards, done, _ = self.world.step_env(key, state, chosen)
        reward = jnp.mean(jnp.stack([jnp.asarray(rewards[agent]) for agent in self.world.agents]))
        return Moment(moved, self._views(seen), self._available(moved)), reward, jnp.asarray(done["__all__"])

    def features(self, state) -> Parts:
        """See the module's head."""
        return self.read(self.world, state)

    def picture(self, state):
        """By the library's own visualisers."""
        return picture_of(self.name, self.world, state)

    def _views(self, seen: dict[str, Array]) -> Float[Array, "agents observation"]:
        rows = [jnp.ravel(seen[agent]).astype(jnp.float32) for agent in self.world.agents]
        longest = max(len(row) for row in rows)
        return jnp.stack([jnp.pad(row, (0, longest - len(row))) for row in rows])

    def _available(self, state: Any) -> Bool[Array, "agents actions"]:
        most = max(self.choices)
        if self.name == "hanabi":
            masks = self.world.get_legal_moves(state)
            return jnp.stack([masks[agent] for agent in self.world.agents]).astype(bool)
        return jnp.arange(most)[None] < jnp.asarray(self.choices)[:, None]


def particles(world: Any, state: Any) -> Parts:
    """A multi-particle world."""
    found = {"position": state.p_pos, "velocity": state.p_vel[: world.num_agents]}
    if not np.asarray(world.silent).all():
        found["says"] = state.c
    if state.goal is not None:
        found["goal"] = one_hot(state.goal, world.num_landmarks)
    return found


def hanabi(world: Any, state: Any) -> Parts:
    """A game of Hanabi, by agents; the library counts by seats, which an option of it shuffles."""
    seats = jnp.argsort(state.seat_order)
    return {
        "hand": state.player_hands[seats],
        "fireworks": state.fireworks,
        "discarded": jnp.sum(state.discard_pile, axis=0),
        "information": state.info_tokens,
        "lives": state.life_tokens,
        "turn": state.cur_player_idx[seats],
    }


def overcooked(world: Any, state: Any) -> Parts:
    """A kitchen; things are a plate, cooked or not, and two bits for how many of each ingredient."""
    count = 2 + 2 * world.layout.num_ingredients
    agents = state.agents
    return {
        "place": jnp.stack([agents.pos.x, agents.pos.y], axis=1),
        "direction": one_hot(agents.dir, 4),
        "carries": bits(agents.inventory, count),
        "on cell": bits(state.grid[..., 1], count),
        "timer": state.grid[..., 2],
        "recipe": bits(state.recipe, count),
    }


def navigation(world: Any, state: Any) -> Parts:
    """Robots in a maze."""
    return {
        "position": state.pos,
        "heading": turned(state.theta),
        "speed": state.vel,
        "goal": state.goal,
        "crashed": state.move_term,
        "arrived": state.goal_reached,
        "map": state.map_data,
    }


_READERS = {"MPE_": particles, "hanabi": hanabi, "overcooked_v2": overcooked, "jaxnav": navigation}
