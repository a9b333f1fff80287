"""CORE 3. Composite diffusion: agents pass one noisy state around and reach a state that all of them allow (§5).

    φ_0(y) = y,    φ_ℓ(y) = f(τ_{i_ℓ}, φ_{ℓ−1}(y))                               (Definition 6, A.6)

with i_1, i_2, … the agents in the order in which they speak. A pass through all participants is a sweep. This is
the recursion of Definition 6; the nested form beside it in the paper, f(τ_{i_1}, f(τ_{i_2}, …)), lets the *last*
agent speak first, and its `ℓ mod n` names an agent 0. With k < n participants the flow is partial (§5.2).

A flow can come to rest between states, at an unstable fixed point of every participant: a denoiser whose history
excludes the state that y has come near answers with the mean of the nearest others, and in a symmetric world such
means have ties. So hops may be stirred,

    φ_ℓ(y) = f(τ_{i_ℓ}, φ_{ℓ−1}(y) + ς_k z_ℓ),    z_ℓ ~ N(0, I),    ς_k = ς (1 − (k − 1)/(S − 1)) in sweep k of S.

The last sweep is Definition 6 again. With ς far below the distances of states, flows leave all points but stable
ones. It is the noise of walk-jump sampling (Saremi and Hyvärinen 2019), annealed, with a new speaker in each jump.

Other rules than Definition 6 take the same way: see `rule`.

Cost: one `condition` per participant, then one `denoise` per sample and hop. Nothing grows with the square of
the number of agents but the histories themselves, where they carry the agent's one-hot identity.
"""

from functools import partial
from typing import Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.composite.plan import Plan, make_plan
from composite_flow.composite.rule import DEFINITION_6, CompositionRule, Message, sweep
from composite_flow.composite.sampling import Sampling, SamplingOptions, sampling_from
from composite_flow.composite.turns import Turns, draw_turns
from composite_flow.denoiser import Context, Denoiser
from composite_flow.numerics.entry_point import entry_point
from composite_flow.numerics.merging import merge_points
from composite_flow.validation import check_histories

_BATCH_FLOATS = 2**26  # numbers that one batch of `reconstruct_batch` may hold in its paths: 256 MiB


class Estimate(eqx.Module):
    """What composite diffusion found for one joint history; any leading axes are batch axes.

    Attributes:
        state: the candidate that most samples reached, scaled like the data.
        candidates: the distinct end points, most frequent first.
        shares: each candidate's share of the samples; what `max_candidates` left no room for is missing from their sum.
        mask: which rows of `candidates` are filled.
        samples: where each sample ended, y^(L).
        path: the noisy states that the last sweep's agents received, y^(L−n), …, y^(L−1), in speaking order.
        order: the agents in speaking order, one row per sweep.
        sweeps: how many rows of `order` were used; fewer than all only with early stopping.
        messages: hops made; one message carries all samples.
        denoiser_calls: calls of `denoise`, over all samples.
        rule: class of the composition rule; checks that hold for Definition 6 alone look at it.
    """

    state: Float[Array, "*batch state"]
    candidates: Float[Array, "*batch candidates state"]
    shares: Float[Array, "*batch candidates"]
    mask: Bool[Array, "*batch candidates"]
    samples: Float[Array, "*batch samples state"]
    path: Float[Array, "*batch participants samples state"]
    order: Int[Array, "*batch sweeps participants"]
    sweeps: Int[Array, "*batch"]
    messages: Int[Array, "*batch"]
    denoiser_calls: Int[Array, "*batch"]
    rule: str = eqx.field(static=True, default=type(DEFINITION_6).__name__)

    @property
    def last_order(self) -> Int[Array, " participants"]:
        """The agents in the speaking order of the last sweep made, of one estimate (map it over a batch)."""
        return self.order[self.sweeps - 1]


