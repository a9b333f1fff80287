"""Jacobians against finite differences, sensitivity against the motion of fixed points."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from composite_flow.jacobian import history_jacobian, joint_jacobian, state_jacobian, state_radius
from composite_flow.sensitivity import sensitivity


class SmoothDenoiser(eqx.Module):
    """f(τ, y) = A tanh(B y + C τ), a contraction in y."""

    outer: Float[Array, "state hidden"]
    inner: Float[Array, "hidden state"]
    history: Float[Array, "hidden history"]

    @property
    def state_size(self) -> int:
        return self.outer.shape[0]

    def condition(self, history):
        return self.history @ history

    def denoise(self, context, y):
        return self.outer @ jnp.tanh(self.inner @ y + context)


def smooth_denoiser(key, history_size, state_size=4, hidden=16) -> SmoothDenoiser:
    key_outer, key_inner, key_history = jax.random.split(key, 3)
    return SmoothDenoiser(
        0.2 * jax.random.normal(key_outer, (state_size, hidden), jnp.float64),
        0.3 * jax.random.normal(key_inner, (hidden, state_size), jnp.float64),
        0.3 * jax.random.normal(key_history, (hidden, history_size), jnp.float64),
    )


def differences(function, point, step=1e-5):
    shifts = step * np.eye(len(point))
    columns = [(function(point + shift) - function(point - shift)) / (2 * step) for shift in shifts]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("history_size", [3, 20])  # forward mode, reverse mode
def test_jacobians_and_sensitivity_against_differences(key, history_size):
    with jax.enable_x64(True):
        denoiser = smooth_denoiser(key, history_size)
        history = jnp.linspace(-1.0, 1.0, history_size)

        @jax.jit
        def fixed_point(history):
            context = denoiser.condition(history)
            return jax.lax.fori_loop(0, 300, lambda _, y: denoiser.denoise(context, y), jnp.zeros(4, jnp.float64))

        y, context = fixed_point(history), denoiser.condition(history)
        np.testing.assert_allclose(denoiser.denoise(context, y), y, atol=1e-14)
        # Central differences with step h err by h² f'''/6 + eps/h, both near 1e-10 here.
        np.testing.assert_allclose(
            state_jacobian(denoiser, context, y), differences(lambda p: denoiser.denoise(context, p), y), atol=1e-9
        )
        np.testing.assert_allclose(
            history_jacobian(denoiser, history, y),
            differences(lambda p: denoiser.denoise(denoiser.condition(p), y), history),
            atol=1e-9,
        )
        in_history, in_state = joint_jacobian(denoiser, history, y)
        np.testing.assert_allclose(in_history, history_jacobian(denoiser, history, y), atol=1e-14)
        np.testing.assert_allclose(in_state, state_jacobian(denoiser, context, y), atol=1e-14)
        np.testing.assert_allclose(sensitivity(denoiser, history, y), differences(fixed_point, history), atol=1e-8)


def test_radius_is_the_same_dense_and_matrix_free(key):
    with jax.enable_x64(True):
        denoiser = smooth_denoiser(key, 3, state_size=60, hidden=80)
        context, y = denoiser.condition(jnp.ones(3)), jnp.full(60, 0.1)
        dense = state_radius(denoiser, context, y, key=key)
        free = state_radius(denoiser, context, y, key=key, dense_limit=0)
        np.testing.assert_allclose(free.value, dense.value, rtol=1e-2)
        assert dense.residual == 0
