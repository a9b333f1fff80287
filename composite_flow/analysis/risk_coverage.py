"""What is gained by not answering: the error of the estimates that are the surest, against how many of them are given.

    risk(c) = mean error of the ⌈c n⌉ estimates with the smallest uncertainty
    area    = mean of risk over all shares c = 1/n, 2/n, …, 1

Beside it the area of an order by the errors themselves, below which none can fall, and that of any order at random,
which is the mean error (Geifman and El-Yaniv, "Selective classification for deep neural networks", 2017).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from composite_flow.errors import InputError

SHARES = (1.0, 0.95, 0.9, 0.75, 0.5, 0.25)


@dataclass(frozen=True)
class RiskCoverage:
    """Errors of the surest estimates, and what verdicts come to.

    Attributes:
        risk: mean error of so large a share of the estimates, the surest ones.
        area: over all shares.
        area_best: of an order by the errors themselves.
        area_random: of any order that knows nothing.
        accepted: share of the estimates that are accepted; None where nobody's reliability was checked.
        error_accepted, error_refused: mean error of these and of all others; None where there are none.
        reasons: how many estimates are refused for each reason.
        refused_early: how many of them at steps at which histories are not yet whole.
        refused_episodes: of how many episodes they are.
    """

    risk: dict[str, float]
    area: float
    area_best: float
    area_random: float
    accepted: float | None = None
    error_accepted: float | None = None
    error_refused: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    refused_early: int = 0
    refused_episodes: int = 0


def risk_coverage(
    errors: Float[np.ndarray, " estimates"],
    uncertainty: Float[np.ndarray, " estimates"],
    accepted: Bool[np.ndarray, " estimates"] | None = None,
) -> RiskCoverage:
    """Measure what is gained.

    Args:
        errors: of each estimate, such as ‖ŝ − s‖.
        uncertainty: of each estimate, the smaller the surer.
        accepted: what the verdict says of each.

    Raises:
        InputError: there are no estimates.
    """
    if not len(errors):
        raise InputError("Risk is measured on estimates; give one at least.")
    running = _running_mean(errors[np.argsort(uncertainty, kind="stable")])
    last = {share: int(np.ceil(share * len(errors))) - 1 for share in SHARES}
    told = {} if accepted is None else _verdicts(errors, accepted)
    return RiskCoverage(
        risk={f"{share:.0%}": float(running[place]) for share, place in last.items()},
        area=float(running.mean()),
        area_best=float(_running_mean(np.sort(errors)).mean()),
        area_random=float(errors.mean()),
        **told,
    )


def _running_mean(values: Float[np.ndarray, " values"]) -> Float[np.ndarray, " values"]:
    return np.cumsum(values, dtype=np.float64) / np.arange(1, len(values) + 1)


def _verdicts(errors: np.ndarray, accepted: np.ndarray) -> dict[str, Any]:
    def mean(values: np.ndarray) -> float | None:
        return float(values.mean()) if len(values) else None

    given, refused = mean(errors[accepted]), mean(errors[~accepted])
    return {"accepted": float(accepted.mean()), "error_accepted": given, "error_refused": refused}
