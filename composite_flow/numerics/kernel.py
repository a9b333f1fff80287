"""The noise kernel: how likely a noisy state lies at distance r from its clean state when the noise level is unknown.

With σ ~ U[m, 1], x = r²/2 and a = (d − 1)/2, in d dimensions and up to a constant,

    K_a(x) = ∫_m^1 σ^-d exp(−x/σ²) dσ = ½ x^-a [Γ(a, x) − Γ(a, x/m²)]

with the upper incomplete gamma function; its second term vanishes for m = 0. The value lies far outside the range of
floats, so everything is computed as log e^x K_a(x), which stays moderate where x is large. Writing

    C_a(x) = e^x x^-a Γ(a, x) = ∫_0^∞ (1 + u)^{a−1} e^{−xu} du,      S_a(x) = e^x x^-a γ(a, x)

- x ≥ a + 1: C_a = (1 + (a − 1) C_{a−1})/x, upwards from a continued fraction at small a: all terms are positive;
- x < a + 1: C_a = e^x x^-a Γ(a) − S_a by the power series of S_a; Γ(a, x)/Γ(a) is at least 0.08 there.

The length of each recursion is fixed by a, which is known before compilation; it grows like √a.
The derivative is −K_{a+1}(x)/K_a(x), the same function two dimensions up, so derivatives of every order exist.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Smaller x are replaced by this, since K_a diverges at 0 for m = 0; powers a ≥ ½ of it are below float32's precision.
SMALLEST = 1e-30
UNROLL = 16


def log_uniform_kernel(
    squared_distance: Float[Array, "*batch"], dimension: int, minimum: float
) -> Float[Array, "*batch"]:
    """The logarithm of 2 ∫ σ^-d exp(−r²/2σ²) dσ over σ from `minimum` to 1.

    Args:
        squared_distance: r², in squared units of the state; values below 2e-30 count as 2e-30.
        dimension: d, the number of features.
        minimum: m, the smallest noise level, 0 ≤ m < 1. Relative accuracy falls like 1/(1 − m).

    Returns:
        The log kernel. Its error is a few units of rounding of the largest of 1, x and a |log(x/a)|.

    Source: Eq. 1, Eq. 2; with σ ~ U[0, 1].
    """
    x = jnp.maximum(squared_distance / 2, SMALLEST)
    return _log_scaled_kernel(x, (dimension - 1) / 2, minimum) - x


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _log_scaled_kernel(x: Float[Array, "*batch"], a: float, minimum: float) -> Float[Array, "*batch"]:
    """log 2 e^x K_a(x)."""
    if minimum == 0.0:
        return _log_upper(x, a)
    return _log_difference(x, a, minimum)


@_log_scaled_kernel.defjvp
def _log_scaled_kernel_jvp(a, minimum, primals, tangents):
    """d/dx log e^x K_a = 1 − K_{a+1}/K_a."""
    (x,), (tangent,) = primals, tangents
    value = _log_scaled_kernel(x, a, minimum)
    ratio = jnp.exp(_log_scaled_kernel(x, a + 1, minimum) - value)
    return value, (1 - ratio) * tangent


def _log_difference(x: Float[Array, "*batch"], a: float, minimum: float) -> Float[Array, "*batch"]:
    """log of e^x x^-a [Γ(a, x) − Γ(a, x/m²)], each part from the side where nothing cancels."""
    outer = x / minimum**2
    shift = -2 * a * math.log(minimum) - (outer - x)  # log of e^x x^-a over the same at x/m²
    far = _log_subtract(_log_upper(x, a), shift + _log_upper(outer, a))
    if a == 0:  # E₁ only has a logarithmic singularity, so its difference is always accurate
        return far
    near = _log_subtract(shift + _log_lower(outer, a), _log_lower(x, a))
    whole = _log_whole(x, a)
    tails = jnp.exp(_log_lower(x, a) - whole) + jnp.exp(shift + _log_upper(outer, a) - whole)
    between = whole + jnp.log1p(-jnp.minimum(tails, 1 - jnp.finfo(x.dtype).eps))
    return jnp.where(x >= a + 1, far, jnp.where(outer < a + 1, near, between))


def _log_subtract(larger: Float[Array, "*batch"], smaller: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """log(e^larger − e^smaller); clipped, since the order may be reversed in branches whose result is not used."""
    return larger + jnp.log(-jnp.expm1(jnp.minimum(smaller - larger, -jnp.finfo(larger.dtype).eps)))


def _log_upper(x: Float[Array, "*batch"], a: float) -> Float[Array, "*batch"]:
    """log C_a(x)."""
    inside = jnp.minimum(x, a + 1)
    if a == 0:
        near = jnp.log(_exponential_integral(inside)) + inside
    else:
        whole = _log_whole(inside, a)
        near = whole + jnp.log1p(-jnp.exp(_log_lower(inside, a) - whole))
    return jnp.where(x < a + 1, near, jnp.log(_upper_by_recursion(jnp.maximum(x, a + 1), a)))


def _log_whole(x: Float[Array, "*batch"], a: float) -> Float[Array, "*batch"]:
    """log of e^x x^-a Γ(a), written around x = a, where its large terms cancel."""
    offset = (x - a) / a
    logarithm = jnp.where(jnp.abs(offset) < 0.5, jnp.log1p(jnp.maximum(offset, -0.5)), jnp.log(x / a))
    return math.lgamma(a) - a * math.log(a) + a + a * (offset - logarithm)


def _log_lower(x: Float[Array, "*batch"], a: float) -> Float[Array, "*batch"]:
    """log S_a(x) for x ≤ a + 1, where S_a(x) = Σ_k x^k / (a (a + 1) ⋯ (a + k))."""
    x, precision = jnp.minimum(x, a + 1), jnp.finfo(x.dtype).eps
    length, term = 0, 1.0
    while term > precision:  # the terms at the largest x
        length += 1
        term *= (a + 1) / (a + length)
    total = _count_down(lambda k, total: 1 + total * (x / (a + k)), jnp.ones_like(x), length)
    return jnp.log(total) - math.log(a)


def _upper_by_recursion(x: Float[Array, "*batch"], a: float) -> Float[Array, "*batch"]:
    """C_a(x) for x ≥ a + 1."""
    depth, term, precision = 0, 1.0, jnp.finfo(x.dtype).eps
    while depth + 1 <= a and term > precision:  # how much the start of the recursion counts at the smallest x
        depth += 1
        term *= (a - depth) / (a + 1)
    inverse = 1 / x
    return _count_down(lambda k, value: (1 + (a - k) * value) * inverse, _upper_by_fraction(x, a - depth), depth)


def _upper_by_fraction(x: Float[Array, "*batch"], a: float) -> Float[Array, "*batch"]:
    """C_a(x) for x ≥ 1 by Legendre's continued fraction, whose error falls like exp(−4 √(length · x))."""
    length = 4 + math.ceil((math.log(jnp.finfo(x.dtype).eps) / 4) ** 2)
    start = x + (2 * length + 1 - a)
    return 1 / _count_down(lambda k, value: x + (2 * k - 1 - a) - k * (k - a) / value, start, length)


def _count_down(step: Callable, start: Float[Array, "*batch"], length: int) -> Float[Array, "*batch"]:
    """Apply step(k, value) for k = length, …, 1, unrolled in part: whole chains of hundreds take minutes to compile."""

    def body(index, value):
        return step((length - index).astype(value.dtype), value)

    return jax.lax.fori_loop(0, length, body, start, unroll=min(UNROLL, max(length, 1)))


def _exponential_integral(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """E₁(x) = Γ(0, x) for x ≤ 1 by its power series; 20 terms reach the precision of float64."""
    total = jnp.zeros_like(x)
    for k in range(20, 0, -1):
        total = x * ((-1) ** (k + 1) / (k * math.factorial(k)) + total)
    return -0.5772156649015329 - jnp.log(x) + total
