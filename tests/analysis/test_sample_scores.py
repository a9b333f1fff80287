"""Proper scores by hand and by closed forms."""

import builtins
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.analysis.sample_scores import sample_scores, scores_of_steps
from composite_flow.errors import InputError


def scores(samples, state):
    """Of one step."""
    return jax.tree.map(lambda value: float(value[0]), scores_of_steps(jnp.asarray(samples)[None], state[None]))


def test_the_energy_score_of_two_samples_by_hand():
    """‖x_1 − s‖ = 5, ‖x_2 − s‖ = 0, ‖x_1 − x_2‖ = 5: the mean is 2.5, and half the mean over other pairs 2.5."""
    samples, state = jnp.array([[3.0, 4.0], [0.0, 0.0]]), jnp.zeros(2)
    assert scores(samples, state).energy == pytest.approx(0.0, abs=1e-6)
    assert scores(samples, jnp.array([3.0, 0.0])).energy == pytest.approx((4 + 3) / 2 - 2.5)
    assert scores(jnp.stack([state, state]), jnp.array([0.0, 2.0])).energy == pytest.approx(2.0)


def test_the_crps_of_two_samples_by_hand():
    """Of the first feature (3 + 0)/2 − 3/2, of the second (2 + 6)/2 − 4/2: their mean is 1."""
    found = scores(jnp.array([[3.0, 4.0], [0.0, 8.0]]), jnp.array([0.0, 2.0]))
    assert found.crps == pytest.approx((0.0 + 2.0) / 2)


def test_scores_do_not_depend_on_the_number_of_samples(key):
    """Of N(0, 1) samples and states: E|x − s| − ½ E|x − x'| = ½ · 2/√π, for two samples as for eight."""
    keys = jax.random.split(key, 3)
    states = jax.random.normal(keys[0], (40_000, 1))
    for count, key_samples in ((2, keys[1]), (8, keys[2])):
        found = sample_scores(jax.random.normal(key_samples, (40_000, count, 1)), states)
        assert float(found.energy) == pytest.approx(1 / math.sqrt(math.pi), abs=0.02)
        assert float(found.crps) == pytest.approx(float(found.energy), abs=1e-5)


def test_the_variogram_score_by_hand():
    """|s_1 − s_2|^½ = 2 in the state; 1 and 3 in the samples, of mean 2: no difference. Diagonals are 0."""
    state = jnp.array([0.0, 4.0])
    assert scores(jnp.array([[0.0, 1.0], [9.0, 0.0]]), state).variogram == pytest.approx(0.0, abs=1e-6)
    # samples alike: (2 − 1)² for two of the four pairs
    assert scores(jnp.array([[5.0, 4.0], [5.0, 4.0]]), state).variogram == pytest.approx(0.5)


def test_scores_are_averaged_over_steps(key):
    samples, states = jax.random.normal(key, (70, 3, 4)), jnp.ones((70, 4))
    each, mean = scores_of_steps(samples, states), sample_scores(samples, states)
    assert each.energy.shape == each.crps.shape == each.variogram.shape == (70,)
    last = scores(samples[-1], states[-1])
    for name in ("energy", "crps", "variogram"):
        assert float(getattr(mean, name)) == pytest.approx(float(np.mean(getattr(each, name))), rel=1e-5)
        assert float(getattr(each, name)[-1]) == pytest.approx(getattr(last, name), rel=1e-5)


def test_one_sample_has_no_score():
    with pytest.raises(InputError, match="at least two"):
        sample_scores(jnp.zeros((1, 1, 2)), jnp.zeros((1, 2)))


def test_whoever_lacks_the_library_reads_what_to_install(monkeypatch):
    found = builtins.__import__

    def without(name, *rest, **more):
        if name == "scoringrules":
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"composite-flow\[scores\]"):
        sample_scores(jnp.zeros((1, 2, 2)), jnp.zeros((1, 2)))
