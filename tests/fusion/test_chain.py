"""The gated chain: gates in closed form, the contract of rules, and what a team learns to pass on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.baselines.training import train_baseline
from composite_flow.errors import InputError
from composite_flow.fusion.chain import ChainNetwork, GatedChain, build_chain, chain_losses
from composite_flow.fusion.fuse import taking_part
from composite_flow.fusion.ideal import fuse_beliefs
from composite_flow.fusion.joint_steps import JointSteps

HISTORIES = jnp.array([[0.2, 0.7, 1.0, 0.0], [0.9, 0.1, 0.0, 1.0]])
MEAN = jnp.array([0.3, 0.5, 0.2])
SHUT, OPEN = -100.0, 100.0


@pytest.fixture
def network(key):
    built = ChainNetwork((jnp.zeros(4), jnp.ones(4)), MEAN, width=8, depth=2, key=key)
    return eqx.tree_at(lambda n: n.message_weights, built, jax.random.normal(key, (8, 3)))


def gated(network, bias):
    return eqx.tree_at(lambda n: n.gate_bias, network, jnp.broadcast_to(jnp.asarray(bias), (3,)))


def passed_once(network, histories, key, **options):
    return cf.reconstruct(
        network, histories, key=key, rule=GatedChain(network.prior_mean), num_samples=1, num_sweeps=1, **options
    )


def test_a_shut_gate_passes_the_message_on_and_an_open_one_replaces_it(network, key):
    rule, y = GatedChain(MEAN), jax.random.normal(key, (3,))
    context = network.condition(HISTORIES[0])
    m, _ = network.proposal(context, y)
    np.testing.assert_array_equal(rule.hop(gated(network, SHUT), context, y, None), y)
    np.testing.assert_allclose(rule.hop(gated(network, OPEN), context, y, jnp.ones(3)), m, rtol=1e-6)
    half = rule.hop(gated(network, 0.25), context, y, None)  # σ(4/4 − 1) = ½
    np.testing.assert_allclose(half, (y + m) / 2, rtol=1e-5)
    some = rule.hop(gated(network, [SHUT, SHUT, OPEN]), context, y, None)
    np.testing.assert_allclose(some, jnp.append(y[:2], m[2]), rtol=1e-6)


def test_the_proposal_reads_the_message_and_the_history_at_every_layer(network):
    y = jnp.array([1.0, -2.0, 0.5])
    history = np.asarray(HISTORIES[0], np.float64)
    first, second = np.split(history @ np.asarray(network.history_weights, np.float64), 2)
    hidden = np.maximum(np.asarray(y, np.float64) @ network.state_weights[0] + first, 0)
    hidden = np.maximum(hidden @ network.state_weights[1] + second, 0)
    found, gate = network.proposal(network.condition(HISTORIES[0]), y)
    np.testing.assert_allclose(found, hidden @ network.message_weights + MEAN, rtol=1e-5)
    np.testing.assert_allclose(gate, 1 / (1 + np.e), rtol=1e-6)  # σ(−1), before training


def test_the_contracts_of_rules_and_denoisers_are_kept(network, key):
    cf.check_rule(GatedChain(MEAN), network, HISTORIES, key)
    cf.check_denoiser(network, HISTORIES[0], key)


def test_an_agent_that_knows_nothing_changes_nothing(network, key):
    """The chain of a team is that of the agents whose gates are open; of nobody it is the prior's mean."""
    history_weights = network.history_weights.at[3].set(50.0)  # the second agent's units are large, and open its gates
    unread = tuple(jnp.zeros_like(weights) for weights in network.state_weights)
    opens = eqx.tree_at(
        lambda n: (n.history_weights, n.state_weights, n.gate_weights, n.gate_bias),
        network,
        (history_weights, unread, jnp.ones((8, 3)), jnp.full(3, -100.0)),
    )
    both, alone = (passed_once(opens, HISTORIES, key, order=order).state for order in ([1, 0], [1]))
    np.testing.assert_array_equal(both, alone)
    assert np.all(np.abs(alone - MEAN) > 1.0)
    np.testing.assert_array_equal(passed_once(opens, HISTORIES, key, participants=[0]).state, MEAN)


def test_the_loss_is_the_mean_over_the_hops_of_a_random_order(network, key):
    """With two agents it is that of one of two orders, and both are drawn."""
    state = jnp.array([1.0, 0.7, 0.6])

    def of_order(order):
        y, total = MEAN, 0.0
        for agent in order:
            y = network.denoise(network.condition(HISTORIES[agent]), y)
            total += float(jnp.sum((state - y) ** 2))
        return total / 2

    expected = sorted([of_order([0, 1]), of_order([1, 0])])
    losses = chain_losses(network, jnp.stack([HISTORIES] * 32), jnp.stack([state] * 32), key)
    near = np.argmin(np.abs(np.asarray(losses)[:, None] - np.asarray(expected)), axis=1)
    np.testing.assert_allclose(losses, np.asarray(expected)[near], rtol=1e-5)
    assert set(near) == {0, 1} and expected[1] - expected[0] > 1e-3


def test_its_estimates_are_not_certified(network, key):
    with pytest.raises(InputError, match="Definition 6 alone"):
        cf.certify(network, HISTORIES, passed_once(network, HISTORIES, key), radius=0.1)


@pytest.mark.slow
def test_a_team_passes_on_what_it_knows(key):
    """3×3 sensors, two targets: the exact state in any order, and near the exact belief where some are missing."""
    problem = cf.SensorNetwork.grid(3, 3, num_targets=2)
    train, _, test = cf.HistoryDataset(cf.collect(problem, 512, key=key)).split(key=key)
    settings = cf.TrainingConfig(batch=64, steps=400, learning_rate=4e-3, warmup=50, average=0.99, evaluate_every=400)
    untrained = build_chain(JointSteps(train), width=64, depth=2, key=key)
    trained = train_baseline(lambda _: untrained, JointSteps(train), settings, key=key, losses=chain_losses)
    network, joint = trained.last, test.joint(test.steps[:300])
    np.testing.assert_array_equal(network.prior_mean, untrained.prior_mean)

    def estimates(key, participants=None):
        options = {"num_samples": 1, "num_sweeps": 1, "participants": participants}
        rule = GatedChain(network.prior_mean)
        return cf.reconstruct_batch(network, joint.histories, key=key, rule=rule, **options).samples[:, 0]

    orders = jnp.stack([estimates(k) for k in jax.random.split(key, 3)])
    assert float(jnp.min(jnp.mean(cf.exact_states(orders, joint.states[None]), axis=1))) >= 0.98
    assert float(jnp.mean(jnp.std(orders, axis=0))) < 0.03
    whole, log_prior = cf.exact_belief(problem, joint.structured), jnp.log(problem.initial_probabilities())
    for some in ([4], [0, 4, 7]):
        team = jnp.asarray(taking_part(9, some))
        exact = jax.vmap(lambda each, team=team: fuse_beliefs(each, log_prior, team))(whole.log_probabilities)
        marginals = jnp.exp(exact) @ whole.states
        assert float(jnp.mean((estimates(key, some) - marginals) ** 2)) < 0.01
