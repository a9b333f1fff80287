"""The team denoiser g(m_A, y): Eq. 2 with the summed answers of some agents in the place of the history.

    g(m_A, y) = E[s | y, m_A],      g(m_A, y, σ) = E[s | y, m_A, σ],      y = s + σ z

The message m_A is a vector, so that whatever takes a denoiser and a history takes g and a message:

    m_A = (ŝ_A,  ¼ log(P_0 + Σ λ_i),  Σ L_i,  Σ c_i)

ŝ_A and λ come from the answers, which stay as they were trained. L_i (of binary features and one-of-k groups) and the
free numbers c_i come from a network of its own, trained through g. Both are centred like answers: an agent's usual
history adds nothing.

For binary features and groups, y and Σ L_i say things of the same kind. With y = s + σ z,

    p(s | y, L) ∝ p(s) exp(Σ_k s_k r_k),      r = Σ L_i + (y − ½)/σ²,

wherever each entry of an observation depends on one feature and entries and agents are independent given the state:
L_i are then log-likelihood ratios, and E[s | y, σ, L] depends on r alone. So g reads r, in the bounded form of the
posterior that each feature would have by itself,

    q_k = sigmoid(logit s̄_k + r_k),     for numbers  q_k = (P ŝ_A + y/σ²) / (P + 1/σ²),  P = P_0 + Σ λ_i,

and corrects it by what the state's features say together (`refining.py`). Where histories tell something only jointly
(XOR), the c_i carry it.

One set of weights serves both forms: where σ is not known, g reads it from y by a small network that is trained to say
E[log σ | y, m_A], and is told that this σ is an estimate.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.fuse import add_up
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.posterior import posterior
from composite_flow.fusion.refining import RefiningNetwork
from composite_flow.fusion.team_network import MessageNetwork

LARGEST_EVIDENCE = 10.0  # of one agent on one feature; certainty would be infinite
EVIDENCE_GAIN, LARGEST_SAID = 16.0, 5.0  # before and after the gain; sinh(5) is 74
SMALLEST_SIGMA = 0.02  # that g reads from y
LOG_SIGMA_RANGE = (math.log(0.01), math.log(10.0))  # outside of it σ counts as its end
LARGEST_LOGIT = 15.0  # of what each feature says by itself; r grows like 1/σ²
FREE_GAIN = 8.0  # of the weights of c at the start


class TeamContext(eqx.Module):
    """All of g that depends on the message alone.

    Attributes:
        mean: ŝ_A.
        precision: P_0 + Σ λ_i.
        evidence: Σ L_i.
        biases: of the network's rounds.
        sigma_biases: of the layers of the network that reads σ.
    """

    mean: Float[Array, " state"]
    precision: Float[Array, " state"]
    evidence: Float[Array, " state"]
    biases: Float[Array, "rounds width"]
    sigma_biases: Float[Array, "sigma_depth sigma_width"]


class TeamDenoiser(eqx.Module):
    """g; a `Denoiser` whose history is the message, and whoever says the `Answers` that add up to messages.

    Attributes:
        answers: what ŝ_A and λ come from; not trained.
        speaker: what L_i (its evidence) and c_i come from.
        network: corrects what each feature says by itself.
        sigma_network: reads σ from y.
    """

    answers: AnswerNetwork
    speaker: AnswerNetwork
    network: RefiningNetwork
    sigma_network: MessageNetwork

    @property
    def prior(self) -> Prior:
        """What is known before anybody has answered."""
        return jax.lax.stop_gradient(self.answers.prior)

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return len(self.answers.prior.mean)

    @property
    def values_sent(self) -> int:
        """Numbers in an answer: the frozen one's, an L of each feature that is no number, and the c."""
        types = self.answers.prior.types
        return types.values_sent + int(np.sum(~types.is_number)) + self.speaker.num_free

    def answer(self, history: Float[Array, " history"]) -> Answer:
        """One agent's answer: the frozen one, with (L_i, c_i) as free numbers."""
        frozen, speaker = jax.lax.stop_gradient(self.answers), self.speaker
        return self._joined(frozen.answer(frozen.condition(history)), speaker.answer(speaker.condition(history)))

    def answer_each(self, histories: Float[Array, "agents history"]) -> Answer:
        """The answers of the whole team, in its order."""
        frozen = jax.lax.stop_gradient(self.answers)
        return self._joined(frozen.answer_each(histories), self.speaker.answer_each(histories))

    def read(self, total: Answer) -> Float[Array, " message"]:
        """The message m_A of summed answers."""
        mean, _ = posterior(self.prior, total)
        return jnp.concatenate([mean, 0.25 * jnp.log(self.prior.precision + total.weight), total.free])

    def message(
        self, histories: Float[Array, "agents history"], participants: Bool[Array, " agents"]
    ) -> Float[Array, " message"]:
        """The message m_A of these participants."""
        heard = participants & self.answers.there(histories)
        return self.read(add_up(self.answer_each(histories), heard))

    def condition(self, history: Float[Array, " message"]) -> TeamContext:
        """All that depends on the message, which stands in the place of the history."""
        mean, scale, evidence, free = jnp.split(history, [k * self.state_size for k in (1, 2, 3)])
        seen = jnp.concatenate([mean, scale, jnp.tanh(evidence / LARGEST_EVIDENCE), free])
        biases, sigma_biases = self.network.condition(seen), self.sigma_network.condition(seen)
        return TeamContext(mean, jnp.exp(4.0 * scale), evidence, biases, sigma_biases)

    def denoise(self, context: TeamContext, y: Float[Array, " state"]) -> Float[Array, " state"]:
        """g(m_A, y): the noise level is not known."""
        return self._means(self.logits(context, y))

    def at(self, sigma: float | Float[Array, ""]) -> "KnownNoise":
        """The same team's denoiser for the known noise level σ, E[s | y, m_A, σ]."""
        return KnownNoise(self, sigma)

    def logits(
        self, context: TeamContext, y: Float[Array, " state"], sigma: float | Float[Array, ""] | None = None
    ) -> Float[Array, " state"]:
        """Log-odds of binary features and log-probabilities of groups, not normalised; the means of numbers.

        Args:
            context: `condition(message)`.
            y: the noisy state.
            sigma: its noise level; None where it is not known.
        """
        known = sigma is not None
        read = jnp.log(jnp.asarray(sigma)) if known else self.log_sigma(context, y)
        log_sigma = jnp.clip(read, *LOG_SIGMA_RANGE)
        alone, ratios = self._alone(context, y, log_sigma)
        about = jnp.stack([log_sigma, jnp.full((), float(known))])
        is_number = jnp.asarray(self.prior.types.is_number)
        carried = jnp.where(is_number, y / jnp.sqrt(1.0 + jnp.exp(2.0 * log_sigma)), jnp.tanh(0.25 * ratios))
        return self.network(context.biases, alone, carried, about, self._means)

    def log_sigma(self, context: TeamContext, y: Float[Array, " state"]) -> Float[Array, ""]:
        """E[log σ | y, m_A], σ ~ U[0, 1], as it was learned."""
        off = y - jnp.clip(y, 0.0, 1.0)
        rounded = jnp.abs(y - (y > 0.5).astype(y.dtype))
        sizes = [jnp.sum(part**2) for part in (off, rounded, y - context.mean)]
        logs = 0.5 * jnp.log(jnp.stack(sizes) / self.state_size + SMALLEST_SIGMA**2)
        said = self.sigma_network(context.sigma_biases, jnp.concatenate([y, logs]))
        # starts at a rough guess, the scatter about the message's mean
        return logs[2] + said[0]

    def _joined(self, frozen: Answer, said: Answer) -> Answer:
        """The frozen answer with what the speaker says; L is bounded, and 0 for numbers."""
        ratios = jnp.where(jnp.asarray(self.prior.types.is_number), 0.0, bounded_evidence(said.evidence))
        return Answer(frozen.evidence, frozen.weight, frozen.precision, jnp.concatenate([ratios, said.free], axis=-1))

    def _alone(self, context, y, log_sigma) -> tuple[Float[Array, " state"], Float[Array, " state"]]:
        """What message and y say of each feature by itself, as `logits` does, and r."""
        weight = jnp.exp(-2.0 * log_sigma)
        ratios = context.evidence + weight * (y - 0.5)
        number = (context.precision * context.mean + weight * y) / (context.precision + weight)
        logits = jnp.clip(self.prior.logits + ratios, -LARGEST_LOGIT, LARGEST_LOGIT)
        return jnp.where(jnp.asarray(self.prior.types.is_number), number, logits), ratios

    def _means(self, logits: Float[Array, " state"]) -> Float[Array, " state"]:
        return self.prior.types.probabilities(logits)


