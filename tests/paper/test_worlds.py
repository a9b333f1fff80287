"""Where inference pays: the numbers of the smoke preset, and what the summary makes of known errors."""

import numpy as np
import pytest

from composite_flow_paper.experiment import load_experiment, run
from composite_flow_paper.worlds.cell import by_episode
from composite_flow_paper.worlds.report import WAYS, psnr_with_interval, summarise_world


@pytest.mark.slow
def test_worlds_smoke_numbers_hang_together(tmp_path, permissive):
    experiment = load_experiment("worlds")
    result = run(experiment, experiment.preset("smoke"), tmp_path, progress=lambda _: None)
    world = result.summary["worlds"]["foraging"]
    assert (world["agents"], world["observation"], world["state"]) == (2, 12, 70)
    ways = {name: way["psnr"] for name, way in world["ways"].items()}
    assert set(ways) == set(WAYS)
    assert ways["ridge"] > ways["ridge_alone"] > ways["constant"]
    assert all(way["low"] <= way["psnr"] <= way["high"] for way in world["ways"].values())
    assert 0 < world["open"] < 1
    assert (tmp_path / "worlds.png").exists() and len(experiment.tables(result.summary)) == 3


def test_errors_are_summed_by_episode_and_averaged_over_estimates():
    truth = np.zeros((3, 2))
    found = np.stack([np.full((3, 2), 1.0), np.full((3, 2), 3.0)], axis=1)
    np.testing.assert_allclose(by_episode(found, truth, np.array([0, 1, 1])), [5.0, 10.0])


def test_psnr_over_episodes_weighs_steps_alike():
    """10 steps of error 0.01 in one episode, 10 of 0.001 in another: the mean is 0.0055, whatever is drawn between."""
    errors, steps = np.array([0.1, 0.01]), np.array([10.0, 10.0])
    found = psnr_with_interval(errors, steps, 10 * errors)
    np.testing.assert_allclose(found["psnr"], -10 * np.log10(0.0055))
    np.testing.assert_allclose([found["low"], found["high"]], [20.0, 30.0])
    np.testing.assert_allclose(found["above"], [10.0, 10.0, 10.0])  # whatever is drawn: the draws are the same


def test_what_is_open_is_told_by_the_best_joint_estimate():
    errors = {way: [0.2, 0.2] for way in WAYS} | {"ridge": [0.1, 0.1], "joint_regression": [0.1, 0.0]}
    cell = {
        "sizes": {"agents": 2, "observation": 1, "state": 3},
        "varying": 2,
        "steps": [2, 2],
        "errors": errors,
        "train_seconds": 90.0,
    }
    world = summarise_world("a", [cell, {**cell, "varying": 3, "train_seconds": 30.0}])
    np.testing.assert_allclose([world["open"], world["minutes"], world["varying"]], [0.25, 1.0, 3])
    assert world["seeds"] == 2
    np.testing.assert_allclose(world["ways"]["ridge"]["above_of_seeds"], [10 * np.log10(2)] * 2)
    fused = summarise_world("a", [{**cell, "errors": {**errors, "fusion": [0.02, 0.0]}}])
    np.testing.assert_allclose(fused["open"], 0.05)  # a joint estimate as well
    alone = summarise_world("a", [{**cell, "errors": {**errors, "ridge_alone": [0.0, 0.0]}}])
    np.testing.assert_allclose(alone["open"], 0.25)
