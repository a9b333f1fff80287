"""Spectral radii along the last sweep of composite diffusion, for the checks of `certificate`.

ρ(J_m),   J_m = ∂f(τ_{i_m}, ·)/∂y at the state that agent i_m received,        and    ρ(J_n ⋯ J_1)
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.composite.rule import DEFINITION_6, sweep
from composite_flow.denoiser import Denoiser
from composite_flow.jacobian import state_jacobian
from composite_flow.numerics.spectrum import arnoldi_radius, radius_bound, spectral_radius
from composite_flow.relu_jacobian import active_jacobians, can_use_active_units

_ROWS_AT_ONCE = 8192  # tangents or noisy states that pass the network together: 32 MiB a layer at width 1024


class Method(NamedTuple):
    """How radii are computed: every one exactly or bounded where that decides; dense or matrix-free; Krylov depth."""

    exact: bool
    dense: bool
    depth: int


class SweepRadii(NamedTuple):
    """The agents' radii in speaking order, which of them are upper bounds below one, and the last sweep's own."""

    radii: Float[Array, "batch samples participants"]
    bounded: Bool[Array, "batch samples participants"]
    composite_radius: Float[Array, "batch samples"]


def last_sweep_radii(
    denoiser: Denoiser,
    spoken: Float[Array, "batch participants history"],
    path: Float[Array, "batch participants samples state"],
    key: PRNGKeyArray,
    method: Method,
) -> SweepRadii:
    """Spectral radii of all agents and of the sweep as one map.

    Args:
        denoiser: f.
        spoken: the participants' histories in speaking order.
        path: what each of them received.
        key: starts the matrix-free method.
        method: how.

    One joint history at a time, so that eigenvalues stay conditional and memory bounded.
    """
    if method.dense and can_use_active_units(denoiser):
        each = [_radii(_by_active_units(denoiser, *one), method.exact) for one in zip(spoken, path, strict=True)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    return _compiled_radii(denoiser, spoken, path, key, method)


def _by_active_units(denoiser, spoken, path):
    """J_m of every hop and sample; agents at one sample's place are neighbours, for they share most active units."""
    num_participants, num_samples, state_size = path.shape
    received = jnp.swapaxes(path, 0, 1).reshape(-1, state_size)
    own = jnp.tile(spoken, (num_samples, 1))
    found = active_jacobians(denoiser, own, received)
    return jnp.asarray(found.reshape(num_samples, num_participants, state_size, state_size).swapaxes(0, 1))


@eqx.filter_jit
def _compiled_radii(denoiser, spoken, path, key, method: Method) -> SweepRadii:
    def one(example):
        histories, received = example
        contexts = jax.vmap(denoiser.condition)(histories)
        if method.dense:
            return _radii(_jacobians(denoiser, contexts, received), method.exact)
        return _matrix_free_radii(denoiser, contexts, received, key, method.depth)

    return jax.lax.map(one, (spoken, path))


def _jacobians(denoiser, contexts, path: Float[Array, "participants samples state"]):
    """J_m of every hop and sample (participants, samples, state, state)."""

    def jacobians_of(hop):
        context, received = hop
        return jax.vmap(lambda y: state_jacobian(denoiser, context, y))(received)

    batch_size = _hops_at_once(path.shape[0], path.shape[1] * path.shape[2])
    return jax.lax.map(jacobians_of, (contexts, path), batch_size=batch_size)


@partial(jax.jit, static_argnames="exact")
def _radii(jacobians: Float[Array, "participants samples state state"], exact: bool) -> SweepRadii:
    bounds = jax.vmap(jax.vmap(radius_bound))(jacobians)
    decided = (bounds < 1.0) & (not exact)
    radii = jax.lax.cond(
        jnp.all(decided),
        lambda: bounds,
        lambda: jnp.where(decided, bounds, spectral_radius(jacobians)),
    )
    identity = jnp.broadcast_to(jnp.eye(jacobians.shape[-1])[None], jacobians.shape[1:])
    product, _ = jax.lax.scan(lambda product, jacobian: (jacobian @ product, None), identity, jacobians)
    return SweepRadii(radii.T, decided.T, spectral_radius(product))


def _matrix_free_radii(denoiser, contexts, path: Float[Array, "participants samples state"], key, depth: int):
    """The same from products with vectors alone; each radius has its residual added, none is a rigorous bound."""
    participants, num_samples, state_size = path.shape

    def radius_of(denoise, y):
        _, apply = jax.linearize(denoise, y)
        found = arnoldi_radius(apply, state_size, key=key, depth=depth)
        return found.value + found.residual

    def radii_of(hop):
        context, received = hop
        return jax.vmap(lambda y: radius_of(lambda point: denoiser.denoise(context, point), y))(received)

    def whole_sweep(y):
        return sweep(DEFINITION_6, denoiser, contexts, jnp.arange(participants, dtype=jnp.int32), y)[0]

    batch_size = _hops_at_once(participants, num_samples * depth)
    radii = jax.lax.map(radii_of, (contexts, path), batch_size=batch_size).T
    return SweepRadii(radii, jnp.zeros(radii.shape, bool), jax.vmap(lambda y: radius_of(whole_sweep, y))(path[0]))


def _hops_at_once(participants: int, rows_per_hop: int) -> int:
    return min(participants, max(1, _ROWS_AT_ONCE // rows_per_hop))
