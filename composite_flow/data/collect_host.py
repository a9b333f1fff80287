"""Collect episodes of a world on the host, one after the other, recorded in the same form as compiled ones."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from composite_flow.data.arrays import as_floats
from composite_flow.errors import InputError
from composite_flow.problems.base import Memory, Policy
from composite_flow.problems.host import HostProblem, WorldLost
from composite_flow.problems.host_policy import HostPolicy

MOST_LOSSES = 3
"""How often a world may break down within the same episode."""


def host_episodes(
    problem: HostProblem, policy: Policy, key: PRNGKeyArray, episodes: range, num_steps: int
) -> Iterator[dict[str, np.ndarray]]:
    """The records of these episodes, one episode at a time.

    Keys are split as for compiled worlds, so a world that draws from them alone gives the same episodes.

    Args:
        problem: the world.
        policy: how the team acts.
        key: the collection's key; episode i draws from `fold_in(key, i)`.
        episodes: the numbers of the episodes.
        num_steps: most steps of an episode.

    Raises:
        InputError: the world breaks down again and again, or returns values that are not finite.
    """
    for number in episodes:
        yield _until_whole(problem, policy, jax.random.fold_in(key, number), num_steps)


def _until_whole(problem: HostProblem, policy: Policy, key: PRNGKeyArray, num_steps: int) -> dict[str, np.ndarray]:
    """One complete episode; if the world breaks down, the episode is played again from its start."""
    for losses in range(1, MOST_LOSSES + 1):
        try:
            return _episode(problem, policy, key, num_steps)
        except WorldLost as lost:
            if losses == MOST_LOSSES:
                raise InputError(
                    f"The world broke down {losses} times in one episode, at last because {lost}; finished shards are "
                    "kept, so look at its own messages and run the same command again."
                ) from lost
    raise AssertionError("the last loss was raised")


def _episode(problem: HostProblem, policy: Policy, key: PRNGKeyArray, num_steps: int) -> dict[str, np.ndarray]:
    """Play until the world is over, and record its last step too, or until `num_steps` steps are recorded."""
    key_reset, keys = episode_keys(key, num_steps)
    records: dict[str, list] = {name: [] for name in ("observations", "actions", "states", "rewards", "availability")}
    problem.reset(key_reset)
    memory, over = policy.start(problem.num_agents), False
    for key_observe, key_act, key_world in keys:
        observations, available = problem.observe(key_observe), problem.available()
        memory, actions = _acted(policy, key_act, memory, observations, available)
        actions, state = np.asarray(actions, np.int32), problem.state()
        was_over = over
        reward, over = (0.0, True) if was_over else problem.step(key_world, actions)
        for name, value in zip(records, (observations, actions, state, reward, available), strict=True):
            records[name].append(value)
        if was_over:
            break
    ends = np.zeros(len(records["rewards"]), bool)
    ends[-1] = True
    return {
        "observations": as_floats("The world's observations", np.stack(records["observations"]), 3),
        "actions": np.stack(records["actions"]),
        "states": as_floats("The world's states", np.stack(records["states"]), 2),
        "rewards": as_floats("The world's rewards", records["rewards"], 1),
        "ends": ends,
        "availability": np.stack(records["availability"]),
    }


@eqx.filter_jit
def episode_keys(key: PRNGKeyArray, num_steps: int) -> tuple[PRNGKeyArray, Key[Array, "steps three"]]:
    """The key of the reset, and for each step the keys of the observation, the action and the world."""
    key_reset, key_steps = jax.random.split(key)
    return key_reset, jax.vmap(lambda key_step: jax.random.split(key_step, 3))(jax.random.split(key_steps, num_steps))


def _acted(policy: Policy, key: PRNGKeyArray, memory: Memory, observations: np.ndarray, available: np.ndarray):
    """One step of any policy: compiled, or as Python has it."""
    if isinstance(policy, HostPolicy):
        return memory, policy.choose(np.asarray(observations, np.float32), np.asarray(available))
    return _act(policy, key, memory, jnp.asarray(observations), jnp.asarray(available))


@eqx.filter_jit
def _act(
    policy: Policy,
    key: PRNGKeyArray,
    memory: Memory,
    observations: Float[Array, "agents observation"],
    available: Bool[Array, "agents actions"],
) -> tuple[Memory, Int[Array, " agents"]]:
    """One step of a policy, compiled once."""
    return policy.act(key, memory, observations, available)
