"""Exact marginals p(s_k = 1 | what some sensors see), also where states are far too many to list.

With histories of one step, sensors see each area by themselves, and the prior is p(S) ∝ Π_{k ∈ S} w_k over sets S of T
areas (`problems/sensor.py`). So the posterior has the same form: areas that somebody sees are certain, and the T − s
targets left are in a set U of unseen areas with

    p(U) ∝ Π_{k ∈ U} w_k m_k^{c_k},     m_k the chance of a miss, c_k how many of these sensors cover area k,

    p(s_k = 1) = v_k e_{R−1}(v without v_k) / e_R(v),     v_k = w_k m_k^{c_k},  R = T − s,

e_R the elementary symmetric polynomials, from those of the areas before k and behind it.
"""

import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.subsets import log_tail_weights

Estimates = Float[np.ndarray, "joint areas"] | Float[Array, "joint areas"]


def exact_marginals(
    problem: SensorNetwork,
    observations: Float[np.ndarray, "joint agents slots"] | Float[Array, "joint agents slots"],
    participants: Bool[np.ndarray, "joint agents"] | Bool[Array, "joint agents"],
) -> Float[np.ndarray, "joint areas"]:
    """The marginals of each joint history, in float64.

    Args:
        problem: the network.
        observations: what every sensor sees at the present step.
        participants: which sensors are heard.
    """
    views, heard = np.asarray(observations), np.asarray(participants)
    weights, miss = np.asarray(problem.log_weights, np.float64), np.asarray(problem.miss, np.float64)
    with np.errstate(divide="ignore"):
        log_miss = np.where(miss > 0.0, np.log(miss), -np.inf)
    found = []
    for seen, covered in zip(_seen(problem, views, heard), heard @ _coverage(problem), strict=True):
        unseen_weights = np.where(covered > 0, weights + covered * np.where(covered > 0, log_miss, 0.0), weights)
        unseen_weights[seen] = -np.inf
        found.append(np.where(seen, 1.0, subset_marginals(unseen_weights, problem.num_targets - int(seen.sum()))))
    return np.stack(found)


def subset_marginals(log_weights: Float[np.ndarray, " elements"], size: int) -> Float[np.ndarray, " elements"]:
    """p(k ∈ U) for sets U of so many elements with p(U) ∝ Π weights; elements of weight 0 have the logarithm −∞."""
    if size == 0:
        return np.zeros(len(log_weights))
    behind = log_tail_weights(log_weights, size)
    before = log_tail_weights(log_weights[::-1], size)[:, ::-1]  # column k: of the elements below k
    both = before[:size, :-1] + behind[:size, 1:][::-1]  # j of them below k, R − 1 − j behind it
    return np.exp(log_weights + _log_sum(both) - behind[size, 0])


def excess_share(
    estimates: Float[np.ndarray, "joint areas"] | Float[Array, "joint areas"],
    marginals: Float[np.ndarray, "joint areas"],
) -> dict[str, float]:
    """Expected squared error beyond that of the exact marginals, over the state given the histories.

        E‖ŝ − s‖² − E‖p − s‖² = ‖ŝ − p‖²,    E‖p − s‖² = Σ p (1 − p),

    both averaged over joint histories, and their ratio.
    """
    excess = float(np.mean(np.sum((np.asarray(estimates, np.float64) - marginals) ** 2, axis=1)))
    own = float(np.mean(np.sum(marginals * (1.0 - marginals), axis=1)))
    return {"excess": excess, "own_error": own, "share": excess / own if own else float("nan")}


def same_decisions(
    estimates: Float[np.ndarray, "joint areas"] | Float[Array, "joint areas"],
    marginals: Float[np.ndarray, "joint areas"],
) -> Bool[np.ndarray, " joint"]:
    """Whether estimates and exact marginals agree in every area, at the threshold ½; at exactly ½ either is right."""
    tie = np.abs(marginals - 0.5) < 1e-6
    return np.all(((np.asarray(estimates) > 0.5) == (marginals > 0.5)) | tie, axis=1)


def _coverage(problem: SensorNetwork) -> Float[np.ndarray, "agents areas"]:
    return np.asarray(problem.coverage, np.float64)


def _seen(problem: SensorNetwork, views: np.ndarray, heard: np.ndarray) -> Bool[np.ndarray, "joint areas"]:
    """The areas in which one of the sensors that are heard sees a target."""
    seen = np.zeros((len(views), problem.num_areas + 1), bool)  # one behind the last, of unused slots
    joint, agent, slot = np.nonzero((views > 0.5) & heard[:, :, None])
    seen[joint, np.asarray(problem.slots)[agent, slot]] = True
    return seen[:, :-1]


def _log_sum(logs: Float[np.ndarray, "terms elements"]) -> Float[np.ndarray, " elements"]:
    return np.logaddexp.reduce(logs, axis=0)
