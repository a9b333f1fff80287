"""Which ways to infer the state measured episodes can tell apart, and which features nobody knows.

One way errs less than another by more than chance where the difference of their errors, averaged within each episode,
is above two of its standard errors over episodes: steps of one episode go together, so that episodes are what counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Array, Float, Int

from composite_flow.data.angles import angles_among
from composite_flow.metrics import decibels

FEWEST_EPISODES = 10  # with fewer, "no better than the mean state" would be said of almost anything
_CERTAIN = 2.0  # standard errors
_NEARLY = 0.9  # of the mean state's squared error: below it a feature is known, if perhaps of a few episodes alone


@dataclass(frozen=True)
class ToldApart:
    """Ways by their names, and features.

    Attributes:
        level: for each way all others whose squared error over all features is not told apart from its own.
        unknown: features in which the way that the run is used by errs no less than the training mean: its squared
            error is more than nine tenths of that, and not less by more than chance. An angle where that holds of its
            sine and its cosine. Empty where there are fewer than ten episodes.
        known_places: columns of the state of all other features; all of them where none is left.
        psnr_of_known: of these alone, in decibels, for each way; empty where all are known, or none.
    """

    level: dict[str, list[str]]
    unknown: list[str] = field(default_factory=list)
    known_places: list[int] = field(default_factory=list)
    psnr_of_known: dict[str, float] = field(default_factory=dict)


def tell_apart(
    estimates: Mapping[str, Float[Array, "joint _ state"]],
    states: Float[Array, "joint state"],
    names: Sequence[str],
    used: str | None,
    episodes: Int[np.ndarray, " joint"],
) -> ToldApart:
    """Compare ways on the same joint histories.

    Args:
        estimates: scaled, of each way: of a joint history one, or as many as there are samples or agents.
        states: the truth, scaled.
        names: of the features.
        used: the way that the run is used by, beside the training mean, "constant"; None where there is none.
        episodes: that each joint history is of.
    """
    truth = np.asarray(states, np.float64)[:, None]
    squared = {way: np.mean((np.asarray(found) - truth) ** 2, axis=1) for way, found in estimates.items()}
    whole = {way: by_episode(error.mean(axis=1), episodes) for way, error in squared.items()}
    level = {
        way: [other for other in whole if other != way and not certainly_apart(whole[way], whole[other])]
        for way in whole
    }
    places, enough = range(truth.shape[-1]), len(np.unique(episodes)) >= FEWEST_EPISODES
    if used is None or "constant" not in squared or not enough:
        return ToldApart(level, known_places=[*places])

    def is_unknown(place: int) -> bool:
        guess, ours = (by_episode(squared[way][:, place], episodes) for way in ("constant", used))
        return bool(guess.mean() > 0 and ours.mean() > _NEARLY * guess.mean()) and not certainly_less(ours, guess)

    unknown = [place for place in places if is_unknown(place)]
    known = [place for place in places if place not in unknown] or [*places]
    told = {way: float(decibels(float(error[:, known].mean()))) for way, error in squared.items()}
    return ToldApart(level, _named(unknown, names), known, told if len(known) < len(places) else {})


def by_episode(error: Float[np.ndarray, " joint"], episodes: Int[np.ndarray, " joint"]) -> np.ndarray:
    """The mean of each episode's steps."""
    _, of = np.unique(episodes, return_inverse=True)
    return np.bincount(of, error) / np.bincount(of)


def certainly_less(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether one way's errors by episode are smaller than another's by more than chance."""
    less = other - one
    return len(less) > 1 and bool(less.mean() > _CERTAIN * less.std(ddof=1) / np.sqrt(len(less)))


def certainly_apart(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether either is smaller than the other."""
    return certainly_less(one, other) or certainly_less(other, one)


def _named(places: Sequence[int], names: Sequence[str]) -> list[str]:
    """Names of features, of an angle its own where both of its columns are among them."""
    angles = {place: name for name, place, _ in angles_among(names) if {place, place + 1} <= set(places)}
    return [angles.get(place, names[place]) for place in places if place - 1 not in angles]
