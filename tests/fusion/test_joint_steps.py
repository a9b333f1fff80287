"""What answers start from is the mean of the data: of histories up to sampling, of states exactly."""

import jax.numpy as jnp
import numpy as np

import composite_flow as cf
from composite_flow.fusion.joint_steps import JointSteps, joint_statistics
from composite_flow.training.loss import arrays_of


def test_statistics_are_those_of_all_steps(key):
    """65,536 histories drawn with replacement: a column of zeros and ones errs by 1/512 or less, here four times."""
    dataset = cf.HistoryDataset(cf.collect(cf.SensorNetwork.grid(3, 3), 64, key=key))
    steps = JointSteps(arrays_of(dataset))
    histories, states = steps.at(jnp.asarray(dataset.steps))
    mean, prior = joint_statistics(JointSteps(dataset), num_bytes=10**9)
    np.testing.assert_allclose(mean, histories.mean(axis=0), atol=4 / 512)
    np.testing.assert_allclose(prior.mean, states.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(prior.precision, 1 / states.var(axis=0), rtol=1e-4)
    assert prior.types.binary == () and prior.types.groups == ((0, 12),)
