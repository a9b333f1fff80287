"""Spectral radii of the Jacobians of the last sweep of composite diffusion, which `checks` compares with one.

ρ(J_1), …, ρ(J_n)  and  ρ(J_n ⋯ J_1),  where  J_m = ∂f(τ_{i_m}, ·)/∂y  at the state that agent i_m received.
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

_ROWS_AT_ONCE = 8192  # rows of one pass through the network: tangents or noisy states; 32 MiB for a layer of width 1024


class Method(NamedTuple):
    """How radii are computed.

    Attributes:
        exact: compute every radius; otherwise an upper bound stands for a radius where the bound is below one.
        dense: compute whole Jacobians; otherwise Jacobian-vector products alone (Arnoldi).
        depth: Krylov depth of the Arnoldi method.
    """

    exact: bool
    dense: bool
    depth: int


class SweepRadii(NamedTuple):
    """Spectral radii of the last sweep; participants are in speaking order.

    Attributes:
        radii: ρ(J_m) of each participant, or an upper bound of it.
        bounded: whether the entry of `radii` is an upper bound, which is then below one.
        composite_radius: ρ(J_n ⋯ J_1).
    """

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
    """Spectral radii of the Jacobian of each agent and of the whole last sweep.

    Joint histories are treated one at a time. This bounds the memory, and computes eigenvalues only for those joint
    histories that need them (under `vmap`, `cond` would compute them for all).

    Args:
        denoiser: f.
        spoken: the participants' histories in speaking order.
        path: the state that each participant received in the last sweep.
        key: draws the start vectors of the Arnoldi method.
        method: how the radii are computed.
    """
    if method.dense and can_use_active_units(denoiser):
        each = [_radii(_by_active_units(denoiser, *one), method.exact) for one in zip(spoken, path, strict=True)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    return _compiled_radii(denoiser, spoken, path, key, method)


def _by_active_units(denoiser, spoken, path):
    """J_m of every participant and sample (participants, samples, state, state), of a ReLU network.

    The rows given to `active_jacobians` are sorted by sample, because agents at nearly the same state share most of
    their active units.
    """
    num_participants, num_samples, state_size = path.shape
    received = jnp.swapaxes(path, 0, 1).reshape(-1, state_size)
    own = jnp.tile(spoken, (num_samples, 1))
    found = active_jacobians(denoiser, own, received)
    return jnp.asarray(found.reshape(num_samples, num_participants, state_size, state_size).swapaxes(0, 1))


@eqx.filter_jit
def _compiled_radii(denoiser, spoken, path, key, method: Method) -> SweepRadii:
    """`last_sweep_radii` of any denoiser, in one compiled program."""

    def one(example):
        histories, received = example
        contexts = jax.vmap(denoiser.condition)(histories)
        if method.dense:
            return _radii(_jacobians(denoiser, contexts, received), method.exact)
        return _matrix_free_radii(denoiser, contexts, received, key, method.depth)

    return jax.lax.map(one, (spoken, path))


def _jacobians(denoiser, contexts, path: Float[Array, "participants samples state"]):
    """J_m of every participant and sample (participants, samples, state, state)."""

    def jacobians_of(hop):
        context, received = hop
        return jax.vmap(lambda y: state_jacobian(denoiser, context, y))(received)

    batch_size = _hops_at_once(path.shape[0], path.shape[1] * path.shape[2])
    return jax.lax.map(jacobians_of, (contexts, path), batch_size=batch_size)


@partial(jax.jit, static_argnames="exact")
def _radii(jacobians: Float[Array, "participants samples state state"], exact: bool) -> SweepRadii:
    """The radii of one joint history from its Jacobians. Bounds are cheap; if all are below one, they are enough."""
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
    """The same from Jacobian-vector products alone. Each radius is Arnoldi's estimate plus its residual."""
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
    """Number of participants that pass the network together."""
    return min(participants, max(1, _ROWS_AT_ONCE // rows_per_hop))
