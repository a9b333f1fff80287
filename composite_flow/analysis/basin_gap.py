"""How far the basins' masses may lie from the belief: Theorem 4 and appendix A.3, as printed and as corrected.

Starts are drawn around the states, y = s + σz with s ~ p, and every y belongs to the state of largest posterior
probability at that one σ. The share that ends at s then differs from p(s) by

    Gap(s) = |Σ_{s'≠s} p(s') P(s' → s) − p(s) P(s → ·)| ≤ Σ_{s'≠s} [p(s) Φ(x_{ss'}) + p(s') Φ(x_{s's})],
    x_{ss'} = σ ln(p(s')/p(s)) / ‖s − s'‖ − ‖s − s'‖ / (2σ).

The printed bound drops a factor ½ in the exponent and the case of unequal probabilities. The starts of
`find_fixed_points` are drawn around the origin instead, so neither bound is about its masses.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROWS_AT_ONCE = 64  # bounds memory at 64 · states · features floats


def gap_bound(
    log_probabilities: Float[Array, " states"], states: Float[Array, "states state"], sigma: float | Float[Array, ""]
) -> Float[Array, " states"]:
    """The corrected bound on |share of starts that end at s − p(s)|.

        Σ_{s'≠s} [p(s) Φ(x_{ss'}) + p(s') Φ(x_{s's})]

    The bound is met with equality where only one of the two directions has any mass.

    Args:
        log_probabilities: ln p(s), −∞ where impossible.
        states: distinct; scaled to [0, 1].
        sigma: the noise level, in the same units.

    Returns:
        One bound for each state. Cost O(states²).

    Source: Theorem 4, appendix A.3; corrected.
    """

    def pairs(log_here, log_there, distances):
        # An impossible state takes nothing and gives nothing; the difference of two −∞ must not arise.
        possible = jnp.isfinite(log_here) & jnp.isfinite(log_there)
        ratio = jnp.where(possible, log_there, 0.0) - jnp.where(possible, log_here, 0.0)
        tilt, half = sigma * ratio / distances, distances / (2 * sigma)
        leaving = log_here + jax.scipy.special.log_ndtr(tilt - half)
        arriving = log_there + jax.scipy.special.log_ndtr(-tilt - half)
        return jnp.where(possible, jnp.exp(leaving) + jnp.exp(arriving), 0.0)

    return _sum_over_others(pairs, log_probabilities, states)


def printed_gap_bound(
    log_probabilities: Float[Array, " states"], states: Float[Array, "states state"], sigma: float | Float[Array, ""]
) -> Float[Array, " states"]:
    """The bound as the paper prints it, which does not hold.

        Σ_{s'≠s} [p(s) + p(s')] 2σ / (‖s − s'‖ √(2π)) exp(−(‖s − s'‖ / 2σ)²)

    At ‖s − s'‖ = 4σ and equal probabilities it gives 0.0037 for a chance of misclassification of 0.0228.

    Args:
        log_probabilities: ln p(s), −∞ where impossible.
        states: distinct; scaled to [0, 1].
        sigma: the noise level, in the same units.

    Returns:
        One number for each state.

    Source: Theorem 4, appendix A.3; its last equation.
    """

    def pairs(log_here, log_there, distances):
        half = distances / (2 * sigma)
        return (jnp.exp(log_here) + jnp.exp(log_there)) * jnp.exp(-(half**2)) / (half * jnp.sqrt(2 * jnp.pi))

    return _sum_over_others(pairs, log_probabilities, states)


def _sum_over_others(pairs, log_probabilities, states) -> Float[Array, " states"]:
    """Σ_{s'≠s} pairs(ln p(s), ln p(s'), ‖s − s'‖) for every s."""
    others = jnp.arange(states.shape[0])

    def row(index):
        distances = jnp.linalg.norm(states - states[index][None], axis=-1)
        apart = others != index
        terms = pairs(log_probabilities[index], log_probabilities, jnp.where(apart, distances, 1.0))
        return jnp.sum(jnp.where(apart, terms, 0.0))

    return jax.lax.map(row, others, batch_size=_ROWS_AT_ONCE)
