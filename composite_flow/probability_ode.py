"""The equations that a flow discretises: the score, the probability flow, and how far its iteration is from it.

States diffuse to noise by dy = g(t) dw with σ(t) = A e^t, so g² = 2σ² (Eq. 4). In backward time t' = −t the
probability flow of Eq. 5 and the score of Eq. 3 give

    dy/dt' = σ² ∇ log p_σ(y | τ) = f_σ(τ, y) − y,      σ = σ(0) e^{−t'}

with f_σ the denoiser that knows σ. One Euler step of length one is y ← f_σ(τ, y) (Eq. 6), while σ falls by the
factor e. A denoiser that does not see σ replaces f_σ by f, which leaves an autonomous equation and Eq. 7 (`flow.py`).
"""

import math
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.denoiser import Context, Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import flow

# The solver's error per step, relative and absolute. End points of different basins are about one apart, so 1e-4 would
# be enough to tell them apart; 1e-5 is ten times smaller, and still above the rounding of float32.
SOLVER_TOLERANCE = 1e-5
MAX_SOLVER_STEPS = 4096


@runtime_checkable
class ScheduledDenoiser(Denoiser, Protocol):
    """A denoiser that can also be told the noise level."""

    def at(self, sigma: Float[Array, ""]) -> Denoiser:
        """f_σ, for the known noise level σ."""
        ...


class DiscretisationError(eqx.Module):
    """How far the iteration's end points lie from the differential equation's.

    Attributes:
        iterated: the end points of the iteration of Eq. 7, one row per start.
        solved: the end points of the differential equation.
        distances: the distance between the two end points of each start, in scaled units.
        share_apart: the share of starts whose two end points lie further apart than the radius.
    """

    iterated: Float[Array, "starts state"]
    solved: Float[Array, "starts state"]
    distances: Float[Array, " starts"]
    share_apart: Float[Array, ""]


def score(
    denoiser: Denoiser, context: Context, y: Float[Array, " state"], sigma: float | Float[Array, ""]
) -> Float[Array, " state"]:
    """The score of the noisy states, ∇ log p_σ(y | τ) = (f(τ, y) − y)/σ².

    Args:
        denoiser: f_σ, the denoiser at the known noise level σ. From a denoiser that does not see σ it is only the
            score at the σ that y suggests.
        context: `denoiser.condition(history)`.
        y: the noisy state, in scaled units.
        sigma: σ.

    Returns:
        The score.

    Source: Eq. 3, appendix A.1; due to Miyasawa.
    """
    return (denoiser.denoise(context, y) - y) / sigma**2


def probability_flow(
    denoiser: Denoiser,
    context: Context,
    y: Float[Array, " state"],
    *,
    time: float | Float[Array, ""],
    tolerance: float = SOLVER_TOLERANCE,
) -> Float[Array, " state"]:
    """Solve dy/dt' = f(τ, y) − y over the given backward time, the flow whose Euler step of length one is Eq. 7.

    Args:
        denoiser: f, which does not see σ.
        context: `denoiser.condition(history)`.
        y: the start, in scaled units.
        time: ln(σ(start)/σ(end)); ℓ iterations of Eq. 7 correspond to time ℓ.
        tolerance: relative and absolute tolerance of the adaptive solver (Tsitouras 5/4).

    Returns:
        The end point; NaN where the solver ran out of steps.

    Source: Eq. 5; with σ(t) = A e^t.
    """
    return _solve(_blind_velocity, (denoiser, context), y, time, tolerance)


def scheduled_probability_flow(
    denoiser: ScheduledDenoiser,
    context: Context,
    y: Float[Array, " state"],
    *,
    sigma_start: float | Float[Array, ""],
    sigma_end: float | Float[Array, ""],
    tolerance: float = SOLVER_TOLERANCE,
) -> Float[Array, " state"]:
    """Solve dy/dt' = f_σ(τ, y) − y while σ falls from `sigma_start` to `sigma_end`: Eq. 5 as it is written.

    It carries p_σ(y | τ) at the first noise level exactly to that at the second.

    Args:
        denoiser: has `at(sigma)`, as the ideal denoiser has.
        context: `denoiser.condition(history)`.
        y: the start, in scaled units.
        sigma_start: σ at the start.
        sigma_end: σ > 0 at the end.
        tolerance: relative and absolute tolerance of the adaptive solver.

    Returns:
        The end point; NaN where the solver ran out of steps.

    Source: Eq. 4, Eq. 5.
    """
    time = jnp.log(jnp.asarray(sigma_start, y.dtype) / jnp.asarray(sigma_end, y.dtype))
    return _solve(_scheduled_velocity, (denoiser, context, sigma_start), y, time, tolerance)


def _blind_velocity(_, y, arguments):
    denoiser, context = arguments
    return denoiser.denoise(context, y) - y


def _scheduled_velocity(time, y, arguments):
    denoiser, context, sigma_start = arguments
    return denoiser.at(sigma_start * jnp.exp(-time)).denoise(context, y) - y


def _solve(velocity, arguments, y, time, tolerance):
    """Solve by explicit steps: a posterior mean's Jacobian has no eigenvalue below 0, that of f − y none below −1."""
    import diffrax  # half a second to import, which nothing else here needs

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Tsit5(),
        t0=jnp.zeros((), y.dtype),
        t1=jnp.asarray(time, y.dtype),
        dt0=None,
        y0=y,
        args=arguments,
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        max_steps=MAX_SOLVER_STEPS,
        throw=False,
    )
    assert solution.ys is not None
    return jnp.where(solution.result == diffrax.RESULTS.successful, solution.ys[0], jnp.nan)


def discretisation_error(
    denoiser: Denoiser,
    context: Context,
    starts: Float[Array, "starts state"],
    *,
    num_steps: int,
    radius: float,
    sigma_start: float | None = None,
) -> DiscretisationError:
    """Compare ℓ iterations of Eq. 7 with the differential equation over time ℓ, from the same starts.

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        starts: noisy states, in scaled units.
        num_steps: ℓ; each iteration stands for a fall of σ by the factor e.
        radius: ends further apart than this count as different; half the smallest distance between states separates
            states.
        sigma_start: if given, compare with Eq. 5 from this noise level, where `denoiser.at` gives f_σ; otherwise
            compare with the equation whose denoiser does not see σ.

    Returns:
        End points, distances, and the share of starts that end apart.

    Raises:
        InputError: if `sigma_start` is given and the denoiser cannot be told σ.

    Source: Eq. 6; the paragraph after it.
    """

    if sigma_start is not None and not isinstance(denoiser, ScheduledDenoiser):
        raise InputError("This denoiser cannot be told the noise level (it has no `at`); leave `sigma_start` out.")
    iterated, solved = _end_points(denoiser, context, starts, num_steps, sigma_start)
    distances = jnp.linalg.norm(iterated - solved, axis=1)
    return DiscretisationError(iterated, solved, distances, jnp.mean(distances > radius, dtype=starts.dtype))


@eqx.filter_jit
def _end_points(denoiser, context, starts, num_steps: int, sigma_start: float | None):
    """The end points of the iteration and of the differential equation from each start."""

    def ends(y):
        iterated = flow(denoiser, context, y, num_steps)[-1]
        if sigma_start is None:
            return iterated, probability_flow(denoiser, context, y, time=float(num_steps))
        levels = {"sigma_start": sigma_start, "sigma_end": sigma_start * math.exp(-num_steps)}
        return iterated, scheduled_probability_flow(denoiser, context, y, **levels)

    return jax.vmap(ends)(starts)
