"""A cell of Figure 5: one team trained in one world with one input of its actors, then evaluated.

The run is that of `train-policy` with the same settings and seed; its folder keeps the policy with its denoiser, and
an interrupted training. Evaluation plays episodes that no training has seen, the same starts for every curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from composite_flow.baselines.training import matching_width, num_parameters
from composite_flow.files.plain_json import LATER
from composite_flow.history import HistoryLayout
from composite_flow.metrics import decibels
from composite_flow.network import Network
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.curves import Row, recent
from composite_flow.policy.evaluation import PolicyEvaluation, evaluate_policy
from composite_flow.policy.inputs import input_class, policy_input
from composite_flow.policy.run import train_policy
from composite_flow.policy.saving import PolicySettings, start_or_resume
from composite_flow.policy.sequence_network import SequenceNetwork
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems import problem_from_text
from composite_flow.problems.base import Problem, tells_wins
from composite_flow.problems.smax_sight import OtherSight
from composite_flow_paper.shared.cells import Progress, Workspace

MATCHED = "matched"
"""The curve of the input `agent` whose actor has as many weights as actor and denoiser of `denoised` together."""
REMEMBERING = "remembering"
"""The curve of the input `agent` with a recurrent actor: inference remembers H steps, this one whole episodes."""

CURVES = ("agent", MATCHED, "observations", "state", "denoised", "composite")


@dataclass(frozen=True)
class Panel:
    """A world where teams learn, with a panel of its own.

    Attributes:
        name: in files and tables.
        problem: as `problem_from_text` reads it.
        policy: how every team learns; the input is each curve's own.
        sights: of SMAX, how far the trained teams see in further evaluations.
        more_seen: name of the world that differs from this one only in that more is seen there.
        also: curves of this world alone.
    """

    name: str
    problem: str
    policy: MappoConfig
    sights: tuple[float, ...] = ()
    more_seen: str | None = None
    also: tuple[str, ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True)
class EvaluationSettings:
    """How trained teams are evaluated.

    Attributes:
        episodes: of each evaluation.
        samples: of each agent's own p̂ in every step, which tell whether it is certain.
        radius: within which they agree.
        robust: curves whose teams are also evaluated with other sights.
        lost: chances that a message is lost, for `composite`.
    """

    episodes: int = 1000
    samples: int = 8
    radius: float = 0.5
    robust: tuple[str, ...] = ("agent", "denoised", "composite")
    lost: tuple[float, ...] = (0.1, 0.5)


@dataclass(frozen=True)
class Team:
    """One team, which learns in one world with one input of its actors: all that its cell depends on.

    Attributes:
        world: where.
        curve: an input's name, `MATCHED` or `REMEMBERING`.
        seed: of training and evaluation.
        evaluation: of the trained team.
        points: of the learning curve that is kept.
    """

    world: Panel
    curve: str
    seed: int
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    points: int = 100

    def folder(self, out: Path) -> Path:
        """Of its training run, which stays beside the cells."""
        return out / "policies" / self.world.name / f"{self.curve}-seed{self.seed}"

    @property
    def config(self) -> MappoConfig:
        """How its team learns."""
        return config_of(self.world, self.curve)


@dataclass(frozen=True)
class Figure5Settings:
    """What Figure 5 depends on.

    Attributes:
        worlds: a panel each.
        curves: of all worlds: inputs of the actor, and `MATCHED`.
        evaluation: of the trained teams.
        points: of each learning curve.
        num_seeds: of training.
    """

    worlds: tuple[Panel, ...]
    curves: tuple[str, ...] = CURVES
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    points: int = 100
    num_seeds: int = 3


def group_of(world: str, curve: str) -> str:
    """The group of the cells of one curve in one world, both given by their names."""
    return f"{world}-{curve}"


def config_of(world: Panel, curve: str) -> MappoConfig:
    """How the teams of a curve learn: they differ in the actor's input alone, and two of them in the actor itself."""
    if curve == REMEMBERING:
        return replace(world.policy, inputs="agent", memory="gru")
    if curve != MATCHED:
        return replace(world.policy, inputs=curve)  # pyright: ignore[reportArgumentType]
    problem = problem_from_text(world.problem)
    target = num_weights(problem, config_of(world, "denoised"))
    width = matching_width(lambda width, key: _actor(problem, world.policy, "agent", width, key), target)
    return replace(world.policy, inputs="agent", actor_width=width)


def num_weights(problem: Problem, config: MappoConfig) -> int:
    """Weights of all networks that act on observations alone: actor and denoiser; counted, not drawn."""
    width = config.actor_width or config.width
    own = num_parameters(_shape(lambda key: _actor(problem, config, config.inputs, width, key)))
    if not input_class(config.inputs).infers:
        return own
    settings, sizes = config.inference, (problem.observation_size, problem.num_actions, problem.num_agents)
    layout = HistoryLayout(settings.history, *sizes)
    denoiser = _shape(
        lambda key: Network(layout, problem.state_size, settings.denoiser_width, settings.denoiser_depth, key=key)
    )
    return own + num_parameters(denoiser) - 2 * layout.size  # the range of the histories is not trained


