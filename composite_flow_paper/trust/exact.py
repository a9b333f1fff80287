"""Broken sensors by the exact test, in the world whose states can be listed: how unlikely an observation is.

    −log p(o_i | what all others see) = −log Σ_s p(o_i | s) p(s | o_−i)

The likelihood-ratio test of "this agent observes as the world has it" against any other way to observe ranks steps by
it. Its threshold is that of learned checks: 1% of the clean joint steps have an agent beyond it.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from composite_flow.data.episodes import Episodes
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.trust.broken import HARMFUL, LEAST_HARM, constant_error, grown, interval_of
from composite_flow_paper.trust.checked import calibrated, chosen_episodes, said_of
from composite_flow_paper.trust.faults import KINDS, broken
from composite_flow_paper.trust.sets import exact_chances, seen_by
from composite_flow_paper.trust.worlds import TrustSettings, load_world, sensors

BINARY = ("zeros", "frozen", "another", "shifted")
"""Faults after which an observation is still one that a sensor can make; all others are impossible ones."""

_CLEAN = 0.99
_AT_ONCE = 64  # steps


def compute_exact(settings: TrustSettings, name: str, workspace: Workspace) -> dict[str, Any]:
    """Who is named by the exact test and by the learned checks, on the same steps."""
    model, fresh = load_world(name, workspace.folder)
    model, problem = calibrated(model, fresh, name, settings), sensors(settings)
    usual, episodes = (chosen_episodes(fresh, ids) for ids in (settings.usual_ids(), settings.checked_ids()))
    length = settings.world(name).length
    workspace.progress(f"{name}: what is usual")
    bound = float(np.quantile(surprise(problem, usual).max(axis=1), _CLEAN))
    clean, least = said_of(model, episodes, length), LEAST_HARM * constant_error(model, episodes)
    agents = np.random.default_rng(1).integers(0, episodes.num_agents, episodes.num_episodes)
    found = {"false_alarms": float(np.mean(surprise(problem, episodes).max(axis=1) > bound)), "faults": {}}
    for kind in (kind for kind in KINDS if kind in BINARY):
        workspace.progress(f"{name}: {kind}")
        log = broken(episodes, kind, agents, 0)
        said, unlikely = said_of(model, log, length), surprise(problem, log)
        harmed = grown(said.error, clean.error, least) >= HARMFUL
        whose = agents[log.episode_of_step]
        rows = np.arange(log.num_steps)
        exactly = (unlikely.argmax(axis=1) == whose) & (unlikely[rows, whose] > bound)
        found["faults"][kind] = {
            "harmful": float(harmed.mean()),
            "named_exactly": interval_of(exactly[harmed], log, harmed),
            "named": interval_of(said.suspects[rows, whose][harmed], log, harmed),
        }
    return found


def surprise(problem: SensorNetwork, episodes: Episodes) -> Float[np.ndarray, "steps agents"]:
    """−log p(o_i | o_−i) of every agent at every step; infinite where the others rule it out.

    It is 0 where the others rule each other out: they say nothing of the agent then, who may be the sound one.
    """
    rest = ~np.eye(problem.num_agents, dtype=bool)
    found = []
    for first in range(0, episodes.num_steps, _AT_ONCE):
        rows = np.arange(first, min(first + _AT_ONCE, episodes.num_steps))
        teams = np.broadcast_to(rest, (episodes.num_steps, *rest.shape))
        belief = exact_chances(problem, episodes, teams, rows)
        told = own_likelihood(problem, np.asarray(episodes.observations[rows]))
        with np.errstate(invalid="ignore"):
            found.append(-np.logaddexp.reduce(belief + told, axis=2))
    return np.nan_to_num(np.concatenate(found), nan=0.0, posinf=np.inf)


def own_likelihood(problem: SensorNetwork, observations: np.ndarray) -> Float[np.ndarray, "rows agents states"]:
    """log p(o_i | s) of every agent's observation in every state."""
    states, miss = np.asarray(problem.states(), np.float64), np.asarray(problem.miss, np.float64)
    seen, covers = seen_by(problem, observations), np.asarray(problem.coverage, np.float64)[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        told = np.where(seen > 0, np.log1p(-miss), np.where(covers > 0, np.log(miss), 0.0))
    likelihood = told @ states.T
    return np.where((seen @ (1.0 - states).T) > 0, -np.inf, likelihood)