def composite_flow(
    denoiser: Denoiser,
    contexts: Context,
    order: Int[Array, " hops"],
    y: Float[Array, " state"],
    noise: Float[Array, "hops state"] | None = None,
) -> Float[Array, "hops+1 state"]:
    """Pass one noisy state through a sequence of agents by Definition 6.

    φ_ℓ(y) = f(τ_{order[ℓ−1]}, φ_{ℓ−1}(y)), so `order[0]` speaks first (Definition 6 by its recursion; the nested
    form in the paper has the reverse order and counts agents from 1 with a remainder that can be 0).

    Args:
        denoiser: the shared denoiser.
        contexts: `jax.vmap(denoiser.condition)(histories)`, leading axis agents.
        order: indices into that axis, any number of them, repeats allowed.
        y: the noisy state to start from.
        noise: what is added to y before each hop, to stir it; nothing by default.

    Returns:
        The trajectory y^(0), …, y^(hops), starting with `y` itself.

    Source: Definition 6; by its recursion.
    """
    last, received = sweep(DEFINITION_6, denoiser, contexts, order, y, noise)
    return jnp.concatenate([received, last[None]])


@entry_point
def reconstruct(
    denoiser: Denoiser,
    histories: Float[Array, "agents history"],
    *,
    key: PRNGKeyArray,
    sampling: Sampling | None = None,
    rule: CompositionRule = DEFINITION_6,
    **options: Unpack[SamplingOptions],
) -> Estimate:
    """Infer the state from a joint history by composite diffusion, from many noises at once (A.6, step 1).

    Args:
        denoiser: the shared denoiser.
        histories: the agents' encoded local histories.
        key: fixes the noises and the orders.
        sampling: how many samples and sweeps, who speaks when, and the like; by default `Sampling()`.
        rule: what an agent does with the message that it receives; by default Definition 6.
        options: fields of `Sampling` by name, such as `num_samples=64`; they replace those of `sampling`.

    Returns:
        The estimate, unchecked: `certify` says how far to trust one of Definition 6.

    Raises:
        InputError: the histories or the options cannot be used, or an agent is unknown.

    Source: Definition 6, Corollary 7.1, Corollary 7.2, Finding 5, Finding 6, appendix A.6.
    """
    histories = check_histories(denoiser, histories, axes=2)
    plan = make_plan(histories.shape[0], sampling_from(sampling, options))
    return _reconstruct_one(denoiser, histories, key, plan, rule)


@entry_point
def reconstruct_batch(
    denoiser: Denoiser,
    histories: Float[Array, "batch agents history"],
    *,
    key: PRNGKeyArray,
    batch_size: int | None = None,
    sampling: Sampling | None = None,
    rule: CompositionRule = DEFINITION_6,
    **options: Unpack[SamplingOptions],
) -> Estimate:
    """`reconstruct` many joint histories, each with noises and orders of its own, in bounded memory.

    Args:
        histories: joint histories along the leading axis; the rest as in `reconstruct`.
        batch_size: joint histories computed at a time; by default as many as keep the paths under 256 MiB.

    Returns:
        An `Estimate` whose arrays have the batch as their leading axis.

    Raises:
        InputError: as `reconstruct`, or if the batch is empty.
    """
    histories = check_histories(denoiser, histories, axes=3)
    plan = make_plan(histories.shape[1], sampling_from(sampling, options))
    if batch_size is None:
        batch_size = affordable_batch_size(len(plan.participants), plan.sampling.num_samples, denoiser.state_size)
    return _reconstruct_many(denoiser, histories, key, plan, rule, min(batch_size, histories.shape[0]))


def states_by_sweep(
    denoiser: Denoiser,
    histories: Float[Array, "agents history"],
    key: PRNGKeyArray,
    plan: Plan,
    rule: CompositionRule = DEFINITION_6,
) -> Float[Array, "samples sweeps state"]:
    """Where the samples of `reconstruct` stand after each sweep; `plan.sampling.tolerance` is not looked at."""
    team, messages = _begin(denoiser, rule, plan, histories, key)

    def one_sweep(messages, number):
        messages, _ = team.sweep(messages, number)
        return messages, jax.vmap(rule.state)(messages)

    numbers = jnp.arange(plan.sampling.num_sweeps, dtype=jnp.int32)
    return jnp.swapaxes(jax.lax.scan(one_sweep, messages, numbers)[1], 0, 1)


