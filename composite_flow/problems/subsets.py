"""Sets of a fixed size: listing them, numbering them, and drawing them with probability ∝ Π weight.

    P(A) = Π_{a ∈ A} w_a / e_k(w),        |A| = k,

with e_k the elementary symmetric polynomial. Drawing without replacement one by one (or Gumbel-top-k) has
another law; here each element is drawn given how much weight the sets behind it hold, which is exact.
"""

import itertools
import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray


@lru_cache(maxsize=16)
def list_subsets(num_elements: int, size: int) -> np.ndarray:
    """All sorted subsets of {0, …, num_elements − 1}, in lexicographic order; int32, (subsets, size)."""
    subsets = list(itertools.combinations(range(num_elements), size))
    return np.asarray(subsets, dtype=np.int32).reshape(len(subsets), size)


def subset_index(subsets: Int[Array, "*batch size"], num_elements: int) -> Int[Array, "*batch"]:
    """The place of sorted subsets in `list_subsets`; for at most 2^31 subsets."""
    size = subsets.shape[-1]
    behind = np.array([[math.comb(m, size - i) for m in range(num_elements)] for i in range(size)], dtype=np.int32)
    places = jnp.broadcast_to(jnp.arange(size), subsets.shape)
    return math.comb(num_elements, size) - 1 - jnp.sum(jnp.asarray(behind)[places, num_elements - 1 - subsets], axis=-1)


def log_tail_weights(log_weights: np.ndarray, size: int) -> np.ndarray:
    """log e_k of the weights of the elements a, a + 1, …, for every k ≤ size and every a.

    Args:
        log_weights: (elements,), float64, since long sums of logarithms follow.
        size: the largest k.

    Returns:
        (size + 1, elements + 1), −inf where fewer than k elements are left.
    """
    tails = np.full((size + 1, len(log_weights) + 1), -np.inf)
    tails[0] = 0.0
    for a in reversed(range(len(log_weights))):
        tails[1:, a] = np.logaddexp(tails[1:, a + 1], log_weights[a] + tails[:-1, a + 1])
    return tails


def draw_subset(
    key: PRNGKeyArray, log_weights: Float[Array, " elements"], tails: Float[Array, "size_plus_1 elements_plus_1"]
) -> Int[Array, " size"]:
    """Draw a sorted subset with probability ∝ Π weight, exactly, its smallest element first.

    P(next = a | last, k left) = w_a e_{k−1}(w_{a+1}, …) / e_k(w_{last+1}, …).

    Args:
        key: randomness.
        log_weights: log w, for each element.
        tails: `log_tail_weights` of them.
    """
    size = tails.shape[0] - 1
    elements = jnp.arange(log_weights.shape[0])

    def draw(last, step):
        key_element, num_left = step
        logits = jnp.where(elements > last, log_weights + tails[num_left - 1, 1:], -jnp.inf)
        element = jax.random.categorical(key_element, logits).astype(jnp.int32)
        return element, element

    steps = (jax.random.split(key, size), jnp.arange(size, 0, -1))
    return jax.lax.scan(draw, jnp.int32(-1), steps)[1]
