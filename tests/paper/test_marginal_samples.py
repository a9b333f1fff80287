"""Samples of marginals have the means and variances that they are drawn from, whatever kind a feature is of."""

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.fusion.features import FeatureTypes
from composite_flow_paper.shared.marginal_samples import draw_marginals


def test_each_feature_is_drawn_from_its_own_marginal():
    types = FeatureTypes((1,), ((2, 5),), 6)
    mean, variance = jnp.array([0.4, 0.3, 0.2, 0.5, 0.3, -1.0]), jnp.array([0.25, 9.0, 9.0, 9.0, 9.0, 4.0])
    drawn = np.asarray(draw_marginals(mean[None], variance[None], types, 20_000, key=jax.random.key(0)))[0]
    numbers = types.is_number
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.06)  # 4 standard errors of the widest
    np.testing.assert_allclose(drawn[:, numbers].std(axis=0), np.sqrt(variance)[numbers], rtol=0.03)
    assert set(np.unique(drawn[:, 1:5])) == {0.0, 1.0}
    np.testing.assert_array_equal(drawn[:, 2:5].sum(axis=1), 1.0)
    correlation = np.corrcoef(drawn[:, [0, 1, 2, 5]].T) - np.eye(4)
    assert np.abs(correlation).max() < 0.03


def test_each_joint_history_has_samples_of_its_own_marginals():
    """To 4 standard errors; certain features are always so."""
    probabilities, types = jnp.array([[0.2, 0.1, 0.6, 0.3], [1.0, 0.0, 0.0, 1.0]]), FeatureTypes((0,), ((1, 4),), 4)
    drawn = np.asarray(draw_marginals(probabilities, probabilities, types, 4000, key=jax.random.key(0)))
    np.testing.assert_allclose(drawn.mean(axis=1), probabilities, atol=0.032)
    np.testing.assert_array_equal(drawn[..., 1:].sum(axis=-1), 1.0)
