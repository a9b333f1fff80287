"""Answers of networks as numbers to be sent, and back."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.fusion.answers import Answer
from composite_flow.fusion.familiar import CHECKS
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.slot_answer import SlotAnswer
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.runtime.chained import no_answers
from composite_flow.runtime.sent import Sent, SentShape


def sent_shape(fusion: LearnedFusion, agent: int, over_time: bool = False) -> SentShape:
    """What an agent's answers look like as they are sent; over time, of those beside what a team carries.

    Raises:
        InputError: what is carried is a chain's message.
    """
    if over_time and isinstance(fusion.over_time, ChainFilter):
        raise no_answers()
    answers, types = fusion.answers, fusion.answers.prior.types
    unit = np.where(types.is_number, np.asarray(answers.prior.precision), 1.0).astype(np.float32)
    if over_time:
        return SentShape(types.is_number, unit, 0, 0)
    checks = 0 if fusion.watch is None else len(CHECKS)
    if not isinstance(answers, SparseAnswers):
        return SentShape(types.is_number, unit, answers.num_free, checks)
    slots = np.minimum(np.asarray(answers.slots[agent], np.int32), types.size - 1)  # as JAX reads empty slots
    return SentShape(types.is_number[slots], unit[slots], 1, checks)


def as_sent(answer: Answer | SlotAnswer, unlike: Any = ()) -> Sent:
    """The numbers of an answer, and of how unlike those of training its history is."""
    parts = (answer.evidence, answer.weight, answer.precision, rest_of(answer), unlike)
    return Sent(*(np.asarray(part, np.float32) for part in parts))


def said_by(fusion: LearnedFusion, history: Any) -> Sent:
    """What an agent says of its own history, and how unlike those of training that is."""
    familiar = None if fusion.watch is None else fusion.watch.familiar
    return as_sent(*jax.device_get(_said(fusion.answers, familiar, history)))


@jax.jit
def _said(answers, familiar, history):
    said = answers.sent(answers.condition(history))
    if familiar is None:
        return said, jnp.zeros(0)
    unlike = familiar.unlikeness(history[: len(familiar.low)])
    return said, jnp.minimum(unlike, jnp.finfo(unlike.dtype).max)


def rest_of(answer: Answer | SlotAnswer) -> Any:
    """What an answer holds beside its entries."""
    return answer.everywhere[None] if isinstance(answer, SlotAnswer) else answer.free


def as_network_says(fusion: LearnedFusion, sent: Sent) -> Answer | SlotAnswer:
    """The inverse of `as_sent`, agents along the leading axis."""
    evidence, weight, precision, rest = map(jnp.asarray, sent[:4])
    if isinstance(fusion.answers, SparseAnswers):
        return SlotAnswer(evidence, weight, precision, rest[:, 0])
    return Answer(evidence, weight, precision, rest)


def gathered(
    fusion: LearnedFusion, heard: Mapping[int, Sent], nothing: Sent, num_agents: int
) -> tuple[Any, np.ndarray | None, np.ndarray]:
    """What agents sent, as networks say it, and what they said of their histories (if anything); and who was heard.

    Args:
        fusion: of the team.
        heard: what was sent, by agent.
        nothing: the answer of those who were not heard.
        num_agents: of the team.
    """
    rows = [heard.get(agent, nothing) for agent in range(num_agents)]
    sent = Sent(*(np.stack(parts) for parts in zip(*rows, strict=True)))
    team = np.isin(np.arange(num_agents), list(heard))
    return as_network_says(fusion, sent), sent.unlike if sent.unlike.size else None, team


def whole_shape(fusion: LearnedFusion) -> SentShape:
    """Of an answer of every feature, as sums have it."""
    types, prior = fusion.answers.prior.types, fusion.answers.prior
    unit = np.where(types.is_number, np.asarray(prior.precision), 1.0).astype(np.float32)
    rest = 0 if isinstance(fusion.answers, SparseAnswers) else fusion.answers.num_free
    return SentShape(types.is_number, unit, rest, 0)


def whole_answer(agent: Any) -> Sent:
    """An agent's answer of every feature, as sums have it."""
    fusion = agent.model.fusion
    one = Sent(*(part[None] for part in agent.answer()))
    found = _heard(fusion.answers, agent.number, jax.tree.map(lambda part: part[0], as_network_says(fusion, one)))
    return as_sent(jax.device_get(found))


_heard = jax.jit(lambda answers, agent, said: answers.heard(agent, said))
