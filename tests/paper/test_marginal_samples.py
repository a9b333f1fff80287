"""Samples of marginals have the means and variances that they are drawn from, whatever kind a feature is of."""

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.fusion.features import FeatureTypes
from composite_flow_paper.table1.joint_samples import marginal_samples


def test_each_feature_is_drawn_from_its_own_marginal():
    types = FeatureTypes((1,), ((2, 5),), 6)
    mean, variance = jnp.array([0.4, 0.3, 0.2, 0.5, 0.3, -1.0]), jnp.array([0.25, 9.0, 9.0, 9.0, 9.0, 4.0])
    drawn = np.asarray(marginal_samples(types, mean, variance, 20_000, jax.random.key(0)))
    numbers = types.is_number
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.06)  # 4 standard errors of the widest
    np.testing.assert_allclose(drawn[:, numbers].std(axis=0), np.sqrt(variance)[numbers], rtol=0.03)
    assert set(np.unique(drawn[:, 1:5])) == {0.0, 1.0}
    np.testing.assert_array_equal(drawn[:, 2:5].sum(axis=1), 1.0)
    correlation = np.corrcoef(drawn[:, [0, 1, 2, 5]].T) - np.eye(4)
    assert np.abs(correlation).max() < 0.03
