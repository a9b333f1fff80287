"""Arrays whose types do not change from step to step."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def settled(tree: Any) -> Any:
    """The same as arrays of settled types: with plain numbers among them, a second call would compile all again."""
    arrays = jax.tree.map(jnp.asarray, tree)
    return settled_like(arrays, arrays)


def settled_like(tree: Any, model: Any) -> Any:
    """The same as arrays of the types of a model's."""
    return jax.tree.map(lambda leaf, other: _typed(leaf, other.dtype), tree, model)


def _typed(leaf: Any, dtype: Any) -> Array:
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return leaf
    return jax.lax.convert_element_type(jnp.asarray(leaf), dtype)
