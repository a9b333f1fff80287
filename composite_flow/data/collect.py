"""Collect episodes of a problem with a policy: one compiled program runs thousands of worlds at once.

Worlds on the host are recorded one episode after the other, in the same form (`collect_host`).
"""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from composite_flow.data.amount import Amount, amount_to_collect
from composite_flow.data.collect_host import host_episodes
from composite_flow.data.description import shard_description
from composite_flow.data.episodes import ARRAYS, Episodes
from composite_flow.data.folder import FolderWriter
from composite_flow.data.progress import CountProgress
from composite_flow.data.scaling import Scaling
from composite_flow.data.shards import SHARD_BYTES
from composite_flow.errors import InputError
from composite_flow.numerics.entry_point import entry_point
from composite_flow.problems.base import Policy, Problem, RandomPolicy
from composite_flow.problems.host import AnyProblem, HostProblem
from composite_flow.problems.host_policy import HostPolicy

BATCH_BYTES = 64 * 2**20
"""Most memory for the records of the worlds that run at the same time."""

Arrays = dict[str, np.ndarray]


@entry_point
def collect(
    problem: AnyProblem,
    num_episodes: int | None = None,
    *,
    key: PRNGKeyArray,
    num_samples: int | None = None,
    policy: Policy | Callable[..., Any] | None = None,
    num_steps: int | None = None,
    progress: CountProgress | None = None,
) -> Episodes:
    """Let a team act and record what it saw, what it did, and the state.

    An episode ends when `Problem.step` says that it is over, and the world reached then is recorded as its last step;
    otherwise it ends after `num_steps` recorded steps. Episode i draws from `fold_in(key, i)` alone.

    Args:
        problem: the world.
        num_episodes: number of episodes; give either this or `num_samples`.
        key: the same key gives the same episodes.
        num_samples: number of time steps of the team. The last episode is recorded to its end, so there can be more.
        policy: how the team acts; by default every available action is equally likely. In worlds on the host also any
            callable, `policy(observations, available) -> actions` (see `HostPolicy`).
        num_steps: most steps of an episode; by default the problem's own `num_steps`.
        progress: called now and then with the number of episodes (or samples) that are done, and of all.

    Returns:
        The episodes. States that all lie in [0, 1] are scaled by the identity, others by their minimum and maximum.

    Raises:
        InputError: a number is not positive, none or both of the two numbers are given, or the length of an episode is
            not known.
    """
    amount = amount_to_collect(problem, num_episodes, num_samples, num_steps)
    policy = _as_policy(policy)
    size = _batch_size(problem, amount.fewest_episodes, amount.num_steps)
    batches = _batches(problem, policy, key, range(amount.wanted), amount.num_steps, size)
    arrays = _recorded(batches, amount, 0, progress)
    scaling = Scaling.from_range(arrays["states"].min(axis=0), arrays["states"].max(axis=0))
    told: dict[str, Any] = {"description": problem.description, "policy": policy.description}
    return Episodes(**{**arrays, **told, "state_names": problem.state_names, "scaling": scaling})


