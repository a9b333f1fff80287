"""A page of a training: its curves are those on disk, and watching changes no bit of what is learned."""

import csv
import json
import signal
import subprocess
import sys
from itertools import chain
from urllib.parse import urlsplit

import jax
import numpy as np
import pytest
from page.live_client import all_events, asked, events

import composite_flow as cf
from composite_flow.data.run_split import choose_steps, split_of_run
from composite_flow.page.live.policy import PolicyPage
from composite_flow.page.live.server import PageServer
from composite_flow.page.live.training import TrainingPage
from composite_flow.policy.config import InferenceConfig, MappoConfig
from composite_flow.policy.curves import CURVES_FILE
from composite_flow.policy.run import train_policy
from composite_flow.runs import RunSettings, start_or_resume, train_run
from composite_flow.training.fit import TrainingConfig
from composite_flow.training.listener import SHOWN

pytestmark = pytest.mark.slow

BUDGET = {"steps": 300, "record_every": 60, "evaluate_every": 120, "minutes": None}
CONFIG = TrainingConfig(learn="both", width=16, depth=2, batch=64, warmup=10, team_denoiser=False, **BUDGET)
SETTINGS = RunSettings(CONFIG)
PROBLEM = cf.SensorNetwork.grid(2, 2, num_targets=1)


@pytest.fixture(scope="module")
def logged():
    return cf.collect(PROBLEM, num_episodes=120, key=jax.random.key(0))


class Trained:
    def __init__(self, server, folder, model):
        self.server, self.folder, self.model = server, folder, model
        self.events = all_events(server.address)

    def points(self, network):
        told = [data["points"] for _, kind, data in self.events if kind == "points" and data["network"] == network]
        return list(chain.from_iterable(told))


@pytest.fixture(scope="module")
def trained(logged, tmp_path_factory):
    """A run that was watched; its page is still served."""
    folder = tmp_path_factory.mktemp("run")
    with PageServer() as server:
        page = TrainingPage(server, "a training", logged.description)
        start_or_resume(folder, SETTINGS, resume=False, overwrite=False)
        model = train_run(
            logged, SETTINGS, folder, listener=page,
            progress=lambda step, planned, loss: page.progress(step, planned, f"loss {loss:.4f}"),
        )  # fmt: skip
        page.end("It has ended.")
        yield Trained(server, folder, model)


def test_curves_are_those_that_are_written_on_disk(trained):
    written = cf.load(trained.folder).curves
    told = [*trained.points("denoiser"), *trained.points("answers")]
    assert told == [dict(point) for point in written] and len(trained.points("answers")) == 5


