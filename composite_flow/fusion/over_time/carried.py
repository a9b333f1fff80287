"""What a team carries from step to step, and the contract of whoever carries it.

At every step a filter predicts what it knew one step ahead, and then hears what the agents know now:

    predicted = predict(carried),    carried = hear(predicted, histories, participants)

`initial` stands before an episode's first step, which needs no prediction. Histories of one step suffice: what was seen
before is in what is carried.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Prior


class Carried(eqx.Module):
    """What a team knows of the state, scaled; any leading axes are batch axes.

    Attributes:
        mean: of numbers ŝ, of all other features probabilities.
        weight: Λ of numbers, with which the mean counts in the next fusion; 0 of other features.
        precision: P of numbers, 1/variance as claimed; 0 of other features, and throughout where none is claimed.
    """

    mean: Float[Array, "*batch state"]
    weight: Float[Array, "*batch state"]
    precision: Float[Array, "*batch state"]


class TeamFilter(eqx.Module):
    """The contract of filters; everything is one example, without batch axes."""

    prior: eqx.AbstractVar[Prior]

    @property
    def initial(self) -> Carried:
        """What is known before anybody has said anything in an episode: at first the prior of the training states."""
        return known_before(self.prior)

    @abstractmethod
    def predict(self, carried: Carried) -> Carried:
        """What was known at one step, of the next one."""

    @abstractmethod
    def hear(
        self,
        predicted: Carried,
        histories: Float[Array, "agents history"],
        participants: Bool[Array, " agents"],
        key: PRNGKeyArray,
    ) -> tuple[Carried, Carried]:
        """Take in what the participants know now.

        Args:
            predicted: what is known before.
            histories: of all agents; those of others than participants change nothing.
            participants: who is heard; where nobody is, what was predicted stays.
            key: draws the order where there is one.

        Returns:
            What is known now; and what was known after each agent, along a leading axis, from which training learns.
        """

    @property
    @abstractmethod
    def values_sent(self) -> int:
        """Numbers in a message."""


def known_before(prior: Prior) -> Carried:
    """The prior as something carried; its mean is trained further, its precision is not."""
    numbers = jnp.asarray(prior.types.is_number)
    precision = jnp.where(numbers, jax.lax.stop_gradient(prior.precision), 0.0)
    return Carried(prior.mean, precision, precision)


def follow(
    team_filter: TeamFilter,
    histories: Float[Array, "steps agents history"],
    participants: Bool[Array, "steps agents"],
    first: Bool[Array, " steps"],
    carried: Carried,
    key: PRNGKeyArray,
) -> tuple[Carried, Carried]:
    """Filter consecutive steps.

    Args:
        team_filter: predicts and hears.
        histories: of all agents at each step.
        participants: who is heard at each step.
        first: which steps begin an episode.
        carried: what was known at the step before.
        key: draws the orders.

    Returns:
        What is known at each step, steps along the leading axis; and after each agent, on a second axis.
    """

    def step(carried, inputs):
        histories, participants, first, key = inputs
        began, predicted = team_filter.initial, team_filter.predict(carried)
        before = jax.tree.map(lambda new, old: jnp.where(first, new, old), began, predicted)
        now, after_each = team_filter.hear(before, histories, participants, key)
        return now, (now, after_each)

    keys = jax.random.split(key, len(histories))
    return jax.lax.scan(step, carried, (histories, participants, first, keys))[1]
