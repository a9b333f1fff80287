"""The product is an information filter and, with whole beliefs as answers, the exact filter of a problem."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.over_time import Carried, build_filter, follow
from composite_flow.fusion.over_time.product import Predictor, ProductFilter, Speaker

# --- linear-Gaussian teams

MOTION, NOISE = np.array([0.9, 1.0, 0.7]), np.array([0.02, 0.05, 0.1])  # s' = a s + w, diagonal
SEEN, ERROR = np.array([[1.0, 0.5, 0.0], [0.0, 2.0, 1.0]]), 0.04  # two agents; what is 0 is not seen


def by_hand(prior):
    """A product whose weights are set so that it computes the information filter of this team.

    A linear function of x passes ReLU layers as relu(x) − relu(−x).
    """
    numbers, agents = 3, 2
    limits = jnp.zeros(numbers + agents + 1), jnp.ones(numbers + agents + 1)
    found = build_filter("product", limits, prior, width=2 * (2 * numbers), depth=1, key=jax.random.key(0))
    both = lambda matrix: np.concatenate([matrix, -matrix], axis=1)  # noqa: E731
    # a speaker reads o − ŝ' feature by feature, as the observation is scaled to the state already
    history, known = np.zeros((numbers + agents + 1, 2 * numbers)), np.zeros((2 * numbers, 2 * numbers))
    history[:numbers], known[:numbers, :numbers] = np.eye(numbers, 2 * numbers), -np.eye(numbers)
    evidence = np.eye(4 * numbers, numbers) - np.eye(4 * numbers, numbers, k=-2 * numbers)
    speaker = found.speaker
    speaker = eqx.tree_at(
        lambda s: (s.reader.history_weights, s.reader.known_weights, s.evidence_weights),
        speaker,
        (
            jnp.array(both(history), jnp.float32),
            (jnp.array(both(known), jnp.float32),),
            jnp.array(evidence, jnp.float32),
        ),
    )
    # a predictor moves means by (a − 1) ŝ through two layers, g = a² and q are constants
    first = both(np.eye(2 * numbers, 2 * numbers))
    move = np.concatenate([np.diag(MOTION - 1), np.zeros((numbers, numbers))])
    move = np.concatenate([move, -move])
    output = np.concatenate([move, np.zeros((4 * numbers, 4 * numbers))], axis=1)
    gains, noises = np.log(MOTION**2), np.log(NOISE * np.asarray(prior.precision))
    bias = np.concatenate([np.zeros(numbers), gains, gains, noises, noises])
    predictor = eqx.tree_at(
        lambda p: (p.weights, p.biases),
        found.predictor,
        (
            tuple(jnp.array(w, jnp.float32) for w in (first, np.eye(4 * numbers), output)),
            (*found.predictor.biases[:2], jnp.array(bias, jnp.float32)),
        ),
    )
    return ProductFilter(speaker=speaker, predictor=predictor, prior=prior)


class Known(Speaker):
    """Answers of agents whose precisions c²/r differ, which a bias of one shared network cannot say."""

    speaker: Speaker
    precision: jax.Array

    def answer_each(self, histories, predicted):
        said = self.speaker.answer_each(histories, predicted)
        deviation = said.evidence / said.weight
        return Answer(self.precision * deviation, self.precision, self.precision, said.free)


def test_the_product_is_the_information_filter_of_linear_gaussian_teams():
    """Held against the joint Kalman filter, which stacks all that is measured in a step, in NumPy and float64."""
    random, steps = np.random.default_rng(0), 12
    mean, variance = np.array([0.4, 0.5, 0.6]), np.array([0.3, 0.2, 0.4])
    types = FeatureTypes((), (), 3)
    prior = Prior(jnp.array(mean, jnp.float32), jnp.array(1 / variance, jnp.float32), types)
    observed = random.normal(0.5, 0.5, size=(steps, 2, 3))
    heard = random.random((steps, 2)) < 0.7
    information = SEEN**2 / ERROR
    m, covariance, expected = mean, np.diag(variance), []
    for t in range(steps):
        if t:
            m, covariance = MOTION * m, np.diag(MOTION) @ covariance @ np.diag(MOTION) + np.diag(NOISE)
        matrix = np.concatenate([np.zeros((0, 3)), *(np.diag(row) for row in SEEN[heard[t]])])
        innovation = observed[t, heard[t]].reshape(-1) - matrix @ m
        gain = covariance @ matrix.T @ np.linalg.inv(matrix @ covariance @ matrix.T + ERROR * np.eye(len(matrix)))
        m, covariance = m + gain @ innovation, covariance - gain @ matrix @ covariance
        expected.append((m, 1 / np.diag(covariance)))
    found = by_hand(prior)
    found = ProductFilter(
        speaker=Known(found.speaker, jnp.array(information, jnp.float32)), predictor=found.predictor, prior=prior
    )
    scaled = np.divide(observed, SEEN[None], out=np.zeros_like(observed), where=SEEN[None] > 0)
    histories = np.concatenate([scaled, np.ones((steps, 2, 1)), np.tile(np.eye(2), (steps, 1, 1))], axis=2)
    first = jnp.arange(steps) == 0
    known = follow(found, jnp.array(histories, jnp.float32), jnp.array(heard), first, found.initial, jax.random.key(0))[
        0
    ]
    np.testing.assert_allclose(known.mean, [m for m, _ in expected], atol=2e-5)  # float32 over twelve steps
    np.testing.assert_allclose(known.precision, [p for _, p in expected], rtol=2e-5)
    np.testing.assert_allclose(known.weight, known.precision, rtol=1e-5)


# --- whole beliefs


class Moves(Predictor):
    """p' = Tᵀ p: exact where motion does not depend on actions."""

    transitions: jax.Array

    def predict(self, carried):
        return Carried(self.transitions.T @ carried.mean, carried.weight, carried.precision)