def test_watching_changes_no_bit(trained, logged):
    alone = train_run(logged, SETTINGS, None)
    networks = [jax.tree.leaves((model.denoiser, model.fusion.answers)) for model in (trained.model, alone)]
    for ours, theirs in zip(*networks, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    for point, other in zip(trained.model.curves, alone.curves, strict=True):
        assert {**point, "seconds": 0} == {**other, "seconds": 0}


def shown_of(logged):
    """The validation part of the run, and the steps of which the page is told."""
    _, held_out, _ = split_of_run(cf.HistoryDataset(logged, 1), SETTINGS.seed, 0.0)
    validation = held_out.part(held_out.episode_ids[::2], remove_withheld=True)
    steps = choose_steps(validation, 128, seed=0)
    return validation, steps[np.linspace(0, len(steps) - 1, SHOWN).astype(int)]


def test_the_latest_reconstruction_is_that_of_the_last_network(trained, logged):
    validation, steps = shown_of(logged)
    (latest,) = [data for _, kind, data in trained.events if kind == "inferred"]
    assert latest["by"] == "fusion" and latest["step"] == 300
    histories = validation.joint(steps).histories
    expected = [trained.model.fuse(each).mean for each in histories]
    np.testing.assert_allclose(latest["mean"], expected, atol=1e-5)


def test_the_page_draws_the_curves_and_the_latest_reconstruction(trained, logged, watching):
    validation, steps = shown_of(logged)
    with watching(trained.server.address) as page:
        page.tab.wait_for_selector(".live[data-stands='ended']")
        for network in ("denoiser", "answers"):
            points = trained.points(network)
            drawn = page.settle().tab.locator(f"[data-network={network}][data-measure=validation_loss]")
            assert drawn.get_attribute("data-count") == str(len(points))
            assert float(drawn.get_attribute("data-latest")) == points[-1]["validation_loss"]
        page.tab.locator(".network summary >> nth=0").click()
        values = page.settle().tab.eval_on_selector_all(
            ".listed >> nth=0 >> tbody tr",
            "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.dataset.value))",
        )
        rows = [[*map(float, filter(None, row))] for row in values[::-1]]
        assert rows == [list(point.values()) for point in trained.points("denoiser")]
        page.tab.locator("#shown").fill("3")
        np.testing.assert_allclose(
            page.mean, trained.model.fuse(validation.joint(steps[3:4]).histories[0]).mean, atol=1e-4
        )
        assert page.tab.inner_text("#shown + output") == f"4 of {SHOWN}"
        page.tab.set_viewport_size({"width": 390, "height": 844})
        assert page.settle().tab.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_people_who_cannot_see_it_can_follow_a_training(trained, watching, scheme):
    with watching(trained.server.address, scheme=scheme) as page:
        page.tab.wait_for_selector(".live[data-stands='ended']")
        page.tab.locator(".network summary >> nth=0").click()
        assert page.hindrances() == []


def test_a_resumed_training_tells_its_earlier_points_as_well(trained, logged, tmp_path):
    told = []
    config = {"learn": "denoiser", "width": 8, "depth": 1, "batch": 8, "steps": 40, "record_every": 10}
    data = cf.HistoryDataset(logged, 1)

    def stop(point):
        if point["step"] == 20:
            signal.raise_signal(signal.SIGINT)
        return False

    options = {"key": jax.random.key(0), "folder": tmp_path, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        cf.fit(data, None, TrainingConfig(**config), until=stop, **options)
    cf.fit(data, None, TrainingConfig(**config), resume=True, record=lambda name, all: told.append(len(all)), **options)
    assert told == [2, 3, 4]


def watched_policy(server, folder, config, key):
    """All that the page of a policy's training is told."""
    page = PolicyPage(server, "a policy", PROBLEM, config)
    train_policy(PROBLEM, config, key=key, folder=folder, listener=page)
    page.end("It has ended.")
    return all_events(server.address)


def test_a_policys_curves_are_those_that_are_written_on_disk(tmp_path, watching, key):
    config = MappoConfig(steps=20_000, memory="none", worlds=8, rollout=50)
    with PageServer() as server:
        events_told = watched_policy(server, tmp_path, config, key)
        told = list(chain.from_iterable(data["points"] for _, kind, data in events_told if kind == "points"))
        with watching(server.address) as opened:
            opened.tab.wait_for_selector(".live[data-stands='ended']")
            drawn = opened.settle().tab.locator("[data-measure=entropy]")
            assert float(drawn.get_attribute("data-latest")) == told[-1]["entropy"]
            assert "agents of this policy infer no state (its input is “agent”)" in opened.tab.inner_text("header")
            assert opened.tab.locator(".inferred").count() == 0
    with open(tmp_path / CURVES_FILE) as file:
        written = [
            {name: None if value == "" else float(value) for name, value in row.items()} for row in csv.DictReader(file)
        ]
    assert told == written and len(told) > 1


def test_what_a_learning_team_infers_is_drawn_beside_the_truth_of_its_worlds(tmp_path, watching, key):
    inference = InferenceConfig(history=2, denoiser_width=16, denoiser_depth=2)
    config = MappoConfig(inputs="denoised", steps=2_000, memory="none", worlds=8, rollout=50, inference=inference)
    with PageServer() as server:
        told = watched_policy(server, tmp_path, config, key)
        (latest,) = [data for _, kind, data in told if kind == "inferred"]
        truth = np.array(latest["truth"])
        assert latest["step"] == 2_000 and truth.shape == (8, PROBLEM.state_size)
        np.testing.assert_array_equal(truth.sum(axis=1), 1)  # one target in each world
        with watching(server.address) as page:
            page.tab.wait_for_selector(".live[data-stands='ended']")
            page.tab.locator("#shown").fill("5")
            np.testing.assert_allclose(page.mean, latest["mean"][5], atol=1e-6)
            np.testing.assert_allclose(page.variance, latest["variance"][5], atol=1e-6)
            stars = page.marks("target")
            np.testing.assert_array_equal(stars, np.flatnonzero(truth[5] > 0.5))
            seen = page.marks("seen")
            assert len(seen) == np.sum(np.array(latest["observed"][5]) > 0.5)
            error = np.sqrt(np.mean((np.array(latest["mean"][5]) - truth[5]) ** 2))
            verdict = page.tab.inner_text(".inferred .verdict")
            assert "By each agent alone, averaged, after 2,000 steps of training" in verdict
            assert f"an error of {100 * error:.0f}% of the range" in verdict
            assert page.tab.inner_text("label[for=shown]") == "World in play"
            assert page.tab.inner_text("#shown + output") == "6 of 8"
            assert page.hindrances() == []


def test_an_interrupted_training_ends_cleanly_and_says_so_on_its_page(logged, tmp_path):
    logged.save(tmp_path / "data")
    command = [sys.executable, "-m", "composite_flow", "train", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    options = ["--width", "16", "--depth", "2", "--steps", "10000000", "--record-every", "50", "--page", "--json"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        address = next(line.split()[-1] for line in process.stderr if line.startswith("Watch it at"))
        with asked(address, "/stream") as response:
            told = events(response)
            assert next(data for _, kind, data in told if kind == "points")["network"] == "denoiser"
            process.send_signal(signal.SIGINT)
            ended = next(data for _, kind, data in told if kind == "end")
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in errors
    assert "go on with: composite-flow train" in ended["text"] and ended["text"] in errors
    assert urlsplit(address).hostname == "127.0.0.1" and json.dumps(ended)
