"""How far estimates are from the truth, and from what they claim: of each episode sums and means over its steps.

error   ‖(x, y) − (x̂, ŷ)‖², mean over steps and targets; its root is the RMSE
seen    the same where some sensor sees the target
gospa   GOSPA (Rahmathullah et al. 2017) of the targets' positions, p = 2, mean over steps, by Stone Soup
nees    eᵀ C⁻¹ e, mean over steps and targets; 4, the number of coordinates, where claims are right
"""

import numpy as np
from jaxtyping import Float
from stonesoup.measures import Euclidean
from stonesoup.metricgenerator.ospametric import GOSPAMetric
from stonesoup.types.state import State

from benchmarks.tracking.estimates import Estimates
from benchmarks.tracking.world import POSITION, Episodes

CUTOFF = 20.0
"""Of GOSPA, in metres."""
Scores = dict[str, Float[np.ndarray, " episodes"]]


def scores_of(episodes: Episodes, found: Estimates) -> Scores:
    """All of them."""
    errors, seen = found.mean - episodes.states, episodes.seen.any(axis=2)
    squared = (errors[..., POSITION] ** 2).sum(axis=-1)
    distances = np.einsum("...i,...i->...", errors, np.linalg.solve(found.covariance, errors[..., None])[..., 0])
    return {
        "error": squared.mean(axis=(1, 2)),
        "seen": (squared * seen).sum(axis=(1, 2)) / np.maximum(1, seen.sum(axis=(1, 2))),
        "gospa": gospa(episodes.states, found.mean).mean(axis=1),
        "nees": distances.mean(axis=(1, 2)),
    }


def gospa(
    states: Float[np.ndarray, "episodes steps targets 4"], means: Float[np.ndarray, "episodes steps targets 4"]
) -> Float[np.ndarray, "episodes steps"]:
    """Of each step."""
    metric = GOSPAMetric(p=2, c=CUTOFF, measure=Euclidean(mapping=POSITION))

    def distance(found, truth):
        found, truth = ([State(each) for each in targets] for targets in (found, truth))
        return metric.compute_gospa_metric(found, truth)[0].value["distance"]

    shape = states.shape[:2]
    return np.array([distance(means[place], states[place]) for place in np.ndindex(shape)]).reshape(shape)
