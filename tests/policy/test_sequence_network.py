"""The normalisation of actor and critic is Equinox's, and so is its gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.policy.sequence_network import _normalised


def test_normalisation_and_its_gradient_are_those_of_equinox(key):
    features = 3.0 + 2.0 * jax.random.normal(key, (20, 64))
    features = features.at[0].set(1.0)  # all equal: the ε under the root alone counts
    peer = eqx.nn.LayerNorm((64,), use_weight=False, use_bias=False)

    def cubes(normalise, features):
        return jnp.sum(jax.vmap(normalise)(features) ** 3)

    np.testing.assert_allclose(jax.vmap(_normalised)(features), jax.vmap(peer)(features), atol=1e-5)
    ours, theirs = (jax.grad(lambda x, f=f: cubes(f, x))(features) for f in (_normalised, peer))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
