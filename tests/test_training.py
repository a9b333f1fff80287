"""Training reaches the floor of its loss, and an interrupted run ends in the bits of one that was not."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.checkpoint import load_description
from composite_flow.data.scaling import Scaling
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.history import HistoryLayout
from composite_flow.loss import denoising_loss, ideal_loss, pair_losses
from composite_flow.model import load
from composite_flow.optimiser import Schedule
from composite_flow.training import TRAINING_FILE, TrainingConfig, fit

CONFIG = TrainingConfig(width=16, depth=2, batch=32, steps=60, record_every=20, evaluate_every=40, checkpoint_seconds=0)


class Table(eqx.Module):
    """Pairs out of two arrays."""

    histories: Float[Array, "pairs history"]
    states: Float[Array, "pairs state"]
    scaling: Scaling
    layout: HistoryLayout = eqx.field(static=True)

    @property
    def num_steps(self) -> int:
        return len(self.states) // self.layout.num_agents

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "Table":
        return self

    def sample(self, key: PRNGKeyArray, batch: int):
        rows = jax.random.randint(key, (batch,), 0, len(self.states))
        return self.histories[rows], self.states[rows]


def two_sensors(size: int = 8) -> Table:
    """Two agents that each see one of two bits; observation, mask and agent make a history of four columns."""
    bits = jax.random.bernoulli(jax.random.key(3), shape=(size, 2)).astype(jnp.float32)
    agents = jnp.tile(jnp.eye(2), (size, 1))
    seen = jnp.stack([bits[:, 0], bits[:, 1]], axis=1).reshape(-1, 1)
    histories = jnp.concatenate([seen, jnp.ones_like(seen), agents], axis=1)
    return Table(histories, jnp.repeat(bits, 2, axis=0), Scaling.identity(2), HistoryLayout(1, 1, 2, 2))


TABLE = two_sensors()


def leaves(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(model.denoiser, eqx.is_array))]


def assert_same_bits(one, other):
    for mine, theirs in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(mine.view(np.uint32), theirs.view(np.uint32))


@pytest.fixture(scope="module")
def uninterrupted():
    return fit(TABLE, TABLE, CONFIG, key=jax.random.key(1))


class Killed(Exception):
    """Stands for a process that ends without a word."""


@pytest.mark.parametrize("stop", [1, 17, 20, 59])
def test_a_run_that_ends_at_any_step_resumes_to_the_same_bits(tmp_path, uninterrupted, stop):
    def kill(step, total, loss):
        if step >= stop:
            raise Killed

    with pytest.raises(Killed):
        fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), folder=tmp_path, progress=kill)
    model = fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), folder=tmp_path, resume=True)
    assert_same_bits(model, uninterrupted)
    without_seconds = [[{**p, "seconds": 0} for p in m.curves] for m in (model, uninterrupted)]
    assert without_seconds[0] == without_seconds[1]
    assert_same_bits(load(tmp_path), uninterrupted)


def test_a_finished_run_resumes_to_itself(tmp_path, uninterrupted):
    for resume in (False, True):
        model = fit(TABLE, TABLE, CONFIG, key=jax.random.key(1), folder=tmp_path, resume=resume)
        assert_same_bits(model, uninterrupted)
