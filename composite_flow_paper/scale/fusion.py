"""A cell of fusion on a grid of sensors: exact rates, half the sensors lost, misses, and messages by their bytes."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Answers
from composite_flow.metrics import exact_states
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.config import TrainingConfig
from composite_flow_paper.scale.message_bytes import bytes_curve
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.shared.fusion_runs import fused_means, joint_arrays, train_fusion
from composite_flow_paper.shared.sensor_marginals import exact_marginals, excess_share, same_decisions
from composite_flow_paper.shared.sensor_runs import SensorSettings, choose_steps, collect_parts

# Sparse answers have a width and a depth of their own; the settings' do not count.
TRAINING = TrainingConfig(learn="fusion", team_denoiser=False, batch=256, steps=600, learning_rate=2e-3)


@dataclass(frozen=True)
class FusionGrid:
    """Fusion on a grid of sensors.

    Attributes:
        rows: the grid is rows × rows.
        num_targets: targets, of which an area has one at most.
        miss: chance that a sensor overlooks a target.
        sensors: data and training.
        num_histories: held-out joint histories.
        num_sent: of these, how many messages of few bytes are tried on; 0 leaves that out.
        num_seeds: training seeds.
    """

    rows: int = 10
    num_targets: int = 1
    miss: float = 0.0
    sensors: SensorSettings = field(default_factory=lambda: SensorSettings(num_episodes=2048, training=TRAINING))
    num_histories: int = 400
    num_sent: int = 200
    num_seeds: int = 3

    @property
    def group(self) -> str:
        """The name of its cells."""
        return f"fusion-{self.rows}-targets-{self.num_targets}" + ("-misses" if self.miss else "")


LARGE = FusionGrid(
    rows=32,
    num_targets=32,
    # Of 512 episodes some areas never hold a target in training, and are then not found.
    sensors=SensorSettings(num_episodes=1024, training=replace(TRAINING, steps=1000)),
    num_histories=200,
    num_sent=50,
)
GRIDS = (
    *(FusionGrid(num_targets=count) for count in (1, 2, 4)),
    *(FusionGrid(num_targets=count, miss=0.3, num_sent=0) for count in (1, 2, 4)),
    LARGE,
    replace(LARGE, miss=0.3, num_sent=0, num_seeds=1),
)


def compute_fusion(grid: FusionGrid, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train answers, and hold what teams say against the truth and against exact marginals."""
    key_data, key_train, key_choice, key_half = jax.random.split(jax.random.key(seed), 4)
    problem = SensorNetwork.grid(grid.rows, grid.rows, grid.num_targets, miss=grid.miss)
    workspace.progress("collecting episodes")
    train, validation, test = collect_parts(problem, grid.sensors, key=key_data)
    training = grid.sensors.training
    model, costs = train_fusion(train, validation, training, key=key_train, progress=workspace.progress)
    answers = model.answers
    assert answers is not None, "the settings say so"
    histories, states = joint_arrays(answers, test, choose_steps(test, grid.num_histories, key_choice))
    views = np.asarray(histories[..., test.layout.parts["observations"]])
    workspace.progress("exact marginals")
    everyone = jnp.ones(histories.shape[:2], bool)
    teams = {"all": everyone, "half": drawn_half(key_half, *histories.shape[:2])}
    found = {name: judged(problem, answers, histories, views, states, team) for name, team in teams.items()}
    few = slice(grid.num_sent)
    curve = bytes_curve(answers, histories[few], states[few]) if grid.num_sent else []
    return {"histories": len(states), **found, "messages": curve, "values_sent": answers.values_sent, **costs}


def drawn_half(key: PRNGKeyArray, count: int, num_agents: int) -> Bool[Array, "count agents"]:
    """For each of so many joint histories a random half of the agents."""
    places = jax.vmap(lambda one: jax.random.permutation(one, num_agents))(jax.random.split(key, count))
    return places < -(-num_agents // 2)


def judged(
    problem: SensorNetwork,
    answers: Answers,
    histories: Float[Array, "joint agents columns"],
    views: Float[np.ndarray, "joint agents slots"],
    states: Float[Array, "joint state"],
    team: Bool[Array, "joint agents"],
) -> dict[str, Any]:
    """How often a team's estimate is the true state, how often it decides as the exact marginals, and its excess."""
    means, marginals = fused_means(answers, histories, team), exact_marginals(problem, views, team)
    return {
        "exact": int(exact_states(means, states).sum()),
        "marginals_exact": int(((marginals > 0.5) == (np.asarray(states) > 0.5)).all(axis=1).sum()),
        "same_decision": int(same_decisions(means, marginals).sum()),
        **excess_share(means, marginals),
    }
