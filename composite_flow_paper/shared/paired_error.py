"""The difference of two estimators' PSNRs in decibels, paired by test sample, with intervals.

    difference = 10 log10( Σ_t e_t / Σ_t e'_t )

where e_t and e'_t are the squared errors of the two at the same step t. Steps of one
episode are alike, so that episodes are drawn anew for intervals, each with all its steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from composite_flow.metrics import student_half_width

_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class EpisodeErrors:
    """Squared errors, averaged over the steps of each episode.

    Attributes:
        counts: steps of each episode.
        means: for each estimator by name, the mean of its squared errors over them.
        ids: the number of each episode in its collection; None where it was not kept.
    """

    counts: Int[np.ndarray, " episodes"]
    means: dict[str, Float[np.ndarray, " episodes"]]
    ids: Int[np.ndarray, " episodes"] | None = None

    @classmethod
    def of_steps(cls, errors: Mapping[str, Any], episodes: Any) -> "EpisodeErrors":
        """From the errors of each step and the episode that the step is of; episodes in rising order."""
        ids, place, counts = np.unique(np.asarray(episodes), return_inverse=True, return_counts=True)
        sums = {name: np.bincount(place, np.asarray(values, np.float64)) for name, values in errors.items()}
        return cls(counts, {name: total / counts for name, total in sums.items()}, ids)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "EpisodeErrors":
        """The inverse of `to_json`, but for its rounding."""
        ids = np.asarray(kept["ids"]) if "ids" in kept else None
        return cls(np.asarray(kept["counts"]), {name: np.asarray(row) for name, row in kept["means"].items()}, ids)

    def to_json(self) -> dict[str, Any]:
        """Five digits of each mean: errors of 1e-5 of themselves, far below what an interval shows."""
        kept = {} if self.ids is None else {"ids": self.ids.tolist()}
        return {
            "counts": self.counts.tolist(),
            "means": {name: [float(f"{mean:.5g}") for mean in row] for name, row in self.means.items()},
            **kept,
        }

    def mean(self, name: str) -> float:
        """Mean squared error over all steps."""
        return float(np.average(self.means[name], weights=self.counts))

    def beside(self, other: "EpisodeErrors") -> "EpisodeErrors":
        """With another's estimators, of the same episodes and steps."""
        if not np.array_equal(self.counts, other.counts):
            raise ValueError("Errors can be paired where they are of the same steps of the same episodes.")
        return EpisodeErrors(self.counts, {**self.means, **other.means}, other.ids if self.ids is None else self.ids)


def psnr_difference(errors: EpisodeErrors, reference: str, better: str) -> dict[str, Any]:
    """By how many decibels one estimator's PSNR is above another's, with a 95% bootstrap over episodes.

    Args:
        errors: of both.
        reference, better: their names; the difference is positive where `better` errs less.

    Returns:
        `decibels`, `standard_error` and the percentile `interval`; one episode tells nothing about these two.
    """
    sums = np.stack([errors.counts * errors.means[name] for name in (reference, better)])
    count = sums.shape[1]
    value = _decibels(sums.sum(axis=1))
    if count == 1:
        return {"decibels": float(value), "standard_error": None, "interval": None}
    resampled = _decibels((_times_drawn(count) @ sums.T).T)
    tail = (1.0 - _LEVEL) / 2.0
    return {
        "decibels": float(value),
        "standard_error": float(resampled.std(ddof=1)),
        "interval": [float(limit) for limit in np.quantile(resampled, (tail, 1.0 - tail))],
    }


@lru_cache(maxsize=16)
def _times_drawn(count: int) -> Float[np.ndarray, "resamples {count}"]:
    """How often each episode is drawn in each resample; the same for all estimators."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1.0 / count), _RESAMPLES)
    return drawn.astype(np.float64)


def _decibels(sums: Float[np.ndarray, "two *batch"]) -> Float[np.ndarray, "*batch"]:
    # no error at all counts as one that float32 cannot tell from it
    return 10.0 * (np.log10(np.maximum(sums[0], 1e-30)) - np.log10(np.maximum(sums[1], 1e-30)))


def mean_psnr_difference(
    differences: Sequence[Mapping[str, Any]], standard_error: float | None = None
) -> dict[str, Any]:
    """The mean of a difference over seeds, with a 95% interval that is the wider of two at each end.

    One knows the scatter of test episodes alone, mean ± 1.96 se; the other the scatter between the seeds,
    mean ± t_{m−1} sd / √m, and degenerates where few of them agree by chance.

    Args:
        differences: as `psnr_difference` gives them, one per seed.
        standard_error: se of the mean, as `shared_standard_error` gives it, where seeds have test episodes in common;
            √(Σ se²) / m by default, which takes the seeds' episodes for different ones.

    Returns:
        `decibels`, `interval` (None where neither exists), the `seeds`' own values, and what is `shown` by that:
        "higher", "lower" or "not decided".
    """
    values, count = np.array([one["decibels"] for one in differences]), len(differences)
    mean, widths = float(values.mean()), []
    if standard_error is None and all(one["standard_error"] is not None for one in differences):
        errors = np.array([one["standard_error"] for one in differences])
        standard_error = float(np.sqrt(np.sum(errors**2)) / count)
    if standard_error is not None:
        widths.append(stats.norm.ppf(0.5 + _LEVEL / 2) * standard_error)
    if count > 1:
        widths.append(student_half_width(values, _LEVEL))
    if not widths:
        return {"decibels": mean, "interval": None, "seeds": values.tolist(), "shown": "not decided"}
    width = float(max(widths))
    shown = "higher" if mean > width else "lower" if mean < -width else "not decided"
    return {"decibels": mean, "interval": [mean - width, mean + width], "seeds": values.tolist(), "shown": shown}


def shared_standard_error(seeds: Sequence[EpisodeErrors], reference: str, better: str) -> float | None:
    """The standard error of a difference averaged over seeds whose test episodes are of one collection.

    A bootstrap over the distinct episodes: each that is drawn counts as often in every seed that tests on it, so an
    episode that several seeds share is one observation, not several.

    Args:
        seeds: the errors of both estimators in each seed.
        reference, better: as in `psnr_difference`.

    Returns:
        The standard error in decibels; None where the episodes' numbers were not kept, or there is only one.
    """
    known = [errors.ids for errors in seeds if errors.ids is not None]
    if len(known) < len(seeds):
        return None
    distinct = np.unique(np.concatenate(known))
    if len(distinct) == 1:
        return None
    sums = np.zeros((len(seeds), 2, len(distinct)))
    for place, (ids, errors) in enumerate(zip(known, seeds, strict=True)):
        sums[place][:, np.searchsorted(distinct, ids)] = [errors.counts * errors.means[n] for n in (reference, better)]
    drawn = _times_drawn(len(distinct))
    resampled = _decibels(np.einsum("spe,re->psr", sums, drawn, optimize=True)).mean(axis=0)
    return float(resampled.std(ddof=1))
