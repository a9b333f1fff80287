"""Figures of merit of a perfect model, of one that knows nothing, and on states without exact answers."""

import json
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear, ideal_sensors

from composite_flow.baselines.flows import BASELINES, baseline_batch
from composite_flow.data import Episodes, HistoryDataset, collect
from composite_flow.denoiser import Fixed
from composite_flow.errors import InputError, MismatchError
from composite_flow.evaluation import evaluate
from composite_flow.metrics import psnr
from composite_flow.problems.sensor import SensorNetwork

KEYS = {
    "psnr_composite",
    "psnr_individual",
    "exact_rate_composite",
    "exact_rate_individual",
    "exact_rate_unseen_states",
    "accepted_share",
    "wrong_among_accepted",
    "right_means",
    "right_by_guessing",
    "denoiser_calls",
    "baselines",
}


@dataclass(frozen=True)
class Trained:
    denoiser: object
    radius: float


@pytest.fixture(scope="module")
def sensors():
    """A 2×2 network, a test part with one state withheld, and its ideal denoiser."""
    problem = SensorNetwork.grid(2, 2, num_targets=1, num_steps=4)
    episodes = collect(problem, 30, key=jax.random.key(1))
    _, _, test = HistoryDataset(episodes).split(key=jax.random.key(2), fractions=(0.3, 0.2, 0.5), withhold_states=0.25)
    return ideal_sensors(problem, Fixed(0.3)), test


@pytest.fixture(scope="module")
def evaluation(sensors):
    denoiser, test = sensors
    return evaluate(Trained(denoiser, 0.05), test, key=jax.random.key(0), num_joint=12, num_samples=4)


def test_a_perfect_model_is_exact_accepted_and_never_wrong(evaluation):
    summary = evaluation.summary()
    assert set(summary) == KEYS and set(summary["baselines"]) == set(BASELINES)
    assert summary["exact_rate_composite"] == summary["exact_rate_unseen_states"] == 1.0
    assert summary["accepted_share"] == 1.0 and summary["wrong_among_accepted"] == 0.0
    assert summary["denoiser_calls"] == 4 * 6 * 4  # agents, sweeps, samples
    assert all(scores["denoiser_calls"] == 96 for scores in summary["baselines"].values())
    assert summary["psnr_composite"] > 60 > summary["psnr_individual"]
    assert summary["exact_rate_individual"] == summary["baselines"]["individual_flow"]["exact_rate"] < 1.0
    # one of four features is 1: their mean, rounded, is no state
    assert "rounded" in summary["right_means"] and summary["right_by_guessing"] == 0.0
    json.dumps(summary, allow_nan=False)


def test_steps_are_drawn_from_the_part_without_replacement(sensors, evaluation):
    _, test = sensors
    steps = np.asarray(evaluation.steps)
    assert len(set(steps)) == 12 and set(steps) <= set(np.asarray(test.steps))
    assert np.array_equal(evaluation.states, test.joint(steps).states)


def test_states_that_are_not_binary_have_no_exact_rate_and_are_right_within_three_radii(key):
    shape = (40, 2)
    states = np.asarray(jax.random.uniform(key, shape))
    episodes = Episodes.from_arrays(
        observations=np.zeros((40, 2, 1), np.float32),
        actions=np.zeros((40, 2), np.int32),
        states=states,
        ends=np.arange(40) % 4 == 3,
    )
    dataset = HistoryDataset(episodes)
    center = Linear(jnp.full((dataset.layout.size, 2), 0.5), jnp.zeros((dataset.layout.size, 2, 2)))
    result = evaluate(Trained(center, 0.1), dataset, key=key, num_joint=40, num_samples=1, num_sweeps=1)
    assert result.exact_rate_composite is None and result.exact_rate_unseen_states is None
    # every column of the history adds its point; mask and identity are the two that are one, so agents say (1, 1)
    errors = np.asarray(result.states) - 1.0
    assert result.psnr_composite == pytest.approx(-10 * np.log10(np.mean(errors**2)), rel=1e-4)
    assert result.accepted_share == 1.0
    assert result.wrong_among_accepted == pytest.approx(np.mean(np.linalg.norm(errors, axis=1) >= 0.3))
    states = np.asarray(result.states)
    around = np.linalg.norm(states - states.mean(axis=0), axis=1)
    assert result.right_by_guessing == pytest.approx(np.mean(around < 0.3)) and 0 < result.right_by_guessing < 1
    assert "0.3 of the true state" in result.right_means


def test_a_model_of_another_problem_is_refused(sensors, key):
    _, test = sensors
    with pytest.raises(MismatchError, match="4"):
        evaluate(Trained(Linear(jnp.zeros((2, 3)), jnp.zeros((2, 3, 3))), 0.1), test, key=key)


def test_baselines_hear_the_same_agents_as_composite_diffusion(sensors):
    denoiser, test = sensors
    options = {"key": jax.random.key(0), "num_joint": 12, "num_samples": 4, "num_sweeps": 2}
    some = evaluate(Trained(denoiser, 0.05), test, participants=[3, 0], **options)
    assert some.denoiser_calls == 2 * 2 * 4 and set(np.unique(some.estimates.order)) == {0, 3}
    histories = test.joint(np.asarray(some.steps)).histories
    key_flow = jax.random.split(options["key"], 3)[1]
    for name, flow in BASELINES.items():
        samples = baseline_batch(flow, denoiser, histories[:, [0, 3]], key=key_flow, num_samples=4, num_sweeps=2)
        expected = float(psnr(samples, some.states[:, None]))
        assert some.baselines[name]["psnr"] == pytest.approx(expected, abs=1e-3)
    with pytest.raises(InputError, match="leave out `tolerance`"):
        evaluate(Trained(denoiser, 0.05), test, tolerance=0.1, **options)
