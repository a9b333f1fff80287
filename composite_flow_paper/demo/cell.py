"""The demo's computation: collect, train, reconstruct, and hold every agent's view against its exact belief."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.belief import exact_belief
from composite_flow.composite.reconstruct import composite_flow
from composite_flow.data.collect import collect_to
from composite_flow.data.dataset import HistoryDataset, JointBatch
from composite_flow.data.episodes import Episodes
from composite_flow.denoiser import Denoiser
from composite_flow.evaluation import evaluate
from composite_flow.fixed_points import FixedPoints, find_fixed_points
from composite_flow.metrics import total_variation
from composite_flow.model import Model
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.runs import RunSettings, open_run, start_or_resume, train_run
from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps

SAME_STATE = 0.25  # a fixed point this near to a state counts as it; two states are at least √2 apart


def _training() -> TrainingConfig:
    # Also where flows go, so that the fixed points of agents who know little are the states that they allow.
    return TrainingConfig(
        learn="both",
        fusion_steps=600,
        team_denoiser=False,
        width=128,
        batch=256,
        steps=5000,
        learning_rate=3e-3,
        initial="identity",
        flow_points=128,
        evaluate_every=1000,
    )


@dataclass(frozen=True)
class DemoSettings:
    """What the demo depends on.

    Attributes:
        rows, columns, num_targets: the sensor network.
        num_episodes: episodes to collect.
        training: the denoiser and its training.
        num_histories: joint histories of held-out episodes.
        num_samples: samples of composite diffusion for each.
        num_starts: starts of each agent's fixed points.
        num_drawn: samples in the picture.
        num_sweeps_drawn: sweeps in the picture.
    """

    rows: int = 3
    columns: int = 3
    num_targets: int = 2
    num_episodes: int = 1024
    training: TrainingConfig = field(default_factory=_training)
    num_histories: int = 200
    num_samples: int = 4
    num_starts: int = 2048
    num_drawn: int = 64
    num_sweeps_drawn: int = 2


def compute(settings: DemoSettings, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Everything, from the first episode on; what an earlier call finished is kept.

    Returns:
        The evaluation's figures under "summary"; beside it the agents' table and all that the picture shows.
    """
    out, overwrite, progress = workspace.folder, workspace.overwrite, workspace.progress
    key_data, key_rate, key_points, key_drawn = jax.random.split(jax.random.key(seed), 4)
    problem = SensorNetwork.grid(settings.rows, settings.columns, settings.num_targets)
    episodes = _episodes(problem, settings, out / "data", key_data, overwrite, progress)
    _train(episodes, settings, out / "run", seed, overwrite, progress)
    opened = open_run(out / "run", out / "data")
    progress("reconstructing held-out episodes")
    evaluation = evaluate(
        opened.model,
        opened.dataset,
        key=key_rate,
        num_joint=settings.num_histories,
        num_samples=settings.num_samples,
    )
    joint, posterior = telling_history(problem, opened.dataset, evaluation.steps)
    progress("finding every agent's fixed points")
    points = find_fixed_points(
        opened.model.denoiser, joint.histories[0], key=key_points, num_starts=settings.num_starts
    )
    agents = agent_rows(problem, joint, posterior, points)
    drawn = draw_flows(opened.model, joint, settings, key_drawn)
    details = {"agents": agents, "drawn": drawn, "network": network_of(problem, settings)}
    return {"summary": {**evaluation.summary(), "demo": {"agents": agents, **record_of(opened.model)}}, **details}


def _episodes(problem, settings: DemoSettings, folder: Path, key, overwrite: bool, progress: Progress) -> Episodes:
    """The episodes of an earlier call, or new ones."""
    progress("collecting episodes")
    if folder.exists() and not overwrite:
        return Episodes.load(folder)
    return collect_to(folder, problem, settings.num_episodes, key=key, overwrite=overwrite)


def _train(episodes: Episodes, settings: DemoSettings, folder: Path, seed: int, overwrite: bool, progress: Progress):
    """Go on where an earlier call stopped, unless everything is to be done again."""
    run_settings = RunSettings(settings.training, seed=seed)
    run_settings = start_or_resume(folder, run_settings, resume=not overwrite, overwrite=overwrite)
    return train_run(
        episodes,
        run_settings,
        folder,
        resume=not overwrite,
        overwrite=overwrite,
        progress=told_steps(progress),
    )


def record_of(model: Model) -> dict[str, Any]:
    """How the model was trained, and how near it came to the ideal loss."""
    last = [point for point in model.curves if "excess" in point][-1]
    found = {"radius": model.radius, **{name: last[name] for name in ("step", "seconds", "loss", "excess")}}
    fused = model.curves[-1]
    return {**found, "fusion": {name: fused[name] for name in ("step", "seconds")}}


