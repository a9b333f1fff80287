"""A learned information filter: answers add up to what was predicted, for any subset of the team, in any order.

    predict    ŝ' = ŝ + m,   1/Λ' = g/Λ + q,   1/P' likewise                                   of numbers
               ŝ' = ŝ + m within [0, 1], normalised within groups                               of other features
    hear       Λ = Λ' + Σ λ_i,   ŝ = (Λ' ŝ' + Σ λ_i μ_i)/Λ,   P = P' + Σ ρ_i                     of numbers
               logit ŝ = logit ŝ' + Σ l_i                                                       of other features

m, g and q are a network's of what is known; answers are read beside what was predicted, which everybody knows. With
m linear, g and q constant, and answers that hold information vectors, this is the information filter of linear-Gaussian
teams, exactly where its matrices are diagonal.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Answer, Prior, logits_of
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.loss import draw_teams
from composite_flow.fusion.network import LARGEST_EXPONENT
from composite_flow.fusion.over_time.carried import Carried, TeamFilter
from composite_flow.fusion.over_time.reader import Reader, in_numbers, size_in_numbers
from composite_flow.network import uniform_weights


class Speaker(eqx.Module):
    """The contract of whoever answers beside what is known."""

    @abstractmethod
    def answer_each(self, histories: Float[Array, "agents history"], predicted: Carried) -> Answer:
        """The answers of the whole team, in terms that add up to what was predicted: evidence is λ_i (μ_i − ŝ')."""


class Predictor(eqx.Module):
    """The contract of whoever predicts what is known one step ahead."""

    @abstractmethod
    def predict(self, carried: Carried) -> Carried:
        """What was known at one step, of the next one."""


class ProductFilter(TeamFilter):
    """Speakers, and a predictor.

    Attributes:
        speaker: what agents answer.
        predictor: of the next step.
        prior: of the training states; its mean, with which an episode begins, is trained further.
    """

    speaker: Speaker
    predictor: Predictor
    prior: Prior

    @property
    def values_sent(self) -> int:
        """Numbers in an answer."""
        return self.prior.types.values_sent

    def predict(self, carried: Carried) -> Carried:
        """What the predictor says."""
        return self.predictor.predict(carried)

    def hear(
        self,
        predicted: Carried,
        histories: Float[Array, "agents history"],
        participants: Bool[Array, " agents"],
        key: PRNGKeyArray,
    ) -> tuple[Carried, Carried]:
        """All participants' answers added up; training learns from random teams of them."""
        answers = self.speaker.answer_each(histories, predicted)
        teams = draw_teams(key, len(histories)) & participants[None]
        sums = jax.tree.map(lambda part: teams.astype(part.dtype) @ part, answers)
        total = jax.tree.map(lambda part: participants.astype(part.dtype) @ part, answers)
        types = self.prior.types
        return added(predicted, total, types), jax.vmap(lambda each: added(predicted, each, types))(sums)


def added(predicted: Carried, total: Answer, types: FeatureTypes) -> Carried:
    """What is known once these answers are added to what was predicted."""
    numbers = jnp.asarray(types.is_number)
    weight, precision = predicted.weight + total.weight, predicted.precision + total.precision
    mean = predicted.mean + total.evidence / jnp.where(numbers, weight, 1.0)
    others = types.probabilities(logits_of(predicted.mean, types) + total.evidence)
    return Carried(jnp.where(numbers, mean, others), weight, precision)


class SpeakerNetwork(Speaker):
    """Answers that training fits, read beside what was predicted.

    Attributes:
        reader: the hidden layers.
        evidence_weights: of μ − ŝ' for numbers, of l for other features.
        sureness_weights, sureness_bias: of ¼ log λ/P_0 and ¼ log ρ/P_0, side by side.
        prior: of the training states; not trained.
    """

    reader: Reader
    evidence_weights: Float[Array, "width state"]
    sureness_weights: Float[Array, "width two_state"]
    sureness_bias: Float[Array, " two_state"]
    prior: Prior

    def __init__(self, reader: Reader, prior: Prior):
        """Answers say nothing at first."""
        size = len(prior.mean)
        self.reader, self.prior = reader, prior
        self.evidence_weights = jnp.zeros((reader.width, size))
        self.sureness_weights, self.sureness_bias = jnp.zeros((reader.width, 2 * size)), jnp.zeros(2 * size)

    def answer_each(self, histories: Float[Array, "agents history"], predicted: Carried) -> Answer:
        """λ_i (μ_i − ŝ') or l_i, λ_i and ρ_i of every agent."""
        known, prior = in_numbers(predicted, self.prior), jax.lax.stop_gradient(self.prior)
        numbers = jnp.asarray(prior.types.is_number)

        def answer(history):
            x = self.reader.read(self.reader.condition(history), known)
            exponent = jnp.clip(
                4.0 * (x @ self.sureness_weights + self.sureness_bias), -LARGEST_EXPONENT, LARGEST_EXPONENT
            )
            weight, precision = jnp.where(numbers[None], prior.precision[None] * jnp.exp(exponent.reshape(2, -1)), 0.0)
            said = x @ self.evidence_weights
            return Answer(jnp.where(numbers, weight * said, said), weight, precision, jnp.zeros(0))

        return jax.vmap(answer)(histories)


class PredictorNetwork(Predictor):
    """A prediction that training fits; at first it leaves means as they are, and makes them a little less sure.

    Attributes:
        weights, biases: of the hidden layers and of the output.
        prior: of the training states; not trained.
    """

    weights: tuple[Float[Array, "inputs outputs"], ...]
    biases: tuple[Float[Array, " outputs"], ...]
    prior: Prior

    def __init__(self, prior: Prior, width: int = 128, depth: int = 2, *, key: PRNGKeyArray):
        """Draw the hidden weights; those of the output are 0."""
        size = len(prior.mean)
        sizes = [size_in_numbers(prior), *[width] * depth]
        keys = jax.random.split(key, depth)
        hidden = [uniform_weights(k, shape) for k, shape in zip(keys, zip(sizes, sizes[1:], strict=False), strict=True)]
        self.weights = (*hidden, jnp.zeros((width, 5 * size)))
        self.biases = (
            *(jnp.zeros(width) for _ in hidden),
            jnp.concatenate([jnp.zeros(3 * size), jnp.full(2 * size, -4.0)]),
        )
        self.prior = prior

    def predict(self, carried: Carried) -> Carried:
        """Means moved, and variances widened."""
        prior, x = jax.lax.stop_gradient(self.prior), in_numbers(carried, self.prior)
        numbers = jnp.asarray(prior.types.is_number)
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = jax.nn.relu(x @ weights + bias)
        move, *variances = (x @ self.weights[-1] + self.biases[-1]).reshape(5, -1)
        gains, noises = variances[:2], variances[2:]

        def widened(precision, gain, noise):
            variance = jnp.exp(gain) / jnp.where(numbers, precision, 1.0) + jnp.exp(noise) / prior.precision
            return jnp.where(numbers, 1.0 / variance, 0.0)

        weight = widened(carried.weight, gains[0], noises[0])
        precision = widened(carried.precision, gains[1], noises[1])
        others = prior.types.probabilities(logits_of(carried.mean, prior.types) + move)
        return Carried(jnp.where(numbers, carried.mean + move, others), weight, precision)
