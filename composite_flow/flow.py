"""The flow of one agent, y ← f(τ, y) (Eq. 7, Definition 2), and where it comes to rest.

    φ_0(τ)(y) = y,    φ_ℓ(τ)(y) = f(τ, φ_{ℓ−1}(τ)(y)),    φ_∞(τ)(y) = lim φ_ℓ(τ)(y)

Each iteration is an Euler step of length one of a differential equation (`probability_ode.py`). The flows of one
compiled batch run until the slowest has come to rest, and a few flows are very slow. So `settle` removes the flows
that rest every few steps, and packs the others into new batches.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.denoiser import Context, Denoiser
from composite_flow.numerics.batches import in_batches

TOLERANCE = 1e-5  # a flow counts as converged where a step is shorter; float32 rounds 40 features near 1 to about 4e-7
MAX_STEPS = 256
ROUND_STEPS = 4  # flows that rest are removed between rounds; most flows of a trained network need about ten steps


class FlowEnd(eqx.Module):
    """The end of a flow.

    Attributes:
        y: the last iterate, after `num_steps` steps.
        num_steps: steps made.
        change: the length of the last step; it is above the tolerance if the steps ran out.
    """

    y: Float[Array, " state"]
    num_steps: Int[Array, ""]
    change: Float[Array, ""]


def flow(
    denoiser: Denoiser, context: Context, y: Float[Array, " state"], num_steps: int
) -> Float[Array, "{num_steps+1} state"]:
    """The discrete-time flow, φ_0(y) = y, φ_ℓ(y) = f(τ, φ_{ℓ−1}(y)).

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        y: the start, in scaled units.
        num_steps: ℓ.

    Returns:
        The whole trajectory, which begins with the start.

    Source: Definition 2, Eq. 7.
    """

    def step(point, _):
        following = denoiser.denoise(context, point)
        return following, following

    _, trajectory = jax.lax.scan(step, y, length=num_steps)
    return jnp.concatenate([y[None], trajectory])


def converge(
    denoiser: Denoiser,
    context: Context,
    y: Float[Array, " state"],
    *,
    tolerance: float | Float[Array, ""],
    max_steps: int | Int[Array, ""],
) -> FlowEnd:
    """Iterate y ← f(τ, y) until a step is no longer than the tolerance.

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        y: the start, in scaled units.
        tolerance: the length of a step that counts as rest. Where |λ_max| of the Jacobian is near one the fixed
            point can still be tolerance/(1 − |λ_max|) away.
        max_steps: most steps, whether or not the flow has come to rest.

    Returns:
        The end point, the steps made and the length of the last one. Under `vmap` all flows run until the last rests.

    Source: Theorem 1, Definition 2; for ℓ → ∞.
    """

    def unfinished(carry):
        return (carry.change > tolerance) & (carry.num_steps < max_steps)

    def step(carry):
        following = denoiser.denoise(context, carry.y)
        return FlowEnd(following, carry.num_steps + 1, jnp.linalg.norm(following - carry.y))

    start = FlowEnd(y, jnp.zeros((), int), jnp.full((), jnp.inf, y.dtype))
    return jax.lax.while_loop(unfinished, step, start)


def settle(
    denoiser: Denoiser,
    histories: Float[Array | np.ndarray, "pairs history"],
    starts: Float[Array | np.ndarray, "pairs state"],
    *,
    batch_size: int = 256,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
) -> tuple[Float[np.ndarray, "pairs state"], Bool[np.ndarray, " pairs"]]:
    """The points at which the flows of many pairs come to rest, φ_∞(τ)(y), and which flows did come to rest.

    Args:
        denoiser: f.
        histories: encoded local histories.
        starts: the start of each history's flow, scaled.
        batch_size: flows that run at the same time.
        tolerance: a flow has converged where a step is shorter. Starts that agree to a tenth of it share one flow.
        max_steps: most steps of each flow, rounded up to a multiple of 4.

    Returns:
        End points, and which flows converged. A flow whose values are no longer finite ends at NaN.

    Source: Theorem 1, Definition 2; for ℓ → ∞.
    """
    histories, starts = np.asarray(histories), np.asarray(starts)
    # starts closer to each other than a flow's accuracy share one flow, such as samples that have settled at one state
    alike = np.concatenate([histories, np.round(starts / (0.1 * tolerance))], axis=1)
    _, rows, place = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    histories, points = histories[rows], starts[rows]
    converged, pending = np.zeros(len(points), bool), np.arange(len(points))
    for _ in range(-(-max_steps // ROUND_STEPS)):
        if not len(pending):
            break
        ends, changes = in_batches(
            lambda h, y: _converge_each(denoiser, h, y, tolerance), (histories[pending], points[pending]), batch_size
        )
        finite = np.isfinite(ends).all(axis=-1) & np.isfinite(changes)
        points[pending] = np.where(finite[:, None], ends, np.nan)
        converged[pending] = finite & (changes <= tolerance)
        pending = pending[finite & (changes > tolerance)]
    return points[place.ravel()], converged[place.ravel()]


def settle_teams(
    denoiser: Denoiser,
    histories: Float[Array | np.ndarray, "teams agents history"],
    starts: Float[Array | np.ndarray, "teams starts state"],
    *,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
) -> tuple[Float[np.ndarray, "teams starts agents state"], Bool[np.ndarray, "teams starts agents"]]:
    """`settle` the flow of every agent alone, from each start of its team."""
    own, begin = np.asarray(histories)[:, None], np.asarray(starts)[:, :, None]
    shape = (*begin.shape[:2], own.shape[2])
    own, begin = (np.broadcast_to(a, (*shape, a.shape[-1])).reshape(-1, a.shape[-1]) for a in (own, begin))
    points, converged = settle(denoiser, own, begin, tolerance=tolerance, max_steps=max_steps)
    return points.reshape(*shape, -1), converged.reshape(shape)


@eqx.filter_jit
def _converge_each(denoiser, histories, points, tolerance):
    def one(history, point):
        end = converge(denoiser, denoiser.condition(history), point, tolerance=tolerance, max_steps=ROUND_STEPS)
        return end.y, end.change

    return jax.vmap(one)(histories, points)
