"""What is compared: worlds, ways to act in them, and the four comparisons that count."""

from dataclasses import dataclass, field

from composite_flow.policy.pretraining import Pretraining
from composite_flow_paper.figure5.team import EvaluationSettings, Panel

WAYS = (
    "agent",
    "remembering",
    "observations",
    "learned-messages",
    "composite",
    "composite-shared",
    "own-belief",
    "belief",
    "remembering-belief",
    "state",
)


MAIN_WAYS = ("agent", "remembering", "observations", "learned-messages", "composite", "belief", "state")


@dataclass(frozen=True)
class World:
    """A world, and what is tried in it.

    Attributes:
        panel: the world, and how every team learns there.
        ways: to act, which are curves of Figure 5.
        num_seeds: of each way.
    """

    panel: Panel
    ways: tuple[str, ...] = WAYS
    num_seeds: int = 5


@dataclass(frozen=True)
class Comparison:
    """Two ways to act in one world, the first of which is expected to earn more.

    Attributes:
        world: by its name.
        first, second: ways to act.
    """

    world: str
    first: str
    second: str


@dataclass(frozen=True)
class WaysSettings:
    """What the experiment depends on.

    Attributes:
        worlds: where teams learn, and by which ways.
        comparisons: those that count, at the end of training; named before any cell was computed.
        pretraining: of what agents infer by, in every way that infers.
        evaluation: of the trained teams.
        points: of each learning curve.
    """

    worlds: tuple[World, ...]
    comparisons: tuple[Comparison, ...] = ()
    pretraining: Pretraining = field(default=Pretraining(pretrain=3_000, pretrain_steps=8_000))
    evaluation: EvaluationSettings = field(default=EvaluationSettings(samples=0, robust=(), lost=()))
    points: int = 100
