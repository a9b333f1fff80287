"""The flows of Figure 2 (a to f): one joint history, three of its agents, and the fixed points of all of them pooled.

Two targets are somewhere. One agent sees the first, one the second, one neither, and everything is projected on the
two areas that hold the targets. An agent's fixed point for a state s that its history allows is φ_∞(τ_i)(s); without
approximation errors it is s, and the only point that all agents have is the true state (Theorem 3).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.belief import exact_belief
from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.fixed_points import find_fixed_points
from composite_flow.flow import TOLERANCE, flow, settle
from composite_flow_paper.shared.cells import rounded
from composite_flow_paper.shared.sensor_runs import SensorData

MERGE_RADIUS = 0.1  # a tenth of the least distance of two states of 0 and 1, or less
RADII = {"exact": 0.0, "1e-3": 1e-3, "merge_radius": MERGE_RADIUS}
NUM_STEPS = 12  # drawn of each flow; what follows is too short to be seen
NUM_CANDIDATES = 512  # joint histories among which the picture's is chosen
# An agent that sees nothing allows hundreds of states: more rows than this would only be longer to polish.
MAX_POINTS = 256
FLOWS_AT_ONCE = 64  # the slowest flow holds up all that run beside it, and a few are very slow
DIGITS = 5  # of a pooled point, whose deviation may be a thousandth


class Attractors(eqx.Module):
    """φ_∞(τ_i)(s) of every agent i and every state s that its history allows, one row for each such pair.

    Attributes:
        agents: i.
        indices: of s among the states.
        points: where the flow that starts at s comes to rest.
        norms: ‖D_φ(τ_i, s)‖, the distance of the two.
        converged: whether it came to rest.
    """

    agents: Int[np.ndarray, " pairs"]
    indices: Int[np.ndarray, " pairs"]
    points: Float[np.ndarray, "pairs state"]
    norms: Float[np.ndarray, " pairs"]
    converged: Bool[np.ndarray, " pairs"]

    def of(self, agent: int) -> Float[np.ndarray, "points state"]:
        """One agent's fixed points, those that came to rest."""
        return self.points[(self.agents == agent) & self.converged]


def compute_flows(
    data: SensorData,
    denoiser: Denoiser,
    *,
    key: PRNGKeyArray,
    num_drawn: int = 60,
    num_starts: int = 512,
    num_pooled: int = 24,
) -> dict[str, Any]:
    """What panels a to f need, as a dictionary for JSON.

    Args:
        data: a sensor network with two targets or more, of which each agent sees a part.
        denoiser: f.
        key: draws the starts.
        num_drawn: trajectories for each of the three agents.
        num_starts: starts from N(0, I) that look for the fixed points of each of them.
        num_pooled: states drawn for each place of the projection where all agents are pooled.

    Raises:
        InputError: no joint history of the test part has the three agents.
    """
    joint = data.test.joint(data.test.steps[:NUM_CANDIDATES])
    index, agents = choose_agents(np.asarray(data.problem.coverage), np.asarray(joint.states))
    histories, state = joint.histories[index], np.asarray(joint.states[index])
    belief = exact_belief(data.problem, jax.tree.map(lambda leaf: leaf[index], joint.structured))
    states, consistent = np.asarray(belief.states), np.asarray(belief.consistent)
    true = int(np.argmin(np.linalg.norm(states - state, axis=1)))
    areas = np.flatnonzero(state > 0.5)[:2]
    found = attractors(denoiser, histories, states, consistent)
    from_true = found.points[found.indices == true]  # every agent's, since every agent allows the true state
    return {
        "areas": areas,
        "state": state,
        "coverage": data.problem.coverage,
        "agents": [
            {
                "agent": agent,
                "sees": np.flatnonzero(data.problem.coverage[agent] & (state > 0.5)),
                "from_true": rounded(from_true[agent][areas], DIGITS),
            }
            | agent_flow(
                denoiser, histories[agent], states[consistent[agent]], state, areas,
                key=jax.random.fold_in(key, agent), num_drawn=num_drawn, num_starts=num_starts,
                max_points=min(MAX_POINTS, 2 * len(states)),
            )
            for agent in agents
        ],
        "pooled": pooled(found, states, true, areas, num_pooled),
        "deviations": deviation_numbers(found, states[:, areas], true),
        "intersection": intersections(found, state, len(histories)),
        "converged": float(np.mean(found.converged)),
    }  # fmt: skip


def choose_agents(coverage: Bool[np.ndarray, "agents areas"], states: np.ndarray) -> tuple[int, tuple[int, int, int]]:
    """A joint history, and agents that see its first target only, its second only, and none.

    Among the joint histories that have them, the one whose third agent shares most areas with the other two, and
    whose agents cover most: then the three stand near each other on the map.
    """
    shared = coverage.astype(int) @ coverage.T
    best: tuple[tuple[int, int], int, tuple[int, int, int]] | None = None
    for index, state in enumerate(states > 0.5):
        targets = np.flatnonzero(state)
        seen = coverage[:, targets]
        ones = [np.flatnonzero(seen[:, k] & (seen.sum(axis=1) == 1)) for k in range(len(targets))]
        blind = np.flatnonzero(~seen.any(axis=1))
        if len(targets) < 2 or np.any(seen[:, 0] & seen[:, 1]):
            continue
        for first, second, third in ((i, j, k) for i in ones[0] for j in ones[1] for k in blind):
            near = int((shared[third, first] > 0) & (shared[third, second] > 0))
            score = (near, int(np.trace(shared[np.ix_([first, second, third], [first, second, third])])))
            if best is None or score > best[0]:
                best = (score, index, (int(first), int(second), int(third)))
    if best is None:
        raise InputError("No joint history has two targets seen by different agents and one agent that sees none.")
    return best[1], best[2]


