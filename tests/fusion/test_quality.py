"""The learning curve's figures, of answers that say nothing: estimates are then the prior mean."""

import jax.numpy as jnp
import pytest

import composite_flow as cf
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.quality import team_quality
from composite_flow.training.loss import arrays_of


def test_silent_answers_are_as_good_as_the_prior(key):
    """Right where the target is in area 0, of which the prior is nearly sure: the squared error tells how often."""
    steps = JointSteps(arrays_of(cf.HistoryDataset(cf.collect(cf.SensorNetwork.grid(2, 2), 64, key=key))))
    prior = Prior(jnp.array([0.97, 0.01, 0.01, 0.01]), jnp.ones(4), FeatureTypes((), ((0, 4),), 4))
    size = steps.layout.size
    limits = jnp.zeros(size), jnp.ones(size)
    silent = AnswerNetwork(jnp.zeros((4, size)), limits, prior, width=4, depth=1, key=key)
    found = team_quality(silent, steps)
    right, wrong = (0.03**2 + 3 * 0.01**2) / 4, (0.97**2 + 0.99**2 + 2 * 0.01**2) / 4
    share = found["exact_rate_fusion"]
    expected = -10 * float(jnp.log10(share * right + (1 - share) * wrong))
    assert 0.0 < share < 1.0 and found["speaking"] == 0.0
    for name in ("psnr_fusion_of_1", "psnr_fusion_of_2", "psnr_fusion"):
        assert found[name] == pytest.approx(expected, rel=1e-4)
