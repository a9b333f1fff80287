"""Common information: what all agents see is given, composite diffusion runs on the private rest (end of §5.1).

    y ← (c where known, y elsewhere),    f_c(τ, y) = (c where known, f(τ, y) elsewhere)

for the common features c. No noise is left on them from the first call on, nobody can lose them again, and messages
need only the private features. Nothing is trained anew: `Given` wraps any denoiser. A state that f leaves where it is
is left there by f_c too. Where f errs at a common feature, f_c may rest at points where f does not.

What is common depends on the problem (`problems/seen_by_all.py`): for sensors the areas that all of them cover without
error, always the same; for SMAX the units that every living ally sees in that step, of which the agents must first tell
each other.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from composite_flow.denoiser import Context, Denoiser
from composite_flow.errors import InputError


class Given(eqx.Module):
    """A denoiser to which some features of the state are given.

    Its histories are those of the wrapped denoiser, followed by what is known and by the values there, as `give` makes
    them; so each joint history has common features of its own. A context holds both.

    Attributes:
        denoiser: the one that is asked for the rest.
    """

    denoiser: Denoiser

    @property
    def state_size(self) -> int:
        """Number of features of the state, those given included."""
        return self.denoiser.state_size

    def condition(self, history: Float[Array, " extended"]) -> tuple[Context, Bool[Array, " state"], Array]:
        """The wrapped denoiser's context, which features are known, and their values."""
        own, known, values = jnp.split(history, (len(history) - 2 * self.state_size, len(history) - self.state_size))
        return self.denoiser.condition(own), known > 0.5, values

    def denoise(self, context: tuple, y: Float[Array, " state"]) -> Float[Array, " state"]:
        """f_c(τ, y)."""
        inner, known, values = context
        return jnp.where(known, values, self.denoiser.denoise(inner, jnp.where(known, values, y)))


def give(
    histories: Float[Array, "*batch agents history"],
    known: Bool[Array, "*rows state"],
    state: Float[Array, "*rows state"],
) -> Float[Array, "*batch agents extended"]:
    """Every agent's history, followed by which features are known to all and by their values.

    Args:
        histories: encoded.
        known: which features are given; one row for each joint history.
        state: scaled as the denoiser's; read where it is known, zero in the result elsewhere.

    Raises:
        InputError: `known` or `state` is not one row for each joint history.
    """
    if known.shape != state.shape or known.shape[:-1] != histories.shape[:-2]:
        raise InputError(
            f"known and state must have one row for each joint history, not the shapes {known.shape} and {state.shape} "
            f"for histories of shape {histories.shape}."
        )
    told = jnp.concatenate([known.astype(histories.dtype), jnp.where(known, state, 0.0).astype(histories.dtype)], -1)
    repeated = jnp.broadcast_to(told[..., None, :], (*histories.shape[:-1], told.shape[-1]))
    return jnp.concatenate([histories, repeated], axis=-1)
