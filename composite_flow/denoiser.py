"""CORE 1. The denoiser f(τ, y): the posterior mean of the state, given a history and a noisy state.

    f*(τ, y) = E[s | y, τ]                                                              (Eq. 2)

A denoiser is any Equinox module with the three members of `Denoiser`. What depends on the history alone is
computed once, by `condition`; what it returns, the context, is a small pytree without weights that `vmap` can
carry for a thousand agents. `denoise` maps one noisy state; callers `vmap` over samples and agents.

Where the exact belief p(s | τ) over finitely many states is known, `IdealDenoiser` is Eq. 2 in closed form.
"""

from typing import Any, NoReturn, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.history import History, HistoryLayout
from composite_flow.numerics.kernel import log_uniform_kernel

Context = Any


@runtime_checkable
class Denoiser(Protocol):
    """The contract of every denoiser; all its members treat one example, without batch axes."""

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        ...

    def condition(self, history: Float[Array, " history"]) -> Context:
        """Compute all that depends on the history alone."""
        ...

    def denoise(self, context: Context, y: Float[Array, " state"]) -> Float[Array, " state"]:
        """f(τ, y), the posterior mean itself, never the residual."""
        ...


class Uniform(eqx.Module):
    """An unknown noise level σ ~ U[minimum, 1]: what training draws, with minimum 0."""

    minimum: float = eqx.field(default=0.0, static=True)

    def __check_init__(self):
        if not 0.0 <= self.minimum < 1.0:
            raise InputError(f"The smallest noise level must lie in [0, 1), and {self.minimum} does not.")

    def log_kernel(self, squared_distance: Float[Array, "*batch"], dimension: int) -> Float[Array, "*batch"]:
        """log ∫ p(σ) σ^-d exp(−r²/2σ²) dσ up to a constant."""
        return log_uniform_kernel(squared_distance, dimension, self.minimum)


class Fixed(eqx.Module):
    """A known noise level σ > 0. It may be traced, to follow a schedule of noise levels."""

    sigma: float | Float[Array, ""]

    def __check_init__(self):
        if isinstance(self.sigma, float) and not self.sigma > 0.0:
            raise InputError(f"A noise level must be positive, and {self.sigma} is not.")

    def log_kernel(self, squared_distance: Float[Array, "*batch"], dimension: int) -> Float[Array, "*batch"]:
        """−r²/2σ²: the logarithm of the Gaussian kernel up to a constant."""
        return -squared_distance / (2 * self.sigma**2)


class NoDenoiser(eqx.Module):
    """Stands in the place of the denoiser of a model that learned fusion alone: whoever calls it is told so."""

    state_size: int = eqx.field(static=True)

    def refuse(self) -> NoReturn:
        """Say what is missing."""
        raise InputError(
            "This model learned fusion and no denoiser; `composite-flow train DATA --out RUN --resume --learn both` "
            'adds one, as `fit(..., resume=True)` does with TrainingConfig(learn="both").'
        )

    def condition(self, history: Float[Array, " history"]) -> Context:
        """Always an `InputError`."""
        self.refuse()

    def denoise(self, context: Context, y: Float[Array, " state"]) -> Float[Array, " state"]:
        """Always an `InputError`."""
        self.refuse()


@runtime_checkable
class StateBelief(Protocol):
    """What the ideal denoiser needs from a belief: the states, the layout of histories, and log p(s | τ)."""

    @property
    def states(self) -> Float[Array, "states state"]:
        """Every state, scaled as y is."""
        ...

    @property
    def layout(self) -> HistoryLayout:
        """The layout by which flat histories are decoded."""
        ...

    def __call__(self, history: History) -> Float[Array, " states"]:
        """log p(s | τ); −inf where a state is impossible."""
        ...


