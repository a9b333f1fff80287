"""Which agent contradicts what all others say together, feature by feature, as trackers gate measurements.

    numbers           d_k = (ŝ_i − ŝ_−i)² / (1/P_i + 1/P_−i − 2 P_0/(P_i P_−i))
    other features    d_k = −2 log Σ_v p_i(v) p_−i(v) / p_0(v),  0 where they agree more than by chance

ŝ_i is what agent i implies alone, ŝ_−i the fusion without it; both contain the prior, hence the last term. For exact
linear-Gaussian teams d_k is χ² with one degree of freedom. A feature of which agent i says nothing has 0.

Learned claims are not exact, so that what is usual is measured: an agent's doubt is max_k d_k / scale_k, and a team is
in doubt where the largest doubt is above a bound that new steps of sound teams exceed as rarely as stated.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import Answer, Answers, Prior
from composite_flow.fusion.calibration import LEVELS
from composite_flow.fusion.doubts import Doubts, Gate
from composite_flow.fusion.fuse import posterior
from composite_flow.fusion.trust.quantiles import bounds
from composite_flow.numerics.batches import numbered_parts

_SILENT = 1e-3  # an agent whose claim adds less than this share of the prior's precision says nothing of a number
_SCALE_SHARE, _SMALLEST_SCALE = 0.99, 0.1
_CANDIDATES = 8  # of whom one is left out at a time
_AT_ONCE, _IN_ONE_CALL, _MOST_STEPS = 2048, 64, 50_000


def discrepancies(prior: Prior, each: Answer, participants: Bool[Array, " agents"]) -> Float[Array, "agents state"]:
    """d of every agent and feature; 0 where an agent takes no part, or no other does.

    Args:
        prior: of the model that answered.
        each: every agent's answer, agents along the leading axis.
        participants: who takes part.
    """
    counted = jax.tree.map(lambda part: jnp.where(participants[:, None], part, 0.0), each)
    rest = jax.tree.map(lambda part: jnp.sum(part, axis=0)[None] - part, counted)
    (own, _), (others, _) = (jax.vmap(lambda total: posterior(prior, total))(part) for part in (counted, rest))
    found = jnp.where(
        jnp.asarray(prior.types.is_number)[None],
        _of_numbers(prior, counted, rest, own - others),
        _of_choices(prior, own, others),
    )
    compared = participants & (jnp.sum(participants) > 1)
    return jnp.where(compared[:, None], found, 0.0)


def _of_numbers(prior: Prior, own: Answer, rest: Answer, difference: Array) -> Float[Array, "agents state"]:
    before = prior.precision[None]
    mine, theirs = before + own.precision, before + rest.precision
    variance = 1.0 / mine + 1.0 / theirs - 2.0 * before / (mine * theirs)
    speaks = (own.precision > _SILENT * before) & (rest.precision > _SILENT * before)
    return jnp.where(speaks, difference**2 / jnp.where(speaks, variance, 1.0), 0.0)


def _of_choices(prior: Prior, own: Array, others: Array) -> Float[Array, "agents state"]:
    """Of binary features, and of groups, whose features share their value."""
    types, before = prior.types, prior.types.probabilities(prior.logits)[None]
    before = jnp.where(jnp.asarray(types.is_number)[None], 0.5, before)
    together = own * others / before
    agreement = together + (1.0 - own) * (1.0 - others) / (1.0 - before)
    for first, stop in types.groups:
        summed = jnp.sum(together[:, first:stop], axis=1, keepdims=True)
        agreement = agreement.at[:, first:stop].set(jnp.broadcast_to(summed, (len(own), stop - first)))
    tiny = jnp.finfo(agreement.dtype).tiny
    return jnp.maximum(-2.0 * jnp.log(jnp.maximum(agreement, tiny)), 0.0)


@eqx.filter_jit
def doubts_of(
    prior: Prior,
    each: Answer,
    participants: Bool[Array, " agents"],
    scale: Float[Array, " state"],
    bound: float | Array,
) -> Doubts:
    """Doubts, and who is to be left out, until nobody left is above the bound, or two are left.

    A broken agent that boasts makes sound ones contradict the others as well. So of the eight agents in most doubt the
    one is left out without whom the rest contradict each other least. Of two agents nobody can say which one is wrong.
    Arguments as in `discrepancies`, with the scale and the bound of a `Gate`.
    """

    def values(team):
        return discrepancies(prior, each, team) / scale[None]

    def above(team):
        return (jnp.max(values(team)) > bound) & (jnp.sum(team) > 2)

    def without_worst(team):
        _, candidates = jax.lax.top_k(jnp.max(values(team), axis=1), min(_CANDIDATES, len(team)))
        rests = team[None] & (jnp.arange(len(team))[None] != candidates[:, None])
        left = jax.vmap(lambda rest: jnp.max(values(rest)))(rests)
        return rests[jnp.argmin(jnp.where(team[candidates], left, jnp.inf))]

    found = values(participants)
    kept = jax.lax.while_loop(above, without_worst, participants)
    return Doubts(jnp.max(found, axis=1), jnp.argmax(found, axis=1), participants & ~kept)


def measure_gate(answers: Answers, others: HistoryDataset, calibration: HistoryDataset) -> Gate:
    """Measure what is usual, on whole teams of sound agents.

    Args:
        answers: what agents say.
        others: such as validation; the 99% quantile of each feature's discrepancies there is its scale.
        calibration: episodes that were used for nothing else.
    """
    found, _ = _of_teams(answers, others, jnp.ones(others.state_size))
    scale = jnp.asarray(np.maximum(np.quantile(found, _SCALE_SHARE, axis=(0, 1)), _SMALLEST_SCALE), jnp.float32)
    scaled, episodes = _of_teams(answers, calibration, scale)
    values = bounds(scaled.max(axis=(1, 2))[:, None], episodes, LEVELS, "step")[:, 0]
    return Gate(scale, jnp.asarray(values, jnp.float32), len(np.unique(episodes)))


def _of_teams(answers: Answers, dataset: HistoryDataset, scale: Array):
    """Discrepancies of whole teams at the steps of a dataset, and the episode of each step."""
    steps = np.asarray(dataset.steps)[:_MOST_STEPS]
    found = []
    for _, (rows, kept) in numbered_parts(len(steps), _AT_ONCE):
        found.append(np.asarray(_scaled(answers, dataset.joint(steps[rows]).histories, scale))[:kept])
    return np.concatenate(found), np.asarray(dataset.windows.episode_of_step)[steps]


@eqx.filter_jit
def _scaled(answers: Answers, histories, scale):
    everyone = jnp.ones(histories.shape[1], bool)

    def of_team(history):
        return discrepancies(answers.prior, answers.answer_each(history), everyone) / scale[None]

    return jax.lax.map(of_team, histories, batch_size=min(_IN_ONE_CALL, len(histories)))