@entry_point
def collect_to(
    folder: str | Path,
    problem: AnyProblem,
    num_episodes: int | None = None,
    *,
    key: PRNGKeyArray,
    num_samples: int | None = None,
    policy: Policy | Callable[..., Any] | None = None,
    num_steps: int | None = None,
    minutes: float | None = None,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
    in_memory: bool | None = None,
    progress: CountProgress | None = None,
) -> Episodes:
    """`collect` into a folder of shards, shard by shard, so that memory does not grow with the number of episodes.

    After an interruption the same call continues, with finished shards of the same problem, policy, key and numbers.

    Args:
        folder: a folder that is new or empty, or that holds episodes that may be overwritten.
        problem, num_episodes, key, num_samples, policy, num_steps, progress: as in `collect`.
        minutes: time limit. After it no further shard is begun; the same call again collects the rest.
        overwrite: replace the episodes there, once the new ones are complete.
        shard_bytes: size of a shard before compression.
        in_memory: as in `Episodes.load`, which opens the episodes.

    Raises:
        InputError: as in `collect`, or the minutes were not enough.
        FileError: the folder is in the way, or cannot be written.
    """
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes must be positive, not {minutes}.")
    amount = amount_to_collect(problem, num_episodes, num_samples, num_steps)
    stop = time.monotonic() + 60 * (minutes or math.inf)
    policy = _as_policy(policy)
    per_shard = min(amount.wanted, max(1, shard_bytes // _episode_bytes(problem, amount.num_steps)))
    with FolderWriter(Path(folder), _collection(problem, policy, key, amount, per_shard), ARRAYS, overwrite) as writer:
        size = _batch_size(problem, min(per_shard, amount.fewest_episodes), amount.num_steps)
        done, number, has_begun = 0, 0, False
        while done < amount.wanted:
            if number in writer.finished:
                steps = writer.finished[number].num_steps
            elif has_begun and time.monotonic() >= stop:
                raise InputError(_too_slow(amount, done, minutes, writer))
            else:
                episodes, has_begun = range(number * per_shard, (number + 1) * per_shard), True
                batches = _batches(problem, policy, key, episodes, amount.num_steps, size)
                # On the host a shard takes long, so progress is reported within it too.
                arrays = _recorded(batches, amount, done, progress if isinstance(problem, HostProblem) else None)
                steps = len(arrays["ends"])
                is_last = amount.after(done, per_shard, steps) >= amount.wanted
                writer.write(
                    number, number + 1 if is_last else None, arrays, _measured_description(problem, policy, arrays)
                )
            done, number = amount.after(done, per_shard, steps), number + 1
            if progress is not None:
                progress(done, amount.wanted)
        writer.finish()
    return Episodes.load(folder, in_memory)


def _as_policy(policy: Policy | Callable[..., Any] | None) -> Policy:
    """A policy as it is, a plain function as one; random actions where there is none."""
    if policy is None:
        return RandomPolicy()
    return policy if isinstance(policy, Policy) else HostPolicy(policy)


def _too_slow(amount: Amount, done: int, minutes: float | None, writer: FolderWriter) -> str:
    """The message when the time is over: what has been collected, and how to continue."""
    unit = "time steps" if amount.in_samples else "episodes"
    return (
        f"{done:,} of {amount.wanted:,} {unit} were collected in {minutes:g} minutes and are kept in {writer.partial}: "
        "run the same command again to go on, allow more minutes, or ask for fewer."
    )


def _measured_description(problem: AnyProblem, policy: Policy, arrays: Arrays) -> dict[str, Any]:
    """The description in a shard, with the range of its own states; the ranges of all shards give the scaling."""
    scaling = Scaling.of_limits(arrays["states"].min(axis=0), arrays["states"].max(axis=0))
    return shard_description(problem.state_names, scaling, problem.description, policy.description, measured=True)


def _collection(problem: AnyProblem, policy: Policy, key: PRNGKeyArray, amount: Amount, per_shard: int) -> str:
    """A digest of all that the episodes depend on; it shows whether shards belong to the same collection."""
    described = [problem.description, policy.description, dataclasses.asdict(amount), per_shard, version("jax")]
    digest = hashlib.sha256(json.dumps(described).encode())
    for leaf in jax.tree.leaves((jax.random.key_data(key), policy)):
        digest.update(np.asarray(leaf).tobytes() if eqx.is_array(leaf) else repr(leaf).encode())
    digest.update(str(jax.tree.structure(policy)).encode())
    return digest.hexdigest()


def _recorded(batches: Iterable[Arrays], amount: Amount, before: int, progress: CountProgress | None = None) -> Arrays:
    """The episodes of these batches until the amount is reached, given what was there before them."""
    parts, done = [], before
    for batch in batches:
        part = amount.cut(batch, done)
        parts.append(part)
        done = amount.after(done, int(part["ends"].sum()), len(part["ends"]))
        if progress is not None:
            progress(done, amount.wanted)
        if done >= amount.wanted:
            break
    return {name: np.concatenate([part[name] for part in parts]) for name in ARRAYS}


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
    """The episodes with these numbers, each drawn from its own key."""
    keys = jax.vmap(lambda episode: jax.random.fold_in(key, episode))(episodes)
    return jax.vmap(lambda key_episode: _rollout(problem, policy, key_episode, num_steps))(keys)


def _episode_bytes(problem: AnyProblem, num_steps: int) -> int:
    """Memory for the records of an episode of `num_steps` steps."""
    features = problem.num_agents * (4 * problem.observation_size + problem.num_actions + 4) + 4 * problem.state_size
    return num_steps * (features + 5)


def _batches(
    problem: AnyProblem, policy: Policy, key: PRNGKeyArray, episodes: range, num_steps: int, size: int
) -> Iterator[Arrays]:
    """Flat arrays of these episodes, one batch at a time; all batches have one size, so one compilation is enough."""
    if isinstance(problem, HostProblem):
        yield from host_episodes(problem, policy, key, episodes, num_steps)
        return
    for first in range(episodes.start, episodes.stop, size):
        records = _rollouts(problem, policy, key, first + jnp.arange(size, dtype=jnp.int32), num_steps)
        yield _flat(jax.tree.map(np.asarray, records), min(size, episodes.stop - first))


def _batch_size(problem: AnyProblem, num_episodes: int, num_steps: int) -> int:
    """The number of episodes in a batch: as few equal batches as the memory limit allows."""
    most = max(1, BATCH_BYTES // _episode_bytes(problem, num_steps))
    return -(-num_episodes // -(-num_episodes // most))


def _flat(records: Arrays, count: int) -> Arrays:
    """The first `count` episodes of a batch, each up to its end, one after the other."""
    ends = records["ends"][:count]
    inside = _inside(ends)
    return {name: np.ascontiguousarray(records[name][:count][inside]) for name in ARRAYS}


def _inside(ends: Bool[np.ndarray, "episodes steps"]) -> Bool[np.ndarray, "episodes steps"]:
    """Which steps lie up to the first end, which is included."""
    return np.cumsum(ends, axis=1) - ends == 0
