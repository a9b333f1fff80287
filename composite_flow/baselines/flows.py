"""Baselines that use the same denoiser as composite diffusion, and call it equally often.

With n agents and S sweeps, each sample costs n · S calls of the denoiser, as in `reconstruct`. With the same key all
methods start from the same noise as `reconstruct` (`one_step` draws more noise besides).

| baseline | the n · S calls of one sample |
|---|---|
| `individual_flow` | n · S steps of one agent |
| `one_step` | one step of each of n agents from each of S noises |
| `mean_of_individual_flows` | S steps of each of n agents |
| `parallel_mean` | S rounds in which each of n agents makes a step |
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
    """Individual diffusion (Table 1): the flow of one agent alone, φ_ℓ(τ_i)(y) with ℓ = n · S.

    Each sample has one agent, assigned at random. All agents get the same number of samples, or one more or less, so
    the mean over samples estimates the mean over agents.

    Args:
        denoiser: f, shared by all agents.
        histories: the agents' encoded local histories.
        key: draws the noise and the assignment of agents.
        num_samples: K, the number of samples.
        num_sweeps: S, which fixes the number of calls.
        sigma: scale of the initial noise.

    Returns:
        The end point of each sample, in scaled units.
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
    """The mean of one denoising step of every agent from each of S noises: (1/nS) Σ_i Σ_j f(τ_i, y_j).

    Arguments and result as in `individual_flow`.
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

    Arguments and result as in `individual_flow`.
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
    """S rounds in which all agents denoise the same y, and their mean is the next: y ← (1/n) Σ_i f(τ_i, y).

    It needs no order and one exchange per round, but agents who know nothing outvote the few who know something.
    Arguments and result as in `individual_flow`. The composition rule `ParallelMean` computes the same, but adds the
    results up from agent to agent, which rounds in another order.
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
    """Run a baseline on many joint histories: compiled, and in parts, so that memory is bounded.

    Args:
        baseline: one of `BASELINES`, or a function with the same arguments.
        histories: joint histories along the leading axis.
        key: split into a key for each joint history, as in `reconstruct_batch`.
        denoiser, num_samples, num_sweeps, sigma: as in `individual_flow`.

    Raises:
        InputError: the histories or a setting cannot be used.
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
