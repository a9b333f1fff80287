"""Segments of a few consecutive steps, from which filters learn, and the loss of what is known at each of them.

A segment begins anywhere, with the prior: so a filter learns to begin, to go on, and to forget how it began.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.joint_steps import TeamSteps
from composite_flow.fusion.loss import CLAIM_SHARE
from composite_flow.fusion.over_time.carried import Carried, TeamFilter, follow

_ALONE = 1  # beside the draws of losses, which stay as they are


class Segment(eqx.Module):
    """Joint histories of consecutive steps.

    Attributes:
        histories: of each step.
        counts: which steps are of the episode in which the segment begins, and of the data to learn from.
    """

    histories: Float[Array, "batch steps agents history"]
    counts: Bool[Array, "batch steps"]


class Segments(TeamSteps):
    """Samples are segments.

    Attributes:
        length: steps of a segment.
    """

    length: int = eqx.field(static=True)

    def sample(self, key: PRNGKeyArray, batch: int) -> tuple[Segment, Float[Array, "batch steps state"]]:
        """Segments and scaled states, which begin at steps drawn uniformly with replacement; traceable.

        Raises:
            InputError: the episodes are not in memory.
        """
        begins, windows = self.dataset.drawn_steps(key, batch), self.dataset.windows
        wanted = begins[:, None] + jnp.arange(self.length)[None, :]
        steps = jnp.minimum(wanted, windows.num_steps - 1)
        same = (wanted == steps) & (windows.episode_of_step[steps] == windows.episode_of_step[begins][:, None])
        ours = jnp.asarray(self.dataset.listed_steps)  # in order, and padding behind them
        count = len(ours) if self.dataset.count is None else self.dataset.count
        ours = jnp.where(jnp.arange(len(ours)) < count, ours, windows.num_steps)
        found = ours[jnp.minimum(jnp.searchsorted(ours, steps), len(ours) - 1)] == steps
        joint = windows.joint(steps.reshape(-1))
        histories, states = (part.reshape(*steps.shape, *part.shape[1:]) for part in (joint.histories, joint.states))
        return Segment(histories, same & found), states


def segment_losses(
    team_filter: TeamFilter,
    segments: Segment,
    states: Float[Array, "batch steps state"],
    key: PRNGKeyArray,
    lost: float = 0.0,
    alone: float = 0.0,
) -> Float[Array, " batch"]:
    """The loss of each segment, averaged over its steps.

    Args:
        team_filter: in training.
        segments, states: from `Segments`.
        key: draws orders, teams, and what is lost.
        lost: most of the answers that are lost; each step draws its share between 0 and this.
        alone: share of the segments in which one agent is heard alone.
    """

    def of_segment(histories, counts, states, key):
        _, after_each = follow_segment(team_filter, histories, key, lost, alone)
        losses = jax.vmap(lambda known, state: jnp.mean(known_losses(team_filter, known, state)))(after_each, states)
        return jnp.sum(jnp.where(counts, losses, 0.0)) / jnp.sum(counts, dtype=jnp.float32)

    return jax.vmap(of_segment)(segments.histories, segments.counts, states, jax.random.split(key, len(states)))


def follow_segment(
    team_filter: TeamFilter,
    histories: Float[Array, "steps agents history"],
    key: PRNGKeyArray,
    lost: float = 0.0,
    alone: float = 0.0,
) -> tuple[Carried, Carried]:
    """What is known at each step of a segment, and after each agent, with answers lost and agents alone as in
    `segment_losses`."""
    key_share, key_lost, key_order = jax.random.split(key, 3)
    steps, agents = histories.shape[:2]
    share = lost * jax.random.uniform(key_share, (steps, 1))
    heard = jax.random.uniform(key_lost, (steps, agents)) >= share
    if alone:
        key_alone, key_agent = jax.random.split(jax.random.fold_in(key, _ALONE))
        one = jnp.arange(agents) == jax.random.randint(key_agent, (), 0, agents)
        heard &= one[None] | ~jax.random.bernoulli(key_alone, alone)
    return follow(team_filter, histories, heard, jnp.arange(steps) == 0, team_filter.initial, key_order)


def known_losses(team_filter: TeamFilter, known: Carried, state: Float[Array, " state"]) -> Float[Array, " several"]:
    """‖s − ŝ‖² of several things that are known at a step and, where a precision is claimed, the claim's likelihood.

    The claim, as in the loss of fusion, is 0.02 · ½ Σ (e² P − log P) over numbers, e without its gradient.
    """
    numbers = team_filter.prior.types.is_number
    error = state[None] - known.mean
    squared = jnp.sum(error**2, axis=1)
    if not numbers.any():
        return squared
    claims = jnp.asarray(numbers)[None] & (known.precision > 0)
    precision = jnp.where(claims, known.precision, 1.0)
    claim = 0.5 * (jax.lax.stop_gradient(error**2) * precision - jnp.log(precision))
    return squared + CLAIM_SHARE * jnp.sum(jnp.where(claims, claim, 0.0), axis=1)
