"""What users call: in 32 bits, whatever their program has switched on; common mistakes are told in a sentence.

Networks, files and checks are of float32. Beside libraries that need `jax_enable_x64` they must mean the same.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.errors import InputError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def entry_point(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same function, within which JAX makes arrays of 32 bits.

    Raises:
        InputError: something else is given where a random key or a denoiser belongs.
    """
    names = list(inspect.signature(function).parameters)
    takes_denoiser, place_of_key = names[:1] == ["denoiser"], names.index("key") if "key" in names else None

    @wraps(function)
    def called(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        if "key" in options:
            _check_key(options["key"])
        elif place_of_key is not None and place_of_key < len(args):
            _check_key(args[place_of_key])
        if takes_denoiser and args:
            _check_denoiser(function.__name__, args[0])
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            return function(*args, **options)
        with jax.enable_x64(False):
            return function(*args, **options)

    return called


def _check_key(key: Any) -> None:
    is_array = isinstance(key, jax.Array | np.ndarray)
    if key is None or (is_array and (jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == np.uint32)):
        return
    raise InputError(f"key must be a random key, such as jax.random.key(0), not {key!r}.")


def _check_denoiser(name: str, given: Any) -> None:
    if hasattr(given, "condition") and hasattr(given, "denoise"):
        return
    hint = "give model.denoiser" if hasattr(given, "denoiser") else "see Denoiser"
    raise InputError(f"{name} takes a denoiser, not a {type(given).__name__}; {hint}.")
