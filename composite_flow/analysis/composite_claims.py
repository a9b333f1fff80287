"""What Theorems 7 and 8 claim about composite diffusion, and how often it holds (§5.1, A.7, A.8).

With F_s = {φ_∞(τ_i)(s)} the fixed points near the true state, F_y = {φ_∞(τ_i)(y)} those near the end point y, and
D_i = ‖φ_∞(τ_i)(s) − s‖, the paper says about samples that pass the checks

    y ∈ Conv(F_s),   ‖y − s‖ ≤ max_i D_i                                                   (Theorem 7)
    E‖Σ_i β_i φ_∞(τ_i)(s) − s‖ ≤ (1/n) Σ_i D_i,   β uniform on the simplex                   (Theorem 8, Eq. 18)

The first claim is false, also where all Jacobians are symmetric and stable. From the checks it follows that the error
is below 3 D_φ where *one* agent's fixed point near the **end**, φ_∞(τ_i)(y), lies within D_φ of the true state: by the
triangle inequality, ‖y − s‖ ≤ ‖y − φ_∞(τ_i)(y)‖ + ‖φ_∞(τ_i)(y) − s‖ < 2 D_φ + D_φ. It is not enough that the fixed
points near the *state* do: the end can be near another state that all agents allow. The second claim always holds, by
convexity, and it holds for the plain mean of the fixed points too. But uniform weights are the uniform distribution on
the hull only for affinely independent fixed points, hence never for more than d + 1 agents.

The independent trials of every rate are joint histories, since the samples of one joint history depend on each other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from composite_flow.flow import TOLERANCE
from composite_flow.metrics import clopper_pearson

# A fixed point is known only to TOLERANCE / (1 − |λ_max|); ten times TOLERANCE allows for |λ_max| up to 0.9.
CLOSENESS = 10 * TOLERANCE


@dataclass(frozen=True, eq=False)
class CompositeErrors:
    """Errors of composite diffusion and of the agents' fixed points, for each joint history; in scaled units.

    Attributes:
        diverged: joint histories left out because a flow of an agent did not stay finite.
        radius: D_φ, as given.
        smallest_distance: δ_s.
        errors: ‖y − s‖ of each sample's end point y.
        accepted_by_paper: whether the sample passed the paper's two checks.
        accepted: whether it passed our third check as well.
        hull_distances: distance of the end to Conv(F_s).
        end_hull_distances: distance of the end to Conv(F_y).
        end_mean_errors: ‖mean of F_y − s‖, the error of an estimate that can be made without knowing s.
        nearest_end_points: min_i ‖φ_∞(τ_i)(y) − s‖; the bound 3 D_φ holds where this is at most D_φ.
        deviations: D_i.
        mean_errors: ‖mean of F_s − s‖.
        simplex_errors: the left side of Eq. 18, over uniform weights.
        independent: whether F_s is affinely independent, so that uniform weights are uniform on the hull.
        settled: whether every agent's flow from the state and from every end came to rest; otherwise its last point
            is used.
        stable_balls: whether each sampled point of the balls of radius 2 D_φ around F_s is surely stable.

    Source: Theorem 7, Theorem 8, Eq. 18, Eq. 71, appendix A.7, appendix A.8.
    """

    diverged: int
    radius: float
    smallest_distance: float
    errors: Float[np.ndarray, "joint samples"]
    accepted_by_paper: Bool[np.ndarray, "joint samples"]
    accepted: Bool[np.ndarray, "joint samples"]
    hull_distances: Float[np.ndarray, "joint samples"]
    end_hull_distances: Float[np.ndarray, "joint samples"]
    end_mean_errors: Float[np.ndarray, "joint samples"]
    nearest_end_points: Float[np.ndarray, "joint samples"]
    deviations: Float[np.ndarray, "joint agents"]
    mean_errors: Float[np.ndarray, " joint"]
    simplex_errors: Float[np.ndarray, " joint"]
    independent: Bool[np.ndarray, " joint"]
    settled: Bool[np.ndarray, " joint"]
    stable_balls: Bool[np.ndarray, "joint balls"]

    @property
    def separated(self) -> bool:
        """The first hypothesis of A.7, D_φ < δ_s / 6."""
        return self.radius < self.smallest_distance / 6

    @property
    def within_radius(self) -> Bool[np.ndarray, " joint"]:
        """Another hypothesis of A.7: every D_i is at most D_φ, which A.7 defines as their maximum."""
        return _every(self.deviations <= self.radius)

    @property
    def hypotheses(self) -> Bool[np.ndarray, "joint samples"]:
        """Which samples fulfil all assumptions of Theorem 7, as far as these can be checked."""
        joint = self.within_radius & _every(self.stable_balls) & self.settled & self.separated
        return joint[:, None] & self.accepted_by_paper

    def inequalities(self) -> dict[str, Bool[np.ndarray, "joint samples"]]:
        """The samples for which each claim holds, up to 1e-4, the accuracy of the fixed points."""
        largest, mean = self.deviations.max(axis=1)[:, None], self.deviations.mean(axis=1)[:, None]
        return {
            "end in the hull of the fixed points near the state": self.hull_distances <= CLOSENESS,
            "end in the hull of the fixed points near the end": self.end_hull_distances <= CLOSENESS,
            "error at most the largest deviation": self.errors <= largest + CLOSENESS,
            "error below 3 D": self.errors < 3 * self.radius,
            "error at most the mean deviation": self.errors <= mean + CLOSENESS,
            "error at most that of the plain mean near the state": self.errors <= self.mean_errors[:, None] + CLOSENESS,
            "error at most that of the plain mean near the end": self.errors <= self.end_mean_errors + CLOSENESS,
        }

    def summary(self) -> dict[str, Any]:
        """Rates with 95% intervals and medians, ready for JSON.

        The rate of an inequality is taken three times: over all samples, over those that the paper's checks accept,
        and over those for which every hypothesis was seen to hold. It is the share of joint histories, among those
        that have such samples, in which the inequality holds for all of them. `guaranteed` is the rate of the bound
        3 D_φ over the samples for which it is proved, so it must be 1.
        """
        every = np.ones(self.errors.shape, bool)
        groups = {"all": every, "accepted_by_paper": self.accepted_by_paper, "hypotheses_hold": self.hypotheses}
        guaranteed = self.accepted_by_paper & (self.nearest_end_points <= self.radius)
        claims = self.inequalities()
        mean = self.deviations.mean(axis=1)
        return {
            "joint_histories": len(self.errors),
            "diverged": self.diverged,
            "samples": self.errors.shape[1],
            "radius": self.radius,
            "smallest_distance": self.smallest_distance,
            "hypotheses": {
                "separated": self.separated,
                "within_radius": rate_with_interval(self.within_radius),
                "stable_in_sampled_balls": rate_with_interval(_every(self.stable_balls)),
                "checks_passed": rate_with_interval(_every(self.accepted_by_paper)),
                "settled": rate_with_interval(self.settled),
                "all": rate_with_interval(_every(self.hypotheses)),
            },
            "theorem_7": {
                name: {group: _rate_within(holds, chosen) for group, chosen in groups.items()}
                for name, holds in claims.items()
            },
            "guaranteed": _rate_within(claims["error below 3 D"], guaranteed),
            "theorem_8": {
                "uniform weights": rate_with_interval(self.simplex_errors <= mean + CLOSENESS),
                "plain mean": rate_with_interval(self.mean_errors <= mean + CLOSENESS),
                "weights are uniform on the hull": rate_with_interval(self.independent),
            },
            "medians": {name: float(np.median(values)) for name, values in self._sizes().items()},
        }

    def _sizes(self) -> dict[str, np.ndarray]:
        return {
            "error": self.errors,
            "largest_deviation": self.deviations.max(axis=1),
            "mean_deviation": self.deviations.mean(axis=1),
            "plain_mean_error": self.mean_errors,
            "plain_mean_error_near_end": self.end_mean_errors,
            "uniform_weights_error": self.simplex_errors,
            "hull_distance": self.hull_distances,
            "hull_distance_near_end": self.end_hull_distances,
        }


def rate_with_interval(holds: Bool[np.ndarray, " trials"]) -> dict[str, Any]:
    """The rate at which something holds, its 95% Clopper–Pearson interval, and the number of trials.

    Rate and interval are None without a trial.
    """
    successes, trials = int(holds.sum()), len(holds)
    if not trials:
        return {"rate": None, "interval": None, "trials": 0}
    return {"rate": successes / trials, "interval": list(clopper_pearson(successes, trials)), "trials": trials}


def _rate_within(holds: Bool[np.ndarray, "joint samples"], chosen: Bool[np.ndarray, "joint samples"]) -> dict[str, Any]:
    """Among joint histories with a chosen sample: how often a claim holds for all their chosen samples."""
    return rate_with_interval(_every(holds | ~chosen)[np.logical_or.reduce(chosen, axis=1)])


def _every(values: Bool[np.ndarray, "joint samples"]) -> Bool[np.ndarray, " joint"]:
    """Whether all of each joint history's values are true."""
    return np.logical_and.reduce(values, axis=1)