def affordable_batch_size(participants: int, num_samples: int, state_size: int) -> int:
    """How many joint histories fit into one batch before their paths take more than 256 MiB."""
    return max(1, _BATCH_FLOATS // (2 * participants * num_samples * state_size))


@eqx.filter_jit
def _reconstruct_one(denoiser, histories, key, plan, rule):
    return _reconstruct(denoiser, plan, rule, histories, key)


@eqx.filter_jit
def _reconstruct_many(denoiser, histories, key, plan, rule, batch_size):
    keys = jax.random.split(key, histories.shape[0])
    one = partial(_reconstruct, denoiser, plan, rule)
    return jax.lax.map(lambda example: one(*example), (histories, keys), batch_size=batch_size)


def _reconstruct(denoiser, plan: Plan, rule: CompositionRule, histories, key) -> Estimate:
    team, messages = _begin(denoiser, rule, plan, histories, key)
    sweeps, messages, path = _sweep_until_still(team, messages)
    samples = jax.vmap(rule.state)(messages)
    hops = sweeps * len(plan.participants)
    return Estimate(
        **candidates_of(samples, plan),
        samples=samples,
        path=path,
        order=team.turns.speakers,
        sweeps=sweeps,
        messages=hops,
        denoiser_calls=hops * plan.sampling.num_samples * rule.calls_per_hop,
        rule=type(rule).__name__,
    )


class _Team(eqx.Module):
    """A joint history made ready: all that a sweep of its samples needs, but where they stand."""

    denoiser: Denoiser
    turns: Turns
    contexts: Context

    @property
    def rule(self) -> CompositionRule:
        """What each of them does with the message."""
        return self.turns.rule

    def sweep(
        self, messages: Message, number: Int[Array, ""]
    ) -> tuple[Message, Float[Array, "participants samples state"]]:
        """The samples' messages after a sweep, and the states that each agent received."""
        order, noise = self.turns.order[number], self.turns.noise(number, self.denoiser.state_size)

        def one(message, noise):
            message, received = sweep(self.rule, self.denoiser, self.contexts, order, message, noise)
            return message, jax.vmap(self.rule.state)(received)

        return jax.vmap(one, in_axes=(0, 1), out_axes=(0, 1))(messages, noise)


def _begin(denoiser, rule: CompositionRule, plan: Plan, histories, key) -> tuple[_Team, Message]:
    """The team, and the message of each sample before the first sweep."""
    contexts = jax.vmap(denoiser.condition)(histories[jnp.asarray(plan.participants, jnp.int32)])
    turns = draw_turns(plan, rule, key)
    return _Team(denoiser, turns, contexts), turns.start(denoiser.state_size)


def _sweep_until_still(team: _Team, messages: Message):
    """Sweeps made, the samples' last messages, and what the last sweep's agents received (participants, K, state)."""
    (num_sweeps, num_participants), tolerance = team.turns.order.shape, team.turns.plan.sampling.tolerance
    states = jax.vmap(team.rule.state)

    def moving(carry):
        number, _, _, change = carry
        # with tolerance 0 the predicate does not depend on the data, so a batch needs no masking
        return number < num_sweeps if tolerance == 0 else (number < num_sweeps) & ~(change < tolerance)

    def one_sweep(carry):
        number, before, _, _ = carry
        after, path = team.sweep(before, number)
        change = jnp.max(jnp.linalg.norm(states(after) - states(before), axis=-1))
        return number + 1, after, path, change

    y = states(messages)
    path = jnp.zeros((num_participants, *y.shape), y.dtype)
    start = (jnp.asarray(0, jnp.int32), messages, path, jnp.asarray(jnp.inf, y.dtype))
    return jax.lax.while_loop(moving, one_sweep, start)[:3]


def candidates_of(samples: Float[Array, "samples state"], plan: Plan) -> dict[str, Array]:
    """The state, candidates, shares and mask of an `Estimate`: end points merged, by how many samples reached them."""
    merged = merge_points(samples, plan.sampling.merge_radius, plan.sampling.max_candidates)
    return {
        # no candidate at all means that no sample stayed finite, which a zero would hide
        "state": jnp.where(merged.mask[0], merged.points[0], jnp.nan),
        "candidates": merged.points,
        "shares": merged.counts.astype(jnp.float32) / samples.shape[0],
        "mask": merged.mask,
    }
