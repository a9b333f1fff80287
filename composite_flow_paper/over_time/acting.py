"""A cell of this experiment: a policy learns to act on what is carried, by a chain that was learned before it.

What is carried is the team's, with messages lost as well, or each agent's own, with nothing said. Settings of MAPPO are
those of Figure 5's sensors. Where actions leave the future as it is, as with sensors that cannot be moved, a discount
of 0 loses nothing, and returns vary less. Other ways to act stand beside these in the experiment `acting`.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from composite_flow.files.plain_json import LATER
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.evaluation import evaluate_policy
from composite_flow.policy.run import train_policy
from composite_flow.policy.setup import PROBE_EPISODES
from composite_flow.problems.kinds import problem_from_text
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.over_time.battles import BattleSettings
from composite_flow_paper.over_time.cell import WORLDS, OverTimeSettings, learn
from composite_flow_paper.over_time.exact_acting import exact_acting
from composite_flow_paper.shared.cells import Workspace

LEARNING = MappoConfig(
    inputs="belief",
    memory="none",
    rollout=50,
    minibatches=4,
    learning_rate=1e-3,
    critic_learning_rate=1e-3,
    entropy=1e-3,
    schedule="linear",
)


@dataclass(frozen=True)
class ActingSettings:
    """How policies learn.

    Attributes:
        steps: of the environment, by the discount.
        learning: all other settings.
        num_episodes: to measure a policy by.
        num_seeds: of each discount; data, chain and policy are new in each.
        by_gated: discounts with which policies also act on what a gated chain carries.
        lost: shares of the messages that are lost, to each receiver by itself; chain and policy are learned so.
        alone: discounts with which agents also act on what each carries by itself, by a gated chain.
        beside: discounts with which the gated chain also learns beside the policy, from its steps, and not before it.
        num_exact: episodes of those who act on exact filters of what arrives.
    """

    steps: dict[float, int] = field(default_factory=lambda: {0.0: 600_000, 0.99: 1_000_000})
    learning: MappoConfig = field(default_factory=lambda: LEARNING)
    num_episodes: int = 1_000
    num_seeds: int = 5
    by_gated: tuple[float, ...] = field(default=(0.0,), metadata=LATER)
    lost: tuple[float, ...] = field(default=(0.1, 0.5), metadata=LATER)
    alone: tuple[float, ...] = field(default=(0.0,), metadata=LATER)
    beside: tuple[float, ...] = field(default=(0.0,), metadata=LATER)
    num_exact: int = field(default=4_000, metadata=LATER)

    @property
    def ways(self) -> list["Acting"]:
        """All of them, in the order in which they are told."""
        return [
            *(Acting("residual", discount) for discount in self.steps),
            *(Acting("gated", discount) for discount in self.by_gated),
            *(Acting("gated_lost", 0.0, lost=lost) for lost in self.lost),
            *(Acting("gated_alone", discount, inputs="own-belief") for discount in self.alone),
            *(Acting("gated", discount, beside=True) for discount in self.beside),
        ]


@dataclass(frozen=True)
class Acting:
    """One way to act.

    Attributes:
        chain: by its name in `WAYS`.
        discount: of the policy.
        lost: share of the messages that are lost.
        inputs: of the actor.
        beside: whether the chain learns beside the policy, in as many steps of the optimiser as else before it.
    """

    chain: str
    discount: float
    lost: float = 0.0
    inputs: str = "belief"
    beside: bool = False

    @property
    def group(self) -> str:
        """What its cells are called."""
        chain = "" if self.chain == "residual" else f"-{self.chain}"
        lost = f"-lost{self.lost:g}" if self.lost else ""
        return f"acting{chain}{'-beside' * self.beside}-discount{self.discount:g}{lost}"


@dataclass(frozen=True)
class OverTimeAndActing:
    """What the experiment depends on.

    Attributes:
        filters: how they are learned and judged.
        acting: how policies learn to act on what a filter carries.
        battles: how filters are learned and judged there.
    """

    filters: OverTimeSettings = field(default_factory=OverTimeSettings)
    acting: ActingSettings = field(default_factory=ActingSettings)
    battles: BattleSettings = field(default=BattleSettings(), metadata=LATER)


def act(settings: OverTimeAndActing, way: Acting, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Learn a chain on 3×3 sensors, then a policy; what it earns in training's last tenth, and after it."""
    started, acting = time.process_time(), settings.acting
    filters = untaught(settings.filters) if way.beside else settings.filters
    model = learn(filters, "3x3", way.chain, seed, workspace.progress).model
    taught = time.process_time() - started
    problem, config = problem_from_text(WORLDS["3x3"]), _config(settings, way)
    key_train, key_judge = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1))

    def tell(steps: int, total: int, rows: Any) -> None:
        workspace.progress(f"acting: step {steps} of {total}")

    whole = train_policy(problem, config, key=key_train, denoiser=model, progress=tell)
    last = whole.curves[-max(1, len(whole.curves) // 10) :]
    ended, earned = ([float(row[name] or 0.0) for row in last] for name in ("episodes", "return"))
    judged = {"num_episodes": acting.num_episodes, "lost": way.lost}
    found = evaluate_policy(problem, whole.policy, key=key_judge, **judged).summary()
    exact = {}
    if way.lost:
        assert isinstance(problem, SensorNetwork)
        returns = exact_acting(problem, way.lost, jax.random.fold_in(key_judge, 1), acting.num_exact)
        exact = {"exact_return": float(returns.mean())}
    return {
        "last_tenth": float(np.average(earned, weights=ended)),
        "return": found["return"],
        "return_interval": found["return_interval"],
        "psnr": found["psnr"],
        "messages": found["messages"],
        "message_bytes": found["message_bytes"],
        "chain_seconds": taught,
        "seconds": time.process_time() - started,
        **exact,
    }


def untaught(filters: OverTimeSettings) -> OverTimeSettings:
    """Settings of a chain that knows the ranges of what is seen, from a few episodes, and has learned for one step."""
    return replace(filters, num_episodes=PROBE_EPISODES, training=replace(filters.training, steps=1))


def _config(settings: OverTimeAndActing, way: Acting) -> MappoConfig:
    acting, steps = settings.acting, settings.acting.steps[way.discount]
    updates = (settings.filters.training.steps or 0) / steps if way.beside else 0.0
    inference = replace(acting.learning.inference, lost=way.lost, chain_updates=updates)
    return replace(acting.learning, discount=way.discount, inputs=way.inputs, steps=steps, inference=inference)
