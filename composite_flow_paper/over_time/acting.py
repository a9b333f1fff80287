"""A cell of this experiment: a policy learns to act on what the team carries, by a chain that was learned before it.

Settings of MAPPO are those of Figure 5's sensors. Where actions leave the future as it is, as with sensors that cannot
be moved, a discount of 0 loses nothing, and returns vary less.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from composite_flow.files.plain_json import LATER
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.evaluation import evaluate_policy
from composite_flow.policy.run import train_policy
from composite_flow.problems.kinds import problem_from_text
from composite_flow_paper.over_time.cell import WORLDS, OverTimeSettings, learn
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
    """

    steps: dict[float, int] = field(default_factory=lambda: {0.0: 600_000, 0.99: 1_000_000})
    learning: MappoConfig = field(default_factory=lambda: LEARNING)
    num_episodes: int = 1_000
    num_seeds: int = 5
    by_gated: tuple[float, ...] = field(default=(0.0,), metadata=LATER)

    @property
    def ways(self) -> list[tuple[str, float]]:
        """Chains and discounts."""
        return [
            *(("residual", discount) for discount in self.steps),
            *(("gated", discount) for discount in self.by_gated),
        ]


def acting_group(chain: str, discount: float) -> str:
    """What the cells of a chain and a discount are called."""
    return f"acting{'' if chain == 'residual' else f'-{chain}'}-discount{discount:g}"


@dataclass(frozen=True)
class OverTimeAndActing:
    """What the experiment depends on.

    Attributes:
        filters: how they are learned and judged.
        acting: how policies learn to act on what a filter carries.
    """

    filters: OverTimeSettings = field(default_factory=OverTimeSettings)
    acting: ActingSettings = field(default_factory=ActingSettings)


def act(settings: OverTimeAndActing, chain: str, discount: float, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Learn a chain on 3×3 sensors, then a policy; what it earns in training's last tenth, and after it."""
    started, acting = time.process_time(), settings.acting
    learned = learn(settings.filters, "3x3", chain, seed, workspace.progress)
    taught = time.process_time() - started
    problem, config = problem_from_text(WORLDS["3x3"]), _config(acting, discount)
    key_train, key_judge = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1))

    def tell(steps: int, total: int, rows: Any) -> None:
        workspace.progress(f"acting: step {steps} of {total}")

    whole = train_policy(problem, config, key=key_train, denoiser=learned.model, progress=tell)
    last = whole.curves[-max(1, len(whole.curves) // 10) :]
    ended, earned = ([float(row[name] or 0.0) for row in last] for name in ("episodes", "return"))
    found = evaluate_policy(problem, whole.policy, key=key_judge, num_episodes=acting.num_episodes).summary()
    return {
        "last_tenth": float(np.average(earned, weights=ended)),
        "return": found["return"],
        "return_interval": found["return_interval"],
        "psnr": found["psnr"],
        "messages": found["messages"],
        "message_bytes": found["message_bytes"],
        "chain_seconds": taught,
        "seconds": time.process_time() - started,
    }


def _config(acting: ActingSettings, discount: float) -> MappoConfig:
    values = {**vars(acting.learning), "discount": discount, "steps": acting.steps[discount]}
    return MappoConfig(**values)
