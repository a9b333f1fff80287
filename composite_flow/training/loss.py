"""The denoising loss, its Monte Carlo mean and its floor.

    L(θ) = E_{(τ_i, s), σ ~ U[0, 1], z ~ N(0, I)} ‖s − f_θ(τ_i, s + σ z)‖²                              (Eq. 1)

summed over the state's features, averaged over pairs of all agents. It is smallest for the posterior mean: the
ideal denoiser's loss is the floor, and what a network's loss has above it is the excess.
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

_BATCH = 512  # pairs at once


@runtime_checkable
class Pairs(Protocol):
    """What training asks of a dataset of (history, state) pairs; a pytree that `jit` can carry."""

    @property
    def layout(self) -> HistoryLayout:
        """Sizes and columns of the histories."""
        ...

    @property
    def scaling(self) -> Scaling:
        """Of the states to [0, 1]."""
        ...

    @property
    def num_steps(self) -> int:
        """Number of steps; each gives one pair per agent."""
        ...

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "Pairs":
        """A random share of this size that is in memory, so that `sample` can draw from it; itself where it is."""
        ...

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "batch history"], Float[Array, "batch state"]]:
        """Pairs drawn uniformly, with replacement, over steps and agents."""
        ...


class MeanLoss(eqx.Module):
    """A Monte Carlo mean of Eq. (1): its value and its standard error."""

    value: float
    standard_error: float


def pair_losses(
    denoiser: Denoiser, histories: Float[Array, "batch history"], states: Float[Array, "batch state"], key: PRNGKeyArray
) -> Float[Array, " batch"]:
    """‖s − f(τ, s + σ z)‖² of each pair, with σ ~ U[0, 1] and z ~ N(0, I) (Eq. 1)."""
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
    """‖s − f(τ, y)‖² of each."""
    denoised = jax.vmap(lambda history, y: denoiser.denoise(denoiser.condition(history), y))(histories, y)
    return jnp.sum((denoised - states) ** 2, axis=-1)


def arrays_of(dataset: Pairs) -> Pairs:
    """The dataset without what a compiled function cannot carry; `sample` needs its arrays and sizes only."""
    return eqx.filter(dataset, eqx.is_array)


def sample_pairs(
    dataset: Pairs, key: PRNGKeyArray, num_pairs: int
) -> tuple[Float[Array, "pairs history"], Float[Array, "pairs state"]]:
    """Pairs of a dataset, drawn in one compiled call."""
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
        dataset: where the pairs come from.
        key: random key; by default the one of `fit`'s validation loss. Losses under the same key see the same draws,
            so that their difference is less noisy than either.
        num_samples: number of draws, rounded up to full batches.

    Raises:
        InputError: no samples are asked for.
    """
    if num_samples < 1:
        raise InputError(f"A mean loss needs at least one sample, not {num_samples}.")
    keys = jax.random.split(jax.random.key(0) if key is None else key, -(-num_samples // _BATCH))
    losses = _losses(denoiser, arrays_of(dataset), keys)
    return MeanLoss(float(jnp.mean(losses)), float(jnp.std(losses)) / losses.size**0.5)


def ideal_loss(
    denoiser: Denoiser, dataset: Pairs, key: PRNGKeyArray | None = None, num_samples: int = 4096
) -> MeanLoss:
    """The floor of the training loss: Eq. (1) of the ideal denoiser, which no denoiser can be below in expectation."""
    return denoising_loss(denoiser, dataset, key, num_samples)


@eqx.filter_jit
def _losses(denoiser: Denoiser, dataset, keys: Key[Array, " batches"]) -> Float[Array, "batches batch"]:
    def batch_losses(key):
        key_pairs, key_noise = jax.random.split(key)
        histories, states = dataset.sample(key_pairs, _BATCH)
        return pair_losses(denoiser, histories, states, key_noise)

    return jax.lax.map(batch_losses, keys)
