"""Bounds from calibration episodes: closed forms, and the promised coverage of new episodes."""

import numpy as np
import pytest

from composite_flow.fusion.trust.quantiles import bounds


def test_with_one_step_each_both_are_split_conformal():
    """The ⌈(n + 1) level⌉-th smallest of n scores."""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))[:, None]
    for over in ("step", "episode"):
        found = bounds(scores, np.arange(19), (0.05, 0.5, 0.9, 0.95), over)
        assert found[:, 0].tolist() == [1.0, 10.0, 18.0, 19.0]


@pytest.mark.parametrize("over", ["step", "episode"])
def test_too_few_episodes_give_no_bound(over):
    """n ≥ level / (1 − level), however many steps they have."""
    scores, episodes = np.arange(180.0)[:, None], np.repeat(np.arange(18), 10)
    assert np.isinf(bounds(scores, episodes, (0.95,), over)).all()
    scores, episodes = np.arange(190.0)[:, None], np.repeat(np.arange(19), 10)
    assert bounds(scores, episodes, (0.95,), over).tolist() == [[189.0]]


def test_an_episode_counts_once_however_long():
    """Of one long episode of large scores and three short ones of small scores each makes a fifth."""
    scores = np.concatenate([np.full(100, 9.0), np.arange(3.0)])[:, None]
    episodes = np.concatenate([np.zeros(100, int), [1, 2, 3]])
    assert bounds(scores, episodes, (0.2, 0.4, 0.6, 0.8, 0.81), "step")[:, 0].tolist() == [0, 1, 2, 9, np.inf]
    assert bounds(scores, episodes, (0.2, 0.4, 0.6, 0.8, 0.81), "episode")[:, 0].tolist() == [0, 1, 2, 9, np.inf]


def test_whole_episodes_are_bounded_by_their_largest_steps():
    scores = np.array([[1.0, 8.0], [5.0, 2.0], [3.0, 3.0]])
    found = bounds(scores, np.array([7, 7, 9]), (0.3, 0.6), "episode")
    assert found.tolist() == [[3.0, 3.0], [5.0, 8.0]]


@pytest.mark.parametrize("over", ["step", "episode"])
def test_new_episodes_are_covered_as_promised(over):
    """Steps of an episode share a scale, which pooling all steps would take for independent; to 3 standard errors."""
    generator, covered = np.random.default_rng(0), []
    for _ in range(400):
        lengths = generator.integers(1, 30, 41)
        scale = generator.exponential(size=41)
        steps = [np.abs(generator.normal(size=length)) * each for length, each in zip(lengths, scale, strict=True)]
        episodes = np.repeat(np.arange(40), lengths[:40])
        (bound,) = bounds(np.concatenate(steps[:40])[:, None], episodes, (0.8,), over)[:, 0]
        inside = steps[40] <= bound
        covered.append(inside.mean() if over == "step" else inside.all())
    assert np.mean(covered) >= 0.8 - 3 * np.std(covered) / 20
    assert np.mean(covered) <= 0.87


@pytest.mark.parametrize("over", ["step", "episode"])
def test_a_column_is_bounded_by_the_steps_at_which_it_counts(over):
    """With steps that do not count left out by hand, also where an episode has none."""
    random = np.random.default_rng(1)
    scores, episodes = random.random((600, 3)), np.repeat(np.arange(60), 10)
    missing = random.random((600, 3)) < np.array([0.0, 0.5, 0.9])
    found = bounds(np.where(missing, np.nan, scores), episodes, (0.5, 0.9), over)
    for column in range(3):
        there = ~missing[:, column]
        alone = bounds(scores[there][:, column : column + 1], episodes[there], (0.5, 0.9), over)
        np.testing.assert_array_equal(found[:, column], alone[:, 0])
    nowhere = bounds(np.full((600, 1), np.nan), episodes, (0.5,), over)
    assert np.isinf(nowhere).all()