class IdealDenoiser(eqx.Module):
    """The exact denoiser of a finite set of states, from the exact belief.

    f*(τ, y) = Σ_s w_s s / Σ_s w_s,      w_s = p(s | τ) ∫ p(σ) σ^-d exp(−‖y − s‖²/2σ²) dσ

    Under `Uniform(0)` the kernel diverges at y = s for d ≥ 2. There f* is s itself, and its Jacobian is returned
    as 0, which is the limit for d ≥ 3 (for d = 2 the limit depends on the direction). A history that no state
    explains gives NaN. The context is the log-belief, which is S numbers; a call costs O(S d + S √d).

    Source: Eq. 2, appendix A.1; the closed form is ours.
    """

    belief: StateBelief
    noise: Uniform | Fixed = Uniform()

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.belief.states.shape[1]

    def condition(self, history: Float[Array, " history"]) -> Float[Array, " states"]:
        """The log-belief log p(s | τ)."""
        return self.belief(self.belief.layout.decode(history))

    def denoise(self, context: Float[Array, " states"], y: Float[Array, " state"]) -> Float[Array, " state"]:
        """The posterior mean of the state."""
        return self.probabilities(context, y) @ self.belief.states

    def probabilities(self, context: Float[Array, " states"], y: Float[Array, " state"]) -> Float[Array, " states"]:
        """p(s | y, τ) of every state."""
        # ‖y‖² − 2 y·s + ‖s‖² would be a matrix product, but cancels to noise of 1e-6 near y = s, just where the
        # kernel is steepest. Direct differences cost no more than the kernel itself and are exact there.
        squared_distance = jnp.sum((y[None] - self.belief.states) ** 2, axis=1)
        return jax.nn.softmax(context + self.noise.log_kernel(squared_distance, self.state_size))

    def at(self, sigma: float | Float[Array, ""]) -> "IdealDenoiser":
        """The same belief's denoiser for the known noise level σ, E[s | y, τ, σ]."""
        return IdealDenoiser(self.belief, Fixed(sigma))


def check_denoiser(denoiser: Any, history: Float[Array, " history"], key: PRNGKeyArray) -> None:
    """Check that a denoiser keeps the contract that every algorithm of this package relies on.

    The members exist; f(τ, y) has the state's shape, y's type and finite values; the same call gives the same
    result; `vmap` over noisy states agrees with one call at a time; a context is a pytree of arrays that holds
    none of the denoiser's own arrays (that would copy the weights for every agent).

    Args:
        denoiser: the denoiser under test.
        history: one flat history that it should accept.
        key: draws eight noisy states from N(0, I).

    Raises:
        InputError: with a sentence that names what is broken.
    """
    if not isinstance(denoiser, Denoiser):
        raise InputError("A denoiser needs `state_size`, `condition(history)` and `denoise(context, y)`.")
    context = denoiser.condition(history)
    _check_context(denoiser, context)
    noisy = jax.random.normal(key, (8, denoiser.state_size), history.dtype)
    denoise = eqx.filter_jit(lambda denoiser, context, y: denoiser.denoise(context, y))
    single = [denoise(denoiser, context, y) for y in noisy]
    if single[0].shape != (denoiser.state_size,) or single[0].dtype != noisy.dtype:
        raise InputError(
            f"`denoise` must return shape ({denoiser.state_size},) and type {noisy.dtype}, "
            f"not {single[0].shape} and {single[0].dtype}."
        )
    single = np.stack(single)
    if not np.isfinite(single).all():
        raise InputError("`denoise` returned values that are not finite on noisy states from N(0, I).")
    # A second function is traced again, and a denoiser that draws random numbers on the host then draws new ones.
    again = eqx.filter_jit(lambda denoiser, context, y: denoiser.denoise(context, y))
    if not np.array_equal(single[0], again(denoiser, context, noisy[0])):
        raise InputError("`denoise` gave two different results for the same input; it must be deterministic.")
    batched = eqx.filter_jit(_denoise_each)(denoiser, context, noisy)
    # Compilation and batching reorder sums: 1e-3 of the largest value is far above that, far below a mix-up.
    if np.max(np.abs(batched - single)) > 1e-3 * max(1.0, np.max(np.abs(single))):
        raise InputError("`jax.vmap` of `denoise` differs from one call at a time; it must treat one example only.")


def _denoise_each(denoiser, context, noisy):
    """`denoise` under `vmap`."""
    return jax.vmap(denoiser.denoise, in_axes=(None, 0))(context, noisy)


def _check_context(denoiser: Denoiser, context: Context) -> None:
    """Raise `InputError` unless the context is made of arrays that are its own."""
    leaves = jax.tree.leaves(context)
    if not all(eqx.is_array(leaf) for leaf in leaves):
        raise InputError("The context must be a pytree of JAX arrays, so that `vmap` can carry it.")
    own = {id(leaf) for leaf in jax.tree.leaves(denoiser) if eqx.is_array(leaf)}
    if any(id(leaf) in own for leaf in leaves):
        raise InputError("The context holds an array of the denoiser itself; weights belong in the denoiser only.")