class WholeBeliefs(Speaker):
    """log p(o_i | s) of every state: what an agent's belief adds to the prior, with histories of one step."""

    problem: cf.SensorNetwork

    def answer_each(self, histories, predicted):
        agents, size = jnp.arange(len(histories)), self.problem.observation_size
        told = jax.vmap(lambda agent, history: self.problem.log_likelihood(agent, history[:size]))(agents, histories)
        nothing = jnp.zeros_like(told)
        return Answer(jnp.maximum(told, -60.0), nothing, nothing, nothing[:, :0])


@pytest.mark.parametrize("name", ["sensor:2x2,targets=1,miss=0.4,steps=6", "sensor:2x2,targets=2,miss=0.3,steps=6"])
def test_with_whole_beliefs_and_the_exact_predictor_it_is_the_exact_filter(name, key):
    problem = cf.problem_from_text(name)
    episodes = cf.collect(problem, 8, key=key)
    size = problem.num_states
    prior = Prior(problem.initial_probabilities(), jnp.ones(size), FeatureTypes((), ((0, size),), size))
    moves = Moves(problem.transition_probabilities(jnp.zeros(problem.num_agents, jnp.int32)))
    team_filter = ProductFilter(speaker=WholeBeliefs(problem), predictor=moves, prior=prior)
    whole = cf.HistoryDataset(episodes, 6).joint(np.arange(episodes.num_steps))
    belief = cf.exact_belief(problem, whole.structured, joint=True)
    now = cf.HistoryDataset(episodes, 1).joint(np.arange(episodes.num_steps)).histories
    first = jnp.asarray(np.arange(episodes.num_steps) % 6 == 0)
    heard = jnp.ones(now.shape[:2], bool)
    found = follow(team_filter, now, heard, first, team_filter.initial, key)[0].mean
    features, places = np.unique(np.asarray(problem.states()), axis=0, return_inverse=True)
    summed = np.zeros((len(found), len(features)))
    np.add.at(summed, (slice(None), places.reshape(-1)), np.asarray(found))
    order = [int(np.flatnonzero((features == np.asarray(state)).all(axis=1))[0]) for state in belief.states]
    np.testing.assert_allclose(summed[:, order], belief.probabilities, atol=2e-5)
