"""A simulator of another library behind the contract of `Problem`.

What a library must give is a `Simulator`: a few functions, without JAX's strict promotion. It is found again by
library, name and options whenever it is needed and is no field of the problem, so that equal problems are equal and
share compiled programs. A world is the simulator's own state, with what agents see of it and may do in it.
"""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from composite_flow.errors import CompositeFlowError, InputError, MismatchError
from composite_flow.files.names import in_short
from composite_flow.numerics.settled import settled, settled_like
from composite_flow.problems.base import Problem
from composite_flow.problems.compiled import jaxmarl, jumanji
from composite_flow.problems.compiled.features import flat, names
from composite_flow.problems.compiled.simulator import Simulator
from composite_flow.problems.picture import without_windows
from composite_flow.problems.smax_scenario import as_library_expects, silence

Options = tuple[tuple[str, Any], ...]


class LibraryWorld(Problem):
    """An environment of JaxMARL or Jumanji.

    Attributes:
        library: "jaxmarl" or "jumanji".
        name: of the environment, as the library calls it.
        options: of its constructor.
        version: of the library, which episodes depend on.
    """

    library: str = eqx.field(static=True)
    name: str = eqx.field(static=True)
    options: Options = eqx.field(static=True)
    version: str = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    num_agents: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    state_size: int = eqx.field(static=True)

    def __init__(self, library: str, name: str, *, num_steps: int | None = None, **options: Any):
        """Make the environment once, to learn its sizes.

        Raises:
            InputError: there is none of that name, an option is wrong, or the library is missing.
        """
        if jax.dtypes.canonicalize_dtype(float) != jnp.float32:
            raise InputError(f"{library} runs in 32 bits alone: switch jax_enable_x64 off.")
        if num_steps is not None and num_steps < 1:
            raise InputError(f"An episode needs at least one step, not {num_steps}.")
        self.library, self.name, self.options = library, name, tuple(sorted(options.items()))
        self.version = _library_version(library)
        simulator = self._simulator
        self.num_steps = simulator.num_steps if num_steps is None else int(num_steps)
        moment = eqx.filter_eval_shape(self.reset, jax.random.key(0))
        (self.num_agents, self.observation_size), self.num_actions = moment.views.shape, moment.available.shape[1]
        self.state_size = len(self.state_names)

    @property
    def _simulator(self) -> Simulator:
        return _simulator(self.library, self.name, self.options)

    @property
    def state_names(self) -> tuple[str, ...]:
        return _state_names(self.library, self.name, self.options)

    @property
    def description(self) -> dict[str, Any]:
        told = {"kind": self.library, "name": self.name, "num_steps": self.num_steps, "version": self.version}
        return {**told, "options": dict(self.options)}

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> "LibraryWorld":
        """The inverse of `description`.

        Raises:
            MismatchError: another version of the library is installed, whose worlds may differ.
        """
        library, name = description["kind"], description["name"]
        problem = cls(library, name, num_steps=description["num_steps"], **description["options"])
        if description["version"] != problem.version:
            raise MismatchError(
                f"This world is of {library} {description['version']}, but {problem.version} is installed: install the "
                "former, or collect the episodes again."
            )
        return problem

    def reset(self, key):
        """The simulator's start."""
        with self._by_library():
            return settled(self._simulator.reset(key))

    def step(self, key, world, actions):
        """The simulator's step, without a reset of its own."""
        with self._by_library():
            moved, reward, over = self._simulator.step(key, world.state, actions)
            return settled_like(moved, world), reward.astype(jnp.float32), over.astype(bool)

    def observe(self, key, world):
        """What the simulator shows each agent."""
        return world.views

    def state(self, world):
        """The simulator's state as features."""
        with _as_libraries_expect():
            return flat(self._simulator.features(world.state))

    def available(self, world):
        """The simulator's masks."""
        return world.available

    @contextmanager
    def _by_library(self) -> Iterator[None]:
        """What the library raises when it is traced, of options that do not fit each other, becomes a sentence."""
        try:
            with _as_libraries_expect():
                yield
        except CompositeFlowError:
            raise
        except Exception as error:
            text = ",".join([f"{self.library}:{self.name}", *(f"{key}={value}" for key, value in self.options)])
            raise InputError(f"{text} cannot run: {in_short(error)}.") from error

    def picture(self, world):
        """By the library; None where it draws no such world, or cannot here."""
        try:
            with _as_libraries_expect(), without_windows():
                return self._simulator.picture(world.state)
        except Exception:  # whatever another library raises
            return None


@contextmanager
def _as_libraries_expect() -> Iterator[None]:
    """JAX's usual promotion; and what they print and warn of while they are traced is theirs."""
    with as_library_expects(), silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def from_jaxmarl(name: str, *, num_steps: int | None = None, **options: Any) -> LibraryWorld:
    """A world of JaxMARL beside SMAX, with its simulator's state: MPE, Hanabi, Overcooked v2 or JaxNav.

        problem = cf.from_jaxmarl("overcooked_v2", layout="coord_ring", agent_view_size=1)

    Args:
        name: as `jaxmarl.make` takes it.
        num_steps: most steps of an episode; the world's own limit where None.
        options: of the world's constructor, numbers and texts.

    Raises:
        InputError: there is none of that name, an option is wrong, or JaxMARL is missing.
    """
    return LibraryWorld("jaxmarl", name, num_steps=num_steps, **options)


def from_jumanji(name: str, *, num_steps: int | None = None, **options: Any) -> LibraryWorld:
    """A world of Jumanji for a team: LevelBasedForaging-v0, RobotWarehouse-v0 or SearchAndRescue-v0.

        problem = cf.from_jumanji("SearchAndRescue-v0", num_targets=8)

    Args:
        name: as `jumanji.make` takes it.
        num_steps: most steps of an episode; the world's own limit where None.
        options: of the world's constructor or of its generator.

    Raises:
        InputError: there is none of that name, an option is wrong, or Jumanji is missing.
    """
    return LibraryWorld("jumanji", name, num_steps=num_steps, **options)


@functools.cache
def _simulator(library: str, name: str, options: Options) -> Simulator:
    """The environment itself, made once."""
    make = jaxmarl.make if library == "jaxmarl" else jumanji.make
    # Environments build arrays when they are made, which must not become part of a program that is being traced.
    with jax.ensure_compile_time_eval(), _as_libraries_expect():
        return make(name, dict(options))


@functools.cache
def _state_names(library: str, name: str, options: Options) -> tuple[str, ...]:
    """A name for each feature of the state, found by tracing: nothing is computed."""
    found: list[str] = []

    def trace(key):
        with _as_libraries_expect():
            simulator = _simulator(library, name, options)
            found.extend(names(simulator.features(simulator.reset(key).state)))

    jax.eval_shape(trace, jax.random.key(0))
    return tuple(found)


def _library_version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError as error:
        raise InputError(f"{library} worlds need {library}: install composite-flow[{_EXTRAS[library]}].") from error


_EXTRAS = {"jaxmarl": "smax", "jumanji": "jumanji"}
