"""Jumanji's worlds of teams (extra `jumanji`): LevelBasedForaging, RobotWarehouse and SearchAndRescue.

| world | the state |
|---|---|
| LevelBasedForaging-v0 | agents' places, levels and whether they load; food's places, levels and whether it is eaten |
| RobotWarehouse-v0 | agents' places, directions and loads; shelves' places and which are requested |
| SearchAndRescue-v0 | searchers' places, headings and speeds; targets' places and which are found |

In SearchAndRescue an action is one of nine: turn left, not, or right, and slow down, not, or speed up; the library's
own are numbers. The team's reward is the sum of the agents'. Options go to the environment's constructor, and those of
its generator (grid_size, num_agents, num_targets and so on) to that.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.errors import InputError
from composite_flow.files.names import in_short
from composite_flow.problems.compiled.features import Parts, one_hot, turned
from composite_flow.problems.compiled.simulator import Moment, Simulator
from composite_flow.problems.picture import as_picture

TURNS = (
    (-1.0, -1.0),
    (-1.0, 0.0),
    (-1.0, 1.0),
    (0.0, -1.0),
    (0.0, 0.0),
    (0.0, 1.0),
    (1.0, -1.0),
    (1.0, 0.0),
    (1.0, 1.0),
)
"""Turning and speeding up, of each of the nine actions in SearchAndRescue."""


@dataclass(frozen=True)
class _World:
    """How a world is made and read.

    Attributes:
        module: of the library, which holds `generator`.
        generator: the defaults of its generator's options.
        read: the state by its parts.
        viewer: the name of the class in its module `viewer` that draws it, and which arguments that takes of the
            environment.
    """

    module: str
    generator: dict[str, Any]
    read: Callable[[Any], Parts]
    viewer: tuple[str, tuple[str, ...]]


def make(name: str, options: dict[str, Any]) -> Simulator:
    """The environment of a name.

    Raises:
        InputError: there is none, an option is wrong, or the library is missing.
    """
    if name not in WORLDS:
        raise InputError(f"There is no world jumanji:{name}: there are {', '.join(WORLDS)}.")
    try:
        package = importlib.import_module("jumanji")
        world = WORLDS[name]
        module = importlib.import_module(f"jumanji.environments.{world.module}.generator")
        known = inspect.signature(module.RandomGenerator.__init__).parameters
        chosen = {**world.generator, **{key: value for key, value in options.items() if key in known}}
        rest = {key: value for key, value in options.items() if key not in known}
        return Jumanji(name, package.make(name, generator=module.RandomGenerator(**chosen), **rest))
    except ImportError as error:
        raise InputError(
            f"jumanji:{name} needs Jumanji ({in_short(error)}): install composite-flow[jumanji]."
        ) from error
    except Exception as error:  # whatever the library raises
        raise InputError(f"jumanji:{name} cannot be made: {in_short(error)}.") from error


class Jumanji(Simulator):
    """One environment."""

    def __init__(self, name: str, world: Any):
        self.name, self.world, self.num_steps = name, world, int(world.time_limit)

    def reset(self, key):
        """The library's start."""
        state, timestep = self.world.reset(key)
        return self._moment(state, timestep)

    def step(self, key, state, actions):
        """The library's step; what it draws comes from the key in its own state."""
        acted = jnp.asarray(TURNS)[actions] if self.name.startswith("Search") else actions
        moved, timestep = self.world.step(state, acted)
        return self._moment(moved, timestep), jnp.sum(timestep.reward), timestep.last()

    def features(self, state) -> Parts:
        """See the module's head."""
        return WORLDS[self.name].read(state)

    def picture(self, state):
        """By the library's own viewer."""
        world = WORLDS[self.name]
        name, taken = world.viewer
        make = getattr(importlib.import_module(f"jumanji.environments.{world.module}.viewer"), name)
        viewer = make(*(getattr(self.world, argument) for argument in taken), render_mode="rgb_array")
        return as_picture(viewer.render(state))

    def _moment(self, state: Any, timestep: Any) -> Moment:
        seen = timestep.observation
        if self.name.startswith("Search"):
            rows = seen.searcher_views.reshape(len(seen.positions), -1)
            views = jnp.concatenate([rows, seen.positions], axis=1)
            return Moment(state, views, jnp.ones((len(views), len(TURNS)), bool))
        return Moment(state, _numbers(seen.agents_view), seen.action_mask)


def _numbers(rows: Array) -> Float[Array, "agents observation"]:
    return rows.reshape(len(rows), -1).astype(jnp.float32)


def foraging(state: Any) -> Parts:
    """A field with food."""
    agents, food = state.agents, state.food_items
    return {
        "agent place": agents.position,
        "agent level": agents.level,
        "agent loads": agents.loading,
        "food place": food.position,
        "food level": food.level,
        "food eaten": food.eaten,
    }


def warehouse(state: Any) -> Parts:
    """A warehouse."""
    agents, shelves = state.agents, state.shelves
    return {
        "robot place": jnp.stack([agents.position.x, agents.position.y], axis=1),
        "robot direction": one_hot(agents.direction, 4),
        "robot carries": agents.is_carrying,
        "shelf place": jnp.stack([shelves.position.x, shelves.position.y], axis=1),
        "shelf requested": shelves.is_requested,
    }


def rescue(state: Any) -> Parts:
    """Searchers on a torus, and what they look for."""
    searchers, targets = state.searchers, state.targets
    return {
        "searcher position": searchers.pos,
        "searcher heading": turned(searchers.heading),
        "searcher speed": searchers.speed,
        "target position": targets.pos,
        "target found": targets.found,
    }


WORLDS = {
    "LevelBasedForaging-v0": _World(
        "routing.lbf",
        {"grid_size": 8, "fov": 2, "num_agents": 2, "num_food": 2, "force_coop": True},
        foraging,
        ("LevelBasedForagingViewer", ("grid_size",)),
    ),
    "RobotWarehouse-v0": _World(
        "routing.robot_warehouse",
        {
            "shelf_rows": 2,
            "shelf_columns": 3,
            "column_height": 8,
            "num_agents": 4,
            "sensor_range": 1,
            "request_queue_size": 8,
        },
        warehouse,
        ("RobotWarehouseViewer", ("grid_size", "goals")),
    ),
    "SearchAndRescue-v0": _World(
        "swarms.search_and_rescue", {"num_searchers": 2, "num_targets": 40}, rescue, ("SearchAndRescueViewer", ())
    ),
}
