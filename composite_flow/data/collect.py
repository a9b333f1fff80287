"""Collecting episodes of a problem with a policy: one compiled program, thousands of worlds at once."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data.episodes import ARRAYS, Episodes, describe
from composite_flow.data.folder import FolderWriter
from composite_flow.data.scaling import Scaling
from composite_flow.data.shards import SHARD_BYTES
from composite_flow.errors import InputError
from composite_flow.problems.base import Policy, Problem, RandomPolicy

BATCH_BYTES = 64 * 2**20
"""Memory that the records of the worlds that run at once may take."""

Progress = Callable[[int, int], None]


def collect(
    problem: Problem,
    num_episodes: int,
    *,
    key: PRNGKeyArray,
    policy: Policy | None = None,
    num_steps: int | None = None,
    progress: Progress | None = None,
) -> Episodes:
    """Let a team act and record what it saw, what it did, and the state.

    An episode stops with the world that `Problem.step` calls over, which is recorded as its last step, or
    after `num_steps` recorded steps. Episode i draws from `fold_in(key, i)` alone.

    Args:
        problem: the world.
        num_episodes: how many episodes.
        key: the same key gives the same episodes.
        policy: how the team acts; every available action equally likely where not given.
        num_steps: most steps of an episode; the problem's own `num_steps` where not given.
        progress: called with the number of episodes done and of all, now and then.

    Returns:
        The episodes; states that all lie in [0, 1] are scaled by the identity, others by their min–max.

    Raises:
        InputError: a number is not positive, or the length of an episode is not known.
    """
    num_steps = _checked_num_steps(problem, num_episodes, num_steps)
    policy = RandomPolicy() if policy is None else policy
    batches = _batches(problem, policy, key, range(num_episodes), num_steps)
    parts, done = [], 0
    for part in batches:
        parts.append(part)
        done += int(part["ends"].sum())
        if progress is not None:
            progress(done, num_episodes)
    arrays = _concatenated(parts)
    scaling = Scaling.from_range(arrays["states"].min(axis=0), arrays["states"].max(axis=0))
    return Episodes(**arrays, state_names=problem.state_names, scaling=scaling, description=problem.description)


def collect_to(
    folder: str | Path,
    problem: Problem,
    num_episodes: int,
    *,
    key: PRNGKeyArray,
    policy: Policy | None = None,
    num_steps: int | None = None,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Episodes:
    """`collect` into a folder of shards, shard by shard, so that memory does not grow with `num_episodes`.

    The same call after an interruption goes on: finished shards of the same problem, policy, key and numbers are kept.

    Args:
        folder: a new or empty one, or one of episodes that may be overwritten.
        problem, num_episodes, key, policy, num_steps, progress: as in `collect`.
        overwrite: replace the episodes there, once the new ones are whole.
        shard_bytes: size of a shard before compression.

    Returns:
        The episodes, as `Episodes.load(folder)` opens them.

    Raises:
        InputError: a number is not positive, or the length of an episode is not known.
        FileError: the folder is in the way, or cannot be written.
    """
    num_steps = _checked_num_steps(problem, num_episodes, num_steps)
    policy = RandomPolicy() if policy is None else policy
    per_shard = min(num_episodes, max(1, shard_bytes // _episode_bytes(problem, num_steps)))
    firsts = range(0, num_episodes, per_shard)
    collection = _collection(problem, policy, key, num_episodes, num_steps, per_shard)
    writer = FolderWriter(Path(folder), collection, len(firsts), ARRAYS, overwrite)
    size = _batch_size(problem, per_shard, num_steps)
    for number, first in enumerate(firsts):
        stop = min(first + per_shard, num_episodes)
        if number not in writer.finished:
            arrays = _concatenated(list(_batches(problem, policy, key, range(first, stop), num_steps, size)))
            writer.write(number, arrays, _shard_description(problem, arrays["states"]))
        if progress is not None:
            progress(stop, num_episodes)
    writer.finish()
    return Episodes.load(folder)


def _shard_description(problem: Problem, states: Float[np.ndarray, "steps state"]) -> dict[str, Any]:
    """What a shard says beside its arrays; the ranges of all shards together give the scaling."""
    scaling = Scaling(jnp.asarray(states.min(axis=0)), jnp.asarray(states.max(axis=0)))
    return describe(problem.state_names, scaling, problem.description, measured=True)


def _collection(problem: Problem, policy: Policy, key: PRNGKeyArray, *numbers: int) -> str:
    """A digest of everything that the episodes depend on, by which shards know whether they belong together."""
    digest = hashlib.sha256(json.dumps([problem.description, numbers, version("jax")]).encode())
    for leaf in jax.tree.leaves((jax.random.key_data(key), policy)):
        digest.update(np.asarray(leaf).tobytes() if eqx.is_array(leaf) else repr(leaf).encode())
    digest.update(str(jax.tree.structure(policy)).encode())
    return digest.hexdigest()


def _checked_num_steps(problem: Problem, num_episodes: int, num_steps: int | None) -> int:
    """The most steps of an episode; raises where a number cannot be used."""
    if num_steps is None:
        num_steps = getattr(problem, "num_steps", None)
    if num_steps is None:
        raise InputError("This problem does not say how long its episodes are; give num_steps.")
    if num_episodes < 1 or num_steps < 1:
        raise InputError(f"num_episodes and num_steps must be at least 1, not {num_episodes} and {num_steps}.")
    return num_steps


def _rollout(problem: Problem, policy: Policy, key: PRNGKeyArray, num_steps: int) -> dict[str, Array]:
    """One episode of `num_steps` records; those after its end are to be dropped."""
    key_reset, key_steps = jax.random.split(key)

    def record(carry, key_step):
        world, memory, over = carry
        key_observe, key_act, key_world = jax.random.split(key_step, 3)
        observations, available = problem.observe(key_observe, world), problem.available(world)
        memory, actions = policy.act(key_act, memory, observations, available)
        next_world, reward, ends = problem.step(key_world, world, actions)
        step = {
            "observations": observations.astype(jnp.float32),
            "actions": actions.astype(jnp.int32),
            "states": problem.state(world).astype(jnp.float32),
            "rewards": jnp.where(over, 0.0, reward.astype(jnp.float32)),
            "ends": over,
            "availability": available,
        }
        return (next_world, memory, over | ends), step

    carry = (problem.reset(key_reset), policy.start(problem.num_agents), jnp.asarray(False))
    _, steps = jax.lax.scan(record, carry, jax.random.split(key_steps, num_steps))
    return {**steps, "ends": steps["ends"].at[-1].set(True)}


@eqx.filter_jit
def _rollouts(
    problem: Problem, policy: Policy, key: PRNGKeyArray, episodes: Int[Array, " batch"], num_steps: int
) -> dict[str, Array]:
    """The episodes of these numbers, each from its own key."""
    keys = jax.vmap(lambda episode: jax.random.fold_in(key, episode))(episodes)
    return jax.vmap(lambda key_episode: _rollout(problem, policy, key_episode, num_steps))(keys)


def _episode_bytes(problem: Problem, num_steps: int) -> int:
    """Memory of the records of the longest episode."""
    features = problem.num_agents * (4 * problem.observation_size + problem.num_actions + 4) + 4 * problem.state_size
    return num_steps * (features + 5)


def _batches(
    problem: Problem, policy: Policy, key: PRNGKeyArray, episodes: range, num_steps: int, size: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Flat arrays of these episodes, a batch at a time; all batches have one size, so that one program runs."""
    size = _batch_size(problem, len(episodes), num_steps) if size is None else size
    for first in range(episodes.start, episodes.stop, size):
        records = _rollouts(problem, policy, key, first + jnp.arange(size, dtype=jnp.int32), num_steps)
        yield _flat(jax.tree.map(np.asarray, records), min(size, episodes.stop - first))


def _batch_size(problem: Problem, num_episodes: int, num_steps: int) -> int:
    """As few equal batches as fit into the memory limit."""
    most = max(1, BATCH_BYTES // _episode_bytes(problem, num_steps))
    return -(-num_episodes // -(-num_episodes // most))


def _flat(records: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The first `count` episodes of a batch, each up to its end, one after the other."""
    ends = records["ends"][:count]
    inside = _inside(ends)
    return {name: np.ascontiguousarray(records[name][:count][inside]) for name in ARRAYS}


def _inside(ends: Bool[np.ndarray, "episodes steps"]) -> Bool[np.ndarray, "episodes steps"]:
    """Steps up to and with the first end."""
    return np.cumsum(ends, axis=1) - ends == 0


def _concatenated(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Flat arrays of several batches of whole episodes, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in ARRAYS}
