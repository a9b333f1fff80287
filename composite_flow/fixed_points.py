"""CORE 2. Stable fixed points of a conditioned denoiser: find, merge, polish, certify, weigh.

    F_φ(τ) = {y* : f(τ, y*) = y*, |λ_max(J_f(y* | τ))| < 1}                             (Theorem 2)

Without approximation errors these are the states that the history allows, where the states are finitely many and
span an affine space of fewer dimensions than they have features; with full rank there can be others. The mass of
a point is the share of the starts N(0, σ²I) that end there, p_θ(s | τ) of Eq. 8.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.denoiser import Context, Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import converge
from composite_flow.jacobian import DENSE_STATE_LIMIT, image_and_jacobian, state_radius
from composite_flow.numerics.entry_point import entry_point
from composite_flow.numerics.merging import Merged, merge_points
from composite_flow.numerics.spectrum import spectral_radius

_POLISHING_STEPS = 4  # Newton doubles the correct digits at each; float32 has seven


class FixedPoints(eqx.Module):
    """The fixed points that the flow of one history ends at, by falling mass; any leading axes are batch axes.

    A fixed number of rows; the unused ones hold points 0, radii and residuals ∞, masses 0.

    Attributes:
        points: y*, in scaled units.
        mask: which rows are used.
        stable: which are stable fixed points: small residual and spectral radius below one.
        radii: |λ_max| of J_f at each point, matrix-free for large states.
        residuals: ‖f(τ, y*) − y*‖.
        masses: share of the starts that end at each point.
        mass_errors: binomial standard errors of the masses, √(m(1 − m)/num_starts).
        num_starts: how many starts were made.
        unassigned: share of the starts that end at none of the points, those that had not converged included.
        unconverged: share of the starts that still moved after the last step.
    """

    points: Float[Array, "*batch max_points state"]
    mask: Bool[Array, "*batch max_points"]
    stable: Bool[Array, "*batch max_points"]
    radii: Float[Array, "*batch max_points"]
    residuals: Float[Array, "*batch max_points"]
    masses: Float[Array, "*batch max_points"]
    mass_errors: Float[Array, "*batch max_points"]
    num_starts: Int[Array, "*batch"]
    unassigned: Float[Array, "*batch"]
    unconverged: Float[Array, "*batch"]

    @property
    def num_stable(self) -> Int[Array, "*batch"]:
        """How many states the history seems to allow; one means that the agent needs nobody's help (Finding 1)."""
        return jnp.sum(self.stable, axis=-1)


@entry_point
def find_fixed_points(
    denoiser: Denoiser,
    history: Float[Array, "*batch history"],
    *,
    key: PRNGKeyArray,
    num_starts: int = 1024,
    sigma: float = 1.0,
    max_steps: int = 1000,
    tolerance: float = 1e-5,
    merge_radius: float = 0.05,
    max_points: int = 64,
    starts_at_once: int = 1024,
) -> FixedPoints:
    """Find the stable fixed points of f(τ, ·) from many starts, with the share of starts that each attracts.

    Starts from N(0, σ²I) are iterated until they rest, merged within a radius, polished (Newton's method, or further
    iteration for large states), and certified by residual and spectral radius.

    Args:
        denoiser: f.
        history: τ, flat; leading axes hold further histories, which one compiled program treats one after another.
        key: draws the starts.
        num_starts: starts per history. A point of mass m is missed with probability (1 − m)^num_starts.
        sigma: spread of the starts, in scaled units.
        max_steps: denoiser calls per start at most.
        tolerance: a start rests when a step moves it by less; also the largest residual of a fixed point. Lower
            values than 1e-6 drown in the rounding of float32.
        merge_radius: end points within it count as one; far below the distance between states.
        max_points: rows of the result.
        starts_at_once: bounds memory; starts are treated in groups of this size.

    Returns:
        The fixed points. Points that are not stable are listed too, with their mass.

    Raises:
        InputError: the history is empty or not finite, or a number is not positive.

    Source: Theorem 1, Theorem 2, Finding 1, Eq. 8, Eq. 10, Eq. 11.
    """
    positive = dict(num_starts=num_starts, sigma=sigma, max_steps=max_steps, tolerance=tolerance)
    positive |= dict(merge_radius=merge_radius, max_points=max_points, starts_at_once=starts_at_once)
    for name, value in positive.items():
        if not value > 0:
            raise InputError(f"{name} must be positive, not {value}.")
    is_traced = isinstance(history, Tracer)  # by a caller's jit, which knows no values
    if history.size == 0 or not (is_traced or bool(jnp.all(jnp.isfinite(history)))):
        raise InputError("Fixed points need at least one history, and every column of it finite.")
    batch = history.shape[:-1]
    histories = history.reshape(-1, history.shape[-1])
    keys = jax.random.split(key, histories.shape[0])
    # Arrays, so that other values need no new compilation.
    numbers = tuple(jnp.asarray(number) for number in (sigma, tolerance, max_steps, merge_radius))
    found = _find_each(denoiser, histories, keys, numbers, num_starts, max_points, starts_at_once)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), found)


