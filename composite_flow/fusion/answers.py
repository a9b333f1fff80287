"""What one agent says from its own history alone, in terms that add up over agents.

    numbers            η_i = λ_i (μ_i − s̄),  λ_i > 0,  ρ_i > 0:   a mean, its weight, the precision of its claim
    binary features    l_i: what the history adds to the prior's log-odds,  ideally logit p(s_k | τ_i) − logit p(s_k)
    one of k           l_i likewise, of log-probabilities
    beside             c_i: free numbers, read by the team denoiser alone

`Answers` is the contract: `condition(history)` computes what depends on the history, and `answer(context)` says it.
An answer that is zero says nothing. With ideal answers from exact beliefs, sums lose what features have to do with each
other (`ideal.py`); for linear-Gaussian teams with diagonal information matrices they lose nothing.
"""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.fusion.features import FeatureTypes

# Variances below this, of scaled features, count as this: the precision of the prior stays a number of float32 beside
# which a single agent's claim (at most e^12) is not lost. A standard deviation of a thousandth of the range.
SMALLEST_VARIANCE = 1e-6
# Frequencies are kept this far from 0 and 1, so that log-odds stay finite.
SMALLEST_FREQUENCY = 1e-6


class Answer(eqx.Module):
    """An agent's answer, or a sum of answers; any leading axes are batch axes.

    Attributes:
        evidence: η of numbers, l of all other features.
        weight: λ of numbers, 0 of all other features.
        precision: ρ of numbers, 0 of all other features.
        free: c.
    """

    evidence: Float[Array, "*batch state"]
    weight: Float[Array, "*batch state"]
    precision: Float[Array, "*batch state"]
    free: Float[Array, "*batch free"]


class Prior(eqx.Module):
    """What is known of the state before anybody has answered; from the states of training, scaled.

    Attributes:
        mean: s̄.
        precision: P_0 = 1/variance of each feature, the variance floored at 1e-6.
        types: of the features.
    """

    mean: Float[Array, " state"]
    precision: Float[Array, " state"]
    types: FeatureTypes

    @property
    def logits(self) -> Float[Array, " state"]:
        """Log-odds of binary features, log-probabilities of groups, 0 for numbers."""
        return logits_of(self.mean, self.types)


def logits_of(mean: Float[Array, " state"], types: FeatureTypes) -> Float[Array, " state"]:
    """Log-odds of binary features, log-probabilities of groups, 0 for numbers."""
    frequency = jnp.clip(mean, SMALLEST_FREQUENCY, 1.0 - SMALLEST_FREQUENCY)
    odds = jnp.log(frequency) - jnp.where(jnp.asarray(types.in_group), 0.0, jnp.log1p(-frequency))
    return jnp.where(jnp.asarray(types.is_number), 0.0, odds)


def prior_of(states: Float[np.ndarray, "states state"], types: FeatureTypes) -> Prior:
    """The prior of these training states, computed in float64."""
    values = np.asarray(states, np.float64)
    variance = np.maximum(values.var(axis=0), SMALLEST_VARIANCE)
    return Prior(jnp.asarray(values.mean(axis=0), jnp.float32), jnp.asarray(1.0 / variance, jnp.float32), types)


class Answers(eqx.Module):
    """The contract of whoever answers; everything is one example, without batch axes."""

    prior: eqx.AbstractVar[Prior]

    @abstractmethod
    def condition(self, history: Float[Array, " history"]) -> Any:
        """All that depends on the history."""

    @abstractmethod
    def answer(self, context: Any) -> Answer:
        """What is to be added up."""

    def sent(self, context: Any) -> Any:
        """What the agent sends of it, where that is less than the whole answer."""
        return self.answer(context)

    def heard(self, agent: Int[Array, ""], sent: Any) -> Answer:
        """The answer that belongs to what an agent sent."""
        return sent

    @property
    def values_sent(self) -> int:
        """Numbers in an answer as it is sent."""
        return self.prior.types.values_sent

    def usual(self) -> Any:
        """What answers are read beside and no history changes: who estimates often computes it once and gives it."""
        return None

    def answer_each(self, histories: Float[Array, "agents history"], usual: Any = None) -> Answer:
        """The answers of the whole team, agents along the leading axis; `usual` where it is known already."""
        return jax.vmap(lambda history: self.answer(self.condition(history)))(histories)

    def team_sums(
        self, histories: Float[Array, "agents history"], teams: Bool[Array, "teams agents"], usual: Any = None
    ) -> Answer:
        """The sums of several teams' answers, teams along the leading axis; `usual` where it is known already."""
        return team_sums(self.answer_each(histories, usual), teams & self.there(histories)[None])

    def there(self, histories: Float[Array, "agents columns"]) -> Bool[Array, " agents"]:
        """Which agents are there, by their histories; those who are not do not answer."""
        return jnp.ones(len(histories), bool)

    def batch_sums(
        self, histories: Float[Array, "batch agents columns"], teams: Bool[Array, "batch teams agents"]
    ) -> Answer:
        """`team_sums` of each of many steps."""
        return jax.vmap(self.team_sums)(histories, teams)


def team_sums(answers: Answer, teams: Bool[Array, "teams agents"]) -> Answer:
    """The sums of each team's answers, teams along the leading axis."""
    return jax.tree.map(lambda part: teams.astype(part.dtype) @ part, answers)
