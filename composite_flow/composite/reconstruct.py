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

Cost: one `condition` per participant, then one `denoise` per sample and hop. Nothing grows with the square of
the number of agents but the histories themselves, where they carry the agent's one-hot identity.
"""

from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.composite.plan import Plan, make_plan, speaking_positions, stir_scales
from composite_flow.denoiser import Context, Denoiser
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

    @property
    def last_order(self) -> Int[Array, " participants"]:
        """The agents in the speaking order of the last sweep made, of one estimate (map it over a batch)."""
        return self.order[self.sweeps - 1]


def agent_context(contexts: Context, agent: Int[Array, ""]) -> Context:
    """One agent's context out of a stack with a leading agent axis."""
    return jax.tree.map(lambda leaf: leaf[agent], contexts)


def composite_flow(
    denoiser: Denoiser,
    contexts: Context,
    order: Int[Array, " hops"],
    y: Float[Array, " state"],
    noise: Float[Array, "hops state"] | None = None,
) -> Float[Array, "hops+1 state"]:
    """Pass one noisy state through a sequence of agents.

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
    """

    def hop(y, now):
        agent, added = now
        y = denoiser.denoise(agent_context(contexts, agent), y if added is None else y + added)
        return y, y

    _, trajectory = jax.lax.scan(hop, y, (order, noise))
    return jnp.concatenate([y[None], trajectory])


def reconstruct(
    denoiser: Denoiser,
    histories: Float[Array, "agents history"],
    *,
    key: PRNGKeyArray,
    num_samples: int = 16,
    num_sweeps: int = 6,
    order: str | Sequence[int] = "random",
    participants: Sequence[int] | None = None,
    sigma: float = 1.0,
    merge_radius: float = 0.1,
    max_candidates: int = 16,
    tolerance: float = 0.0,
    stir: float = 0.0,
) -> Estimate:
    """Infer the state from a joint history by composite diffusion, from many noises at once (A.6, step 1).

    Args:
        denoiser: the shared denoiser.
        histories: the agents' encoded local histories.
        key: fixes the noises and the orders.
        num_samples: K, noises y^(k,0) ~ N(0, sigma² I).
        num_sweeps: passes through all participants.
        order: `"random"`, a fresh permutation per sweep, shared by the samples; `"fixed"`, the participants as listed;
            or the agents themselves in speaking order, each once, the same in every sweep.
        participants: the agents that take part (partial composite diffusion, §5.2); by default all of them.
        sigma: scale of the initial noise.
        merge_radius: end points closer than this count as one candidate, in units of the scaled state.
        max_candidates: rows that the result keeps for candidates.
        tolerance: stop after a sweep over which no sample moved this far; 0 makes every sweep.
        stir: ς, scale of the noise before each hop, falling to zero in the last sweep, so that flows do not rest
            between states; about a seventh of the smallest distance between states, with tens of sweeps. 0 is
            Definition 6.

    Returns:
        The estimate, unchecked: `certify` says how far to trust it.

    Raises:
        InputError: if the histories cannot be used, an agent is unknown or named twice, or `order` and
            `participants` name different agents, or `tolerance` and `stir` are both given.

    Source: Definition 6, appendix A.6, Corollaries 7.1 and 7.2, Findings 5 and 6.
    """
    histories = check_histories(denoiser, histories, axes=2)
    options = (order, participants, num_samples, num_sweeps, sigma, merge_radius, max_candidates, tolerance, stir)
    plan = make_plan(histories.shape[0], *options)
    return _reconstruct_one(denoiser, histories, key, plan)


