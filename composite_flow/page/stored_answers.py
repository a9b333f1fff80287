"""Answers as a page keeps them: in 32 bits where they are few, else in 16, and of very many the largest alone.

Numbers are kept as η/(16 P_0), λ/(16 P_0) and ρ/(16 P_0), which 16 bits can hold: at most e^12/16. All other features
as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.posterior import posterior
from composite_flow.page.content import Part

KEPT = 16
"""Features of an answer that are kept where there are very many: those of the largest weights."""
_UNIT = 16.0  # of P_0


@dataclass(frozen=True)
class Room:
    """Bytes that answers may take before they are rounded.

    Attributes:
        exact: whole answers in 32 bits.
        whole: whole answers in 16 bits.
    """

    exact: int = 6 * 2**20
    whole: int = 8 * 2**20


def stored_answers(prior: Prior, answers: Answer, room: Room = Room()) -> Part:  # noqa: B008 (frozen)
    """The header's entry and the arrays of answers; the entry tells what rounding changes at most.

    Args:
        prior: of whoever answered.
        answers: `(steps, agents, state)` each.
        room: when they are rounded.
    """
    unit = np.where(prior.types.is_number, _UNIT * np.asarray(prior.precision), 1.0).astype(np.float32)
    names = ("evidence", "weight", "precision") if prior.types.is_number.any() else ("evidence",)
    parts = {name: np.asarray(getattr(answers, name)) / unit for name in names}
    values = sum(part.size for part in parts.values())
    if 4 * values <= room.exact:
        entry, kept = {"bits": 32, "kept": 0}, parts
    elif 2 * values <= room.whole or parts["evidence"].shape[-1] <= KEPT:
        entry, kept = {"bits": 16, "kept": 0}, {name: in_16_bits(part) for name, part in parts.items()}
    else:
        entry, kept = {"bits": 16, "kept": KEPT}, _largest(parts)
    changed = largest_change(prior, answers, _restored(kept, unit, parts["evidence"].shape))
    arrays = {f"answer_{name}": part for name, part in kept.items()}
    arrays |= {"answer_unit": unit, "prior_mean": np.asarray(prior.mean, np.float32)}
    arrays |= {"prior_precision": np.asarray(prior.precision, np.float32)}
    return {"answers": {**entry, "changed": changed}}, arrays


def in_16_bits(values: np.ndarray) -> np.ndarray:
    """Rounded to 16 bits; what is too large becomes the largest."""
    most = np.finfo(np.float16).max
    return np.clip(values, -most, most).astype(np.float16)


def _largest(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The features of the largest weights (of features that have none, of the largest evidence), and their numbers."""
    size = np.abs(parts["evidence"])
    if "weight" in parts:
        size = np.where(parts["weight"] > 0, parts["weight"], size)
    place = np.sort(np.argpartition(-size, KEPT - 1, axis=-1)[..., :KEPT], axis=-1)
    taken = {name: in_16_bits(np.take_along_axis(part, place, axis=-1)) for name, part in parts.items()}
    return {**taken, "place": place.astype(np.uint16)}


def _restored(kept: dict[str, np.ndarray], unit: np.ndarray, shape: tuple[int, ...]) -> Answer:
    """The answers that the page adds up."""

    def whole(name: str) -> np.ndarray:
        if name not in kept:
            return np.zeros(shape, np.float32)
        values = kept[name].astype(np.float32)
        if "place" in kept:
            spread = np.zeros(shape, np.float32)
            np.put_along_axis(spread, kept["place"].astype(np.int64), values, axis=-1)
            values = spread
        return values * unit

    free = np.zeros((*shape[:-1], 0), np.float32)
    return Answer(*(jnp.asarray(whole(name)) for name in ("evidence", "weight", "precision")), free=jnp.asarray(free))


def largest_change(prior: Prior, exact: Answer, rounded: Answer) -> float:
    """How far the means of the whole team lie apart at most; scaled."""
    apart = jnp.abs(_team_means(prior, exact) - _team_means(prior, rounded))
    return float(jnp.max(jnp.where(jnp.isfinite(apart), apart, 0.0), initial=0.0))


@eqx.filter_jit
def _team_means(prior: Prior, answers: Answer):
    mean: Callable = lambda each: posterior(prior, jax.tree.map(lambda part: jnp.sum(part, axis=0), each))[0]  # noqa: E731
    return jax.vmap(mean)(answers)
