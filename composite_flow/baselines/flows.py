"""What else turns a joint history into a state, on the same number of denoiser calls as composite diffusion.

With n agents and S sweeps each sample costs n · S calls of the denoiser, here as there. With the same key every method
starts from the noises that `reconstruct` starts from (`one_step` needs more of them).

| baseline | calls of one sample |
|---|---|
| `individual_flow` | one agent, n · S steps |
| `one_step` | n agents, one step from each of S noises |
| `mean_of_individual_flows` | n agents, S steps |
| `parallel_mean` | n agents in each of S rounds |
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.composite.reconstruct import affordable_batch_size
from composite_flow.denoiser import Denoiser
from composite_flow.validation import check_counts, check_histories, check_scales


def individual_flow(
    denoiser: Denoiser,
    histories: Float[Array, "agents history"],
    *,
    key: PRNGKeyArray,
    num_samples: int = 16,
    num_sweeps: int = 6,
    sigma: float = 1.0,
) -> Float[Array, "{num_samples} state"]:
    """The flow of one agent alone, φ_ℓ(τ_i)(y) with ℓ = n · S; each sample follows an agent drawn for it.

    The agents are dealt out evenly, so that a mean over samples estimates the mean over agents at the same cost as
    composite diffusion (individual diffusion in Table 1).

    Args:
        denoiser: the shared denoiser.
        histories: the agents' encoded local histories.
        key: fixes the noises and who follows whom.
        num_samples: K.
        num_sweeps: S; sets the number of calls.
        sigma: scale of the initial noise.
    """
    key_noise, key_agent = jax.random.split(key)
    num_agents = histories.shape[0]
    agents = jax.random.permutation(key_agent, num_agents)[jnp.arange(num_samples) % num_agents]
    contexts = jax.vmap(denoiser.condition)(histories[agents])

    def step(_, y):
        return jax.vmap(denoiser.denoise)(contexts, y)

    return jax.lax.fori_loop(0, num_agents * num_sweeps, step, _noise(denoiser, key_noise, num_samples, sigma))


def one_step(
    denoiser: Denoiser,
    histories: Float[Array, "agents history"],
    *,
    key: PRNGKeyArray,
    num_samples: int = 16,
    num_sweeps: int = 6,
    sigma: float = 1.0,
) -> Float[Array, "{num_samples} state"]:
    """One denoising step of every agent from each of S noises, averaged: (1/nS) Σ_i Σ_j f(τ_i, y_j).

    Arguments as in `individual_flow`.
    """
    key_noise, key_more = jax.random.split(key)
    contexts = jax.vmap(denoiser.condition)(histories)
    keys = jnp.concatenate([key_noise[None], jax.random.split(key_more, num_sweeps)[1:]])

    def add(total, key_round):
        noise = _noise(denoiser, key_round, num_samples, sigma)
        return total + _mean_over_agents(denoiser, contexts, noise), None

    total, _ = jax.lax.scan(add, jnp.zeros((num_samples, denoiser.state_size)), keys)
    return total / num_sweeps


def mean_of_individual_flows(
    denoiser: Denoiser,
    histories: Float[Array, "agents history"],
    *,
    key: PRNGKeyArray,
    num_samples: int = 16,
    num_sweeps: int = 6,
    sigma: float = 1.0,
) -> Float[Array, "{num_samples} state"]:
    """The mean of all agents' own flows of S steps from the same noise: (1/n) Σ_i φ_S(τ_i)(y).

    Arguments as in `individual_flow`.
    """
    key_noise, _ = jax.random.split(key)
    contexts = jax.vmap(denoiser.condition)(histories)
    noise = _noise(denoiser, key_noise, num_samples, sigma)
    everyone = jnp.broadcast_to(noise[None], (histories.shape[0], *noise.shape))

    def step(_, y):
        return jax.vmap(jax.vmap(denoiser.denoise, in_axes=(None, 0)))(contexts, y)

    return jnp.mean(jax.lax.fori_loop(0, num_sweeps, step, everyone), axis=0)


def parallel_mean(
    denoiser: Denoiser,
    histories: Float[Array, "agents history"],
    *,
    key: PRNGKeyArray,
    num_samples: int = 16,
    num_sweeps: int = 6,
    sigma: float = 1.0,
) -> Float[Array, "{num_samples} state"]:
    """All agents denoise at once and their answers are averaged, S times: y ← (1/n) Σ_i f(τ_i, y).

    It needs no order and one exchange per round, but agents who know nothing outvote the few who do. Arguments as in
    `individual_flow`. `ParallelMean` is the same as a composition rule, but its message goes from agent to agent, so
    that its sums are rounded in another order.
    """
    key_noise, _ = jax.random.split(key)
    contexts = jax.vmap(denoiser.condition)(histories)

    def round_of_all(_, y):
        return _mean_over_agents(denoiser, contexts, y)

    return jax.lax.fori_loop(0, num_sweeps, round_of_all, _noise(denoiser, key_noise, num_samples, sigma))


BASELINES: dict[str, Callable[..., Float[Array, "samples state"]]] = {
    "individual_flow": individual_flow,
    "one_step": one_step,
    "mean_of_individual_flows": mean_of_individual_flows,
    "parallel_mean": parallel_mean,
}


def baseline_batch(
    baseline: Callable[..., Float[Array, "samples state"]],
    denoiser: Denoiser,
    histories: Float[Array, "batch agents history"],
    *,
    key: PRNGKeyArray,
    num_samples: int = 16,
    num_sweeps: int = 6,
    sigma: float = 1.0,
) -> Float[Array, "batch {num_samples} state"]:
    """One baseline on many joint histories, compiled, in bounded memory; keys as in `reconstruct_batch`.

    Raises:
        InputError: if the histories or a setting cannot be used.
    """
    histories = check_histories(denoiser, histories, axes=3)
    check_counts(num_samples=num_samples, num_sweeps=num_sweeps)
    check_scales(sigma=sigma)
    return _baseline_batch(baseline, denoiser, histories, key, num_samples, num_sweeps, sigma)


@eqx.filter_jit
def _baseline_batch(baseline, denoiser, histories, key, num_samples, num_sweeps, sigma):
    batch, num_agents, _ = histories.shape
    batch_size = min(batch, affordable_batch_size(num_agents, num_samples, denoiser.state_size))

    def one(example):
        history, key = example
        return baseline(denoiser, history, key=key, num_samples=num_samples, num_sweeps=num_sweeps, sigma=sigma)

    return jax.lax.map(one, (histories, jax.random.split(key, batch)), batch_size=batch_size)


def _noise(denoiser: Denoiser, key: PRNGKeyArray, num_samples: int, sigma: float) -> Float[Array, "samples state"]:
    return sigma * jax.random.normal(key, (num_samples, denoiser.state_size))


def _mean_over_agents(denoiser: Denoiser, contexts, y: Float[Array, "samples state"]) -> Float[Array, "samples state"]:
    over_samples = jax.vmap(denoiser.denoise, in_axes=(None, 0))
    return jnp.mean(jax.vmap(over_samples, in_axes=(0, None))(contexts, y), axis=0)
