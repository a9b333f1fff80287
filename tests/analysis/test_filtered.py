"""What a filter knows at single steps is what it knows there after following their episodes."""

import jax
import jax.numpy as jnp
import numpy as np

import composite_flow as cf
from composite_flow.analysis import filtered
from composite_flow.analysis.comparison import filter_way
from composite_flow.analysis.filtered import filtered_at
from composite_flow.fusion.answers import prior_of
from composite_flow.fusion.features import find_types
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.over_time import build_filter, filter_episode, follow


def test_single_steps_are_those_of_their_episodes(key, monkeypatch):
    """By a product, whose estimate no order changes, in several parts."""
    monkeypatch.setattr(filtered, "_AT_ONCE", 3)
    episodes = cf.collect(cf.problem_from_text("sensor:2x2,targets=1,miss=0.3,steps=5"), 8, key=key)
    dataset = cf.HistoryDataset(episodes)
    train, validation, _ = dataset.split(key=key)
    settings = cf.TrainingConfig(width=8, depth=1, steps=2, learn="fusion", team_denoiser=False)
    model = cf.fit(train, validation, settings, key=key, progress=False)
    size = dataset.layout.size
    team_filter = build_filter(
        "product", (jnp.zeros(size), jnp.ones(size)), model.answers.prior, 8, 2, key=jax.random.key(3)
    )
    team_filter = jax.tree.map(lambda leaf: leaf + 0.05, team_filter)
    steps = np.array([17, 3, 39, 0, 16, 22, 38])
    found = filtered_at(team_filter, dataset, steps, key=key)
    for row, step in enumerate(steps.tolist()):
        first = step - step % 5
        histories = dataset.joint(np.arange(first, first + 5)).histories
        there = jnp.ones(histories.shape[:2], bool)
        whole = filter_episode(team_filter, histories, None, there, model.scaling, model.state_names, key)
        np.testing.assert_allclose(found[row], whole.mean[step % 5], atol=1e-6)
    fusion = LearnedFusion(model.answers, over_time=team_filter)
    way = filter_way(fusion, dataset, steps, dataset.joint(steps).states, key=key)["filter"]
    assert (way.calls, way.messages, way.message_bytes) == (4, 4, 4 * 4)
    assert filter_way(model.fusion, dataset, steps, found, key=key) == {}


def test_what_a_chain_carries_through_each_episode_is_what_that_one_gives_alone(key):
    """A chain's order is drawn, so that here each has one agent."""
    problem = cf.SensorNetwork(coverage=np.array([[True, True, False]]), num_targets=1, num_steps=5)
    data = cf.HistoryDataset(cf.collect(problem, 4, key=key))
    joint = data.joint(np.asarray(data.steps))
    states = np.asarray(data.windows.states)
    prior = prior_of(states, find_types(states))
    limits = joint.histories.min(axis=(0, 1)), joint.histories.max(axis=(0, 1))
    chain = build_filter("gated", limits, prior, 8, 1, key=key)
    found = filtered_at(chain, data, np.asarray(data.steps), key=key)
    heard, first = jnp.ones((5, 1), bool), jnp.arange(5) == 0
    for episode in range(4):
        part = slice(5 * episode, 5 * episode + 5)
        alone = follow(chain, joint.histories[part], heard, first, chain.initial, key)[0].mean
        np.testing.assert_allclose(found[part], alone, atol=1e-6)
