"""What a trained policy is worth: returns and wins of whole episodes, and what its agents know of the state.

Every world plays one episode, its first, so that short episodes count no more often than long ones. Episode i draws
from its own key alone: two policies, or two sights, meet the same starts, whatever the number of worlds at once.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data.progress import CountProgress
from composite_flow.errors import InputError, MismatchError
from composite_flow.metrics import clopper_pearson, decibels, normal_interval
from composite_flow.numerics.settled import settled
from composite_flow.policy.certainty import certainty
from composite_flow.policy.rollout import choose_tree, squared_error, team_won
from composite_flow.policy.team import Team, TeamMemory, decide, fresh_memory
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems.base import Problem, World, tells_wins

MOST_WORLDS = 256
"""Worlds that run at once, at most."""

_EVALUATION = 2**32 - 4  # a number that training folds into no key


@dataclass(frozen=True, eq=False)
class PolicyEvaluation:
    """What the episodes gave.

    Attributes:
        returns: undiscounted, one per episode.
        wins: 1 where the team won, else 0; None where the problem does not tell.
        lengths: steps of each episode.
        psnr: of the inferred states that agents acted on, in decibels, over all steps, agents, samples and features;
            None where nothing is inferred.
        certain: share of the steps and agents in which the agent is certain; None where it was not asked.
        right_when_certain: share of these in which it is right; None where there are none.
        messages: that the team sends in a step.
        message_bytes: of all messages of a step together.
    """

    returns: Float[np.ndarray, " episodes"]
    wins: Float[np.ndarray, " episodes"] | None
    lengths: Int[np.ndarray, " episodes"]
    psnr: float | None
    certain: float | None
    right_when_certain: float | None
    messages: float
    message_bytes: float

    def summary(self) -> dict[str, Any]:
        """Means over episodes, with 95% intervals: mean ± 1.96 standard errors; Clopper and Pearson's for wins."""
        wins = None if self.wins is None else int(self.wins.sum())
        return {
            "episodes": len(self.returns),
            "return": float(np.mean(self.returns)),
            "return_interval": normal_interval(self.returns),
            "win_rate": None if wins is None else wins / len(self.returns),
            "win_rate_interval": None if wins is None else clopper_pearson(wins, len(self.returns)),
            "length": float(np.mean(self.lengths)),
            "length_interval": normal_interval(self.lengths),
            "psnr": self.psnr,
            "certain": self.certain,
            "right_when_certain": self.right_when_certain,
            "messages": self.messages,
            "message_bytes": self.message_bytes,
        }


class _Episode(eqx.Module):
    """An episode as it goes on, and sums over its steps; it stays as it is once it is over.

    Attributes:
        world: the problem's own.
        memory: the team's, before the next step.
        key: of the episode.
        over: whether it is.
        earned: undiscounted return.
        length: its steps.
        squared_error: of inferred states, see `squared_error`.
        certain, right: agents that were certain, and those of them that were right.
    """

    world: World
    memory: TeamMemory
    key: PRNGKeyArray
    over: Bool[Array, "*worlds"]
    earned: Float[Array, "*worlds"]
    length: Int[Array, "*worlds"]
    squared_error: Float[Array, "*worlds"]
    certain: Int[Array, "*worlds"]
    right: Int[Array, "*worlds"]


def evaluate_policy(
    problem: Problem,
    policy: TrainedPolicy,
    *,
    key: PRNGKeyArray,
    num_episodes: int = 1000,
    lost: float = 0.0,
    num_samples: int = 8,
    certain_radius: float = 0.5,
    progress: CountProgress | None = None,
) -> PolicyEvaluation:
    """Let a team play whole episodes that no training has seen.

    Args:
        problem: the world, with a policy's sizes; its episodes must end.
        policy: drawing its actions or greedy, as it says.
        key: random key; what it gives differs from what training draws from the same key.
        num_episodes: how many.
        lost: chance that a message is lost, where agents send any.
        num_samples: of each agent's own p̂, which tell in each step whether it is certain (`certainty.py`); 0 does not
            ask, and saves most of the time.
        certain_radius: r, within which samples agree with each other and with the true state.
        progress: called with the number of episodes done and of all, now and then.

    Raises:
        InputError: a number is out of range, or messages are to be lost that nobody sends.
        MismatchError: the policy is of a problem of other sizes.
    """
    _check_numbers(num_episodes, lost, num_samples, certain_radius)
    _check_fit(problem, policy)
    policy = _losing(policy, lost)
    inference = policy.team.inputs.inference
    alone = inference is not None and not (policy.team.inputs.carries or inference.team_answer)
    asked = num_samples if alone else 0  # neither a chain nor a team denoiser says what an agent knows by itself
    size = math.ceil(num_episodes / math.ceil(num_episodes / MOST_WORLDS))
    key, radius, parts = jax.random.fold_in(key, _EVALUATION), jnp.float32(certain_radius), []
    for first in range(0, num_episodes, size):
        numbers = first + jnp.arange(size, dtype=jnp.int32)
        part = jax.tree.map(np.asarray, _first_episodes(problem, policy, key, numbers, asked, radius))
        parts.append({name: column[: num_episodes - first] for name, column in part.items()})
        if progress is not None:
            progress(min(first + size, num_episodes), num_episodes)
    sums = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    steps, certain = int(sums["lengths"].sum()), int(sums["certain"].sum())
    sent = policy.team.inputs.talk if inference is None else inference
    messages, size_of_one = (0, 0) if sent is None else (sent.messages, sent.message_bytes)
    return PolicyEvaluation(
        returns=sums["returns"],
        wins=sums["wins"] if tells_wins(problem) else None,
        lengths=sums["lengths"],
        psnr=None if inference is None else float(decibels(sums["squared_error"].sum(dtype=np.float64) / steps)),
        certain=certain / (steps * problem.num_agents) if asked else None,
        right_when_certain=int(sums["right"].sum()) / certain if certain else None,
        messages=float(messages),
        message_bytes=float(messages * size_of_one),
    )


