"""A cell of Figure 3: one network is trained, and the fixed points of its pairs are measured."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.analysis.local_model import LocalModels, local_models
from composite_flow.analysis.report import quantiles_of
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.pairs import distinct_pairs
from composite_flow.numerics.rank import effective_rank_of_values, rank_of_values
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow_paper.shared.cells import Workspace, told_steps

PANELS = ("width", "states", "samples")


@dataclass(frozen=True)
class Figure3Settings:
    """What Figure 3 depends on; the largest value of each panel is the setting that all have in common.

    Attributes:
        rows, columns, num_targets: the sensor network.
        training: of every run, but for the width.
        num_episodes: collected; those that the other panels train on.
        widths: units of a hidden layer.
        shares_of_states: of the distinct states that occur in training.
        shares_of_samples: of the training episodes.
        num_seeds: training seeds.
        max_pairs: whose fixed points are looked at.
        num_drawn: fixed points kept for the picture.
    """

    rows: int = 5
    columns: int = 5
    num_targets: int = 2
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(width=256, batch=256, steps=5000, learning_rate=2e-3)
    )
    num_episodes: int = 4096
    widths: tuple[int, ...] = (32, 64, 128, 256)
    shares_of_states: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    shares_of_samples: tuple[float, ...] = (0.003, 0.01, 0.1, 1.0)
    num_seeds: int = 3
    max_pairs: int = 2000
    num_drawn: int = 150


@dataclass(frozen=True)
class Point:
    """One run: a width, a share of the states, a share of the training episodes."""

    width: int
    states: float
    samples: float

    @property
    def name(self) -> str:
        """Of its cells."""
        return f"width{self.width}-states{self.states:g}-samples{self.samples:g}"


def points_of(settings: Figure3Settings) -> dict[str, list[Point]]:
    """The runs of each panel."""
    common = Point(settings.widths[-1], settings.shares_of_states[-1], settings.shares_of_samples[-1])
    return {
        "width": [replace(common, width=width) for width in settings.widths],
        "states": [replace(common, states=share) for share in settings.shares_of_states],
        "samples": [replace(common, samples=share) for share in settings.shares_of_samples],
    }


def compute(settings: Figure3Settings, point: Point, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train one network and look at the fixed points of its pairs."""
    key_episodes, key_split, key_fit, key_pairs, key_drawn = jax.random.split(jax.random.key(seed), 5)
    problem = SensorNetwork.grid(settings.rows, settings.columns, settings.num_targets)
    dataset = HistoryDataset(collect(problem, settings.num_episodes, key=key_episodes), length=1)
    whole, _, _ = dataset.split(key=key_split, withhold_states=1.0 - point.states)
    episodes = np.asarray(whole.episode_ids)
    train = whole.part(episodes[: max(1, math.ceil(point.samples * len(episodes)))])
    training = replace(settings.training, width=point.width)
    model = fit(train, None, training, key=key_fit, progress=told_steps(workspace.progress))
    workspace.progress("fixed points")
    pairs = distinct_pairs(whole)
    rows = jax.random.permutation(key_pairs, len(pairs.states))[: settings.max_pairs]
    histories, states = jnp.asarray(pairs.histories)[rows], jnp.asarray(pairs.states)[rows]
    local = local_models(model.denoiser, train.layout, histories, states, with_jacobians=False)
    return {
        "width": point.width,
        "states": len(np.unique(pairs.states, axis=0)),
        "samples": train.num_steps * train.num_agents,
        "final_loss": model.curves[-1]["loss"],
        "train_seconds": model.curves[-1]["seconds"],
        **measured(local, settings.num_drawn, key_drawn),
    }


def measured(local: LocalModels, num_drawn: int, key) -> dict[str, Any]:
    """Deviations and ranks of all pairs in quantiles, and some of them one by one."""
    assert local.values is not None
    norms = np.asarray(local.deviation_norms, np.float64)
    ranks, effective = np.asarray(rank_of_values(local.values)), np.asarray(effective_rank_of_values(local.values))
    drawn = np.asarray(jax.random.choice(key, len(norms), (min(num_drawn, len(norms)),), replace=False))
    return {
        "pairs": len(norms),
        "stable": int(np.asarray(local.stable).sum()),
        "deviation": {"mean": float(norms.mean()), **quantiles_of(norms)},
        "rank": {"mean": float(ranks.mean()), **quantiles_of(ranks.astype(np.float64))},
        "effective_rank": {"mean": float(effective.mean()), **quantiles_of(effective.astype(np.float64))},
        "drawn": {"deviations": np.round(norms[drawn], 4).tolist(), "ranks": ranks[drawn].tolist()},
    }
