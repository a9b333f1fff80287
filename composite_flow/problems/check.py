"""A test of problems that anybody can run on a world of their own, as `check_denoiser` is for denoisers."""

import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.problems.base import Problem, RandomPolicy, World


def check_problem(problem: Any, key: PRNGKeyArray, num_draws: int = 8) -> None:
    """Check that a problem keeps the contract of `Problem`, on which `collect` and all that learns rely.

    The sizes are whole numbers of at least 1, and every method returns arrays of these sizes; features and rewards are
    float32 and finite, ends and availability Boolean; `step` returns a world like the one that it was given; every
    agent has an action; each feature of the state has a name of its own; the description can be written as JSON; the
    same key gives the same world, steps and observations.

    Args:
        problem: the problem under test.
        key: draws a world, and actions in it.
        num_draws: steps and observations of that world that are looked at.

    Raises:
        InputError: with a sentence that names what is broken.
    """
    if not isinstance(problem, Problem):
        raise InputError("A problem must be a `Problem`, an Equinox module whose methods are pure functions.")
    _check_members(problem)
    _check_shapes(problem, key)
    drawn = draw_steps(problem, key, num_draws)
    _check_values(problem, drawn)
    # A second function is traced anew, which draws random numbers of the host anew.
    again = eqx.filter_jit(lambda key: _draw_steps(problem, key, num_draws))(key)
    if [_bits(leaf) for leaf in jax.tree.leaves(drawn)] != [_bits(leaf) for leaf in jax.tree.leaves(again)]:
        raise InputError("The same key gave two different results; draw all that is random with the key.")


def _draw_steps(
    problem: Problem, key: PRNGKeyArray, num_draws: int
) -> tuple[World, Int[Array, " agents"], tuple[Array, Array, Array, Array]]:
    """One step from a fixed world, many times; who acts draws any action that is available.

    Returns:
        The world, the actions in it, and along a leading axis of draws: states after the step, rewards, ends, and
        observations of the fixed world.
    """
    key_reset, key_act, key_draw = jax.random.split(key, 3)
    world = problem.reset(key_reset)
    view = problem.observe(key_reset, world)
    _, actions = RandomPolicy().act(key_act, (), view, problem.available(world))

    def draw(key):
        key_step, key_observe = jax.random.split(key)
        moved, reward, over = problem.step(key_step, world, actions)
        return problem.state(moved), reward, over, problem.observe(key_observe, world)

    return world, actions, jax.vmap(draw)(jax.random.split(key_draw, num_draws))


draw_steps = eqx.filter_jit(_draw_steps)


def _bits(leaf: Any) -> bytes:
    """An array's bits, by which also NaN equals itself."""
    is_key = eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes()


def _check_members(problem: Problem) -> None:
    """Raise `InputError` unless what is no array is as it must be."""
    for name in ("num_agents", "num_actions", "observation_size", "state_size"):
        size = getattr(problem, name)
        if not isinstance(size, int | np.integer) or size < 1:
            raise InputError(f"`{name}` must be a whole number of at least 1, not {size}.")
    names = problem.state_names
    if len(names) != problem.state_size or len(set(names)) != len(names):
        raise InputError(
            f"`state_names` must give each of the {problem.state_size} features a name of its own; it has {len(names)} "
            f"names, {len(set(names))} different ones."
        )
    try:
        json.dumps(problem.description)
    except (TypeError, ValueError) as error:
        raise InputError(f"`description` must be made of what JSON can hold: {error}.") from error


def _check_shapes(problem: Problem, key: PRNGKeyArray) -> None:
    """Raise `InputError` unless every method returns arrays of the sizes that the problem names; none is computed."""
    agents, shape = problem.num_agents, eqx.filter_eval_shape
    world = shape(problem.reset, key)
    moved, reward, over = shape(problem.step, key, world, jax.ShapeDtypeStruct((agents,), jnp.int32))
    float32, boolean = jnp.dtype(jnp.float32), jnp.dtype(bool)
    for name, found, expected, kind in (
        ("`state`", shape(problem.state, world), (problem.state_size,), float32),
        ("`observe`", shape(problem.observe, key, world), (agents, problem.observation_size), float32),
        ("`available`", shape(problem.available, world), (agents, problem.num_actions), boolean),
        ("The reward of `step`", reward, (), float32),
        ("The end of `step`", over, (), boolean),
    ):
        if getattr(found, "shape", None) != expected or found.dtype != kind:
            raise InputError(f"{name} must be an array of shape {expected} and type {kind}, not {_in_words(found)}.")
    if _in_words(moved) != _in_words(world):
        raise InputError(
            f"`step` must return a world like the one of `reset`, {_in_words(world)}, not {_in_words(moved)}."
        )


def _in_words(tree: Any) -> str:
    """The structure of a pytree, with the shapes and types of its arrays."""
    described = jax.tree.map(lambda leaf: f"{leaf.dtype}{leaf.shape}" if hasattr(leaf, "dtype") else leaf, tree)
    return str(described).replace("'", "")


def _check_values(problem: Problem, drawn: tuple) -> None:
    """Raise `InputError` unless numbers are finite and every agent can act."""
    world, _, (states, rewards, _, views) = drawn
    for name, values in (("`state`", states), ("The reward of `step`", rewards), ("`observe`", views)):
        if not np.isfinite(values).all():
            raise InputError(f"{name} is not finite.")
    if not np.any(problem.available(world), axis=1).all():
        raise InputError("`available` leaves an agent without any action; give it one that does nothing.")
