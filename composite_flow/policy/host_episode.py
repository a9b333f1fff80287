"""One episode in a world on the host, recorded step by step as compiled worlds are."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from composite_flow.data.collect_host import episode_keys
from composite_flow.errors import InputError
from composite_flow.policy.acting import acted
from composite_flow.problems.base import Memory, Policy
from composite_flow.problems.host import HostProblem, WorldLost
from composite_flow.problems.host_policy import HostPolicy


def host_steps(
    problem: HostProblem, policy: Policy, key: PRNGKeyArray, num_steps: int, pictures: bool
) -> dict[str, list[Any]]:
    """What happened in each step, until the episode is over.

    Args:
        problem: the world; it is not closed.
        policy: who acts.
        key: split as `collect` splits an episode's, which therefore is the same.
        num_steps: most steps.
        pictures: whether the world is drawn in each step, where it can be.

    Raises:
        InputError: the world broke down.
    """
    key_reset, keys = episode_keys(key, num_steps)
    names = ("states", "observations", "actions", "samples", "rewards", "pictures")
    steps: dict[str, list[Any]] = {name: [] for name in names}
    try:
        problem.reset(key_reset)
        memory = policy.start(problem.num_agents)
        for key_observe, key_act, key_world in keys:
            state, observations, available = problem.state(), problem.observe(key_observe), problem.available()
            picture = problem.picture() if pictures else None
            memory, actions, samples = _acted(policy, key_act, memory, observations, available, state)
            reward, over = problem.step(key_world, actions)
            for name, value in zip(names, (state, observations, actions, samples, reward, picture), strict=True):
                steps[name].append(value)
            if over:
                break
    except WorldLost as lost:
        raise InputError(f"The world broke down ({lost}): run the same command again.") from lost
    return steps


def _acted(policy: Policy, key: PRNGKeyArray, memory: Memory, observations: Any, available: Any, state: Any) -> tuple:
    """One step of any policy: plain Python, or compiled once."""
    seen, free = np.asarray(observations, np.float32), np.asarray(available)
    if isinstance(policy, HostPolicy):
        return memory, policy.choose(seen, free), None
    memory, actions, samples = _compiled(
        policy, key, memory, jnp.asarray(seen), jnp.asarray(free), jnp.asarray(state, jnp.float32)
    )
    return memory, np.asarray(actions, np.int32), None if samples is None else np.asarray(samples)


_compiled = eqx.filter_jit(acted)
