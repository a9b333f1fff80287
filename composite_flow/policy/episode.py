"""One episode of a team, kept whole: the world as it was, what each agent saw, did and inferred."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from composite_flow.errors import InputError
from composite_flow.policy.acting import acted
from composite_flow.policy.host_episode import host_steps
from composite_flow.policy.rollout import team_won
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems.base import Policy, Problem, World, draws_pictures, tells_wins
from composite_flow.problems.host import AnyProblem, HostProblem


@dataclasses.dataclass(frozen=True, eq=False)
class EpisodeRecord:
    """What happened in each step of an episode.

    Attributes:
        states: of the world in which the team acted, in the problem's own units.
        observations: what each agent saw of it.
        actions: what it did.
        samples: of the states that it inferred before it acted, in the problem's own units; None where nothing is
            inferred.
        rewards: what the team earned.
        won: whether the team won in the end; None where the problem does not tell.
        pictures: of the world, by its own library; None where it draws none, or nobody asked.
    """

    states: Float[np.ndarray, "steps state"]
    observations: Float[np.ndarray, "steps agents observation"]
    actions: Int[np.ndarray, "steps agents"]
    samples: Float[np.ndarray, "steps agents samples state"] | None
    rewards: Float[np.ndarray, " steps"]
    won: bool | None
    pictures: UInt8[np.ndarray, "steps height width 3"] | None = None

    @property
    def num_steps(self) -> int:
        """Length of the episode."""
        return len(self.rewards)

    @property
    def estimates(self) -> Float[np.ndarray, "steps agents state"] | None:
        """One state that each agent infers, drawn from its own distribution; None where nothing is inferred."""
        return None if self.samples is None else self.samples[:, :, 0]


def record_episode(
    problem: AnyProblem, policy: Policy, *, key: PRNGKeyArray, num_steps: int | None = None, pictures: bool = False
) -> EpisodeRecord:
    """Let a team act from an episode's start to its end.

    Args:
        problem: the world, compiled or on the host.
        policy: who acts; the true state is shown to a trained policy whose input is the state.
        key: the same key gives the same episode.
        num_steps: most steps; the problem's own `num_steps` where not given.
        pictures: keep what the world's own library draws of each step, where it does.

    Raises:
        InputError: the length of an episode is not known, or not positive.
        MismatchError: the policy is of a problem of other sizes.
    """
    if isinstance(policy, TrainedPolicy):
        policy.check(problem)
    num_steps = problem.num_steps if num_steps is None else num_steps
    if num_steps is None:
        raise InputError("This problem does not say how long its episodes are; give num_steps.")
    if num_steps < 1:
        raise InputError(f"An episode needs at least one step, not {num_steps}.")
    if isinstance(problem, HostProblem):
        return _on_host(problem, policy, key, num_steps, pictures)
    return _compiled(problem, policy, key, num_steps, pictures)


def _on_host(problem: HostProblem, policy: Policy, key: PRNGKeyArray, num_steps: int, pictures: bool) -> EpisodeRecord:
    """An episode in a world on the host."""
    steps = host_steps(problem, policy, key, num_steps, pictures)
    states, observations, rewards = (
        np.asarray(steps[part], np.float32) for part in ("states", "observations", "rewards")
    )
    told = states, observations, np.stack(steps["actions"]), _stacked(steps["samples"]), rewards
    return EpisodeRecord(*told, won=None, pictures=_stacked(steps["pictures"]))


def _compiled(problem: Problem, policy: Policy, key: PRNGKeyArray, num_steps: int, pictures: bool) -> EpisodeRecord:
    """An episode in one program; worlds are drawn afterwards."""
    pictures = pictures and draws_pictures(problem)
    steps, worlds = _rollout(problem, policy, key, num_steps, pictures)
    steps = jax.tree.map(np.asarray, steps)
    length = int(np.argmax(steps.ends)) + 1 if steps.ends.any() else num_steps
    kept = jax.tree.map(lambda part: part[:length], steps)
    won = bool(kept.won[-1]) if tells_wins(problem) else None
    told = kept.states, kept.observations, kept.actions, kept.samples, kept.rewards, won
    return EpisodeRecord(*told, pictures=_drawn(problem, worlds, length) if pictures else None)


def _drawn(problem: Problem, worlds: World, length: int) -> np.ndarray | None:
    """Pictures of so many worlds; None as soon as there is none of one."""
    found = []
    for at in range(length):
        found.append(problem.picture(jax.tree.map(lambda part, at=at: part[at], worlds)))
        if found[-1] is None:
            break
    return _stacked(found)


def _stacked(each: list[Any]) -> np.ndarray | None:
    """Parts of all steps as one array; None where they are not there in every step, or not of one size."""
    shapes = {None if one is None else one.shape for one in each}
    return None if None in shapes or len(shapes) > 1 else np.stack(each)


class _Steps(eqx.Module):
    """Records of steps, with whether each was the last of its episode, and won it."""

    states: Any
    observations: Any
    actions: Any
    samples: Any
    rewards: Any
    won: Bool[Array, "*steps"] | Bool[np.ndarray, "*steps"]
    ends: Bool[Array, "*steps"] | Bool[np.ndarray, "*steps"]


@eqx.filter_jit
def _rollout(
    problem: Problem, policy: Policy, key: PRNGKeyArray, num_steps: int, keep_worlds: bool
) -> tuple[_Steps, World]:
    """So many steps of one world, and the worlds themselves where they are kept; drop those after its end."""
    key_reset, key_steps = jax.random.split(key)

    def step(carry, key_step):
        world, memory = carry
        key_observe, key_act, key_world = jax.random.split(key_step, 3)
        state = problem.state(world).astype(jnp.float32)
        observations = problem.observe(key_observe, world).astype(jnp.float32)
        memory, actions, samples = acted(policy, key_act, memory, observations, problem.available(world), state)
        moved, reward, ends = problem.step(key_world, world, actions)
        reward = reward.astype(jnp.float32)
        steps = _Steps(state, observations, actions, samples, reward, team_won(problem, moved), ends)
        return (moved, memory), (steps, world if keep_worlds else None)

    carry = (problem.reset(key_reset), policy.start(problem.num_agents))
    return jax.lax.scan(step, carry, jax.random.split(key_steps, num_steps))[1]