@eqx.filter_jit
def _find_each(denoiser, histories, keys, numbers, num_starts, max_points, starts_at_once) -> FixedPoints:
    """Treat one history after another: each has enough starts to fill the machine, and stops when its starts rest."""
    # All groups have one size, with a few starts too many: a smaller last group would need a second compilation.
    sigma, tolerance, max_steps, merge_radius = numbers
    num_groups = -(-num_starts // starts_at_once)
    group = -(-num_starts // num_groups)

    def find(inputs):
        history, key = inputs
        key_starts, key_radius = jax.random.split(key)
        context = denoiser.condition(history)
        starts = sigma * jax.random.normal(key_starts, (num_groups * group, denoiser.state_size))
        ends = jax.lax.map(
            lambda y: converge(denoiser, context, y, tolerance=tolerance, max_steps=max_steps),
            starts,
            batch_size=group,
        )
        rests = ends.change[:num_starts] <= tolerance
        merged = merge_points(ends.y[:num_starts], merge_radius, max_points, rests.astype(int))
        return _certified(denoiser, context, merged, jnp.mean(~rests), key_radius, tolerance, merge_radius)

    return jax.lax.map(find, (histories, keys))


def _certified(
    denoiser: Denoiser,
    context: Context,
    merged: Merged,
    unconverged: Float[Array, ""],
    key: PRNGKeyArray,
    tolerance: float | Float[Array, ""],
    merge_radius: float | Float[Array, ""],
) -> FixedPoints:
    """Polish and certify the merged end points, and merge what became one."""
    num_starts, max_points = merged.labels.shape[0], merged.mask.shape[0]
    infinite = jnp.full((), jnp.inf, merged.points.dtype)

    def each(row):
        # One row after another, so that unused rows cost nothing.
        return jax.lax.cond(
            row[1],
            lambda y: polish(denoiser, context, y, key=key, max_shift=merge_radius),
            lambda y: Polished(y, infinite, infinite),
            row[0],
        )

    polished = jax.lax.map(each, (merged.points, merged.mask))
    merged = merge_points(polished.y, merge_radius, max_points, merged.counts)
    residuals = jnp.where(merged.mask, polished.residual[merged.leaders], jnp.inf)
    radii = jnp.where(merged.mask, polished.radius[merged.leaders], jnp.inf)
    masses = merged.counts / num_starts
    return FixedPoints(
        points=merged.points,
        mask=merged.mask,
        stable=merged.mask & (residuals <= tolerance) & (radii < 1),
        radii=radii,
        residuals=residuals,
        masses=masses,
        mass_errors=jnp.sqrt(masses * (1 - masses) / num_starts),
        num_starts=jnp.asarray(num_starts, jnp.int32),
        unassigned=(num_starts - jnp.sum(merged.counts)) / num_starts,
        unconverged=unconverged,
    )


class Polished(eqx.Module):
    """A sharpened fixed point, its residual ‖f(τ, y) − y‖, and its spectral radius (∞ where that is not a number)."""

    y: Float[Array, "*batch state"]
    residual: Float[Array, "*batch"]
    radius: Float[Array, "*batch"]


def polish(
    denoiser: Denoiser,
    context: Context,
    y: Float[Array, " state"],
    *,
    key: PRNGKeyArray,
    max_shift: float | Float[Array, ""] = 0.05,
    dense_limit: int = DENSE_STATE_LIMIT,
) -> Polished:
    """Sharpen an approximate fixed point and measure it.

        y ← y + (I − J_f(y))^{-1} (f(τ, y) − y)

    by Newton's method, or y ← f(τ, y) for large states; a step counts only where the residual falls and the point
    stays near where it began.

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        y: a point near a fixed point, in scaled units.
        key: starts the matrix-free radius of large states.
        max_shift: how far the result may lie from y.
        dense_limit: the largest state for Newton's method and a dense radius.

    Returns:
        A point whose residual is no larger than that of y, with its residual and radius.
    """
    dense, identity = y.shape[0] <= dense_limit, jnp.eye(y.shape[0], dtype=y.dtype)

    def measure(point):
        image, jacobian = (
            image_and_jacobian(denoiser, context, point) if dense else (denoiser.denoise(context, point), ())
        )
        return point, image - point, jacobian, jnp.linalg.norm(image - point)

    def step(best, _):
        point, shift, jacobian, residual = best
        following = measure(point + (jnp.linalg.solve(identity - jacobian, shift) if dense else shift))
        better = (following[-1] < residual) & (jnp.linalg.norm(following[0] - y) <= max_shift)
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), following, best), None

    # The first step, from a shift of zero and a residual of ∞, measures y itself.
    start = (y, jnp.zeros_like(y), jnp.zeros_like(identity) if dense else (), jnp.full((), jnp.inf, y.dtype))
    (point, _, jacobian, residual), _ = jax.lax.scan(step, start, length=1 + _POLISHING_STEPS)
    radius = (
        spectral_radius(jacobian) if dense else state_radius(denoiser, context, point, key=key, dense_limit=0).value
    )
    return Polished(point, residual, jnp.where(jnp.isfinite(radius), radius, jnp.inf))