def telling_history(
    problem: SensorNetwork, dataset: HistoryDataset, steps: Int[Array, " joint"]
) -> tuple[JointBatch, Float[Array, "agents states"]]:
    """The first of these joint histories that leaves every agent several states, and what each believes.

    The very first one is taken where each of them tells some agent all.
    The belief at a window's first step is the distribution of the dataset's own states.
    """
    joint = dataset.joint(steps)
    start = dataset.state_frequencies(problem.states())
    beliefs = exact_belief(problem, joint.structured, start=start).probabilities
    open_to_all = jnp.all(jnp.sum(beliefs > 0, axis=-1) > 1, axis=-1)
    first = int(jnp.argmax(open_to_all))
    return jax.tree.map(lambda leaf: leaf[first : first + 1], joint), beliefs[first]


def agent_rows(
    problem: SensorNetwork, joint: JointBatch, posterior: Float[Array, "agents states"], points: FixedPoints
) -> list[dict[str, Any]]:
    """Each agent's view, fixed points, exact posterior and basin masses."""
    states = problem.states()
    truth = int(jnp.argmin(jnp.sum((states - joint.states[:1]) ** 2, axis=-1)))
    rows = []
    for agent in range(problem.num_agents):
        masses = state_masses(states, points.points[agent], points.masses[agent], points.stable[agent])
        allowed = np.flatnonzero(np.asarray(posterior[agent]) > 0)
        order = allowed[np.argsort(-np.asarray(posterior[agent])[allowed], kind="stable")]
        seen = problem.slots[agent][joint.structured.observations[0, agent, 0] > 0.5]
        rows.append(
            {
                "agent": agent + 1,
                "sees_target_in_areas": [int(area) + 1 for area in seen],
                "states_allowed": len(allowed),
                "fixed_points": int(points.num_stable[agent]),
                "fixed_points_that_are_allowed_states": int(jnp.sum((masses > 0) & (posterior[agent] > 0))),
                "posterior_of_the_true_state": float(posterior[agent, truth]),
                "basin_mass_of_the_true_state": float(masses[truth]),
                "total_variation": float(total_variation(posterior[agent], masses)),
                "posterior": posterior[agent][order].tolist(),
                "basin_masses": masses[order].tolist(),
                "true_place": int(np.flatnonzero(order == truth)[0]),
            }
        )
    return rows


def state_masses(
    states: Float[Array, "states state"],
    points: Float[Array, "points state"],
    masses: Float[Array, " points"],
    stable: Array,
) -> Float[Array, " states"]:
    """Basin mass of each state: that of the stable fixed points beside it."""
    distances = jnp.linalg.norm(points[:, None] - states[None], axis=-1)
    near = (distances < SAME_STATE) & stable[:, None]
    return jnp.sum(jnp.where(near, masses[:, None], 0.0), axis=0)


def draw_flows(model: Model, joint: JointBatch, settings: DemoSettings, key: PRNGKeyArray) -> dict[str, Any]:
    """A few sweeps of composite diffusion from noise, and one agent alone with as many calls."""
    key_noise, key_order = jax.random.split(key)
    num_agents = joint.histories.shape[1]
    sweeps = [
        jax.random.permutation(jax.random.fold_in(key_order, sweep), num_agents)
        for sweep in range(settings.num_sweeps_drawn)
    ]
    order = jnp.concatenate(sweeps)
    noise = jax.random.normal(key_noise, (settings.num_drawn, model.denoiser.state_size))
    together = _trajectories(model.denoiser, joint.histories[0], order, noise)
    alone = _trajectories(model.denoiser, joint.histories[0], jnp.full_like(order, order[0]), noise)
    truth = joint.states[0]
    return {
        "state": truth,
        "order": order + 1,
        "sample": together[0],
        "distances_together": jnp.linalg.norm(together - truth[None, None], axis=-1),
        "distances_alone": jnp.linalg.norm(alone - truth[None, None], axis=-1),
        "alone": int(order[0]) + 1,
    }


@eqx.filter_jit
def _trajectories(
    denoiser: Denoiser, histories: Float[Array, "agents history"], order: Int[Array, " hops"], noise: Array
) -> Float[Array, "samples hops+1 state"]:
    contexts = jax.vmap(denoiser.condition)(histories)
    return jax.vmap(composite_flow, in_axes=(None, None, None, 0))(denoiser, contexts, order, noise)


def network_of(problem: SensorNetwork, settings: DemoSettings) -> dict[str, Any]:
    """What the picture needs of the network: where sensors stand, and which two each area lies between."""
    places = [[sensor % settings.columns, -(sensor // settings.columns)] for sensor in range(problem.num_agents)]
    return {"places": places, "areas": [np.flatnonzero(column).tolist() for column in np.asarray(problem.coverage).T]}
