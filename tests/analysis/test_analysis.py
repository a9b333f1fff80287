"""The analysis of a trained denoiser says what its parts say one by one, and its numbers obey their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.analysis.report import AnalysisSettings, analyse
from composite_flow.analysis.sentences import sentences
from composite_flow.certificate.calibration import deviation_scores
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.pairs import distinct_pairs
from composite_flow.deviation import deviations
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.fit import TrainingConfig, fit

SETTINGS = AnalysisSettings(
    num_anchors=12, quantiles=(0.3, 1.0), num_shifts=60, levels=(0.5, 0.99), num_joint=4, num_samples=2, num_drawn=20
)


@pytest.fixture(scope="module")
def trained():
    """A small network of four sensors, and what the analysis finds."""
    dataset = HistoryDataset(collect(SensorNetwork.two_by_two(), 60, key=jax.random.key(0)), length=1)
    train, validation, test = dataset.split(key=jax.random.key(1), fractions=(0.6, 0.2, 0.2))
    config = TrainingConfig(width=32, batch=128, steps=800, learning_rate=4e-3, warmup=50)
    denoiser = fit(train, None, config, key=jax.random.key(2)).denoiser
    found = analyse(denoiser, train, test, validation, radius=0.3, key=jax.random.key(3), settings=SETTINGS)
    return denoiser, train, test, found


def test_deviations_are_those_of_definition_4(trained):
    denoiser, train, _, found = trained
    pairs = distinct_pairs(train)
    norms = np.linalg.norm(deviations(denoiser, jnp.asarray(pairs.histories), jnp.asarray(pairs.states)), axis=1)
    assert found["pairs"]["pairs"] == len(norms)
    # flows stop where a step is below 1e-5, so two ways to the same fixed point differ by a few times that
    assert found["pairs"]["deviation"]["max"] == pytest.approx(norms.max(), abs=1e-3)
    assert found["pairs"]["mean_deviation"] == pytest.approx(norms.mean(), abs=1e-3)
    worst = found["pairs"]["worst"][0]
    assert worst["deviation"] == pytest.approx(norms.max(), abs=1e-3)


def test_ambiguity_counts_states_per_history(trained):
    _, train, _, found = trained
    pairs = distinct_pairs(train)
    states = {}
    for history, state in zip(pairs.histories, pairs.states, strict=True):
        states.setdefault(history.tobytes(), set()).add(state.tobytes())
    assert found["pairs"]["histories"] == len(states)
    assert found["pairs"]["certain_histories"] == sum(len(one) == 1 for one in states.values())
    assert found["pairs"]["most_states"] == max(len(one) for one in states.values())


def test_ranks_fall_with_the_threshold(trained):
    *_, found = trained
    for columns in ("all_columns", "varying_columns"):
        ranks = found["ranks"][columns]
        medians = [ranks["measures"][f"{threshold:g}"]["median"] for threshold in sorted(SETTINGS.thresholds)]
        assert medians == sorted(medians, reverse=True)
        assert 1 <= ranks["measures"]["effective"]["median"] <= ranks["largest_possible"]
        # intervals draw histories anew; all of them have a stable fixed point
        assert ranks["measures"]["effective"]["correlation"]["num_groups"] == found["pairs"]["histories"]


def test_residuals_grow_with_epsilon(trained):
    """More neighbours cannot be fitted better in sum; at the largest ε all pairs are neighbours."""
    _, train, _, found = trained
    small, large = found["surrogate"]["epsilons"]
    assert small["epsilon"] <= large["epsilon"]
    assert large["neighbours"] == len(distinct_pairs(train).states)
    assert small["neighbours"] * small["bound"] <= large["neighbours"] * large["bound"] + 1e-6


def test_conformal_radii_are_of_one_half_of_the_episodes(trained):
    denoiser, _, test, found = trained
    scores, deviation = deviation_scores(denoiser, test), found["conformal"]["deviation"]
    assert (deviation["episodes"], deviation["other_episodes"]) == (6, 6) and len(scores) == 12
    assert np.min(np.abs(scores - deviation["levels"]["0.5"]["radius"])) < 1e-6
    assert deviation["levels"]["0.99"]["radius"] == np.inf and deviation["levels"]["0.99"]["coverage"] == 1.0


def test_what_follows_mathematically_holds(trained):
    *_, found = trained
    assert found["composite"]["theorem_8"]["plain mean"]["rate"] == 1.0
    assert found["composite"]["guaranteed"]["rate"] in (1.0, None)
    assert found["composite"]["smallest_distance"] == pytest.approx(2**0.5)


def test_summary_tells_the_numbers(trained):
    *_, found = trained
    told = " ".join(sentences(found))
    assert f"{found['pairs']['pairs']} (history, state) pairs" in told
    assert f"{found['pairs']['deviation']['median']:.3g}" in told
    assert "infinite for want of episodes" in told and "100% and 100% of the others covered" in told
