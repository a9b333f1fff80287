"""Simulators of other libraries by name, with states that are read from the simulator itself.

    pettingzoo:pursuit_v5              its own state(): walls, pursuers and evaders on the map
    mpe2:simple_tag_v3                 positions and velocities, landmarks, messages, goals
    lbf:Foraging-2s-8x8-2p-2f-v3       levels of the food on the field, places and levels of the players
    rware:rware-tiny-2ag-v2            robots, shelves, and which shelves are requested

Options are those of the library's own factory, and `steps`. Each library is an extra of its own name.
"""

import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from composite_flow.errors import CompositeFlowError, InputError
from composite_flow.files.names import in_short
from composite_flow.problems.gym_team import TupleTeam
from composite_flow.problems.parallel import ParallelWorld, StateReader
from composite_flow.problems.pettingzoo import library_version

FAMILIES = ("sisl", "butterfly", "classic")  # of PettingZoo; its others are packages of their own


def pettingzoo(name: str = "", /, *, steps: int | None = None, **options: Any) -> ParallelWorld:
    """An environment of PettingZoo by its name, such as pursuit_v5, with its own `state()`."""
    found = [module for family in FAMILIES for module in _modules(f"pettingzoo.{family}") if module == name]
    if not found:
        known = [module for family in FAMILIES for module in _modules(f"pettingzoo.{family}")]
        raise InputError(f"There is no environment pettingzoo:{name}: there are {', '.join(known)}.")
    family = next(family for family in FAMILIES if name in _modules(f"pettingzoo.{family}"))
    with _making(f"pettingzoo:{name}", "pettingzoo"):
        module = importlib.import_module(f"pettingzoo.{family}.{name}")
        if not hasattr(module, "parallel_env"):
            raise InputError(
                f"Agents of pettingzoo:{name} take turns, and it has no state: give it to from_pettingzoo, with a "
                "function that reads the state."
            )
        world = module.parallel_env(**{"render_mode": "rgb_array", **options})  # it draws only when it is asked to
    return _described("pettingzoo", name, world, None, steps, options)


def mpe2(name: str = "", /, *, steps: int | None = None, **options: Any) -> ParallelWorld:
    """A multi-particle environment by its name, such as simple_tag_v3."""
    known = [module for module in _modules("mpe2") if module.startswith(("simple", "collect"))]
    if name not in known:
        raise InputError(f"There is no environment mpe2:{name}: there are {', '.join(known)}.")
    with _making(f"mpe2:{name}", "mpe2"):
        world = importlib.import_module(f"mpe2.{name}").parallel_env(**{"render_mode": "rgb_array", **options})
    return _described("mpe2", name, world, particles, steps, options)


def lbf(name: str = "", /, *, steps: int | None = None, **options: Any) -> ParallelWorld:
    """A field of Level-Based Foraging by its name, such as Foraging-2s-8x8-2p-2f-v3."""
    world = _registered("lbf", "lbforaging", name, options)
    return _described("lbf", name, TupleTeam(world), foraging, steps, options, "lbforaging", draw=_drawn_by_pyglet)


def rware(name: str = "", /, *, steps: int | None = None, **options: Any) -> ParallelWorld:
    """A warehouse of RWARE by its name, such as rware-tiny-2ag-v2."""
    world = _registered("rware", "rware", name, options)
    return _described("rware", name, TupleTeam(world), warehouse, steps, options, draw=_drawn_by_pyglet)


def particles(world: Any) -> dict[str, Any]:
    """The state of a multi-particle world: what moves, landmarks, what is said, and who has which goal."""
    inner = world.unwrapped.world
    found: dict[str, Any] = {}
    for agent in inner.agents:
        found[f"{agent.name} position"], found[f"{agent.name} velocity"] = agent.state.p_pos, agent.state.p_vel
        if not agent.silent:
            found[f"{agent.name} says"] = agent.state.c
    for landmark in inner.landmarks:
        found[f"{landmark.name} position"] = landmark.state.p_pos
    for agent in inner.agents:
        for goal in ("goal_a", "goal_b"):
            chosen = [getattr(agent, goal, None) is landmark for landmark in inner.landmarks]
            if any(chosen):
                found[f"{agent.name} {goal}"] = np.array(chosen, np.float32)
    return found


def foraging(world: Any) -> dict[str, Any]:
    """The state of a field: the level of the food on each cell, and each player's row, column and level."""
    inner = world.unwrapped
    players = {f"player {k}": [*map(int, one.position), int(one.level)] for k, one in enumerate(inner.players)}
    return {"food": inner.field, **players}


def warehouse(world: Any) -> dict[str, Any]:
    """The state of a warehouse: each robot's place, direction and load; each shelf's place, and if it is requested."""
    inner = world.unwrapped
    found: dict[str, Any] = {}
    for robot in inner.agents:
        found[f"robot {robot.id} place"] = [int(robot.x), int(robot.y)]
        found[f"robot {robot.id} direction"] = np.eye(4)[robot.dir.value]
        found[f"robot {robot.id} carries"] = float(robot.carrying_shelf is not None)
    requested = {shelf.id for shelf in inner.request_queue}
    for shelf in inner.shelfs:
        found[f"shelf {shelf.id} place"] = [int(shelf.x), int(shelf.y)]
    for shelf in inner.shelfs:
        found[f"shelf {shelf.id} requested"] = float(shelf.id in requested)
    return found


def _described(
    kind: str,
    name: str,
    world: Any,
    read: StateReader | None,
    steps: int | None,
    options: dict,
    package: str = "",
    draw: Callable[[Any], Any] | None = None,
) -> ParallelWorld:
    """A world by its name, with what episodes keep of it."""
    told = {"kind": kind, "world": name, **options, "library": library_version(package or kind)}
    return ParallelWorld(world, read, num_steps=steps, description=told, draw=draw)


def _drawn_by_pyglet(world: Any) -> Any:
    """A field or a warehouse as an array; in memory where there is no screen."""
    if sys.platform == "linux" and "DISPLAY" not in os.environ:
        importlib.import_module("pyglet").options["headless"] = True
    return world.unwrapped.render(mode="rgb_array")


def _modules(package: str) -> list[str]:
    """The versioned environments of a package.

    Raises:
        InputError: it is not installed.
    """
    with _making(package, package.partition(".")[0]):
        path = importlib.import_module(package).__path__
    return [module.name for module in pkgutil.iter_modules(path) if "_v" in module.name]


def _registered(kind: str, package: str, name: str, options: dict) -> Any:
    """An environment that a package adds to Gymnasium's registry."""
    with _making(f"{kind}:{name}", kind):
        import gymnasium

        importlib.import_module(package)
        prefix = "Foraging-" if kind == "lbf" else "rware-"
        if name not in gymnasium.registry or not name.startswith(prefix):
            some = [one for one in gymnasium.registry if one.startswith(prefix)]
            raise InputError(
                f"There is no environment {kind}:{name}; there are {len(some)}, such as {', '.join(some[:3])}."
            )
        return gymnasium.make(name, disable_env_checker=True, **options)


@contextmanager
def _making(text: str, extra: str) -> Iterator[None]:
    """Turns what other libraries raise into sentences; their warnings are theirs."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # or importing it prints on standard output
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CompositeFlowError:
        raise
    except ImportError as error:
        raise InputError(
            f"{text} needs a library that is not here ({in_short(error)}): install composite-flow[{extra}]."
        ) from error
    except Exception as error:  # whatever another library raises
        raise InputError(f"{text} cannot be made: {in_short(error)}.") from error
