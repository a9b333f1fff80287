"""Where a state is rare for every agent: an area that no sensor covers, so that targets there are found by counting.

Twelve random networks of five sensors and eight areas, the last of which nobody covers, with two targets. Every joint
history leaves one state. With a target in that area, ideal denoisers reach it in a part of the samples only.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Float
from teams import consistent_sets, encode_observations, ideal_sensors, ideal_sets, joint_histories

import composite_flow as cf
from composite_flow.certificate.checks import certify_batch
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.fusion.answers import prior_of
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.ideal import IdealAnswers, fuse_beliefs
from composite_flow.metrics import exact_states
from composite_flow.problems.sensor import SensorNetwork

NETWORKS, AGENTS, AREAS, TARGETS = 12, 5, 8, 2
STATES = SensorNetwork(np.ones((1, AREAS), bool), TARGETS).states()
DENOISER = ideal_sets(STATES, AGENTS)  # told weights, it believes in the states by these


class Cases(NamedTuple):
    """Joint histories, as each agent's belief; every state of a network in turn."""

    beliefs: Float[Array, "cases agents states"]
    priors: Float[Array, "cases states"]
    truths: Float[Array, "cases state"]
    rare: Bool[np.ndarray, " cases"]

    def encoded(self, beliefs=None):
        """The histories of the ideal denoiser."""
        return encode_observations(DENOISER, self.beliefs if beliefs is None else beliefs)


def coverages():
    """Every area but the last is covered, and every sensor covers one."""
    draws, found = np.random.default_rng(0), []
    while len(found) < NETWORKS:
        coverage = draws.random((AGENTS, AREAS)) < 0.35
        coverage[:, -1] = False
        if coverage[:, :-1].any(axis=0).all() and coverage.any(axis=1).all():
            found.append(coverage)
    return found


@pytest.fixture(scope="module")
def cases():
    sets, priors = [], []
    for coverage in coverages():
        network = SensorNetwork(coverage, TARGETS)
        assert network.is_collectively_observable
        sets += [consistent_sets(coverage, STATES, state) for state in STATES]
        priors += [network.initial_probabilities()] * len(STATES)
    allowed, priors = np.stack(sets), jnp.stack(priors)
    assert (allowed.all(axis=1).sum(axis=1) == 1).all()
    weights = jnp.asarray(allowed, jnp.float32) * priors[:, None]
    truths = jnp.tile(STATES, (NETWORKS, 1))
    return Cases(weights / jnp.sum(weights, axis=2, keepdims=True), priors, truths, np.asarray(truths)[:, -1] > 0)


def right_share(histories, truths, key, **options):
    """Of 16 samples of composite diffusion for each joint history."""
    samples = reconstruct_batch(DENOISER, histories, key=key, num_samples=16, **options).samples
    return np.asarray(jnp.mean(exact_states(samples, truths[:, None]), axis=1))


def test_ideal_flows_miss_rare_states_though_every_joint_history_leaves_one(cases, key):
    """Measured: 30% after 6 sweeps, 40% after 40, 94% stirred; the other states always, and all with a flat prior."""
    reached = partial(right_share, key=key)
    rare, histories = cases.rare, cases.encoded()
    assert (rare.sum(), (~rare).sum()) == (84, 252)
    few, many = (reached(histories[rare], cases.truths[rare], num_sweeps=number) for number in (6, 40))
    assert few.mean() == pytest.approx(0.30, abs=0.05) and few.mean() < many.mean() < 0.5
    assert (few == 0).sum() > 10  # more samples do not help these
    stirred = reached(histories[rare], cases.truths[rare], num_sweeps=60, stir=0.2)
    assert 0.88 < stirred.mean() < 0.98
    assert (reached(histories[~rare], cases.truths[~rare]) == 1).all()
    flat = cases.encoded((cases.beliefs > 0).astype(jnp.float32))
    assert (reached(flat[rare], cases.truths[rare]) == 1).all()


def test_the_checks_reject_every_flow_that_missed(cases, key):
    histories, truths = cases.encoded()[cases.rare], cases.truths[cases.rare]
    estimates = reconstruct_batch(DENOISER, histories, key=key, num_samples=16)
    accepted = certify_batch(DENOISER, histories, estimates, radius=0.3).accepted
    right = exact_states(estimates.samples, truths[:, None])
    assert not jnp.any(accepted & ~right) and jnp.all(accepted == right)


def test_whole_beliefs_fuse_to_the_one_state_that_is_left(cases):
    """Where one observation each is independent given the state, rare or not."""
    everyone = jnp.ones(AGENTS, bool)
    joint = jax.vmap(partial(fuse_beliefs, participants=everyone))(jnp.log(cases.beliefs), jnp.log(cases.priors))
    belief = jnp.sum(jnp.exp(joint)[:, :, None] * STATES[None], axis=1)
    assert jnp.allclose(belief, cases.truths, atol=1e-5)


def test_sums_of_ideal_marginals_miss_rare_states_too(cases):
    """44% and 96%: a sum of log-odds, feature by feature, does not count the targets."""
    types, exact = FeatureTypes(tuple(range(AREAS)), (), AREAS), []
    for network in np.split(np.arange(len(cases.truths)), NETWORKS):
        prior = prior_of(np.asarray(STATES), types)
        prior = replace(prior, mean=cases.priors[network[0]] @ STATES)
        answers = IdealAnswers(DENOISER.belief, prior)
        told = fuse_each(answers, cases.encoded()[network], jnp.ones((len(network), AGENTS), bool))
        exact.append(exact_states(told.mean, cases.truths[network]))
    right = np.concatenate(exact)
    assert right[cases.rare].mean() == pytest.approx(0.44, abs=0.02)
    assert right[~cases.rare].mean() == pytest.approx(0.96, abs=0.02)


@pytest.mark.slow
def test_trained_answers_learn_to_count(key):
    """An agent that sees nothing says more of the area that nobody covers: all 28 states of a network are exact."""
    network = SensorNetwork(coverages()[4], TARGETS)
    dataset = cf.HistoryDataset(cf.collect(network, 256, key=key), length=1)
    train, validation, _ = dataset.split(key=key)
    config = cf.TrainingConfig(width=64, batch=128, steps=600, learning_rate=3e-3, learn="fusion", team_denoiser=False)
    model = cf.fit(train, validation, config, key=key, progress=False)
    told = model.fuse_batch(joint_histories(ideal_sensors(network), STATES))
    assert jnp.all(exact_states(told.mean, STATES))