class SharedPoints(eqx.Module):
    """The stable fixed points that all agents have in common.

    Attributes:
        points: mean over the agents of the point that each has there; zeros where unused.
        mask: which rows are used.
        spreads: the largest distance of an agent's point from the first agent's.
    """

    points: Float[Array, "max_points state"]
    mask: Bool[Array, " max_points"]
    spreads: Float[Array, " max_points"]


def shared_fixed_points(agents: FixedPoints, radius: float) -> SharedPoints:
    """The intersection of the agents' sets of stable fixed points, ∩_i F_φ(τ_i).

    A point of the first agent is shared if every other agent has a stable point within the radius.

    Args:
        agents: with one leading axis, the agents.
        radius: how far points may lie apart and count as one; in scaled units.

    Returns:
        The shared points. Without approximation errors they contain every state that the joint history allows, and
        are those states alone where observations are independent given the state and histories one step long.

    Source: Theorem 3, Theorem 4; with the condition that they need.
    """

    def nearest(point):
        distances = jnp.linalg.norm(agents.points - point[None, None], axis=-1)
        distances = jnp.where(agents.stable, distances, jnp.inf)
        best = jnp.argmin(distances, axis=-1)
        chosen = jnp.take_along_axis(agents.points, best[:, None, None], axis=1)[:, 0]
        return jnp.mean(chosen, axis=0), jnp.max(jnp.min(distances, axis=-1))

    means, spreads = jax.vmap(nearest)(agents.points[0])
    mask = agents.stable[0] & (spreads <= radius)
    return SharedPoints(jnp.where(mask[:, None], means, 0.0), mask, spreads)
