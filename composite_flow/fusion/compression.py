"""Smaller messages: the largest entries of an answer alone, or entries of few bits.

Both lose something, and say nothing that was not in the answer: what is left out counts as not said. Answers to which
this was done add up as any others.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer
from composite_flow.validation import check_counts


def largest_first(answer: Answer, num_values: int) -> Answer:
    """The features of largest |evidence|, so many of them; of the others the answer says nothing.

    Args:
        answer: any leading axes are batch axes, of answers that are cut one by one.
        num_values: features kept; free numbers are all kept.

    Raises:
        InputError: none would be kept.
    """
    check_counts(num_values=num_values)
    state_size = answer.evidence.shape[-1]
    size = jnp.abs(answer.evidence)
    # by rank, so that ties keep no more than they may
    rank = jnp.argsort(jnp.argsort(-size, axis=-1), axis=-1)
    return _only(answer, rank < min(num_values, state_size))


def larger_than(answer: Answer, threshold: float | Float[Array, ""]) -> Answer:
    """The features whose |evidence| is above a threshold; of the others the answer says nothing."""
    return _only(answer, jnp.abs(answer.evidence) > threshold)


def num_sent(answer: Answer) -> Array:
    """Features of which something is said, over all answers: each costs its number and its values."""
    return jnp.sum((answer.evidence != 0) | (answer.weight != 0) | (answer.precision != 0), dtype=jnp.int32)


def quantised(answer: Answer, bits: int) -> Answer:
    """Every entry rounded to one of 2^bits levels, as a message of `bits` bits an entry holds it.

    Means η/λ − that is μ − s̄ −, evidence of features that have no weight, and free numbers: 2^bits − 1 even levels from
    −m to m, m the largest of its kind in the answer, which is sent beside. η itself spans as many orders of magnitude
    as λ does, so that even levels would lose most of it.
    Weights and precisions: the logarithm in 2^bits − 1 even steps from the smallest to the largest, and zero.

    Args:
        answer: any leading axes are batch axes, of answers that are rounded one by one.
        bits: 2 at least.

    Raises:
        InputError: fewer than two bits.
    """
    if bits < 2:
        raise InputError(f"An entry needs two bits at least, for its sign and its size, not {bits}.")
    steps = 2.0 ** (bits - 1) - 1.0
    weighted, weight = answer.weight > 0.0, _rounded_logarithm(answer.weight, 2.0**bits - 2.0)
    mean = jnp.where(weighted, answer.evidence / jnp.where(weighted, answer.weight, 1.0), 0.0)
    plain = jnp.where(weighted, 0.0, answer.evidence)
    return Answer(
        _rounded(mean, steps) * weight + _rounded(plain, steps),
        weight,
        _rounded_logarithm(answer.precision, 2.0**bits - 2.0),
        _rounded(answer.free, steps),
    )


def _only(answer: Answer, kept: Bool[Array, "*batch state"]) -> Answer:
    evidence, weight, precision = (
        jnp.where(kept, part, 0.0) for part in (answer.evidence, answer.weight, answer.precision)
    )
    return Answer(evidence, weight, precision, answer.free)


def _rounded(values: Float[Array, "*batch entries"], steps: float) -> Float[Array, "*batch entries"]:
    """To multiples of max|values| / steps."""
    if not values.shape[-1]:
        return values
    unit = jnp.max(jnp.abs(values), axis=-1, keepdims=True) / steps
    return jnp.round(values / jnp.where(unit > 0.0, unit, 1.0)) * unit


def _rounded_logarithm(values: Float[Array, "*batch entries"], steps: float) -> Float[Array, "*batch entries"]:
    """Logarithms of positive values to `steps` even steps between their smallest and their largest; zero as it is."""
    positive = values > 0.0
    logs = jnp.log(jnp.where(positive, values, 1.0))
    low = jnp.min(jnp.where(positive, logs, jnp.inf), axis=-1, keepdims=True)
    unit = (jnp.max(jnp.where(positive, logs, -jnp.inf), axis=-1, keepdims=True) - low) / steps
    levels = jnp.round((logs - low) / jnp.where(unit > 0.0, unit, 1.0))
    return jnp.where(positive, jnp.exp(low + levels * unit), 0.0)