def reconstruct_batch(
    denoiser: Denoiser,
    histories: Float[Array, "batch agents history"],
    *,
    key: PRNGKeyArray,
    batch_size: int | None = None,
    order: str | Sequence[int] = "random",
    participants: Sequence[int] | None = None,
    num_samples: int = 16,
    num_sweeps: int = 6,
    sigma: float = 1.0,
    merge_radius: float = 0.1,
    max_candidates: int = 16,
    tolerance: float = 0.0,
    stir: float = 0.0,
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
    options = (order, participants, num_samples, num_sweeps, sigma, merge_radius, max_candidates, tolerance, stir)
    plan = make_plan(histories.shape[1], *options)
    if batch_size is None:
        batch_size = affordable_batch_size(len(plan.participants), num_samples, denoiser.state_size)
    return _reconstruct_many(denoiser, histories, key, plan, min(batch_size, histories.shape[0]))


def affordable_batch_size(participants: int, num_samples: int, state_size: int) -> int:
    """How many joint histories fit into one batch before their paths take more than 256 MiB."""
    return max(1, _BATCH_FLOATS // (2 * participants * num_samples * state_size))


@eqx.filter_jit
def _reconstruct_one(denoiser, histories, key, plan):
    return _reconstruct(denoiser, plan, histories, key)


@eqx.filter_jit
def _reconstruct_many(denoiser, histories, key, plan, batch_size):
    keys = jax.random.split(key, histories.shape[0])
    one = partial(_reconstruct, denoiser, plan)
    return jax.lax.map(lambda example: one(*example), (histories, keys), batch_size=batch_size)


def _reconstruct(denoiser, plan: Plan, histories, key) -> Estimate:
    key_noise, key_order = jax.random.split(key)
    key_stir = jax.random.fold_in(key, 2)  # beside what `split` gives, so that flows without it stay as they were
    speakers = jnp.asarray(plan.participants, jnp.int32)
    contexts = jax.vmap(denoiser.condition)(histories[speakers])
    order = speaking_positions(key_order, plan)
    noise = plan.sigma * jax.random.normal(key_noise, (plan.num_samples, denoiser.state_size))
    sweeps, samples, path = _sweep_until_still(denoiser, contexts, order, noise, key_stir, plan)
    hops = sweeps * len(plan.participants)
    return Estimate(
        **_candidates(samples, plan),
        samples=samples,
        path=path,
        order=speakers[order],
        sweeps=sweeps,
        messages=hops,
        denoiser_calls=hops * plan.num_samples,
    )


def _sweep_until_still(denoiser, contexts, order, noise, key, plan: Plan):
    """Sweeps made, final samples (K, state) and what the last sweep's agents received (participants, K, state)."""
    num_sweeps, num_participants = order.shape
    flows = jax.vmap(composite_flow, in_axes=(None, None, None, 0, 1 if plan.stir else None), out_axes=1)
    path = jnp.zeros((num_participants, *noise.shape), noise.dtype)

    def moving(carry):
        sweep, _, _, change = carry
        # with tolerance 0 the predicate does not depend on the data, so a batch needs no masking
        return sweep < num_sweeps if plan.tolerance == 0 else (sweep < num_sweeps) & ~(change < plan.tolerance)

    def added(sweep):
        if not plan.stir:
            return None
        return stir_scales(plan)[sweep] * jax.random.normal(jax.random.fold_in(key, sweep), path.shape, path.dtype)

    def one_sweep(carry):
        sweep, y, _, _ = carry
        trajectory = flows(denoiser, contexts, order[sweep], y, added(sweep))
        change = jnp.max(jnp.linalg.norm(trajectory[-1] - y, axis=-1))
        return sweep + 1, trajectory[-1], trajectory[:-1], change

    start = (jnp.asarray(0, jnp.int32), noise, path, jnp.asarray(jnp.inf, noise.dtype))
    return jax.lax.while_loop(moving, one_sweep, start)[:3]


def _candidates(samples: Float[Array, "samples state"], plan: Plan) -> dict[str, Array]:
    """Merge the end points; they come ranked by how many samples reached them."""
    merged = merge_points(samples, plan.merge_radius, plan.max_candidates)
    return {
        # no candidate at all means that no sample stayed finite, which a zero would hide
        "state": jnp.where(merged.mask[0], merged.points[0], jnp.nan),
        "candidates": merged.points,
        "shares": merged.counts.astype(jnp.float32) / samples.shape[0],
        "mask": merged.mask,
    }
