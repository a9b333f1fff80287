"""What an answer reveals of a history, beside the exact share where state, histories and answers are Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.analysis.revealed import NetworkSettings, history_parts, revealed, sent_values
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.ideal import LinearGaussianAnswers
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.history import HistoryLayout

NUMBERS = FeatureTypes((), (), 2)
# the first agent sees one direction of the state, the second both; each of them by three numbers
MAPS = np.array([[[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
VARIANCES = np.array([[0.2, 1.0, 3.0], [0.5, 0.1, 1.0]])  # of their noise
TAKEN_FOR = np.ones((2, 3))  # what agents take it for, so that answers are not sufficient for the state
PRIOR_VARIANCE = np.array([1.0, 0.5])
QUICK = NetworkSettings(width=32, depth=2, batch=256, blocks=6)


def team():
    prior = Prior(jnp.array([0.5, -1.0]), jnp.asarray(1.0 / PRIOR_VARIANCE, jnp.float32), NUMBERS)
    precisions = jnp.stack([jnp.diag(1.0 / jnp.asarray(variances, jnp.float32)) for variances in TAKEN_FOR])
    return LinearGaussianAnswers(prior, jnp.asarray(MAPS, jnp.float32), precisions)


def steps(seed, number):
    generator = np.random.default_rng(seed)
    states = np.array([0.5, -1.0]) + PRIOR_VARIANCE**0.5 * generator.normal(size=(number, 2))
    seen = np.einsum("aos,ts->tao", MAPS, states) + VARIANCES**0.5 * generator.normal(size=(number, 2, 3))
    histories = np.concatenate([seen, np.broadcast_to(np.eye(2), (number, 2, 2))], axis=-1)
    return jnp.asarray(histories, jnp.float32), jnp.asarray(states, jnp.float32)


def exact_shares():
    """R² of E[o | source]: the variance that is explained over the whole, each summed over agents and columns."""
    explained, whole = dict.fromkeys(("state", "answer", "both"), 0.0), 0.0
    for observes, variances, taken_for in zip(MAPS, VARIANCES, TAKEN_FOR, strict=True):
        noise, signal = np.diag(variances), observes @ np.diag(PRIOR_VARIANCE) @ observes.T
        said = observes.T @ np.diag(1.0 / taken_for)

        def told(covariance, said=said):
            """Of Gaussian numbers of this covariance, by what is said of them."""
            gain = covariance @ said.T @ np.linalg.pinv(said @ covariance @ said.T)
            return np.trace(gain @ said @ covariance)

        explained["state"] += np.trace(signal)
        explained["answer"] += told(signal + noise)
        explained["both"] += np.trace(signal) + told(noise)
        whole += np.trace(signal + noise)
    return {source: value / whole for source, value in explained.items()}


def test_gaussian_histories_are_told_as_well_as_they_can_be(key):
    parts = {"all": slice(0, 3), "first": slice(0, 1)}
    found = revealed(team(), steps(0, 4000), steps(1, 4000), parts, key=key, settings=QUICK)
    exact = exact_shares()
    assert 0.1 < exact["state"] < exact["answer"] - 0.04 < exact["both"] - 0.08 < 0.8, exact  # three cases that differ
    for source, share in exact.items():
        # the standard error of R² on 4,000 steps of two agents is below 0.01
        assert found["all"].ridge[source] == pytest.approx(share, abs=0.025)
        assert share - 0.05 < found["all"].network[source] < share + 0.025
    assert found["all"].columns == 3 and found["first"].columns == 1
    assert found["first"].ridge["state"] > found["all"].ridge["state"] + 0.02


def test_what_is_sent_does_not_grow_with_its_weight(key):
    """Means, logarithms of weights and precisions, log-odds, and free numbers."""
    prior = Prior(jnp.array([0.5, 0.3]), jnp.array([4.0, 1.0]), FeatureTypes((1,), (), 2))
    limits = jnp.zeros(4), jnp.ones(4)
    usual = jnp.concatenate([jnp.full((2, 2), 0.5), jnp.eye(2)], axis=1)
    network = AnswerNetwork(usual, limits, prior, 8, 2, 3, key=key)
    network = jax.tree.map(lambda leaf: leaf + 0.3 if leaf.ndim == 2 and leaf.shape[0] == 8 else leaf, network)
    histories = usual[None] + 0.1
    said = network.answer_each(histories[0])
    found = sent_values(network, histories)[0]
    expected = [
        said.evidence[:, :1] / said.weight[:, :1],
        said.evidence[:, 1:],
        *map(jnp.log, (said.weight[:, :1], said.precision[:, :1])),
    ]
    np.testing.assert_allclose(found, jnp.concatenate([*expected, said.free], axis=1), rtol=1e-4)


def test_parts_of_a_history():
    layout = HistoryLayout(length=3, observation_size=4, num_actions=2, num_agents=2)
    assert history_parts(layout) == {
        "last observation": slice(8, 12),
        "observations before": slice(0, 8),
        "actions": slice(12, 16),
    }
    assert list(history_parts(HistoryLayout(1, 4, 2, 2))) == ["last observation"]


def test_what_cannot_be_measured_is_refused(key):
    few, enough = steps(0, 9), steps(0, 20)
    with pytest.raises(InputError, match="at least 10 training steps, not 9"):
        revealed(team(), few, enough, {"all": slice(0, 3)}, key=key)
    with pytest.raises(InputError, match="Nothing varies in the part 'who'"):
        revealed(team(), enough, enough, {"all": slice(0, 3), "who": slice(3, 5)}, key=key)