def _shape(build) -> Any:
    return eqx.filter_eval_shape(build, jax.random.key(0))


def _actor(problem: Problem, config: MappoConfig, kind, width: int, key) -> SequenceNetwork:
    """An actor, as `new_networks` builds it."""
    seen = policy_input(kind, config.own_observation).size(problem)
    return SequenceNetwork(
        seen, problem.num_actions, width, config.depth, config.memory, gain=config.output_gain, key=key
    )


def compute(team: Team, workspace: Workspace) -> dict[str, Any]:
    """Train, or go on training, and evaluate."""
    problem, config, folder = problem_from_text(team.world.problem), team.config, team.folder(workspace.folder)
    options: dict[str, Any] = {"resume": not workspace.overwrite, "overwrite": workspace.overwrite}
    start_or_resume(folder, PolicySettings(team.world.problem, config, team.seed), **options)
    measure = measure_of(problem)

    def tell(steps, total, rows):
        workspace.progress(
            f"training: step {steps:,} of {total:,}, {measure.replace('_', ' ')} {recent(rows, measure)}"
        )

    key = jax.random.key(team.seed)
    trained = train_policy(problem, config, key=key, folder=folder, progress=tell, **options)
    last: dict[str, Any] = trained.curves[-1]
    return {
        "measure": measure,
        "steps": last["steps"],
        "steps_per_second": last["steps"] / last["seconds"],
        "weights": num_weights(problem, config),
        "actor_width": config.actor_width or config.width,
        "curve": thinned(trained.curves, team.points),
        **evaluated(team, problem, trained.policy, workspace.progress),
    }


def measure_of(problem: Problem) -> str:
    """What is drawn: the win rate where there is one, else the return."""
    return "win_rate" if tells_wins(problem) else "return"


def evaluated(team: Team, problem: Problem, policy: TrainedPolicy, progress: Progress) -> dict[str, Any]:
    """As it was trained; and, of some curves, with other sights and lost messages."""
    settings, key = team.evaluation, jax.random.key(team.seed)

    def judge(problem: Problem, lost: float, samples: int) -> dict[str, Any]:
        result = evaluate_policy(
            problem, policy, key=key, num_episodes=settings.episodes, lost=lost, num_samples=samples,
            certain_radius=settings.radius,
        )  # fmt: skip
        return told(result)

    progress("evaluation")
    final, changed = judge(problem, 0.0, settings.samples), {}
    if team.curve in settings.robust:
        for sight in team.world.sights:
            progress(f"evaluation at sight {sight:g}")
            changed[f"sight {sight:g}"] = judge(OtherSight(problem, sight), 0.0, 0)  # pyright: ignore[reportArgumentType]
    if team.curve == "composite":
        for lost in settings.lost:
            progress(f"evaluation with {lost:.0%} of the messages lost")
            changed[f"{lost:.0%} of the messages lost"] = judge(problem, lost, 0)
    return {"final": final, "changed": changed}


def told(evaluation: PolicyEvaluation) -> dict[str, Any]:
    """Means over episodes with their standard errors, and what agents know."""
    means = {"return": evaluation.returns, "win_rate": evaluation.wins, "length": evaluation.lengths}
    return {
        "episodes": len(evaluation.returns),
        **{name: None if values is None else float(np.mean(values)) for name, values in means.items()},
        "standard_errors": {name: _standard_error(values) for name, values in means.items() if values is not None},
        **{
            name: getattr(evaluation, name)
            for name in ("psnr", "certain", "right_when_certain", "messages", "message_bytes")
        },
    }


def _standard_error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def thinned(rows: Sequence[Row], points: int) -> dict[str, list[float | None]]:
    """A learning curve of about so many points, each of equally many updates, give or take one.

    Returns and win rates are means over the episodes that ended in these updates, PSNR is that of their mean squared
    error. None where no episode ended, or nothing is inferred.
    """
    parts = [[rows[place] for place in part] for part in np.array_split(np.arange(len(rows)), min(points, len(rows)))]
    return {
        "steps": [part[-1]["steps"] for part in parts],
        **{name: [_weighted(part, name) for part in parts] for name in ("return", "win_rate")},
        "psnr": [_mean_psnr(part) for part in parts],
        "entropy": [float(np.mean([row["entropy"] for row in part])) for part in parts],
        "steps_per_second": [float(1.0 / np.mean([1.0 / row["steps_per_second"] for row in part])) for part in parts],
    }


def _weighted(rows: Sequence[Row], name: str) -> float | None:
    """Mean over episodes."""
    known = [row for row in rows if row[name] is not None]
    weights = [row["episodes"] for row in known]
    return float(np.average([row[name] for row in known], weights=weights)) if known else None  # pyright: ignore


def _mean_psnr(rows: Sequence[Row]) -> float | None:
    errors = [10.0 ** (-row["psnr"] / 10.0) for row in rows if row["psnr"] is not None]
    return float(decibels(float(np.mean(errors)))) if errors else None
