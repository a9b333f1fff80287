"""Samples of the joint posterior p(s | m_A), by a team denoiser or an ideal one.

    conditional    y_1 = 3 z,    y_{k+1} = s_k + c (y_k − s_k) + σ_{k+1} √(1 − c) z,
                                 s_k = E[s | y_k, m, σ_k],    c = (σ_{k+1}/σ_k)²
    blind          y_0 = z,      y_{k+1} = g(m, y_k)                                    (Eq. 7)

The conditional sampler draws from p(y' | y, s_k) with the mean in the place of the state; with the exact denoiser its
samples have the posterior's probabilities, up to the error of a few steps. It is the one for probabilities.

Flows of the blind form end at its stable fixed points, not as often as the posterior says, and a learned one can rest
at the mean of many states: it is for fixed points, in worlds where few states are left.
"""

from typing import Any, Literal, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import flow
from composite_flow.fusion.team_denoiser import TeamDenoiser

LARGEST_SIGMA, LAST_SIGMA = 3.0, 0.05
Sampler = Literal["conditional", "blind"]
_AT_ONCE = 16  # joint histories, so that memory is bounded


@runtime_checkable
class LevelledDenoiser(Protocol):
    """A denoiser that can be told the noise level."""

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        ...

    def condition(self, history: Float[Array, " history"]) -> Any:
        """Compute all that depends on the history alone."""
        ...

    def at(self, sigma: Any) -> Denoiser:
        """The denoiser for this noise level, with the same contexts."""
        ...


def noise_levels(num_steps: int) -> Float[Array, "{num_steps}"]:
    """σ_1 > … > σ_num_steps from 3 to 0.05, evenly spaced in σ^(1/3): most of them where states separate."""
    return jnp.linspace(LARGEST_SIGMA ** (1 / 3), LAST_SIGMA ** (1 / 3), num_steps) ** 3


def sample_conditional(
    denoiser: LevelledDenoiser,
    message: Float[Array, " message"],
    num_samples: int,
    *,
    num_steps: int = 30,
    key: PRNGKeyArray,
) -> Float[Array, "{num_samples} state"]:
    """Samples by ancestral steps along falling noise levels; the last step gives the mean.

    Args:
        denoiser: g, or an ideal denoiser; `at(sigma)` gives its form for a known noise level.
        message: m_A, or whatever the denoiser reads as history.
        num_samples: how many.
        num_steps: calls of the denoiser for each sample.
        key: random key.

    Raises:
        InputError: fewer than two steps.
    """
    if num_steps < 2:
        raise InputError(f"Samples along falling noise levels need num_steps of at least 2, not {num_steps}.")
    key_start, key_steps = jax.random.split(key)
    context, levels = denoiser.condition(message), noise_levels(num_steps)

    def means(y, sigma):
        return jax.vmap(lambda point: denoiser.at(sigma).denoise(context, point))(y)

    def step(y, inputs):
        sigma, following, key = inputs
        mean, share = means(y, sigma), (following / sigma) ** 2
        noise = following * jnp.sqrt(1.0 - share) * jax.random.normal(key, y.shape)
        return mean + share * (y - mean) + noise, None

    y = LARGEST_SIGMA * jax.random.normal(key_start, (num_samples, denoiser.state_size))
    y, _ = jax.lax.scan(step, y, (levels[:-1], levels[1:], jax.random.split(key_steps, num_steps - 1)))
    return means(y, levels[-1])


def sample_blind(
    denoiser: Denoiser, message: Float[Array, " message"], num_samples: int, *, num_steps: int = 20, key: PRNGKeyArray
) -> Float[Array, "{num_samples} state"]:
    """The ends of flows y ← g(m, y) from noise N(0, I), for a noise level that is not known.

    Args:
        denoiser: g, or any denoiser.
        message: m_A, or whatever the denoiser reads as history.
        num_samples: how many.
        num_steps: calls of the denoiser for each sample.
        key: random key.

    Source: Eq. 7, Eq. 8.
    """
    context = denoiser.condition(message)
    starts = jax.random.normal(key, (num_samples, denoiser.state_size))
    return jax.vmap(lambda y: flow(denoiser, context, y, num_steps)[-1])(starts)


@eqx.filter_jit
def samples_of_team(
    team: TeamDenoiser, histories, participants, num_samples: int, by: Sampler, key: PRNGKeyArray
) -> Float[Array, "samples state"]:
    """Samples of what some agents of one joint history know together."""
    draw = {"conditional": sample_conditional, "blind": sample_blind}[by]
    return draw(team, team.message(histories, participants), num_samples, key=key)


@eqx.filter_jit
def samples_of_each(team: TeamDenoiser, histories, num_samples: int, keys) -> Float[Array, "joint samples state"]:
    """Conditional samples of whole teams of many joint histories, each with a key of its own."""
    everyone = jnp.ones(histories.shape[1], bool)

    def of_team(example):
        history, key = example
        return sample_conditional(team, team.message(history, everyone), num_samples, key=key)

    return jax.lax.map(of_team, (histories, keys), batch_size=min(_AT_ONCE, len(keys)))
