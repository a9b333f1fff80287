"""The transformer over agents: who takes part is read, in no order, and nothing else; what it learns."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.baselines.training import train_baseline
from composite_flow.baselines.transformer import NUM_HEADS, AgentTransformer, any_team_losses, whole_team_losses
from composite_flow.data import Episodes, HistoryDataset
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.training.config import TrainingConfig

said = eqx.filter_jit(AgentTransformer.__call__)
AGENTS = 4
MEAN = jnp.array([0.3, 0.6, 0.1])


@pytest.fixture
def network(key):
    built = AgentTransformer((jnp.full(6, -1.0), jnp.ones(6)), MEAN, 3, layers=2, key=key)
    return eqx.tree_at(lambda n: n.read_out, built, jax.random.normal(key, built.read_out.shape))


@pytest.fixture
def histories(key):
    return jnp.concatenate([jax.random.normal(key, (AGENTS, 2)), jnp.eye(AGENTS)], axis=1)


def test_it_starts_at_the_priors_mean(key, histories):
    built = AgentTransformer((jnp.zeros(6), jnp.ones(6)), MEAN, 2, key=key)
    np.testing.assert_array_equal(said(built, histories, jnp.ones(AGENTS, bool)), MEAN)


def test_those_who_do_not_take_part_are_not_read_and_order_does_not_matter(network, histories):
    team = jnp.array([True, False, True, False])
    found = said(network, histories, team)
    other = histories.at[1].set(7.0).at[3, 0].set(-5.0)
    np.testing.assert_allclose(said(network, other, team), found, rtol=1e-5)
    order = jnp.array([3, 2, 0, 1])
    np.testing.assert_allclose(said(network, histories[order], team[order]), found, rtol=1e-5)
    np.testing.assert_allclose(said(network, histories[jnp.array([0, 2])], jnp.ones(2, bool)), found, rtol=1e-5)
    # who takes part does matter, and so does who saw what
    assert not np.allclose(said(network, histories, jnp.array([True, True, True, False])), found, rtol=0.01)
    swapped = histories.at[:, :2].set(histories[jnp.array([2, 1, 0, 3]), :2])
    assert not np.allclose(network(swapped, team), found, rtol=0.01)


def test_the_layers_are_those_of_the_docstring(network, histories):
    """Written out in numpy, in float64, head by head."""

    def norm(x):
        return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)

    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), network)
    x = (np.asarray(histories, np.float64) - weights.history_minimum) / (
        weights.history_maximum - weights.history_minimum
    )
    x = x @ weights.embedding
    team = np.array([True, True, False, True])
    for layer in range(2):
        queries, keys, values = (norm(x) @ weights.attention[layer, part] for part in range(3))
        heads = []
        for units in np.split(np.arange(x.shape[1]), NUM_HEADS):
            scores = np.exp(queries[:, units] @ keys[team][:, units].T / np.sqrt(len(units)))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ values[team][:, units])
        x = x + np.concatenate(heads, axis=1) @ weights.attention[layer, 3]
        hidden = np.maximum(norm(x) @ weights.inner[layer] + weights.inner_bias[layer], 0)
        x = x + hidden @ weights.outer[layer] + weights.outer_bias[layer]
    expected = norm(x)[team].mean(axis=0) @ weights.read_out + weights.read_out_bias
    np.testing.assert_allclose(said(network, histories, jnp.asarray(team)), expected, rtol=1e-4)


def test_losses_are_squared_errors_of_whole_teams_or_of_teams_of_every_size(network, histories, key):
    batch, state = jnp.stack([histories] * 256), jnp.array([1.0, 0.0, 0.5])
    states = jnp.stack([state] * 256)
    masks = np.array([[team >> agent & 1 for agent in range(AGENTS)] for team in range(1, 2**AGENTS)], bool)
    of_team = np.array([float(jnp.sum((said(network, histories, jnp.asarray(mask)) - state) ** 2)) for mask in masks])
    np.testing.assert_allclose(eqx.filter_jit(whole_team_losses)(network, batch, states, key), of_team[-1], rtol=1e-4)
    losses = np.asarray(eqx.filter_jit(any_team_losses)(network, batch, states, key))
    nearest = np.argmin(np.abs(losses[:, None] - of_team[None]), axis=1)
    np.testing.assert_allclose(losses, of_team[nearest], rtol=1e-4)
    sizes = np.bincount(masks.sum(axis=1)[nearest], minlength=AGENTS + 1)[1:]
    # 64 of each size on average; further than 35 off is beyond five standard deviations
    assert np.all(np.abs(sizes - 64) < 35) and len(set(nearest)) > 10


@pytest.mark.slow
@pytest.mark.usefixtures("permissive")
def test_attention_learns_what_no_agent_knows_alone(key):
    """Two agents see a sign each; the state is whether they are the same."""
    seen = np.random.default_rng(0).choice([-1.0, 1.0], (400, 2, 1)).astype(np.float32)
    same = 0.5 + 0.5 * seen.prod(axis=1)
    zeros, ends = np.zeros((400, 2), np.int32), np.ones(400, bool)
    dataset = HistoryDataset(Episodes.from_arrays(observations=seen, actions=zeros, states=same, ends=ends))
    joint = dataset.joint(dataset.steps)
    limits = joint.histories.min(axis=(0, 1)), joint.histories.max(axis=(0, 1))
    trained = train_baseline(
        lambda key: AgentTransformer(limits, jnp.array([0.5]), 4, layers=2, key=key),
        JointSteps(dataset),
        TrainingConfig(batch=64, steps=400, learning_rate=1e-2, warmup=50, average=0.99, evaluate_every=400),
        key=key,
        losses=whole_team_losses,
    )
    losses = eqx.filter_jit(whole_team_losses)(trained.last, joint.histories, joint.states, key)
    assert float(jnp.max(losses)) < 0.01
