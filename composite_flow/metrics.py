"""Error measures, each with its definition, and bounds on rates that hold at a stated confidence."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.errors import InputError

_LEAST_ERROR = float(np.finfo(np.float32).eps) ** 2


def psnr(estimates: Float[Array, "*#batch state"], states: Float[Array, "*#batch state"]) -> Float[Array, ""]:
    """Peak signal-to-noise ratio of states scaled to [0, 1], in decibels.

    PSNR = −10 log10 MSE, the squared error averaged over all samples and all features at once, before the logarithm
    (the paper names no peak; here it is 1). An MSE below float32's rounding is replaced by that rounding, so that
    the value stays finite: about 138 dB.
    """
    error = jnp.mean(jnp.square(estimates - states))
    return -10.0 * jnp.log10(jnp.maximum(error, _LEAST_ERROR))


def decibels(squared_errors: float | Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """The PSNR of given mean squared errors, −10 log10 MSE, in float64 and with the same upper limit as `psnr`."""
    return np.asarray(-10.0 * np.log10(np.maximum(np.asarray(squared_errors, np.float64), _LEAST_ERROR)))


def exact_states(estimates: Float[Array, "*#batch state"], states: Float[Array, "*#batch state"]) -> Bool[Array, "..."]:
    """Which estimates, thresholded at 0.5, are the true binary state in every feature."""
    return jnp.all((estimates > 0.5) == (states > 0.5), axis=-1)


def total_variation(p: Float[Array, "*#batch outcomes"], q: Float[Array, "*#batch outcomes"]) -> Float[Array, "..."]:
    """Distance between distributions: ½ Σ |p − q|, between 0 and 1."""
    return 0.5 * jnp.sum(jnp.abs(p - q), axis=-1)


def clopper_pearson(
    successes: int, trials: int, confidence: float = 0.95, *, groups: int | None = None
) -> tuple[float, float]:
    """Two-sided exact interval of a rate (Clopper and Pearson 1934).

    Args:
        successes, trials: how many there were.
        confidence: of the interval.
        groups: how many independent groups the trials come in, such as joint histories with several samples each;
            every trial by itself where not given. The interval is then as wide as if all trials of a group agreed.
    """
    successes_, trials_ = _independent(successes, trials, groups)
    tail = (1.0 - confidence) / 2.0
    low = _beta_quantile(successes_, trials_ - successes_ + 1, tail) if successes else 0.0
    high = _beta_quantile(successes_ + 1, trials_ - successes_, 1.0 - tail) if successes < trials else 1.0
    return low, high


def clopper_pearson_lower_bound(
    successes: int, trials: int, confidence: float = 0.95, *, groups: int | None = None
) -> float:
    """One-sided exact lower bound of a rate; arguments as in `clopper_pearson`."""
    successes_, trials_ = _independent(successes, trials, groups)
    return _beta_quantile(successes_, trials_ - successes_ + 1, 1.0 - confidence) if successes else 0.0


def _independent(successes: int, trials: int, groups: int | None) -> tuple[float, int]:
    """Successes and trials that count: of trials in groups, as many as there are groups."""
    _check_counts([successes], [trials])
    if groups is None:
        return float(successes), trials
    if not 1 <= groups <= trials:
        raise InputError(f"{trials} trials cannot come in {groups} groups.")
    return successes * groups / trials, groups


def normal_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float] | None:
    """Two-sided 95% interval of a mean, mean ± 1.96 sd / √n, for many independent values; None for a single one."""
    numbers = np.asarray(values, np.float64)
    if numbers.size < 2:
        return None
    mean, error = numbers.mean(), numbers.std(ddof=1) / math.sqrt(numbers.size)
    return float(mean - 1.959964 * error), float(mean + 1.959964 * error)


def student_half_width(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> float:
    """Half of Student's two-sided interval of a mean, t_{n−1} · sd / √n, of n ≥ 2 independent values such as seeds'."""
    from scipy import special  # slow to import, as in `_beta_quantile`

    numbers = np.asarray(values, np.float64)
    if numbers.size < 2:
        raise InputError("An interval of a mean needs at least two values.")
    quantile = special.stdtrit(numbers.size - 1, 0.5 + confidence / 2.0)
    return float(quantile * numbers.std(ddof=1) / math.sqrt(numbers.size))


def seed_lower_bound(rates: Sequence[float], confidence: float = 0.95) -> float:
    """One-sided lower bound of the mean rate over training seeds.

    mean − t_{m−1} · sd / √m over m seeds, clipped to [0, 1]. Assumes that rates are about normally distributed over
    seeds. Where all seeds give the same rate, the bound is that rate, which is too high; `rate_lower_bound` guards
    against this.
    """
    from scipy import special  # slow to import, as in `_beta_quantile`

    values = np.asarray(rates, np.float64)
    if values.size < 2:
        raise InputError("A bound over seeds needs the rates of at least two seeds.")
    error = values.std(ddof=1) / math.sqrt(values.size)
    return float(np.clip(values.mean() - special.stdtrit(values.size - 1, confidence) * error, 0.0, 1.0))


def rate_lower_bound(
    successes: Sequence[int], trials: Sequence[int], confidence: float = 0.95, *, groups: Sequence[int] | None = None
) -> float:
    """One-sided lower bound of a rate over training seeds: the smaller of two bounds with different assumptions.

    The pooled Clopper–Pearson bound takes all trials, or all groups, as independent and ignores the scatter between
    seeds. Student's t over the seeds' rates includes that scatter but degenerates where all rates are equal, as at
    1.0. The smaller of the two is safe in both cases. With a single seed only the first exists.

    Args:
        successes: number of successes of each seed.
        trials: number of trials of each seed.
        confidence: one-sided.
        groups: number of independent groups of trials of each seed, such as joint histories where each has several
            samples; trials of one group may depend on each other.

    Raises:
        InputError: if there is no trial or a count is out of range.
    """
    _check_counts(successes, trials)
    together = None if groups is None else int(sum(groups))
    pooled = clopper_pearson_lower_bound(int(sum(successes)), int(sum(trials)), confidence, groups=together)
    if len(trials) < 2:
        return pooled
    return min(pooled, seed_lower_bound([k / n for k, n in zip(successes, trials, strict=True)], confidence))


def _check_counts(successes: Sequence[int], trials: Sequence[int]) -> None:
    if len(successes) != len(trials) or not len(trials):
        raise InputError("Give one number of successes and one of trials per seed, for at least one seed.")
    for k, n in zip(successes, trials, strict=True):
        if n < 1 or not 0 <= k <= n:
            raise InputError(f"{k} successes in {n} trials is not a rate; trials must be at least 1.")


def _beta_quantile(a: float | int, b: float | int, share: float) -> float:
    """Where the distribution function of Beta(a, b) reaches this share."""
    from scipy import special  # slow to import, and only intervals need it

    return float(special.betaincinv(a, b, share))
