"""Differences in decibels against hand-computed ones; their intervals against known cases."""

import numpy as np
import pytest

from composite_flow_paper.shared.paired_error import (
    EpisodeErrors,
    mean_psnr_difference,
    psnr_difference,
    shared_standard_error,
)


def test_errors_are_averaged_within_episodes():
    errors = EpisodeErrors.of_steps({"a": [1.0, 3.0, 10.0], "b": [0.5, 0.5, 2.0]}, [7, 7, 2])
    assert errors.counts.tolist() == [1, 2]  # episode 2 first
    assert errors.means["a"].tolist() == [10.0, 2.0] and errors.means["b"].tolist() == [2.0, 0.5]
    assert errors.mean("a") == pytest.approx(14 / 3)
    again = EpisodeErrors.from_json(errors.to_json())
    assert again.counts.tolist() == [1, 2] and again.means["a"].tolist() == [10.0, 2.0]
    assert again.ids is not None and again.ids.tolist() == [2, 7]
    unnumbered = EpisodeErrors(errors.counts, errors.means)
    assert "ids" not in unnumbered.to_json() and unnumbered.beside(errors).ids is errors.ids


def test_a_difference_is_that_of_the_summed_errors():
    """Steps, not episodes, have equal weights: (1 · 4 + 3 · 2) / (1 · 1 + 3 · 0) = 10, that is 10 dB."""
    errors = EpisodeErrors(np.array([1, 3]), {"individual": np.array([4.0, 2.0]), "composite": np.array([1.0, 0.0])})
    assert psnr_difference(errors, "individual", "composite")["decibels"] == pytest.approx(10.0)
    assert psnr_difference(errors, "composite", "individual")["decibels"] == pytest.approx(-10.0)


def test_a_constant_ratio_has_no_scatter_however_episodes_differ():
    """What pairing is for: episodes of very different difficulty, one estimator always half as wrong."""
    hard = np.geomspace(1e-3, 1.0, 40)
    found = psnr_difference(EpisodeErrors(np.full(40, 5), {"a": hard, "b": hard / 2}), "a", "b")
    assert found["decibels"] == pytest.approx(10 * np.log10(2))
    assert found["interval"] == pytest.approx([found["decibels"]] * 2) and found["standard_error"] < 1e-12


def test_the_standard_error_is_that_of_the_delta_method():
    """For n episodes of one step, the log of Σ a / Σ b has the error sd(a/ā − b/b̄) / √n."""
    generator = np.random.default_rng(0)
    a, b = generator.gamma(4.0, 1.0, 400), generator.gamma(4.0, 0.5, 400)
    expected = 10 / np.log(10) * np.std(a / a.mean() - b / b.mean()) / np.sqrt(400)
    found = psnr_difference(EpisodeErrors(np.ones(400, int), {"a": a, "b": b}), "a", "b")
    # 2,000 resamples know a standard error within 1.6% (one in √4000); four of these
    assert found["standard_error"] == pytest.approx(expected, rel=0.07)
    low, high = found["interval"]
    assert high - low == pytest.approx(2 * 1.96 * expected, rel=0.1)
    assert low < found["decibels"] < high


def test_steps_of_one_episode_do_not_count_as_many():
    """Ten equal steps in each episode know no more than one."""
    generator = np.random.default_rng(1)
    means = {"a": generator.gamma(4.0, 1.0, 50), "b": generator.gamma(4.0, 1.0, 50)}
    once, often = (psnr_difference(EpisodeErrors(np.full(50, count), means), "a", "b") for count in (1, 10))
    assert once["interval"] == pytest.approx(often["interval"])
    assert once["standard_error"] == pytest.approx(often["standard_error"])


def test_one_episode_has_no_interval():
    found = psnr_difference(EpisodeErrors(np.array([3]), {"a": np.array([2.0]), "b": np.array([1.0])}), "a", "b")
    assert found["interval"] is None and mean_psnr_difference([found])["shown"] == "not decided"


def test_the_mean_over_seeds_has_the_wider_interval():
    close = [{"decibels": value, "standard_error": 0.3} for value in (1.0, 1.0, 1.0)]
    # seeds agree: 1.96 · √(3 · 0.3²) / 3
    assert mean_psnr_difference(close)["interval"] == pytest.approx([1 - 0.33948, 1 + 0.33948], abs=1e-4)
    assert mean_psnr_difference(close)["shown"] == "higher"
    apart = [{"decibels": value, "standard_error": 0.01} for value in (0.0, 1.0, 2.0)]
    # they do not: t_2 = 4.3027 times 1 / √3
    assert mean_psnr_difference(apart)["interval"] == pytest.approx([1 - 2.4841, 1 + 2.4841], abs=1e-3)
    assert mean_psnr_difference(apart)["shown"] == "not decided"
    assert mean_psnr_difference([{"decibels": -2.0, "standard_error": 0.1}])["shown"] == "lower"


def test_other_steps_are_not_paired():
    one, other = (EpisodeErrors(np.array(counts), {"a": np.ones(2)}) for counts in ([1, 2], [2, 1]))
    with pytest.raises(ValueError, match="same steps"):
        one.beside(other)


def seeds_of(ids):
    """A seed for each list of episodes; an episode has the same errors wherever it is tested."""
    generator = np.random.default_rng(0)
    a, b = generator.gamma(4.0, 1.0, 1000), generator.gamma(4.0, 0.5, 1000)
    return [EpisodeErrors(np.ones(len(one), int), {"a": a[one], "b": b[one]}, np.asarray(one)) for one in ids]


def standard_error_of_the_mean(seeds):
    """What it is for seeds that share no episode."""
    errors = [psnr_difference(one, "a", "b")["standard_error"] for one in seeds]
    return np.sqrt(np.sum(np.square(errors))) / len(errors)


def test_seeds_that_test_on_the_same_episodes_know_no_more_than_one():
    same = seeds_of([np.arange(200)] * 4)
    alone = psnr_difference(same[0], "a", "b")["standard_error"]
    # the same draws in each seed: equal but for the resamples, which are known within 1.6%
    assert shared_standard_error(same, "a", "b") == pytest.approx(alone, rel=0.07)
    assert standard_error_of_the_mean(same) == pytest.approx(alone / 2)


def test_seeds_without_common_episodes_are_independent():
    apart = seeds_of(np.arange(800).reshape(4, 200))
    assert shared_standard_error(apart, "a", "b") == pytest.approx(standard_error_of_the_mean(apart), rel=0.1)
    half = seeds_of([np.arange(first, first + 200) for first in (0, 100)])
    assert shared_standard_error(half, "a", "b") > 1.1 * standard_error_of_the_mean(half)


def test_without_the_episodes_numbers_seeds_count_as_independent():
    numbered, unnumbered = seeds_of([np.arange(5), np.arange(5)])
    assert shared_standard_error([numbered, EpisodeErrors(unnumbered.counts, unnumbered.means)], "a", "b") is None
    one = seeds_of([[3]])
    assert shared_standard_error(one, "a", "b") is None
    found = [{"decibels": 1.0, "standard_error": 0.3}] * 3
    assert mean_psnr_difference(found, 0.5)["interval"] == pytest.approx([1 - 0.98, 1 + 0.98], abs=1e-3)