def attractors(
    denoiser: Denoiser,
    histories: Float[Array, "agents history"],
    states: Float[np.ndarray, "states state"],
    consistent: Bool[np.ndarray, "agents states"],
) -> Attractors:
    """Let the flow of each agent start at every state that its history allows."""
    agents, indices = np.nonzero(consistent)
    points, converged = settle(denoiser, histories[agents], jnp.asarray(states[indices]), batch_size=FLOWS_AT_ONCE)
    norms = np.linalg.norm(points - states[indices], axis=1)
    return Attractors(agents, indices, points, norms, converged)


def agent_flow(
    denoiser: Denoiser,
    history: Float[Array, " history"],
    consistent: Float[np.ndarray, "states state"],
    state: Float[np.ndarray, " state"],
    areas: Int[np.ndarray, " two"],
    *,
    key: PRNGKeyArray,
    num_drawn: int,
    num_starts: int,
    max_points: int,
) -> dict[str, Any]:
    """One agent's trajectories and stable fixed points from N(0, I), beside the states that its history allows."""
    key_drawn, key_points = jax.random.split(key)
    trajectory = _trajectories(denoiser, history, jax.random.normal(key_drawn, (num_drawn, denoiser.state_size)))
    found = find_fixed_points(
        denoiser,
        history,
        key=key_points,
        num_starts=num_starts,
        merge_radius=MERGE_RADIUS,
        max_points=max_points,
    )
    stable = np.asarray(found.stable)
    points = np.asarray(found.points)[stable]
    distances = np.linalg.norm(points[:, None] - consistent[None], axis=-1)
    nearest = consistent[distances.argmin(axis=1)]
    places, counts = np.unique(consistent[:, areas], axis=0, return_counts=True)
    return {
        "num_consistent": len(consistent),
        "places": places,
        "states_at_place": counts,
        "trajectory": rounded(trajectory[:, :, areas]),
        "points": rounded(points[:, areas], DIGITS),
        "is_true": np.all(nearest == state[None], axis=1),
        "distances": rounded(distances.min(axis=1), DIGITS),
        "radii": rounded(np.asarray(found.radii)[stable], DIGITS),
        "masses": rounded(np.asarray(found.masses)[stable], DIGITS),
        "num_found": len(points),
        "mass_elsewhere": float(1.0 - np.asarray(found.masses)[stable].sum()),
    }


@eqx.filter_jit
def _trajectories(denoiser, history, starts):
    context = denoiser.condition(history)
    return jax.vmap(lambda y: flow(denoiser, context, y, NUM_STEPS))(starts)


def pooled(
    found: Attractors, states: np.ndarray, true: int, areas: Int[np.ndarray, " two"], limit: int
) -> dict[str, Any]:
    """The fixed points of all agents for so many states at each place of the projection, and for the true state.

    These are the states that most agents allow, so that the same state is seen through as many agents as possible.
    """
    allowed = np.bincount(found.indices, minlength=len(states))
    places = np.unique(states[:, areas], axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(-allowed, kind="stable")
    chosen = np.concatenate([order[places[order] == place][:limit] for place in np.unique(places)] + [[true]])
    rows = np.flatnonzero(np.isin(found.indices, chosen) & found.converged)
    return {
        "agents": found.agents[rows],
        "places": states[found.indices[rows]][:, areas],
        "points": rounded(found.points[rows][:, areas], DIGITS),
        "norms": rounded(found.norms[rows], DIGITS),
        "is_true": found.indices[rows] == true,
    }


def deviation_numbers(found: Attractors, projected: np.ndarray, true: int) -> dict[str, dict[str, Any]]:
    """Count, median and largest deviation norm: all pairs, those whose state projects to (0, 0), the true state's."""
    origin = np.all(projected[found.indices] == 0.0, axis=1)
    groups = {"all": np.ones_like(origin), "origin": origin, "true": found.indices == true}

    def numbers(norms: np.ndarray) -> dict[str, Any]:
        if not norms.size:
            return {"count": 0, "median": None, "largest": None}
        return {"count": norms.size, "median": float(np.median(norms)), "largest": float(norms.max())}

    return {name: numbers(found.norms[group & found.converged]) for name, group in groups.items()}


def intersections(found: Attractors, state: Float[np.ndarray, " state"], num_agents: int) -> dict[str, dict[str, Any]]:
    """∩_i {φ_∞(τ_i)(s) : s allowed by τ_i}, where points count as one at exact equality, or within a radius."""
    sets = sorted((found.of(agent) for agent in range(num_agents)), key=len)
    spreads = np.zeros(len(sets[0]))
    for others in sets[1:]:
        distances = np.linalg.norm(sets[0][:, None] - others[None], axis=-1)
        spreads = np.maximum(spreads, distances.min(axis=1, initial=np.inf))
    from_true = np.linalg.norm(sets[0] - state[None], axis=1)

    def one(radius: float) -> dict[str, Any]:
        shared = spreads <= radius
        is_true = bool(shared.sum() == 1 and from_true[shared][0] <= max(radius, TOLERANCE))
        return {"radius": radius, "count": int(shared.sum()), "is_true_state": is_true}

    return {name: one(radius) for name, radius in RADII.items()} | {
        "smallest_radius": {"radius": float(spreads.min(initial=np.inf))}
    }
