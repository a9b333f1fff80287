"""Sets of whole states beside those of the exact posterior, in the world whose states can be listed.

Both are calibrated alike, by −log p of the true state on calibration episodes; with the exact posterior of what the
team's members see, sets are as small on average as they can be at their coverage.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.levels import LEVELS as MEASURED
from composite_flow.fusion.levels import OVERS
from composite_flow.fusion.trust.coverage import held, share_by_episode
from composite_flow.fusion.trust.quantiles import bounds
from composite_flow.fusion.trust.scores import drawn_teams, scores_of_teams
from composite_flow.fusion.trust.set_scores import all_chances, places_among
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.trust.checked import as_scaled
from composite_flow_paper.trust.coverage import LEVELS, sizes_of
from composite_flow_paper.trust.worlds import TrustSettings, load_world, sensors

_AT_ONCE = 4096  # steps


def compute_sets(settings: TrustSettings, name: str, workspace: Workspace) -> dict[str, Any]:
    """Coverage and size of sets in each draw, by what agents say and by the exact posterior."""
    model, episodes = load_world(name, workspace.folder)
    dataset, problem = as_scaled(HistoryDataset(episodes, 1), model), sensors(settings)
    assert model.answers is not None
    sizes, key, known = sizes_of(episodes.num_agents), jax.random.key(2), np.asarray(problem.states(), np.float32)
    workspace.progress(f"{name}: what teams say")
    scores = scores_of_teams(model.answers, dataset, sizes, key=key)
    place = places_among(scores.states, known)
    teams = teams_of(episodes, sizes, key)
    said = Unlikely(place, lambda rows: all_chances(scores.claims[rows], known, _binary(problem)))
    exact = Unlikely(place, lambda rows: exact_chances(problem, episodes, teams, rows))
    found = {}
    for way, unlikely in {"said": said, "exact": exact}.items():
        workspace.progress(f"{name}: sets by {way}")
        found[way] = [_of_draw(unlikely, scores.episodes, settings, draw) for draw in range(settings.draws)]
    return {"sizes": list(sizes), "states": len(known), **found}


def _binary(problem: SensorNetwork) -> FeatureTypes:
    return FeatureTypes(tuple(range(problem.num_areas)), (), problem.num_areas)


class Unlikely:
    """−log p(s | team) of known states, computed for some steps at a time."""

    def __init__(self, place: np.ndarray, chances_at):
        """`place` of the true states among the known ones; `chances_at` gives log p of all known states at rows."""
        self.place, self.chances_at = place, chances_at

    def of_truth(self, rows: np.ndarray) -> Float[np.ndarray, "rows sizes"]:
        """Of the true state."""
        return np.concatenate([self._truth(part) for part in _parts(rows)])

    def counts(self, rows: np.ndarray, reach: Float[np.ndarray, "bounds sizes"]) -> Float[np.ndarray, "bounds sizes"]:
        """The mean number of states within each bound."""
        total = np.zeros(reach.shape)
        for part in _parts(rows):
            unlikely = -self.chances_at(part)
            total += np.stack([np.sum(unlikely <= one[None, :, None], axis=(0, 2)) for one in reach])
        return total / len(rows)

    def _truth(self, rows: np.ndarray) -> np.ndarray:
        chances = self.chances_at(rows)
        return -np.take_along_axis(chances, self.place[rows][:, None, None], axis=2)[..., 0]


def _parts(rows: np.ndarray):
    return [rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE)]


def _of_draw(unlikely: Unlikely, episodes: np.ndarray, settings: TrustSettings, draw: int) -> dict[str, Any]:
    calibration, test = (np.flatnonzero(np.isin(episodes, ids)) for ids in settings.draw_ids(draw))
    known, new = unlikely.of_truth(calibration), unlikely.of_truth(test)
    tables = {over: bounds(known, episodes[calibration], MEASURED, over) for over in OVERS}
    reach = {over: np.stack([tables[over][MEASURED.index(level)] for level in LEVELS]) for over in OVERS}
    sizes = unlikely.counts(test, np.concatenate([reach[over] for over in OVERS]))
    told: dict[str, Any] = {}
    for number, over in enumerate(OVERS):
        rows = sizes[number * len(LEVELS) : (number + 1) * len(LEVELS)]
        covered = [share_by_episode(held(new, bound), episodes[test], over) for bound in reach[over]]
        told[over] = {
            f"{level:g}": {"covered": covered[k].round(4).tolist(), "size": rows[k].round(3).tolist()}
            for k, level in enumerate(LEVELS)
        }
    return told


def teams_of(episodes: Episodes, sizes: tuple[int, ...], key: Array) -> Bool[np.ndarray, "steps sizes agents"]:
    """The teams that `scores_of_teams` draws."""
    steps, of_step = jnp.arange(episodes.num_steps), jnp.asarray(episodes.episode_of_step)
    draw = jax.jit(jax.vmap(lambda s, e: drawn_teams(key, s, e, episodes.num_agents, sizes, jnp.float32(0.0))))
    return np.asarray(draw(steps, of_step))


def exact_chances(
    problem: SensorNetwork, episodes: Episodes, teams: Bool[np.ndarray, "steps sizes agents"], rows: np.ndarray
) -> Float[np.ndarray, "rows sizes states"]:
    """log p(s | what the team's members see now) of every state, in float64.

    A target in an area that c members of the team cover and d of them see has the likelihood (1 − m)^d m^(c − d); where
    somebody sees one there is one. Of members who rule each other out it is no number.
    """
    states, miss = np.asarray(problem.states(), np.float64), np.asarray(problem.miss, np.float64)
    seen = seen_by(problem, np.asarray(episodes.observations[rows]))
    members = teams[rows].astype(np.float64)
    covers = members @ np.asarray(problem.coverage, np.float64)
    sights = np.einsum("rsa,rak->rsk", members, seen)
    with np.errstate(divide="ignore", invalid="ignore"):
        told = np.where(sights > 0, sights * np.log1p(-miss), 0.0) + np.where(
            covers > sights, (covers - sights) * np.log(miss), 0.0
        )
    weights = told @ states.T + np.log(np.asarray(problem.initial_probabilities(), np.float64))[None, None]
    impossible = (sights > 0).astype(np.float64) @ (1.0 - states).T > 0
    weights = np.where(impossible, -np.inf, weights)
    with np.errstate(invalid="ignore"):
        return weights - np.logaddexp.reduce(weights, axis=2, keepdims=True)


def seen_by(problem: SensorNetwork, observations: np.ndarray) -> Float[np.ndarray, "rows agents areas"]:
    """Which areas each agent sees a target in."""
    slots = np.asarray(problem.slots)
    found = np.zeros((*observations.shape[:2], problem.num_areas + 1))
    for agent in range(len(slots)):
        found[:, agent, slots[agent]] = observations[:, agent] > 0.5
    return found[..., :-1]
