"""A filter as one agent has it: what it says, what follows from what it heard, and what is told of that.

Answers of the product are read beside what was predicted. Where messages are lost predictions differ between agents, so
that what is sent must not depend on who reads it: evidence of numbers is sent beside the prior's mean s̄, and read
beside the listener's own prediction ŝ',

    sent  λ (μ − s̄) = λ (μ − ŝ'_sender) + λ (ŝ'_sender − s̄),     heard  λ (μ − s̄) − λ (ŝ' − s̄).

Where all that was said arrives, all agents carry the same, and it is what the filter says of whole histories.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from composite_flow.errors import MismatchError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.fuse import add_up
from composite_flow.fusion.over_time.carried import Carried, TeamFilter
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.over_time.product import ProductFilter, SpeakerNetwork, added
from composite_flow.fusion.over_time.reader import Reader
from composite_flow.fusion.team_estimate import TeamEstimate


def fitting(team_filter: TeamFilter, state_size: int, history_size: int) -> TeamFilter:
    """The filter, if it is of these sizes.

    Args:
        team_filter: that a model learned.
        state_size: features of the model's states.
        history_size: columns of its histories.

    Raises:
        MismatchError: it is of other states, or of histories of another length.
    """
    if len(team_filter.prior.mean) != state_size:
        raise MismatchError(
            f"The filter is of states of {len(team_filter.prior.mean)} features, the model of {state_size}: it was "
            "learned for another problem."
        )
    reader = _reader_of(team_filter)
    if reader is not None and len(reader.history_minimum) != history_size:
        raise MismatchError(
            f"The filter reads histories of {len(reader.history_minimum)} columns, the model's have "
            f"{history_size}: it was learned with another number of steps in a history."
        )
    return team_filter


def _reader_of(team_filter: TeamFilter) -> Reader | None:
    """What reads histories; None where that is of a class of one's own."""
    if isinstance(team_filter, ChainFilter):
        return team_filter.reader
    speaker = team_filter.speaker if isinstance(team_filter, ProductFilter) else None
    return speaker.reader if isinstance(speaker, SpeakerNetwork) else None


def said(team_filter: ProductFilter, history: Float[Array, " history"], predicted: Carried) -> Answer:
    """What an agent sends, beside the prior's mean."""
    answer = jax.tree.map(lambda part: part[0], team_filter.speaker.answer_each(history[None], predicted))
    return _moved(answer, predicted.mean - team_filter.prior.mean)


def taken_in(team_filter: ProductFilter, predicted: Carried, sent: Answer, heard: Bool[Array, " agents"]) -> Carried:
    """What is known once the answers of those who were heard are added to what was predicted.

    Args:
        team_filter: of the team.
        predicted: by who listens.
        sent: by `said`, of all agents; of those who were not heard it may be anything finite.
        heard: who was.
    """
    total = _moved(add_up(sent, heard), team_filter.prior.mean - predicted.mean)
    return added(predicted, total, team_filter.prior.types)


def estimate_of_carried(team_filter: TeamFilter, known: Carried, heard: Bool[Array, " agents"]) -> TeamEstimate:
    """What is known as an estimate, scaled; of numbers with the variance that is claimed, NaN where none is."""
    types = team_filter.prior.types
    claimed = jnp.where(known.precision > 0.0, 1.0 / jnp.where(known.precision > 0.0, known.precision, 1.0), jnp.nan)
    variance = jnp.where(jnp.asarray(types.is_number), claimed, known.mean * (1.0 - known.mean))
    count, sent = jnp.sum(heard, dtype=jnp.int32), 4 * team_filter.values_sent
    return TeamEstimate(known.mean, variance, heard, count, sent, types, uncertainty=jnp.sqrt(jnp.sum(variance)))


def _moved(answer: Answer, by: Float[Array, " state"]) -> Answer:
    """The same claim beside another mean; weights are zero of what are no numbers."""
    return Answer(answer.evidence + answer.weight * by, answer.weight, answer.precision, answer.free)