def bounded_evidence(said: Float[Array, "*batch state"]) -> Float[Array, "*batch state"]:
    """L = 10 tanh(sinh(16 x) / 10) of what the speaker's network says, x.

    Where a history tells a feature for certain, L should be large, but the loss hardly changes once it is 3 or 4. So
    that training gets there, L grows like an exponential; near 0 it is in proportion to x. What is not known stays near
    0: errors of small L make some states of a team's posterior too probable.
    """
    grown = jnp.sinh(jnp.clip(EVIDENCE_GAIN * said, -LARGEST_SAID, LARGEST_SAID))
    return LARGEST_EVIDENCE * jnp.tanh(grown / LARGEST_EVIDENCE)


class KnownNoise(eqx.Module):
    """The team denoiser at one noise level.

    Attributes:
        team: g.
        sigma: σ.
    """

    team: TeamDenoiser
    sigma: float | Float[Array, ""]

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.team.state_size

    def condition(self, history: Float[Array, " message"]) -> TeamContext:
        """All that depends on the message."""
        return self.team.condition(history)

    def denoise(self, context: TeamContext, y: Float[Array, " state"]) -> Float[Array, " state"]:
        """E[s | y, m_A, σ]."""
        return self.team.prior.types.probabilities(self.team.logits(context, y, self.sigma))


