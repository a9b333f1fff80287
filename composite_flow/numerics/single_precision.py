"""Work in 32 bits, whatever precision the caller's program has switched on for its own.

Networks, files and checks are of float32. Beside libraries that need `jax_enable_x64` they must mean the same.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_32_bits(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function, within which JAX makes arrays of 32 bits."""

    @wraps(function)
    def called(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            return function(*args, **options)
        with jax.enable_x64(False):
            return function(*args, **options)

    return called
