"""Which units fight in SMAX: scenarios by name, and the library's own environment for each.

The library (JaxMARL) is loaded when a scenario is first asked for, so that everything else works without it. None of
its code is copied or changed. Its constructor takes tables of unit types, and we hand it the allies' types followed by
the enemies': a marine of theirs is another type than a marine of ours, with equal numbers but for its sight. So one
team's sight changes alone, and types that cannot occur take no room in observations.
"""

import contextlib
import functools
import importlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from composite_flow.errors import InputError

RACES = {"protoss": ("stalker", "zealot"), "terran": ("marine", "marauder"), "zerg": ("zergling", "hydralisk")}
"""The unit types of each race that the library has; it lacks SMACv2's colossus, medivac and baneling."""

NUMBERS = ("velocities", "attacks", "attack_ranges", "sight_ranges", "radiuses", "health", "weapon_cooldowns")
"""What the library tells of each unit type, in arguments `unit_type_...`."""


@dataclass(frozen=True)
class Scenario:
    """Who fights, and what is drawn anew in each episode.

    Attributes:
        num_allies, num_enemies: sizes of the teams.
        ally_types, enemy_types: names of the unit types that may occur in each team.
        places: each unit's place in `ally_types + enemy_types`, allies first; None where types are drawn.
        draws_positions: whether start positions are drawn as in SMACv2 (reflected or surrounded), or teams stand
            opposite to each other.
    """

    num_allies: int
    num_enemies: int
    ally_types: tuple[str, ...]
    enemy_types: tuple[str, ...]
    places: tuple[int, ...] | None
    draws_positions: bool

    @property
    def unit_type_names(self) -> tuple[str, ...]:
        """The library's list of types in our environments."""
        return self.ally_types + self.enemy_types

    @property
    def occurring_types(self) -> tuple[str, ...]:
        """The types that one unit may have, where there is a choice; else nothing."""
        return self.ally_types if self.places is None and len(self.ally_types) > 1 else ()


@dataclass(frozen=True)
class DrawnTypes:
    """Draws types as SMACv2 does: the allies' each on its own, evenly; the enemies mirror them, any more are drawn."""

    num_allies: int
    num_enemies: int
    num_types: int

    def generate(self, key: PRNGKeyArray) -> UInt8[Array, " units"]:
        """Places in the allies' types, followed by the enemies'."""
        key_allies, key_enemies = jax.random.split(key)
        allies = jax.random.randint(key_allies, (self.num_allies,), 0, self.num_types)
        enemies = jax.random.randint(key_enemies, (self.num_enemies,), 0, self.num_types)
        mirrored = min(self.num_allies, self.num_enemies)
        enemies = enemies.at[:mirrored].set(allies[:mirrored])
        return jnp.concatenate([allies, enemies + self.num_types]).astype(jnp.uint8)


@functools.cache
def library() -> Any:
    """The library's module of SMAX, loaded in silence.

    Raises:
        InputError: it is not installed.
    """
    try:
        # It builds arrays while it is loaded, which must not become part of a program that is just being traced.
        with silence(), jax.ensure_compile_time_eval(), as_library_expects():
            return importlib.import_module("jaxmarl.environments.smax")
    except ImportError as error:
        raise InputError(f"SMAX needs JaxMARL ({error}): install composite-flow[smax].") from error


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing on standard output; afterwards all streams are as before.

    The library prints while it is loaded, and on the way replaces `sys.stdout` and `sys.stderr` by those that the
    interpreter began with, so that redirecting the former alone does nothing.
    """
    streams = {name: getattr(sys, name) for name in ("stdout", "stderr", "__stdout__")}
    sys.stdout = sys.__stdout__ = io.StringIO()
    try:
        yield
    finally:
        for name, stream in streams.items():
            setattr(sys, name, stream)


def library_version() -> str:
    """The version of JaxMARL, which episodes depend on."""
    library()
    return version("jaxmarl")


@contextlib.contextmanager
def as_library_expects() -> Iterator[None]:
    """JAX's usual promotion of shapes and numbers, which the library relies on, whatever else is set."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@functools.cache
