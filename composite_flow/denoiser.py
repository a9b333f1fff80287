"""CORE 1. The denoiser f(τ, y): the posterior mean of the state, given a history and a noisy state.

    f*(τ, y) = E[s | y, τ]                                                              (Eq. 2)

A denoiser is any Equinox module with the three members of `Denoiser`. What depends on the history alone is
computed once, by `condition`; what it returns, the context, is a small pytree without weights that `vmap` can
carry for a thousand agents. `denoise` maps one noisy state; callers `vmap` over samples and agents.
"""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float

Context = Any


@runtime_checkable
class Denoiser(Protocol):
    """The contract. `state_size` is the length of y; everything is one example, without batch axes."""

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        ...

    def condition(self, history: Float[Array, " history"]) -> Context:
        """All that depends on the history alone."""
        ...

    def denoise(self, context: Context, y: Float[Array, " state"]) -> Float[Array, " state"]:
        """f(τ, y), the posterior mean itself, never the residual."""
        ...
