"""What is measured while a run trains, where the exact joint mean is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.belief import BeliefModel
from composite_flow.data import HistoryDataset, collect
from composite_flow.data.run_split import choose_steps
from composite_flow.fusion.answers import Answer, Answers, Prior, prior_of
from composite_flow.fusion.features import find_types
from composite_flow.fusion.ideal import IdealAnswers
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.watch import exact_watch


class Silent(Answers):
    """Agents who say nothing, so that the fused mean is the prior's."""

    prior: Prior

    def condition(self, history):
        return history

    def answer(self, context):
        nothing = jnp.zeros_like(self.prior.mean)
        return Answer(nothing, nothing, nothing, jnp.zeros(0))


@pytest.fixture(scope="module")
def sensors():
    """Four sensors that overlook nothing: all of them know where the target is."""
    problem = SensorNetwork.grid(2, 2, num_targets=1, num_steps=4)
    parts = HistoryDataset(collect(problem, 40, key=jax.random.key(1))).split(key=jax.random.key(2))
    return problem, *parts


def test_silence_is_as_far_from_the_exact_mean_as_the_prior_and_ideal_answers_are_there(sensors):
    problem, train, validation, _ = sensors
    watch = exact_watch(problem.description, train, validation)
    states = np.asarray(train.joint(np.asarray(train.steps)).states)
    prior = prior_of(states, find_types(states))
    truth = np.asarray(validation.joint(choose_steps(validation, 128, seed=0)).states)
    around = np.mean(np.sum((truth - states.mean(axis=0)) ** 2, axis=1))
    assert watch(Silent(prior), 0)["excess_fusion"] == pytest.approx(around, rel=1e-3)
    start = train.state_frequencies(problem.states())
    ideal = IdealAnswers(BeliefModel(problem, train.layout, start=start), prior)
    assert watch(ideal, 0)["excess_fusion"] < 1e-3


def test_where_states_cannot_be_listed_nothing_is_watched(sensors):
    problem, train, validation, _ = sensors
    assert exact_watch({"kind": "vault"}, train, validation) is None
    longer = HistoryDataset(collect(problem, 4, key=jax.random.key(1)), length=2)
    assert exact_watch(problem.description, longer, longer) is None