@eqx.filter_jit
def _first_episodes(
    problem: Problem,
    policy: TrainedPolicy,
    key: PRNGKeyArray,
    numbers: Int[Array, " worlds"],
    num_samples: int,
    radius: Float[Array, ""],
) -> dict[str, Array]:
    """The episodes of these numbers, all at once, until the last one is over."""

    def start(number):
        return _start(problem, policy.team, jax.random.fold_in(key, number))

    def advance(episode):
        return _advance(problem, policy, episode, num_samples, radius)

    episodes = jax.lax.while_loop(lambda all_: ~jnp.all(all_.over), jax.vmap(advance), jax.vmap(start)(numbers))
    return {
        "returns": episodes.earned,
        "wins": jax.vmap(lambda episode: team_won(problem, episode.world))(episodes).astype(jnp.float32),
        "lengths": episodes.length,
        "squared_error": episodes.squared_error,
        "certain": episodes.certain,
        "right": episodes.right,
    }


def _start(problem: Problem, team: Team, key: PRNGKeyArray) -> _Episode:
    key_world, key_steps = jax.random.split(key)
    world, memory = settled(problem.reset(key_world)), fresh_memory(team, problem.num_agents)
    zero, none = jnp.float32(0.0), jnp.int32(0)
    return _Episode(world, memory, key_steps, jnp.asarray(False), zero, none, zero, none, none)


def _advance(
    problem: Problem, policy: TrainedPolicy, episode: _Episode, num_samples: int, radius: Float[Array, ""]
) -> _Episode:
    """One step of one episode; none where it is over."""
    key_step = jax.random.fold_in(episode.key, episode.length)
    key_observe, key_act, key_world, key_certain = jax.random.split(key_step, 4)
    state = problem.state(episode.world).astype(jnp.float32)
    observations = problem.observe(key_observe, episode.world).astype(jnp.float32)
    available = problem.available(episode.world)
    memory, decision = decide(
        policy.team, key_act, episode.memory, observations, available, state, greedy=policy.greedy
    )
    world, reward, over = problem.step(key_world, episode.world, decision.actions)
    certain, right = episode.certain, episode.right
    if num_samples:
        known = certainty(policy.team, episode.memory, observations, state, key_certain, num_samples, radius)
        certain += jnp.sum(known.is_certain, dtype=jnp.int32)
        right += jnp.sum(known.is_certain & known.is_right, dtype=jnp.int32)
    after = _Episode(
        settled(world),
        memory,
        episode.key,
        over,
        episode.earned + reward.astype(jnp.float32),
        episode.length + 1,
        episode.squared_error + squared_error(policy.team, decision.samples, state),
        certain,
        right,
    )
    return choose_tree(episode.over, episode, after)


def _losing(policy: TrainedPolicy, lost: float) -> TrainedPolicy:
    """The policy with messages that are lost with this chance."""
    inference = policy.team.inputs.inference
    if inference is None or not inference.sends:
        if lost > 0:
            kind, talk = policy.team.inputs.kind, policy.team.inputs.talk
            sends = "sends no messages that could be lost" if talk is None else "loses no message"
            raise InputError(
                f"A policy with the input '{kind}' {sends}; leave lost at 0, or evaluate one with the input "
                "'composite'."
            )
        return policy
    inputs = dataclasses.replace(policy.team.inputs, inference=dataclasses.replace(inference, lost=float(lost)))
    return dataclasses.replace(policy, team=dataclasses.replace(policy.team, inputs=inputs))


def _check_numbers(num_episodes: int, lost: float, num_samples: int, certain_radius: float) -> None:
    """Refuse numbers out of range."""
    if num_episodes < 1:
        raise InputError(f"The number of episodes must be at least 1, not {num_episodes}.")
    if not 0 <= lost < 1:
        raise InputError(f"The chance that a message is lost must lie in [0, 1), not {lost}.")
    if num_samples < 0:
        raise InputError(f"The number of samples must not be negative, not {num_samples}; 0 asks for no certainty.")
    if not (math.isfinite(certain_radius) and certain_radius > 0):
        raise InputError(f"The radius of certainty must be a number above 0, not {certain_radius}.")


def _check_fit(problem: Problem, policy: TrainedPolicy) -> None:
    """Refuse a problem in which the team's networks make no sense."""
    policy.check(problem)
    team = policy.team
    fits = team.networks.actor.num_inputs == team.inputs.size(problem)
    if team.inputs.inference is not None:
        fits &= team.denoiser.state_size == problem.state_size
    if not fits:
        raise MismatchError(
            f"The policy was trained where states have another number of features than the problem's "
            f"{problem.state_size}; use a policy of its kind."
        )