def build_team_denoiser(
    answers: AnswerNetwork,
    width: int = 128,
    rounds: int = 4,
    num_free: int = 16,
    *,
    speaker_width: int = 64,
    speaker_depth: int = 2,
    key: PRNGKeyArray,
) -> TeamDenoiser:
    """An untrained team denoiser over trained answers.

    Args:
        answers: whose sums it reads; they are kept as they are.
        width: units of g in each round.
        rounds: corrections of g.
        num_free: c_i of each agent.
        speaker_width: units of a hidden layer of the network that says L_i and c_i.
        speaker_depth: its number of hidden layers.
        key: random key.

    Raises:
        InputError: a size below one.
    """
    key_speaker, key_network, key_sigma = jax.random.split(key, 3)
    size = len(answers.prior.mean)
    limits = answers.history_minimum, answers.history_maximum
    speaker = AnswerNetwork(
        answers.mean_histories, limits, answers.prior, speaker_width, speaker_depth, num_free, key=key_speaker
    )
    # g learns what histories tell jointly from products of c and all else that it reads: c is to be as large from the
    # start, while hidden layers shrink what they pass on
    speaker = eqx.tree_at(lambda network: network.free_weights, speaker, FREE_GAIN * speaker.free_weights)
    network = RefiningNetwork(3 * size + num_free, size, 2, width, rounds, key=key_network)
    sigma_network = MessageNetwork(3 * size + num_free, size + 3, 1, 64, 2, key=key_sigma)
    return TeamDenoiser(answers, speaker, network, sigma_network)