def scenario(name: str) -> Scenario:
    """The scenario of a name: RACE_N_vs_M, or one of the library's own.

    Raises:
        InputError: nothing of that name exists.
    """
    match = re.fullmatch(rf"({'|'.join(RACES)})_([1-9]\d*)_vs_([1-9]\d*)", name)
    if match:
        types = RACES[match[1]]
        return Scenario(int(match[2]), int(match[3]), types, types, places=None, draws_positions=True)
    existing = library().smax_env.MAP_NAME_TO_SCENARIO
    if name not in existing:
        raise InputError(
            f"There is no SMAX scenario '{name}': there are {', '.join(existing)}, and "
            f"{', '.join(f'{race}_N_vs_M' for race in RACES)} for any numbers of allies and enemies."
        )
    return _from_library(existing[name])


def _from_library(given: Any) -> Scenario:
    """A scenario of the library's, with its types by name."""
    names = _library_defaults().unit_type_names
    sizes = given.num_allies, given.num_enemies
    if given.smacv2_unit_type_generation:
        return Scenario(*sizes, tuple(names), tuple(names), None, given.smacv2_position_generation)
    units = np.asarray(given.unit_types).tolist()
    allies, enemies = units[: given.num_allies], units[given.num_allies :]
    ours, theirs = sorted(set(allies)), sorted(set(enemies))
    places = [ours.index(kind) for kind in allies] + [len(ours) + theirs.index(kind) for kind in enemies]
    types = tuple(names[kind] for kind in ours), tuple(names[kind] for kind in theirs)
    return Scenario(*sizes, *types, tuple(places), given.smacv2_position_generation)


@functools.cache
def _library_defaults() -> Any:
    """The library's environment as it comes, which knows the numbers of its unit types."""
    with jax.ensure_compile_time_eval(), as_library_expects():
        return library().SMAX()


@functools.cache
def environment(name: str, sight: float | None, num_steps: int) -> Any:
    """The library's environment of a scenario with its heuristic enemies; the same object for the same arguments.

    Args:
        name: as `scenario` reads it.
        sight: how far allies see; the library's range of each unit type where None.
        num_steps: limit of an episode.
    """
    chosen, defaults = scenario(name), _library_defaults()
    kinds = np.array([defaults.unit_type_names.index(kind) for kind in chosen.unit_type_names])
    tables = {f"unit_type_{number}": np.asarray(getattr(defaults, f"unit_type_{number}"))[kinds] for number in NUMBERS}
    if sight is not None:
        tables["unit_type_sight_ranges"][: len(chosen.ally_types)] = sight
    places = (0,) * (chosen.num_allies + chosen.num_enemies) if chosen.places is None else chosen.places
    with jax.ensure_compile_time_eval(), as_library_expects():
        team = library().Scenario(
            jnp.asarray(places, jnp.uint8),
            chosen.num_allies,
            chosen.num_enemies,
            smacv2_position_generation=chosen.draws_positions,
            smacv2_unit_type_generation=chosen.places is None,
        )
        built = library().HeuristicEnemySMAX(
            scenario=team,
            max_steps=num_steps,
            unit_type_names=list(chosen.unit_type_names),
            unit_type_shorthands=[defaults.unit_type_shorthands[kind] for kind in kinds],
            **{table: jnp.asarray(values, jnp.float32) for table, values in tables.items()},
        )
    # The library's own generator lets enemies beyond the number of allies always be of the first type.
    built._env.unit_type_generator = DrawnTypes(chosen.num_allies, chosen.num_enemies, len(chosen.ally_types))
    return built


@functools.cache
def observed_columns(name: str) -> Int[np.ndarray, " observation"]:
    """The library's columns of an ally's observation that its scenario can fill.

    They are of the other allies, of the enemies, and of itself; each unit's end with one for every type, of which a
    team can have its own alone.
    """
    chosen, defaults = scenario(name), _library_defaults()
    ours, theirs = len(chosen.ally_types), len(chosen.enemy_types)
    of_unit, of_itself = (
        len(features) - defaults.unit_type_bits for features in (defaults.unit_features, defaults.own_features)
    )

    ally = np.repeat([True, False], [of_unit + ours, theirs])
    enemy = np.repeat([True, False, True], [of_unit, ours, theirs])
    itself = np.repeat([True, False], [of_itself + ours, theirs])
    return np.flatnonzero(np.concatenate([ally] * (chosen.num_allies - 1) + [enemy] * chosen.num_enemies + [itself]))
