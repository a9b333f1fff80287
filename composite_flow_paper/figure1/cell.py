"""A cell of Figure 1: a network is trained, and its fixed points and basins are held against the exact answer."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.belief import Belief, exact_belief
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.denoiser import Denoiser
from composite_flow.fixed_points import FixedPoints, find_fixed_points
from composite_flow.history import History
from composite_flow.metrics import total_variation
from composite_flow.model import Model
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.shared.cells import Workspace, rounded
from composite_flow_paper.shared.sensor_runs import SensorSettings, collect_sensors, train_sensors

MISS = {"observable": (0.0, 0.0, 0.0, 0.0), "unobservable": (0.5, 0.5, 0.0, 0.0)}
# The joint histories drawn: the target in area 1, seen by agents 1 and 2; and nobody seeing anything.
SHOWN = {"observable": ((1, 0), (1, 0), (0, 0), (0, 0)), "unobservable": ((0, 0),) * 4}


@dataclass(frozen=True)
class Figure1Settings:
    """What Figure 1 depends on.

    Attributes:
        sensors: data and training.
        num_seeds: training seeds.
        num_starts: starts from N(0, I) for each history.
        scales: standard deviations of the initial noise, among which the one nearest to the posterior is sought.
        tolerance: a fixed point this near to a state counts as that state.
        merge_radius: end points this near to each other are one; at most a tenth of the states' smallest distance.
        num_samples: samples of composite diffusion for each joint history.
        num_arrows: arrows drawn for each agent.
    """

    sensors: SensorSettings = field(
        default_factory=lambda: SensorSettings(
            num_episodes=16384, training=TrainingConfig(width=128, batch=1024, steps=8000, learning_rate=3e-3)
        )
    )
    num_seeds: int = 3
    num_starts: int = 20_000
    scales: tuple[float, ...] = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
    tolerance: float = 0.05
    merge_radius: float = 0.1
    num_samples: int = 256
    num_arrows: int = 150


def compute(settings: Figure1Settings, case: str, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train on one network, then hold fixed points, basins and composite diffusion against the exact answer."""
    key_data, key_train, key_points, key_joint, key_arrows = jax.random.split(jax.random.key(seed), 5)
    problem = SensorNetwork.two_by_two(miss=MISS[case])
    data = collect_sensors(problem, settings.sensors, key=key_data)
    model = train_sensors(data, settings.sensors, key=key_train, progress=workspace.progress)
    denoisers = {"learned": model.denoiser, "ideal": data.ideal}
    histories = stacked(possible_histories(problem))
    encoded = model.layout.encode(histories)
    belief = exact_belief(problem, histories)
    found = {
        name: find(settings, denoiser, encoded, key=key_points, sigma=1.0, num_starts=settings.num_starts)
        for name, denoiser in denoisers.items()
    }
    local = [compare_history(settings, histories, belief, found, k) for k in range(len(encoded))]
    by_scale = scan_scales(settings, denoisers, encoded, belief, key=key_points)
    return {
        "histories": local,
        "by_scale": by_scale,
        "joint_histories": compare_joint_histories(settings, problem, model, local, key=key_joint),
        "arrows": arrows(settings, model.denoiser, model.layout.encode(joint_history(SHOWN[case])), key=key_arrows),
        "curves": model.curves,
    }


def possible_histories(problem: SensorNetwork) -> Iterator[History]:
    """Every local history of one step that some state allows, agent by agent."""
    for agent, pattern in itertools.product(range(problem.num_agents), itertools.product((1, 0), repeat=2)):
        history = local_history(agent, pattern)
        if bool(jnp.any(jnp.isfinite(problem.log_likelihood(history.agent, history.observations[0])))):
            yield history


def possible_joint_histories(problem: SensorNetwork) -> Iterator[History]:
    """Every joint history of one step that some state allows."""
    patterns = itertools.product(itertools.product((1, 0), repeat=2), repeat=problem.num_agents)
    for joint in patterns:
        history = joint_history(joint)
        if bool(jnp.any(jnp.isfinite(problem.joint_log_likelihood(history.observations[:, 0])))):
            yield history


def local_history(agent: int, pattern: tuple[int, ...]) -> History:
    """One step of one agent, seeing this pattern."""
    observations = jnp.asarray([pattern], jnp.float32)
    return History(observations, jnp.zeros(0, jnp.int32), jnp.ones(1, bool), jnp.asarray(agent, jnp.int32))


def joint_history(patterns: tuple[tuple[int, ...], ...]) -> History:
    """One step of the team, each agent seeing its pattern."""
    return stacked(local_history(agent, pattern) for agent, pattern in enumerate(patterns))


