"""The denoising loss, its Monte Carlo mean and its lower bound.

    L(θ) = E_{(τ_i, s), σ ~ U[0, 1], z ~ N(0, I)} ‖s − f_θ(τ_i, s + σ z)‖²                              (Eq. 1)

summed over the state's features, averaged over pairs of all agents. The posterior mean minimises it, so the ideal
denoiser's loss is the floor. The excess of a network is its loss minus the floor.
"""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray

from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.history import HistoryLayout

_BATCH = 512  # pairs at a time


@runtime_checkable
class Pairs(Protocol):
    """The dataset of (history, state) pairs that training needs; a pytree, so that `jit` accepts it."""

    @property
    def layout(self) -> HistoryLayout:
        """Sizes and columns of the histories."""
        ...

    @property
    def scaling(self) -> Scaling:
        """The scaling of the states to [0, 1]."""
        ...

    @property
    def num_steps(self) -> int:
        """Number of steps; each gives one pair per agent."""
        ...

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "Pairs":
        """A random portion of at most this size in memory, for `sample`; the dataset itself where it is in memory."""
        ...

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "batch history"], Float[Array, "batch state"]]:
        """Draw pairs uniformly over steps and agents, with replacement."""
        ...


class MeanLoss(eqx.Module):
    """A Monte Carlo estimate of Eq. (1): the mean and its standard error."""

    value: float
    standard_error: float


def pair_losses(
    denoiser: Denoiser, histories: Float[Array, "batch history"], states: Float[Array, "batch state"], key: PRNGKeyArray
) -> Float[Array, " batch"]:
    """‖s − f(τ, s + σ z)‖² of each pair, with σ ~ U[0, 1] and z ~ N(0, I).

    Source: Eq. 1.
    """
    return squared_errors(denoiser, histories, noisy_states(states, key), states)


def noisy_states(states: Float[Array, "batch state"], key: PRNGKeyArray) -> Float[Array, "batch state"]:
    """s + σ z with σ ~ U[0, 1] and z ~ N(0, I)."""
    key_sigma, key_noise = jax.random.split(key)
    sigma = jax.random.uniform(key_sigma, (len(states), 1))
    return states + sigma * jax.random.normal(key_noise, states.shape)


def squared_errors(
    denoiser: Denoiser,
    histories: Float[Array, "batch history"],
    y: Float[Array, "batch state"],
    states: Float[Array, "batch state"],
) -> Float[Array, " batch"]:
    """‖s − f(τ, y)‖² of each example."""
    denoised = jax.vmap(lambda history, y: denoiser.denoise(denoiser.condition(history), y))(histories, y)
    return jnp.sum((denoised - states) ** 2, axis=-1)


def arrays_of(dataset: Pairs) -> Pairs:
    """The dataset without the parts that a compiled function cannot take; `sample` needs only arrays and sizes."""
    return eqx.filter(dataset, eqx.is_array)


def sample_pairs(
    dataset: Pairs, key: PRNGKeyArray, num_pairs: int
) -> tuple[Float[Array, "pairs *history"], Float[Array, "pairs state"]]:
    """Draw pairs, or whatever samples a dataset has, in one compiled call."""
    return _sample_pairs(arrays_of(dataset), key, num_pairs)


@eqx.filter_jit
def _sample_pairs(dataset, key, num_pairs):
    return dataset.sample(key, num_pairs)


def denoising_loss(
    denoiser: Denoiser, dataset: Pairs, key: PRNGKeyArray | None = None, num_samples: int = 4096
) -> MeanLoss:
    """The loss of Eq. (1) of any denoiser, by Monte Carlo.

    Args:
        denoiser: the learned or the ideal one.
        dataset: the dataset from which pairs are drawn.
        key: random key; by default the one of `fit`'s validation loss. Losses with the same key use the same draws, so
            their difference is less noisy than each of them.
        num_samples: number of draws, rounded up to full batches.

    Raises:
        InputError: the number of samples is below one.

    Source: Eq. 1.
    """
    if num_samples < 1:
        raise InputError(f"A mean loss needs at least one sample, not {num_samples}.")
    keys = jax.random.split(jax.random.key(0) if key is None else key, -(-num_samples // _BATCH))
    losses = _losses(denoiser, arrays_of(dataset), keys)
    return MeanLoss(float(jnp.mean(losses)), float(jnp.std(losses)) / losses.size**0.5)


def ideal_loss(
    denoiser: Denoiser, dataset: Pairs, key: PRNGKeyArray | None = None, num_samples: int = 4096
) -> MeanLoss:
    """The floor of the training loss: the ideal denoiser's loss, below which no denoiser's expected loss can be.

    Source: Eq. 1, Eq. 2.
    """
    return denoising_loss(denoiser, dataset, key, num_samples)


@eqx.filter_jit
def _losses(denoiser: Denoiser, dataset, keys: Key[Array, " batches"]) -> Float[Array, "batches batch"]:
    def batch_losses(key):
        key_pairs, key_noise = jax.random.split(key)
        histories, states = dataset.sample(key_pairs, _BATCH)
        return pair_losses(denoiser, histories, states, key_noise)

    return jax.lax.map(batch_losses, keys)
