"""What is told of a policy that learns: what its agents infer of the worlds in play, and nothing that changes a bit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_notebook import Notebook

import composite_flow as cf
from composite_flow.belief import BeliefModel
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import Fixed
from composite_flow.history import HistoryLayout
from composite_flow.model import Model
from composite_flow.policy.config import InferenceConfig
from composite_flow.policy.mappo import new_networks, team_of
from composite_flow.policy.rollout import start_worlds
from composite_flow.policy.run import train_policy
from composite_flow.policy.setup import prepare
from composite_flow.policy.watch import inferred_now
from composite_flow.training.listener import SHOWN

PROBLEM = cf.SensorNetwork.two_by_two()  # every area is watched, and nobody errs: together they know the state


def playing(kind, worlds, key, **inference):
    """A team that infers by the ideal denoiser, of states scaled to [0, ½], and worlds in which it plays."""
    layout = HistoryLayout(1, PROBLEM.observation_size, PROBLEM.num_actions, PROBLEM.num_agents)
    denoiser = cf.IdealDenoiser(BeliefModel(PROBLEM, layout), Fixed(0.3))
    parts = {"radius": None, "curves": (), "state_names": PROBLEM.state_names, "description": {}}
    model = Model(denoiser, layout, Scaling.identity(PROBLEM.state_size), **parts)
    fixed = InferenceConfig(history=1, denoiser_updates=0.0, **inference)
    config = cf.MappoConfig(inputs=kind, memory="none", width=8, depth=1, inference=fixed)
    setup = prepare(PROBLEM, config, key, model)
    team = team_of(setup, eqx.filter_jit(new_networks)(PROBLEM, config, key, setup.inputs), None)
    return team, eqx.filter_jit(start_worlds)(PROBLEM, team, key, worlds)


def test_what_all_know_together_is_the_truth_of_each_world(key):
    """By the last message, which has been everywhere: one state, without a spread."""
    team, live = playing("composite-shared", 5, key)
    found = inferred_now(PROBLEM, team, live, key)
    np.testing.assert_array_equal(found.states, jax.vmap(PROBLEM.state)(live.world))
    assert len(np.unique(found.states, axis=0)) > 1
    np.testing.assert_allclose(found.mean, found.states, atol=0.02)
    assert np.isnan(found.variance).all()


def test_of_many_worlds_the_first_are_told_with_the_spread_of_agents_and_samples(key):
    """Who sees a target knows where it is, and who sees none does not."""
    team, live = playing("cvar", SHOWN + 3, key, samples=4)
    found = inferred_now(PROBLEM, team, live, key)
    np.testing.assert_array_equal(found.states, jax.vmap(PROBLEM.state)(live.world)[:SHOWN])
    assert found.observations.shape == (SHOWN, PROBLEM.num_agents, PROBLEM.observation_size)
    hidden = np.asarray(found.states) > 0.5
    assert (found.mean[hidden] > 0.3).all() and (found.mean[~hidden] < 0.7).all()
    assert 0.02 < float(jnp.max(found.variance)) <= 0.3


@pytest.mark.slow
def test_who_listens_hears_all_and_changes_no_bit(key):
    config = cf.MappoConfig(
        inputs="denoised", steps=400, worlds=4, rollout=20, memory="none", width=8, depth=1,
        inference=InferenceConfig(history=2, denoiser_width=8, denoiser_depth=1),
    )  # fmt: skip
    notes = Notebook()
    heard, alone = (train_policy(PROBLEM, config, key=key, listener=listener) for listener in (notes, None))
    for ours, theirs in zip(*(jax.tree.leaves(run.policy) for run in (heard, alone)), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert notes.curves == {"policy": list(heard.curves)} and len(notes.scalings) == 1
    steps, found = zip(*notes.inferred, strict=True)
    assert steps[0] == 0 and steps[-1] == 400 and sorted(steps) == list(steps)
    assert all(one.states.shape == (4, PROBLEM.state_size) for one in found)
    # the worlds go on, and so does the network
    assert not np.array_equal(found[0].mean, found[-1].mean)