def stacked(histories: Iterable[History]) -> History:
    """Histories along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *histories)


def find(settings: Figure1Settings, denoiser, encoded, *, key, sigma: float, num_starts: int) -> FixedPoints:
    """The fixed points that starts from N(0, sigma² I) reach, for each history."""
    return find_fixed_points(
        denoiser,
        encoded,
        key=key,
        num_starts=num_starts,
        sigma=sigma,
        merge_radius=settings.merge_radius,
        max_points=16,
    )


def state_masses(found: FixedPoints, states: Float[Array, "states state"]) -> Float[Array, "histories states"]:
    """For each history, the share of starts that ended at a stable fixed point nearest to each state."""
    nearest = jnp.argmin(jnp.linalg.norm(found.points[:, :, None] - states[None, None], axis=-1), axis=2)
    masses = jnp.where(found.mask & found.stable, found.masses, 0.0)
    return jnp.sum(jax.nn.one_hot(nearest, len(states)) * masses[:, :, None], axis=1)


def compare_history(
    settings: Figure1Settings, histories: History, belief: Belief, found: dict[str, FixedPoints], index: int
) -> dict[str, Any]:
    """Fixed points and basin masses of both denoisers for one local history, beside its exact posterior."""
    learned = jax.tree.map(lambda leaf: np.asarray(leaf)[index], found["learned"])
    stable = learned.points[learned.mask & learned.stable]
    consistent = np.asarray(belief.states)[np.asarray(belief.consistent[index])]
    masses = {name: state_masses(points, belief.states)[index] for name, points in found.items()}
    posterior = belief.probabilities[index]
    return {
        "agent": histories.agent[index],
        "observation": histories.observations[index, 0],
        "posterior": posterior,
        "points": stable,
        "radii": learned.radii[learned.mask & learned.stable],
        "largest_distance": set_distance(stable, consistent),
        "is_consistent_set": same_points(stable, consistent, settings.tolerance),
        "masses": masses,
        "learned_to_ideal": total_variation(masses["learned"], masses["ideal"]),
        "learned_to_posterior": total_variation(masses["learned"], posterior),
        "ideal_to_posterior": total_variation(masses["ideal"], posterior),
    }


def scan_scales(settings, denoisers, encoded, belief: Belief, *, key) -> dict[str, list[float]]:
    """Mean total variation between basin masses and the posterior for each scale of the initial noise p(y)."""
    num_starts = max(500, settings.num_starts // 4)

    def distance(denoiser, scale: float) -> float:
        points = find(settings, denoiser, encoded, key=key, sigma=scale, num_starts=num_starts)
        return float(jnp.mean(total_variation(state_masses(points, belief.states), belief.probabilities)))

    return {name: [distance(denoiser, scale) for scale in settings.scales] for name, denoiser in denoisers.items()}


def compare_joint_histories(
    settings: Figure1Settings, problem: SensorNetwork, model: Model, local: list[dict[str, Any]], *, key: PRNGKeyArray
) -> list[dict[str, Any]]:
    """Shared fixed points and composite candidates for every joint history, beside the states that it leaves."""
    joint = stacked(possible_joint_histories(problem))
    belief = exact_belief(problem, joint, joint=True)
    estimates = reconstruct_batch(
        model.denoiser,
        model.layout.encode(joint),
        key=key,
        num_samples=settings.num_samples,
        merge_radius=settings.merge_radius,
    )
    points = {(int(one["agent"]), tuple(one["observation"].tolist())): one["points"] for one in local}
    results = []
    for index, patterns in enumerate(np.asarray(joint.observations)[:, :, 0]):
        possible = np.asarray(belief.states)[np.asarray(belief.consistent[index])]
        shared = shared_points([points[agent, tuple(row.tolist())] for agent, row in enumerate(patterns)], settings)
        mask = np.asarray(estimates.mask[index])
        candidates = np.asarray(estimates.candidates[index])[mask]
        results.append(
            {
                "observations": patterns,
                "possible": possible,
                "posterior": belief.probabilities[index],
                "shared": shared,
                "shared_are_possible": same_points(shared, possible, settings.tolerance),
                "candidates": candidates,
                "candidates_are_possible": same_points(candidates, possible, settings.tolerance),
                "shares": np.asarray(estimates.shares[index])[mask],
            }
        )
    return results


def shared_points(sets: list[np.ndarray], settings: Figure1Settings) -> np.ndarray:
    """The first agent's fixed points that every other agent has too; both may be off by the tolerance."""
    distances = [np.linalg.norm(sets[0][:, None] - others[None], axis=-1).min(axis=1) for others in sets[1:]]
    return sets[0][(np.stack(distances) <= 2 * settings.tolerance).all(axis=0)]


def set_distance(found: np.ndarray, expected: np.ndarray) -> float:
    """The Hausdorff distance of two sets of points; infinite where one is empty."""
    if not len(found) or not len(expected):
        return float("inf")
    distances = np.linalg.norm(found[:, None] - expected[None], axis=-1)
    return float(max(distances.min(axis=1).max(), distances.min(axis=0).max()))


def same_points(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Whether both sets have one point for each of the other's, within the tolerance."""
    return len(found) == len(expected) and set_distance(found, expected) <= tolerance


def arrows(settings, denoiser: Denoiser, flat: Float[Array, "agents history"], *, key) -> list[dict[str, Any]]:
    """Each agent's map from noisy states to denoised ones, for drawing."""
    starts = 0.5 + 0.6 * jax.random.normal(key, (settings.num_arrows, denoiser.state_size))
    contexts = jax.vmap(denoiser.condition)(flat)
    ends = jax.vmap(lambda context: jax.vmap(lambda y: denoiser.denoise(context, y))(starts))(contexts)
    return [{"starts": rounded(starts), "ends": rounded(agent_ends)} for agent_ends in ends]
