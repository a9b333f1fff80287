"""Teams of Figure 5: where each learns, what its actors see, and how many weights it acts by."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from composite_flow.baselines.training import matching_width, num_parameters
from composite_flow.files.plain_json import LATER
from composite_flow.history import HistoryLayout
from composite_flow.network import Network
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.inputs import input_class, policy_input
from composite_flow.policy.pretraining import Pretraining
from composite_flow.policy.saving import PolicySettings
from composite_flow.policy.sequence_network import SequenceNetwork
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems import problem_from_text
from composite_flow.problems.base import Problem

MATCHED = "matched"
"""The curve of the input `agent` whose actor has as many weights as actor and denoiser of `denoised` together."""
REMEMBERING = "remembering"
"""The curve of the input `agent` with a recurrent actor: inference remembers H steps, this one whole episodes."""
RECURRENT = {REMEMBERING: "agent", "remembering-belief": "belief"}
"""Curves with a recurrent actor, and their inputs."""

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
        curve: an input's name, `MATCHED`, or one of `RECURRENT`.
        seed: of training and evaluation.
        evaluation: of the trained team.
        points: of the learning curve that is kept.
        pretraining: of what its agents infer by, before the policy learns; without it they learn beside the policy.
    """

    world: Panel
    curve: str
    seed: int
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    points: int = 100
    pretraining: Pretraining = field(default=Pretraining(), metadata=LATER)

    def folder(self, out: Path) -> Path:
        """Of its training run, which stays beside the cells."""
        return out / "policies" / self.world.name / f"{self.curve}-seed{self.seed}"

    @property
    def config(self) -> MappoConfig:
        """How its team learns."""
        return config_of(self.world, self.curve)

    @property
    def learns_before(self) -> bool:
        """Whether there is something to infer by, and it learns before the policy."""
        return self.pretraining.pretrain > 0 and input_class(self.config.inputs).infers

    @property
    def settings(self) -> PolicySettings:
        """Of its training run, as its record keeps them."""
        pretraining = self.pretraining if self.learns_before else Pretraining()
        return PolicySettings(self.world.problem, self.config, self.seed, pretraining=pretraining)


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
    """How the teams of a curve learn: they differ in the actor's input alone, and some in the actor itself."""
    if curve in RECURRENT:
        return replace(world.policy, inputs=RECURRENT[curve], memory="gru")
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


def weights_that_act(problem: Problem, config: MappoConfig, policy: TrainedPolicy) -> int:
    """Weights of all networks that a team acts by: its actor, and what it infers by."""
    chosen = input_class(config.inputs)
    if not (chosen.carries or chosen.talks):
        return num_weights(problem, config)
    return num_parameters(policy.actor) + (num_parameters(policy.team.denoiser.chain) if chosen.carries else 0)
