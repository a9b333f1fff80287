"""How far the truth lies from what teams say, in the terms in which they claim to know it.

    numbers            u_k = |s_k − ŝ_k| / √variance_k
    binary features    u_k = −log p(s_k)
    one of k           u = −log p(the true one), the same for each feature of the group

Teams are drawn at random for each size, and stay the same through an episode. Where answers are lost, each of them is
lost by itself at every step, but one that always arrives: a team of whom nobody is heard says nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import SMALLEST_FREQUENCY, Answers
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.posterior import posterior
from composite_flow.numerics.batches import numbered_parts

Counted = Callable[[Float[np.ndarray, "steps state"]], Bool[np.ndarray, "steps state"]]
"""Which features count at steps of these states, in their own units: those of units that live, for example."""

_AT_ONCE = 2048  # steps read at a time
_IN_ONE_CALL = 64  # joint histories, so that memory is bounded


@dataclass(frozen=True, eq=False)
class TeamScores:
    """How far the truth lies from what teams of some sizes say.

    Attributes:
        values: u of each feature; NaN where it does not count.
        claims: √variance of numbers, the probability of all other features; scaled.
        uncertainty: √Σ variance.
        states: the truth, scaled.
        episodes: the episode of each step.
    """

    values: Float[np.ndarray, "steps sizes state"]
    claims: Float[np.ndarray, "steps sizes state"]
    uncertainty: Float[np.ndarray, "steps sizes"]
    states: Float[np.ndarray, "steps state"]
    episodes: Int[np.ndarray, " steps"]

    def of(self, chosen: Int[np.ndarray, " episodes"]) -> "TeamScores":
        """The same of some episodes."""
        rows = np.isin(self.episodes, chosen)
        parts = self.values, self.claims, self.uncertainty, self.states, self.episodes
        return TeamScores(*(part[rows] for part in parts))

    def largest(self, scale: Float[np.ndarray, "sizes state"]) -> Float[np.ndarray, "steps sizes"]:
        """max_k u_k / scale_k over the features that count; NaN where none does."""
        ratios = np.where(np.isnan(self.values), -np.inf, self.values / scale[None]).max(axis=2)
        return np.where(np.isneginf(ratios), np.nan, ratios)


def claimed_scores(
    mean: Float[Array, " state"], variance: Float[Array, " state"], state: Float[Array, " state"], types: FeatureTypes
) -> Float[Array, " state"]:
    """u of each feature; all of them scaled."""
    numbers = jnp.abs(state - mean) / jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny))
    probability = jnp.clip(mean, SMALLEST_FREQUENCY, 1.0 - SMALLEST_FREQUENCY)
    binary = -jnp.where(state > 0.5, jnp.log(probability), jnp.log1p(-probability))
    found = jnp.where(jnp.asarray(types.is_number), numbers, binary)
    for first, stop in types.groups:
        told = -jnp.log(probability[first:stop]) @ state[first:stop]
        found = found.at[first:stop].set(told)
    return found


def scores_of_teams(
    answers: Answers,
    dataset: HistoryDataset,
    sizes: tuple[int, ...],
    *,
    key: PRNGKeyArray,
    lost: float = 0.0,
    counted: Counted | None = None,
) -> TeamScores:
    """u of one random team of each size, fixed for each episode, at all steps.

    Args:
        answers: what agents say.
        dataset: episodes that training has not seen.
        sizes: of the teams.
        key: draws the teams, and which answers are lost.
        lost: share of the answers that do not arrive.
        counted: which features count; all of them by default.
    """
    steps = np.asarray(dataset.steps)
    episodes = np.asarray(dataset.windows.episode_of_step)[steps]
    parts = []
    for _, (rows, kept) in numbered_parts(len(steps), _AT_ONCE):
        joint = dataset.joint(steps[rows])
        which = jnp.asarray(steps[rows]), jnp.asarray(episodes[rows])
        found = _team_scores(answers, joint.histories, joint.states, which, sizes, key, jnp.float32(lost))
        scores, claims, uncertainty, states = (np.asarray(part)[:kept] for part in (*found, joint.states))
        if counted is not None:
            counts = counted(np.asarray(dataset.scaling.unscale(joint.states))[:kept])
            scores = np.where(counts[:, None], scores, np.nan)
        parts.append((scores, claims, uncertainty, states))
    values, claims, uncertainty, states = (np.concatenate(part) for part in zip(*parts, strict=True))
    return TeamScores(values, claims, uncertainty, states, episodes)


@eqx.filter_jit
def _team_scores(answers: Answers, histories, states, which, sizes: tuple[int, ...], key, lost):
    def of_step(step):
        history, state, (step, episode) = step
        teams = drawn_teams(key, step, episode, len(history), sizes, lost)
        totals = answers.team_sums(history, teams)
        mean, variance = jax.vmap(lambda total: posterior(answers.prior, total))(totals)
        scores = jax.vmap(lambda m, v: claimed_scores(m, v, state, answers.prior.types))(mean, variance)
        claims = jnp.where(jnp.asarray(answers.prior.types.is_number), jnp.sqrt(variance), mean)
        return scores, claims, jnp.sqrt(jnp.sum(variance, axis=1))

    return jax.lax.map(of_step, (histories, states, which), batch_size=min(_IN_ONE_CALL, len(states)))


def drawn_teams(
    key: PRNGKeyArray,
    step: Int[Array, ""],
    episode: Int[Array, ""],
    num_agents: int,
    sizes: tuple[int, ...],
    lost: Float[Array, ""],
) -> Bool[Array, "sizes agents"]:
    """Who of the episode's team of each size is heard at this step."""
    place = jax.random.permutation(jax.random.fold_in(key, episode), num_agents)
    key_lost = jax.random.fold_in(jax.random.fold_in(key, step), 1)
    order = jax.random.uniform(key_lost, (num_agents,))
    teams = place[None, :] < jnp.asarray(sizes)[:, None]
    heard = teams & (order >= lost)[None]
    last = teams & (order[None] == jnp.max(jnp.where(teams, order[None], -1.0), axis=1, keepdims=True))
    return heard | last
