"""Who cannot be relied on: agents that contradict all others, and those whose history is not like any of training.

What agent i implies is compared with what all others say together, feature by feature, as trackers gate measurements:

    numbers           d_k = (ŝ_i − ŝ_−i)² / (1/P_i + 1/P_−i − 2 P_0/(P_i P_−i))
    other features    d_k = −2 log Σ_v p_i(v) p_−i(v) / p_0(v),  0 where they agree more than by chance

ŝ_i is what agent i implies alone, ŝ_−i the fusion without it; both contain the prior, hence the last term. For exact
linear-Gaussian teams d_k is χ² with one degree of freedom. A feature of which agent i says nothing has 0.

Beside them stand what is unlike in the agent's history (`familiar.py`) and, where it was learned, how badly the history
goes with what the others say (`consistency.py`). Learned claims are not exact, so that what is usual is measured: an
agent's doubt is the largest of all these, each divided by what is usual (`trust/usual.py`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.consistency import others_of
from composite_flow.fusion.doubts import NUM_CHECKS, Doubts, Watch
from composite_flow.fusion.familiar import CHECKS
from composite_flow.fusion.posterior import posterior

_SILENT = 1e-3  # an agent whose claim adds less than this share of the prior's precision says nothing of a number
_CANDIDATES = 8  # of whom one is left out at a time

Columns = Callable[[Bool[Array, " agents"]], Float[Array, "agents columns"]]


def discrepancies(prior: Prior, each: Answer, participants: Bool[Array, " agents"]) -> Float[Array, "agents state"]:
    """d of every agent and feature; 0 where an agent takes no part, or no other does.

    Args:
        prior: of the model that answered.
        each: every agent's answer, agents along the leading axis.
        participants: who takes part.
    """
    counted = jax.tree.map(lambda part: jnp.where(participants[:, None], part, 0.0), each)
    rest = others_of(each, participants)
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


def unusual(
    watch: Watch,
    prior: Prior,
    each: Answer,
    histories: Float[Array, "agents history"] | None,
    participants: Bool[Array, " agents"],
    unlike: Float[Array, "agents checks"] | None = None,
) -> Float[Array, "agents columns"]:
    """All that is told of every agent: discrepancies of features, checks of its history, its consistency.

    Args:
        watch: what was learned of histories; its scale is not used.
        prior: of the model that answered.
        each: every agent's answer, agents along the leading axis.
        histories: which are finite; None where only answers were heard.
        participants: who takes part; all others have 0.
        unlike: what each agent said of its own history, by `Familiar.unlikeness`, where that is not seen; nothing is
            told of histories where they did not say so, and of their consistency in no case.
    """
    contradiction, surprise = discrepancies(prior, each, participants), jnp.zeros((len(participants), 1))
    if histories is None:
        alone = jnp.zeros((len(participants), len(CHECKS))) if unlike is None else unlike
    else:
        alone = jax.vmap(watch.familiar.unlikeness)(histories[:, : len(watch.familiar.low)])
        if watch.consistency is not None:
            surprise = watch.consistency.surprise(histories, each, others_of(each, participants))[:, None]
            surprise = jnp.where(jnp.sum(participants) > 1, surprise, 0.0)
    own = jnp.where(participants[:, None], jnp.concatenate([alone, surprise], axis=1), 0.0)
    return jnp.concatenate([contradiction, own], axis=1)


def doubts_of(
    watch: Watch,
    prior: Prior,
    each: Answer,
    histories: Float[Array, "agents history"] | None,
    participants: Bool[Array, " agents"],
    bound: float | Float[Array, ""],
    *,
    leave_out: bool,
    unlike: Float[Array, "agents checks"] | None = None,
) -> Doubts:
    """Doubts, and who is suspected.

    That is first who holds what is no number, and who is unlike all training histories, if not all are. Then, until
    nobody left is above the bound, or two are left, one after the other: a broken agent that boasts makes sound ones
    contradict the others as well, so that of the eight in most doubt the one goes without whom the rest contradict each
    other least. Of two agents nobody can say which one is wrong. Agents who are not suspected are judged without those
    who are.

    Args:
        watch, prior: of the model.
        each: every agent's answer, agents along the leading axis; of histories whose missing numbers are 0.
        histories: of the agents; None where only answers were heard.
        participants: who is to take part.
        bound: above which an agent is in doubt.
        leave_out: whether suspects are left out of the estimate.
        unlike: as in `unusual`.
    """
    whole = jnp.ones_like(participants)
    if histories is not None:
        whole = jnp.all(jnp.isfinite(histories), axis=1)
        histories = jnp.where(whole[:, None], histories, 0.0)
    heard = participants & whole

    def values(team: Bool[Array, " agents"]) -> Float[Array, "agents columns"]:
        return unusual(watch, prior, each, histories, team, unlike) / watch.scale[None]

    found, features = values(heard), each.evidence.shape[-1]
    unfamiliar = heard & (jnp.max(found[:, features : features + len(CHECKS)], axis=1) > bound)
    familiar = heard & ~unfamiliar
    kept = jnp.where(jnp.any(familiar), _agreeing(values, familiar, bound), heard)
    found = jnp.where(kept[:, None], values(kept), found)
    missing = jnp.where(participants & ~whole, jnp.inf, 0.0)
    found = jnp.concatenate([found, missing[:, None]], axis=1)
    suspects = participants & ~kept
    return Doubts(
        values=jnp.max(found, axis=1),
        place=_place(found, features, unfamiliar),
        bound=jnp.asarray(bound, jnp.float32),
        suspects=suspects,
        left_out=suspects & leave_out,
    )


def own_doubts(
    watch: Watch, agent: int | Int[Array, ""], unlike: Float[Array, " checks"], team: Bool[Array, " agents"]
) -> Doubts:
    """What one agent tells of its own history where only a sum of answers is known, which shows no contradiction.

    Args:
        watch: of the model.
        agent: which one.
        unlike: how unlike those of training its history is; zeros where it has none.
        team: who takes part.
    """
    features, checks = len(watch.scale) - NUM_CHECKS, len(CHECKS)
    found = jnp.zeros((len(team), len(watch.scale)))
    found = found.at[agent, features : features + checks].set(unlike / watch.scale[features : features + checks])
    values, nobody = jnp.max(found, axis=1), jnp.zeros_like(team)
    place = _place(found, features, values > watch.usual_bound)
    return Doubts(values, place, watch.usual_bound, nobody, nobody)


def _place(
    found: Float[Array, "agents columns"], features: int, unfamiliar: Bool[Array, " agents"]
) -> Int[Array, " agents"]:
    """The column that tells most of each agent: of its history where that is unfamiliar, whatever others say."""
    of_history = jnp.arange(found.shape[1]) >= features
    told = jnp.where(unfamiliar[:, None] & ~of_history[None], -1.0, found)
    return jnp.argmax(told, axis=1).astype(jnp.int32)


def _agreeing(values: Columns, team: Bool[Array, " agents"], bound: float | Array) -> Bool[Array, " agents"]:
    """Those of a team who are left once nobody is above the bound, or two are left."""

    def above(team):
        return (jnp.max(values(team)) > bound) & (jnp.sum(team) > 2)

    def without_worst(team):
        _, candidates = jax.lax.top_k(jnp.max(values(team), axis=1), min(_CANDIDATES, len(team)))
        rests = team[None] & (jnp.arange(len(team))[None] != candidates[:, None])
        left = jax.vmap(lambda rest: jnp.max(values(rest)))(rests)
        return rests[jnp.argmin(jnp.where(team[candidates], left, jnp.inf))]

    return jax.lax.while_loop(above, without_worst, team)
