"""Filters that know the laws of motion and measurement, from Stone Soup, and rules that fuse their tracks.

    joint                    one Kalman filter is told all measurements
    diagonal                 the same, but that covariances are dropped after every step: variances alone are carried
    covariance intersection  C⁻¹ = Σ ω_i C_i⁻¹ of the sensors' own tracks, with weights ω of the least det C
    naive fusion             C⁻¹ = Σ C_i⁻¹ of them, as if they were independent
    alone                    a sensor's own track

The joint filter is exact but for one thing: that a sensor does not see a target also tells where it is not.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from stonesoup.mixturereducer.gaussianmixture import CovarianceIntersection
from stonesoup.predictor.kalman import KalmanPredictor
from stonesoup.types.detection import Detection
from stonesoup.types.hypothesis import SingleHypothesis
from stonesoup.types.state import GaussianState
from stonesoup.updater.kalman import KalmanUpdater

from benchmarks.tracking.estimates import Estimates
from benchmarks.tracking.world import START, STEP, Episodes, World

JOINT, DIAGONAL = "joint", "diagonal"
INTERSECTION, NAIVE, ALONE = "covariance intersection", "naive fusion", "alone"


def rivals(world: World, episodes: Episodes) -> dict[str, list[Estimates]]:
    """What each of them says; of those who are alone, one of each sensor."""
    everybody = range(len(world.sensors))
    alone = [tracked(world, episodes, [sensor]) for sensor in everybody]
    return {
        JOINT: [estimates_of(tracked(world, episodes, everybody))],
        DIAGONAL: [estimates_of(tracked(world, episodes, everybody, diagonal=True))],
        INTERSECTION: [estimates_of(fused(alone, intersected))],
        NAIVE: [estimates_of(fused(alone, naively_fused))],
        ALONE: [estimates_of(tracks) for tracks in alone],
    }


def tracked(world: World, episodes: Episodes, sensors: Sequence[int], diagonal: bool = False) -> np.ndarray:
    """What a Kalman filter of the sensors' measurements knows: Gaussian states, (episodes, steps, targets).

    Args:
        world, episodes: what is tracked.
        sensors: whose measurements it is told.
        diagonal: drop covariances after every step.
    """
    predictor, updater = KalmanPredictor(world.transition), KalmanUpdater(world.measurement)
    found = np.empty(episodes.states.shape[:3], object)
    prior = GaussianState(*world.prior, timestamp=START)
    for episode, target in np.ndindex(len(found), world.targets):
        known = prior
        for step in range(world.steps):
            if step:
                known = predictor.predict(known, timestamp=known.timestamp + STEP)
            for sensor in sensors:
                if episodes.seen[episode, step, sensor, target]:
                    measured = Detection(episodes.measured[episode, step, sensor, target], timestamp=known.timestamp)
                    known = updater.update(SingleHypothesis(known, measured))
            # without what it came from, which would keep the whole past in memory
            covariance = np.diag(np.diag(known.covar)) if diagonal else known.covar
            known = GaussianState(known.state_vector, covariance, timestamp=known.timestamp)
            found[episode, step, target] = known
    return found


def fused(alone: Sequence[np.ndarray], rule) -> np.ndarray:
    """The sensors' tracks, fused step by step; nothing is fed back to them."""
    found = np.empty(alone[0].shape, object)
    for place in np.ndindex(found.shape):
        found[place] = rule([tracks[place] for tracks in alone])
    return found


def intersected(states: Sequence[GaussianState]) -> GaussianState:
    """Covariance intersection with the weights that claim most."""
    inverses = np.array([np.linalg.inv(state.covar) for state in states])

    def sureness(logits):
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        total = np.einsum("i,ijk->jk", weights, inverses)
        slopes = np.einsum("jk,ikj->i", np.linalg.inv(total), inverses)
        return -np.linalg.slogdet(total)[1], -weights * (slopes - weights @ slopes)

    logits = minimize(sureness, np.zeros(len(states)), jac=True, method="BFGS", options={"gtol": 1e-4}).x
    return CovarianceIntersection.merge_components(*states, weights=np.exp(logits - logits.max()))


def naively_fused(states: Sequence[GaussianState]) -> GaussianState:
    """All tracks' information added up, the common prior and the common motion counted once for each."""
    merged = CovarianceIntersection.merge_components(*states)
    return GaussianState(merged.state_vector, merged.covar / len(states), timestamp=merged.timestamp)


def estimates_of(tracks: np.ndarray) -> Estimates:
    """Tracks as arrays."""

    def gathered(value) -> Float[np.ndarray, "..."]:
        return np.array([value(state) for state in tracks.flat], float)

    means, covariances = gathered(lambda state: state.state_vector), gathered(lambda state: state.covar)
    return Estimates(means.reshape(*tracks.shape, 4), covariances.reshape(*tracks.shape, 4, 4))
