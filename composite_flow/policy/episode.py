"""One episode of a team, kept whole: the world as it was, what each agent saw, did and inferred."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.policy.rollout import team_won
from composite_flow.policy.team import Team, decide, fresh_memory
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems.base import Problem, tells_wins


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
    """

    states: Float[np.ndarray, "steps state"]
    observations: Float[np.ndarray, "steps agents observation"]
    actions: Int[np.ndarray, "steps agents"]
    samples: Float[np.ndarray, "steps agents samples state"] | None
    rewards: Float[np.ndarray, " steps"]
    won: bool | None

    @property
    def num_steps(self) -> int:
        """Length of the episode."""
        return len(self.rewards)

    @property
    def estimates(self) -> Float[np.ndarray, "steps agents state"] | None:
        """One state that each agent infers, drawn from its own distribution; None where nothing is inferred."""
        return None if self.samples is None else self.samples[:, :, 0]


def record_episode(
    problem: Problem, policy: TrainedPolicy, *, key: PRNGKeyArray, num_steps: int | None = None
) -> EpisodeRecord:
    """Let a trained team act from an episode's start to its end.

    Args:
        problem: the world.
        policy: who acts; the true state is shown to it where its input is the state.
        key: the same key gives the same episode.
        num_steps: most steps; the problem's own `num_steps` where not given.

    Raises:
        InputError: the length of an episode is not known, or not positive.
        MismatchError: the policy is of a problem of other sizes.
    """
    policy.check(problem)
    num_steps = problem.num_steps if num_steps is None else num_steps
    if num_steps is None:
        raise InputError("This problem does not say how long its episodes are; give num_steps.")
    if num_steps < 1:
        raise InputError(f"An episode needs at least one step, not {num_steps}.")
    steps = jax.tree.map(np.asarray, _rollout(problem, policy.team, key, num_steps, policy.greedy))
    length = int(np.argmax(steps.ends)) + 1 if steps.ends.any() else num_steps
    kept = jax.tree.map(lambda part: part[:length], steps)
    won = bool(kept.won[-1]) if tells_wins(problem) else None
    return EpisodeRecord(kept.states, kept.observations, kept.actions, kept.samples, kept.rewards, won)


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
def _rollout(problem: Problem, team: Team, key: PRNGKeyArray, num_steps: int, greedy: bool) -> _Steps:
    """So many steps of one world; those after its end are to be dropped."""
    key_reset, key_steps = jax.random.split(key)

    def step(carry, key_step):
        world, memory = carry
        key_observe, key_act, key_world = jax.random.split(key_step, 3)
        state = problem.state(world).astype(jnp.float32)
        observations = problem.observe(key_observe, world).astype(jnp.float32)
        memory, decision = decide(team, key_act, memory, observations, problem.available(world), state, greedy)
        samples = None if decision.samples is None else team.inputs.inference.scaling.unscale(decision.samples)
        world, reward, ends = problem.step(key_world, world, decision.actions)
        reward = reward.astype(jnp.float32)
        won = team_won(problem, world)
        return (world, memory), _Steps(state, observations, decision.actions, samples, reward, won, ends)

    carry = (problem.reset(key_reset), fresh_memory(team, problem.num_agents))
    return jax.lax.scan(step, carry, jax.random.split(key_steps, num_steps))[1]
