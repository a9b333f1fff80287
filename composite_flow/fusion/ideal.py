"""Exact counterparts of learned answers: what sums can carry at best, and where they lose nothing.

`IdealAnswers` says each feature's exact marginal posterior of one agent. Sums of them are exact where histories and
features are independent given the state and the prior is a product; otherwise they lose what features have to do with
each other. `fuse_beliefs` adds up whole beliefs,

    log p(s | τ_A) = Σ_{i ∈ A} log p(s | τ_i) − (|A| − 1) log p(s) + constant,

which is exact where histories are independent given the *current* state, as with one observation each (H = 1); it costs
a number for each state. `LinearGaussianAnswers` are exact where the information matrices H_iᵀ R_i⁻¹ H_i are diagonal:
fusion is then the update of an information filter.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from composite_flow.denoiser import StateBelief
from composite_flow.fusion.answers import SMALLEST_VARIANCE, Answer, Answers, Prior


class IdealAnswers(Answers):
    """Each feature's exact marginal, from the exact belief p(s | τ_i) over finitely many states.

    Numbers: μ and 1/(λ + P_0) are the marginal's mean and variance, ρ = λ. Probabilities are kept 1e-6 away from 0 and
    1, and variances above 1e-6, so that what is certain stays finite.

    Attributes:
        belief: the exact belief of one agent.
        prior: of the same states.
    """

    belief: StateBelief
    prior: Prior

    def condition(self, history: Float[Array, " history"]) -> Float[Array, " states"]:
        """log p(s | τ), up to a constant."""
        return self.belief(self.belief.layout.decode(history))

    def answer(self, context: Float[Array, " states"]) -> Answer:
        """The marginals, less what the prior says already."""
        probabilities, states = jax.nn.softmax(context), self.belief.states
        mean = probabilities @ states
        variance = jnp.maximum(probabilities @ (states - mean[None]) ** 2, SMALLEST_VARIANCE)
        is_number = jnp.asarray(self.prior.types.is_number)
        weight = jnp.where(is_number, jnp.maximum(1.0 / variance - self.prior.precision, 0.0), 0.0)
        marginal = Prior(mean, self.prior.precision, self.prior.types).logits - self.prior.logits
        # η makes the mean of one agent alone the marginal's: ŝ_i = s̄ + η/(P_0 + λ) = μ
        evidence = jnp.where(is_number, (mean - self.prior.mean) * (self.prior.precision + weight), marginal)
        return Answer(evidence, weight, weight, jnp.zeros(0))


def fuse_beliefs(
    log_beliefs: Float[Array, "agents states"], log_prior: Float[Array, " states"], participants: Bool[Array, " agents"]
) -> Float[Array, " states"]:
    """log p(s | τ_A) of the participants' whole beliefs, −∞ where one of them excludes a state.

    Args:
        log_beliefs: log p(s | τ_i) of every agent.
        log_prior: log p(s), of the current state.
        participants: whose beliefs count.
    """
    possible = log_prior > -jnp.inf
    prior = jnp.where(possible, log_prior, 0.0)
    ratios = jnp.where(participants[:, None], log_beliefs - prior[None], 0.0)
    total = jnp.where(possible, prior + jnp.sum(ratios, axis=0), -jnp.inf)
    return total - jax.nn.logsumexp(total)


class LinearGaussianAnswers(Answers):
    """Agent i of a linear-Gaussian team: o_i = H_i s + noise of covariance R_i, s ~ N(s̄, 1/P_0) with diagonal P_0.

        λ_i = ρ_i = diag(H_iᵀ R_i⁻¹ H_i),    η_i = H_iᵀ R_i⁻¹ (o_i − H_i s̄)

    the update of an information filter, whose information matrix is cut down to its diagonal. A history is the agent's
    observation and, behind it, its number one-hot.

    Attributes:
        prior: N(s̄, 1/P_0); all features are numbers.
        observation_maps: H_i.
        noise_precisions: R_i⁻¹.
    """

    prior: Prior
    observation_maps: Float[Array, "agents observation state"]
    noise_precisions: Float[Array, "agents observation observation"]

    def condition(self, history: Float[Array, " history"]) -> tuple[Array, Array, Array]:
        """The observation, H_i and R_i⁻¹."""
        size = self.observation_maps.shape[1]
        agent = jnp.argmax(history[size:])
        return history[:size], self.observation_maps[agent], self.noise_precisions[agent]

    def answer(self, context: tuple[Array, Array, Array]) -> Answer:
        """η, λ and ρ."""
        observation, observes, precision = context
        information = observes.T @ precision
        weight = jnp.diagonal(information @ observes)
        evidence = information @ (observation - observes @ self.prior.mean)
        return Answer(evidence, weight, weight, jnp.zeros(0))
