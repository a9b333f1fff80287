"""The local linear model of a denoiser at the fixed point of each (history, state) pair, for a whole dataset.

    y* = φ_∞(τ)(s),    D_φ(τ, s) = s − y*,    ρ(J_f(y*)),    singular values of J⁺(y* | τ)    (Definition 4, Eq. 9, 14)

This is all that the analysis of deviations needs of a pair, for tens of thousands of pairs in bounded memory. Pairs
whose flow does not settle, or settles at an unstable point, are flagged; no result is ever NaN.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import MAX_STEPS, TOLERANCE, settle
from composite_flow.history import HistoryLayout
from composite_flow.jacobian import DENSE_STATE_LIMIT, joint_jacobian, state_jacobian, state_radius
from composite_flow.numerics.batches import in_batches
from composite_flow.numerics.rank import singular_values
from composite_flow.numerics.spectrum import spectral_radius
from composite_flow.relu_jacobian import active_jacobians, active_joint_jacobians, can_use_active_units
from composite_flow.sensitivity import SensitivityOperator, sensitivity_of_jacobians
from composite_flow.validation import check_counts, check_histories, check_one_per_history


class LocalModels(eqx.Module):
    """The local linear models of many pairs; rows are pairs, in the order given.

    Attributes:
        points: the fixed point at which each flow settled, scaled; the state itself where the flow diverged.
        deviations: D_φ(τ, s) = s − point.
        converged: whether the flow's last step was within the tolerance.
        radii: spectral radius of J_f at the point; infinite where the Jacobian is not finite.
        jacobians: J_f at the point, or None where not asked for or the state is too large.
        values: singular values of J⁺ at the point, largest first, or None where not asked for; zeros where not finite.
        values_without_constant_columns: singular values of J⁺ without the columns of the mask and the agent's identity.
        residuals: the largest residual of the Krylov solves that gave the values; 0 for the dense method.
    """

    points: Float[Array, "pairs state"]
    deviations: Float[Array, "pairs state"]
    converged: Bool[Array, " pairs"]
    radii: Float[Array, " pairs"]
    jacobians: Float[Array, "pairs state state"] | None
    values: Float[Array, "pairs k"] | None
    values_without_constant_columns: Float[Array, "pairs j"] | None
    residuals: Float[Array, " pairs"]

    @property
    def stable(self) -> Bool[Array, " pairs"]:
        """Which points are stable fixed points: converged, and their spectral radius is below one."""
        return self.converged & (self.radii < 1.0)

    @property
    def deviation_norms(self) -> Float[Array, " pairs"]:
        """‖D_φ(τ, s)‖."""
        return jnp.linalg.norm(self.deviations, axis=-1)


def varying_columns(layout: HistoryLayout) -> np.ndarray:
    """The columns of a flat history that are neither mask nor agent identity: observations and actions."""
    parts = layout.parts
    return np.r_[parts["observations"], parts["actions"]]


def local_models(
    denoiser: Denoiser,
    layout: HistoryLayout,
    histories: Float[Array, "pairs history"],
    states: Float[Array, "pairs state"],
    *,
    batch_size: int = 64,
    with_jacobians: bool = True,
    with_values: bool = True,
    num_values: int = 32,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
    dense_limit: int = DENSE_STATE_LIMIT,
) -> LocalModels:
    """Fixed points, deviations, radii, Jacobians and singular values of the sensitivity, for many pairs.

    Args:
        denoiser: f; differentiable in the history unless `with_values` is off.
        layout: the layout of the histories, which tells the columns of the mask and the agent's identity.
        histories: encoded local histories.
        states: the true state of each history, scaled; the flow starts there.
        batch_size: pairs at a time; at width 1024, depth 6 and 40 features 64 pairs take about 100 MB.
        with_jacobians: keep J_f, `state²` numbers for each pair.
        with_values: compute the sensitivity's singular values; the ideal denoiser has no sensitivity.
        num_values: how many singular values to compute where the state is too large for a dense method.
        tolerance: the flow has converged where a step is shorter.
        max_steps: most steps of each flow, rounded up to a multiple of 4.
        dense_limit: the largest state that is treated densely; above it `jacobians` is None, and radii and values come
            from Krylov spaces.

    Raises:
        InputError: if the histories cannot be used, or do not fit to the layout or the states.

    Source: Definition 4, Eq. 9, Eq. 14.
    """
    histories = check_histories(denoiser, histories, axes=2)
    states = jnp.asarray(states, jnp.float32)
    _check_pairs(denoiser, layout, histories, states)
    check_counts(batch_size=batch_size, max_steps=max_steps, num_values=num_values)
    points, converged = settle(denoiser, histories, states, tolerance=tolerance, max_steps=max_steps)
    points = np.where(np.isnan(points), np.asarray(states), points)
    dense = states.shape[1] <= dense_limit
    columns = tuple(int(column) for column in varying_columns(layout))
    if dense:
        options = columns, with_jacobians, with_values
        results = in_batches(lambda h, y: _dense_local(denoiser, h, y, *options), (histories, points), batch_size)
    else:
        settings = columns, with_values, num_values
        results = in_batches(
            lambda h, y: _matrix_free_local(denoiser, h, y, *settings), (histories, points), batch_size
        )
    radii, jacobians, values, varying, residuals = jax.tree.map(jnp.asarray, results)
    points = jnp.asarray(points)
    return LocalModels(points, states - points, jnp.asarray(converged), radii, jacobians, values, varying, residuals)


def _dense_local(denoiser, histories, points, columns, with_jacobians, with_values):
    """The radii, Jacobians, both kinds of singular values and residuals of one batch."""
    if can_use_active_units(denoiser):
        find = active_joint_jacobians if with_values else active_jacobians
        found = find(denoiser, histories, points)
    else:
        found = _differentiated(denoiser, histories, points, with_values)
    in_history, in_state = found if with_values else (None, found)
    return _spectra(in_history, in_state, columns, with_jacobians)


@eqx.filter_jit
def _differentiated(denoiser, histories, points, with_values):
    """∂f/∂τ and ∂f/∂y of a batch; without `with_values`, ∂f/∂y alone."""
    if with_values:
        return jax.vmap(lambda *pair: joint_jacobian(denoiser, *pair))(histories, points)
    contexts = jax.vmap(denoiser.condition)(histories)
    return jax.vmap(lambda context, point: state_jacobian(denoiser, context, point))(contexts, points)


@partial(jax.jit, static_argnames=("columns", "with_jacobians"))
def _spectra(in_history, in_state, columns, with_jacobians):
    """Compute what `_dense_local` returns from the Jacobians."""
    values = varying = None
    if in_history is not None:
        sensitivities = _finite(jax.vmap(sensitivity_of_jacobians)(in_history, in_state))
        values = singular_values(sensitivities)
        varying = singular_values(sensitivities[..., np.asarray(columns)])
    usable = jnp.all(jnp.isfinite(in_state), axis=(-2, -1))
    jacobians = jnp.where(usable[:, None, None], in_state, 0.0)
    radii = jnp.where(usable, spectral_radius(jacobians), jnp.inf)
    return radii, jacobians if with_jacobians else None, values, varying, jnp.zeros_like(radii)


@eqx.filter_jit
def _matrix_free_local(denoiser, histories, points, columns, with_values, num_values):
    """The same as `_dense_local`, from products with vectors alone; one pair at a time keeps the processor busy."""
    key_radius, key_values, key_varying = jax.random.split(jax.random.key(0), 3)

    def one(pair):
        history, point = pair
        radius = state_radius(denoiser, denoiser.condition(history), point, key=key_radius, dense_limit=0).value
        radius = jnp.where(jnp.isfinite(radius), radius, jnp.inf)
        if not with_values:
            return radius, None, None, None, jnp.zeros_like(radius)
        operator = SensitivityOperator(denoiser, history, point)
        found = operator.singular_values(num_values, key=key_values)
        varying = operator.singular_values(num_values, key=key_varying, columns=columns)
        residual = jnp.maximum(found.residual, varying.residual)
        residual = jnp.where(jnp.isfinite(residual), residual, jnp.inf)
        return radius, None, _finite(found.values), _finite(varying.values), residual

    return jax.lax.map(one, (histories, points))


def _finite(array):
    """The array, with zeros in place of the matrix or row of each pair that is not finite."""
    usable = jnp.all(jnp.isfinite(array), axis=tuple(range(-min(array.ndim, 2), 0)), keepdims=True)
    return jnp.where(usable, array, 0.0)


def _check_pairs(denoiser, layout, histories, states):
    if histories.shape[1] != layout.size:
        raise InputError(f"These histories have {histories.shape[1]} columns and their layout {layout.size}.")
    check_one_per_history(denoiser, histories, states)
