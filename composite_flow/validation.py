"""Checks that refuse joint histories and settings that cannot be used, in one sentence, before anything is compiled."""

import math
import weakref
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array

from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError

# The widths of histories that each denoiser is known to read. The key is the denoiser's `id`, since its arrays cannot
# be hashed; the weak reference tells whether that id still belongs to the same denoiser.
_WIDTHS_READ: dict[int, tuple[weakref.ref, frozenset[int]]] = {}


def check_histories(denoiser: Denoiser, histories: Array, axes: int) -> Array:
    """Return the histories as float32 after checking that the denoiser can use them.

    Args:
        denoiser: the denoiser that will read the histories.
        histories: encoded histories.
        axes: the number of axes that they must have.

    Raises:
        InputError: wrong number of axes, an empty axis, a value that is not finite, or a width that the denoiser
            cannot read.
    """
    histories = jnp.asarray(histories, jnp.float32)
    if histories.ndim != axes:
        names = "(batch, agents, history)" if axes == 3 else "(agents, history)"
        raise InputError(f"Histories must have the axes {names}, not the shape {histories.shape}.")
    if 0 in histories.shape:
        raise InputError(f"Histories of shape {histories.shape} are empty; give at least one history and one agent.")
    if not isinstance(histories, Tracer) and not bool(jnp.all(jnp.isfinite(histories))):
        raise InputError("Histories hold NaN or infinite values; remove or replace them first.")
    _check_reads(denoiser, histories.shape[-1])
    return histories


def _check_reads(denoiser: Denoiser, width: int) -> None:
    """Trace `condition` on histories of this width, only once for each denoiser: it takes as long as a small flow."""
    known = _WIDTHS_READ.get(id(denoiser))
    if known is not None and known[0]() is denoiser and width in known[1]:
        return
    try:
        jax.eval_shape(lambda history: denoiser.condition(history), jax.ShapeDtypeStruct((width,), jnp.float32))
    except (TypeError, ValueError, InputError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"This denoiser cannot read histories with {width} columns ({reason}); encode them by its own layout."
        ) from error
    key, others = id(denoiser), known[1] if known is not None and known[0]() is denoiser else frozenset()
    gone = weakref.ref(denoiser, lambda _: _WIDTHS_READ.pop(key, None))
    _WIDTHS_READ[key] = gone, others | {width}


def refuse_traced(names: str, arguments: Any) -> None:
    """Refuse to run inside a caller's `jit`, `vmap` or `grad`, where part of the work is arranged on the host."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments)):
        raise InputError(
            f"{names} cannot be traced by jit, vmap or grad; `reconstruct`, `find_fixed_points`, `Model.fuse` and "
            "`Model.sample` can."
        )


def check_one_per_history(denoiser: Denoiser, histories: Array, points: Array, name: str = "States") -> None:
    """Refuse states, or other points of the state space, unless there is exactly one for each history.

    Raises:
        InputError: the shape of the points is not (histories, state).
    """
    expected = (len(histories), denoiser.state_size)
    if points.shape != expected:
        raise InputError(f"{name} must have the shape {expected}, one row for each history, not {points.shape}.")


def check_counts(**counts: int) -> None:
    """Refuse a count below one; the error gives the argument's name."""
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}.")


def check_scales(**scales: float) -> None:
    """Refuse a number that is negative or not finite; the error gives the argument's name."""
    for name, value in scales.items():
        if not math.isfinite(value) or value < 0:
            raise InputError(f"{name} must be a finite number that is not negative, not {value}.")
