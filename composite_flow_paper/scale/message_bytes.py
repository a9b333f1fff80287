"""How accurate fusion is when only the largest evidence is sent, in few bits: the curve of accuracy over bytes.

A message is a list of values, each with the feature that it speaks of; the number that sparse answers say of all
features counts as one more feature. With a threshold t, an agent sends its values with |evidence| > t, and nothing
where there is none; so what tells most is sent first. It takes

    ⌈log2 (features + 1)⌉ + bits   for each value;  where values are rounded, 32 bits more for each agent that speaks,

since its largest |evidence| is sent beside. Nothing left out and nothing rounded, an answer is sent as it is: all its
values, whose features are known.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from composite_flow.fusion.answers import Answer, Answers
from composite_flow.fusion.compression import larger_than, quantised
from composite_flow.fusion.posterior import posterior
from composite_flow.fusion.sparse import SlotAnswer, SparseAnswers
from composite_flow.metrics import exact_states

FULL_BITS = 32
THRESHOLDS = (0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0)
BITS = (32, 8, 4, 2)


def bytes_curve(
    answers: Answers,
    histories: Float[Array, "joint agents columns"],
    states: Float[Array, "joint state"],
    thresholds: Sequence[float] = THRESHOLDS,
    bits: Sequence[int] = BITS,
) -> list[dict[str, Any]]:
    """For each threshold and number of bits: bytes of all messages of an estimate, and the share of exact estimates.

    Args:
        answers: of binary features.
        histories: joint histories as the answers read them.
        states: true ones.
        thresholds: of |evidence|; 0 leaves nothing out.
        bits: of a value; 32 does not round.
    """
    feature_bits = math.ceil(math.log2(states.shape[1] + 1))
    curve = []
    for threshold in thresholds:
        for one in bits:
            exact, values, speakers = _sent(answers, histories, states, threshold, one)
            scale_bits = 0 if one == FULL_BITS else 32
            sent = (values * (feature_bits + one) + speakers * scale_bits) / 8
            if threshold == 0.0 and one == FULL_BITS:
                values, speakers = histories.shape[1] * answers.values_sent, histories.shape[1]
                sent = 4.0 * values
            counts = {"values": float(values), "speakers": float(speakers), "bytes": float(sent)}
            curve.append({"threshold": threshold, "bits": one, **counts, "exact_rate": float(exact)})
    return curve


def cheapest(curve: Sequence[Mapping[str, Any]], rate: float = 0.99) -> Mapping[str, Any] | None:
    """The point of fewest bytes with this share of exact estimates; None where none has it."""
    return min((point for point in curve if point["exact_rate"] >= rate), key=lambda p: p["bytes"], default=None)


def _sent(answers: Answers, histories, states, threshold: float, bits: int) -> tuple[float, float, float]:
    """Share of exact estimates; values sent and agents that speak, on average."""
    means, values, speakers = _estimates(answers, histories, jnp.asarray(threshold), bits)
    return float(exact_states(means, states).mean()), float(values.mean()), float(speakers.mean())


@eqx.filter_jit
def _estimates(
    answers: Answers, histories: Float[Array, "joint agents columns"], threshold: Float[Array, ""], bits: int
) -> tuple[Float[Array, "joint state"], Int[Array, " joint"], Int[Array, " joint"]]:
    def one(each: Float[Array, "agents columns"]):
        said, values = _cut(answers, each, threshold, bits)
        spoken = jnp.sum(values != 0.0, axis=1, dtype=jnp.int32)
        total = jax.tree.map(lambda part: jnp.sum(part, axis=0), said)
        return posterior(answers.prior, total)[0], jnp.sum(spoken), jnp.sum(spoken > 0, dtype=jnp.int32)

    return jax.lax.map(one, histories)


def _cut(
    answers: Answers, histories: Float[Array, "agents columns"], threshold: Float[Array, ""], bits: int
) -> tuple[Answer, Float[Array, "agents values"]]:
    """The answers of every feature as they arrive, and the values that are sent for them."""

    def cut(values: Float[Array, "agents values"]) -> Float[Array, "agents values"]:
        nothing = jnp.zeros_like(values)
        large = larger_than(Answer(values, nothing, nothing, nothing[:, :0]), threshold)
        return (large if bits == FULL_BITS else quantised(large, bits)).evidence

    if not isinstance(answers, SparseAnswers):
        said = answers.answer_each(histories)
        values = cut(said.evidence)
        return Answer(values, said.weight, said.precision, said.free), values
    said = answers.say_each(histories)
    values = cut(jnp.append(said.evidence, said.everywhere[:, None], axis=1))
    sent = SlotAnswer(values[:, :-1], said.weight, said.precision, values[:, -1])
    return answers.spread_each(sent), values
