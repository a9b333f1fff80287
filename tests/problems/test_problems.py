"""One contract, run over every problem."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import assert_contract

from composite_flow.errors import InputError
from composite_flow.problems import problem_from_description, problem_from_text

TEXTS = ["sensor:2x2,miss=0.5/0.5/0/0", "sensor:2x3,targets=2,miss=0.25,move=0.75", "tabular:xor", "tabular:tiger"]
COUNT = 4_000
# Five standard deviations of a share of COUNT draws are at most 0.04; a test looks at a few hundred shares.
FREQUENCY = 5 * 0.5 / np.sqrt(COUNT)


def hidden_state(problem, world):
    """The index of a world's hidden state."""
    if hasattr(world, "index"):
        return int(world.index)
    return int(jnp.argmax(jnp.all(problem.states() == problem.state(world)[None, :], axis=1)))


@pytest.mark.parametrize("text", TEXTS)
def test_problem_keeps_the_contract(text, key):
    problem = problem_from_text(text)
    world, actions, (states, rewards, ends, views) = assert_contract(problem, key, COUNT)
    assert problem.states().shape == (problem.num_states, problem.state_size)
    assert float(jnp.ptp(rewards)) == 0.0 and not bool(jnp.any(ends))

    index, listed = hidden_state(problem, world), problem.states()
    for chances in (problem.initial_probabilities(), problem.transition_probabilities(actions)[index]):
        # A float32 sum of up to 40 probabilities.
        assert float(jnp.sum(chances)) == pytest.approx(1.0, abs=1e-5) and float(jnp.min(chances)) >= 0
    # Hidden states may share features, so both sides are summed per distinct state.
    distinct, labels = np.unique(listed, axis=0, return_inverse=True)
    expected = np.bincount(labels.ravel(), np.asarray(problem.transition_probabilities(actions)[index]))
    shares = [float(jnp.mean(jnp.all(states == row[None, :], axis=1).astype(jnp.float32))) for row in distinct]
    np.testing.assert_allclose(shares, expected, atol=FREQUENCY)

    kinds, counts = np.unique(np.asarray(views), axis=0, return_counts=True)
    likely = jnp.exp(jax.vmap(problem.joint_log_likelihood)(jnp.asarray(kinds))[:, index])
    np.testing.assert_allclose(counts / COUNT, likely, atol=FREQUENCY)
    own = jnp.exp(jax.vmap(lambda view: problem.log_likelihood(jnp.array(1), view))(jnp.asarray(kinds[:, 1]))[:, index])
    matches = [np.mean(np.all(np.asarray(views)[:, 1] == view, axis=1)) for view in kinds[:, 1]]
    np.testing.assert_allclose(matches, own, atol=FREQUENCY)


@pytest.mark.parametrize("text", [*TEXTS, "sensor:5x5,targets=2,steps=7,reward=2,cost=0.5", "tabular:xor,steps=3"])
def test_description_rebuilds_the_problem(text):
    problem = problem_from_text(text)
    rebuilt = problem_from_description(json.loads(json.dumps(problem.description)))
    assert type(rebuilt) is type(problem) and rebuilt.description == problem.description
    assert eqx.tree_equal(rebuilt, problem)


@pytest.mark.parametrize("text", TEXTS)
def test_episodes_end_after_their_steps(text, key):
    problem = problem_from_text(f"{text},steps=2")
    world, actions = problem.reset(key), jnp.zeros(problem.num_agents, jnp.int32)
    world, _, first = problem.step(key, world, actions)
    assert not bool(first) and bool(problem.step(key, world, actions)[2])


def test_two_by_two_is_the_papers():
    assert problem_from_text("sensor:2x2").description["areas"] == [[0, 1], [0, 2], [2, 3], [1, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chess", "sensor:ROWSxCOLUMNS, tabular:tiger, tabular:xor, FILE.dpomdp, .*smax:SCENARIO, or MODULE:FACTORY"),
        ("tabular:chess", "there are tiger, xor"),
        ("sensor:5", "write sensor:ROWSxCOLUMNS"),
        ("sensor:5x-5", "write sensor:ROWSxCOLUMNS"),
        ("sensor:5x5,colour=3", "unknown option 'colour': there are targets"),
        ("sensor:5x5,targets=many", "number after 'targets='"),
        ("sensor:5x5,targets=0", "at least one target"),
        ("sensor:5x5,move=nan", "finite"),
        ("", "There is no problem ''"),
    ],
)
def test_unknown_texts_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        problem_from_text(text)


def test_foreign_descriptions_are_refused():
    with pytest.raises(InputError, match="no kind of problem 'chess'"):
        problem_from_description({"kind": "chess"})
    with pytest.raises(InputError, match="damaged"):
        problem_from_description({"kind": "sensor", "num_agents": 2})
