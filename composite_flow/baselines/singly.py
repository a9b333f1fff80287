"""Agents trained singly, each by its own error alone, and three ways to combine afterwards what they say.

Each agent's answer is that of fusion for a team of one: a mean m_i and a precision P_i of each feature, given its own
history. Nobody has learned what to leave to others. Their answers are combined as

    product         Σ P_i m_i − (n − 1) P_0 s̄  over  Σ P_i − (n − 1) P_0;   log-odds of binary features add
    intersection    Σ w_i P_i m_i / Σ w_i P_i,   Σ w_i = 1
    mean            Σ m_i / n

The product is Bayes' rule where histories are independent given the state, feature by feature. Covariance intersection
(Julier and Uhlmann 1997) holds for any correlation of the agents' errors, at the price of confidence. Its weights here
are those that the literature usually takes: they minimise the determinant of the fused covariance, which is diagonal,

    w = argmax Σ_k log Σ_i w_i P_ik                                                       (one w for all features)

With weights for each feature by itself, the same criterion takes the most certain agent of each feature. For binary
features 1/P is the variance of the claimed probability: intersection knows first and second moments alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.fusion.answers import SMALLEST_VARIANCE, Answer, Answers, Prior
from composite_flow.fusion.loss import team_losses
from composite_flow.fusion.posterior import posterior

_ITERATIONS = 100  # of the weights; each raises the criterion


def single_losses(
    answers: Answers,
    histories: Float[Array, "batch agents columns"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """Fusion's loss of each agent by itself, averaged over the agents of each step; nothing is drawn."""

    def of_step(each, state):
        return jnp.mean(team_losses(answers.prior, answers.answer_each(each), state))

    return jax.vmap(of_step)(histories, states)


def own_estimates(prior: Prior, each: Answer) -> tuple[Float[Array, "agents state"], Float[Array, "agents state"]]:
    """Mean and precision of each feature by each agent alone."""
    means, variances = jax.vmap(lambda one: posterior(prior, one))(each)
    return means, 1.0 / jnp.maximum(variances, SMALLEST_VARIANCE)


def as_product(prior: Prior, each: Answer) -> Answer:
    """The same answers with the precision of the claim as weight, so that their sum is the product of what they say.

    A team of one does not learn its weight: its mean depends on η and λ by one ratio alone.
    """
    ratio = (prior.precision[None] + each.precision) / (prior.precision[None] + each.weight)
    evidence = jnp.where(jnp.asarray(prior.types.is_number)[None], each.evidence * ratio, each.evidence)
    return Answer(evidence, each.precision, each.precision, each.free)


def intersection_weights(precisions: Float[Array, "agents state"]) -> Float[Array, " agents"]:
    """w that minimises the determinant of the intersection's covariance, for diagonal covariances.

    The criterion Σ_k log Σ_i w_i P_ik is concave, and each step w_i ← w_i · mean_k P_ik / Σ_j w_j P_jk raises it: it is
    the expectation-maximisation of a mixture's shares.
    """

    def step(_, weights):
        return weights * jnp.mean(precisions / (weights @ precisions)[None], axis=1)

    equal = jnp.full(len(precisions), 1.0 / len(precisions))
    return jax.lax.fori_loop(0, _ITERATIONS, step, equal)


def covariance_intersection(
    means: Float[Array, "agents state"], precisions: Float[Array, "agents state"]
) -> tuple[Float[Array, " state"], Float[Array, " state"]]:
    """Mean and precision of the intersection, with one weight for all features of an agent.

    Reference: Julier and Uhlmann 1997, with diagonal covariances.
    """
    weighted = intersection_weights(precisions)[:, None] * precisions
    precision = jnp.sum(weighted, axis=0)
    return jnp.sum(weighted * means, axis=0) / precision, precision


def most_certain(
    means: Float[Array, "agents state"], precisions: Float[Array, "agents state"]
) -> Float[Array, " state"]:
    """Of each feature the mean of the agent that is surest of it."""
    return jnp.take_along_axis(means, jnp.argmax(precisions, axis=0)[None], axis=0)[0]
