"""Data of four sensors and one target, from which stages of a training learn; and whether two learned the same."""

import equinox as eqx
import jax
import numpy as np
import pytest

import composite_flow as cf


def four_sensors(folder=None):
    """Training and validation data, in memory, or read from a folder when they are needed."""
    episodes = cf.collect(cf.SensorNetwork.grid(2, 2, num_targets=1), 64, key=jax.random.key(0))
    if folder is not None:
        episodes.save(folder)
        episodes = cf.Episodes.load(folder, in_memory=False)
    return cf.HistoryDataset(episodes).split(key=jax.random.key(1))[:2]


def weights(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def assert_same(one, other):
    assert len(weights(one)) == len(weights(other)) > 0
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


def left_at(stop, planned, train):
    """Let a training, which takes `progress`, end at this step, of as many as are planned."""

    class Stop(Exception):
        pass

    def leave(step, total, loss):
        assert total == planned
        if step >= stop:
            raise Stop

    with pytest.raises(Stop):
        train(progress=leave)
