"""Figure 3: what makes fixed points deviate: narrow networks, many states, few training samples (Evidence 3.1)?

25 sensors, two targets, all else equal: the same number of optimiser steps, the same batches. Each panel changes one
setting; one setting is common to all three. Every run reports the deviation and the rank of the sensitivity at the
fixed points of the same kind of pairs: those of the training data where the states are limited, else a sample of all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from composite_flow.analysis.local_model import LocalModels, local_models
from composite_flow.analysis.report import quantiles_of
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.pairs import distinct_pairs
from composite_flow.history import HistoryLayout
from composite_flow.numerics.rank import DEFAULT_THRESHOLD, effective_rank_of_values, rank_of_values
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow_paper.shared.cells import Progress, cell

PANELS = ("width", "states", "samples")
MEASURES = (
    ("deviation", "mean"),
    ("deviation", "median"),
    ("rank", "mean"),
    ("rank", "median"),
    ("effective_rank", "mean"),
)
"""What is followed over the settings: a measure of a run's fixed points, and which of its numbers."""
_RESAMPLES = 2000
RISES = {"deviation": {"width": -1, "states": 1, "samples": -1}, "rank": {"width": 1, "states": -1, "samples": 1}}
"""What the paper says: the sign of each measure's trend with each setting."""


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


PRESETS = {
    "smoke": Figure3Settings(
        rows=2,
        columns=3,
        num_targets=1,
        training=TrainingConfig(width=48, batch=128, steps=500, learning_rate=4e-3, warmup=50),
        num_episodes=80,
        widths=(12, 48),
        shares_of_states=(0.5, 1.0),
        shares_of_samples=(0.05, 1.0),
        num_seeds=1,
    ),
    "laptop": Figure3Settings(),
    "paper": Figure3Settings(
        training=TrainingConfig(width=1024, batch=512, epochs=1000, history_at="input"),
        widths=(128, 256, 512, 1024, 2048),
        shares_of_states=(0.125, 0.25, 0.5, 0.75, 1.0),
        max_pairs=20_000,
    ),
}


@dataclass(frozen=True)
class Point:
    """One run: a width, a share of the states, a share of the training episodes."""

    width: int
    states: float
    samples: float

    @property
    def name(self) -> str:
        """Of its file."""
        return f"width{self.width}-states{self.states:g}-samples{self.samples:g}"


def points_of(settings: Figure3Settings) -> dict[str, list[Point]]:
    """The runs of each panel."""
    common = Point(settings.widths[-1], settings.shares_of_states[-1], settings.shares_of_samples[-1])
    return {
        "width": [replace(common, width=width) for width in settings.widths],
        "states": [replace(common, states=share) for share in settings.shares_of_states],
        "samples": [replace(common, samples=share) for share in settings.shares_of_samples],
    }


def run(settings: Figure3Settings, out: Path, *, seed: int, overwrite: bool, progress: Progress) -> dict[str, Any]:
    """Compute every point of every seed that is not there yet, and sum up."""
    # what one point depends on; the list of the others does not touch it
    kept = replace(settings, num_seeds=1, widths=(), shares_of_states=(), shares_of_samples=())
    found: dict[tuple[Point, int], dict[str, Any]] = {}
    for one in range(seed, seed + settings.num_seeds):
        for panel, points in points_of(settings).items():
            for point in points:
                if (point, one) not in found:
                    progress(f"{panel}: {point.name}, seed {one}")
                    path = out / f"{point.name}-seed{one}.json"
                    found[point, one] = cell(path, [kept, point], computing(settings, point, one), overwrite)
    seeds = range(seed, seed + settings.num_seeds)
    panels = {
        panel: [[found[point, one] for one in seeds] for point in points]
        for panel, points in points_of(settings).items()
    }
    return {"summary": summarise(settings, panels), "panels": panels}


def computing(settings: Figure3Settings, point: Point, seed: int) -> Callable[[], dict[str, Any]]:
    """`compute`, for later."""
    return lambda: compute(settings, point, seed)


def compute(settings: Figure3Settings, point: Point, seed: int) -> dict[str, Any]:
    """Train one network and look at the fixed points of its pairs."""
    key_episodes, key_split, key_fit, key_pairs, key_drawn = jax.random.split(jax.random.key(seed), 5)
    problem = SensorNetwork.grid(settings.rows, settings.columns, settings.num_targets)
    dataset = HistoryDataset(collect(problem, settings.num_episodes, key=key_episodes), length=1)
    whole, _, _ = dataset.split(key=key_split, withhold_states=1.0 - point.states)
    episodes = np.asarray(whole.episode_ids)
    train = whole.part(episodes[: max(1, math.ceil(point.samples * len(episodes)))])
    model = fit(train, None, replace(settings.training, width=point.width), key=key_fit, progress=False)
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


def summarise(settings: Figure3Settings, panels: dict[str, list[list[dict[str, Any]]]]) -> dict[str, Any]:
    """The trend of each measure in each panel, and what a rank means here."""
    problem = SensorNetwork.grid(settings.rows, settings.columns, settings.num_targets)
    layout = HistoryLayout(1, problem.observation_size, problem.num_actions, problem.num_agents)
    return {
        "rank_threshold": DEFAULT_THRESHOLD,
        "largest_possible_rank": min(problem.state_size, layout.size),
        **{panel: summarise_panel(panel, cells) for panel, cells in panels.items()},
    }


def summarise_panel(panel: str, cells: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The trend of each measure with the panel's setting, over all settings and seeds."""
    result: dict[str, Any] = {
        "settings": [parts[0][panel] for parts in cells],
        "final_loss": [[part["final_loss"] for part in parts] for parts in cells],
        "stable_share": [
            sum(part["stable"] for part in parts) / sum(part["pairs"] for part in parts) for parts in cells
        ],
    }
    for measure, name in MEASURES:
        values = np.array([[part[measure][name] for part in parts] for parts in cells])
        sign = RISES["deviation" if measure == "deviation" else "rank"][panel]
        result[f"{measure}_{name}"] = values.tolist()
        result[f"{measure}_{name}_trend"] = trend(values, sign)
    return result


def trend(values: np.ndarray, expected: int) -> dict[str, Any]:
    """Spearman's correlation of a measure with the setting, or its logarithm, within a seed, averaged over the seeds.

    The 95% interval is a percentile bootstrap that draws runs anew within each setting. Few seeds make it too narrow,
    so a permutation test stands beside it: under no trend the settings of one seed, whose runs share their episodes,
    can be exchanged. The paper's claim is decided where both agree; one seed decides nothing.

    Args:
        values: one row per setting in rising order, one column per seed.
        expected: the sign that the paper claims.
    """
    value, seeds = float(spearman(values)), values.shape[1]
    if seeds == 1:
        return {"spearman": value, "interval": None, "p_value": None, "claim": "not decided"}
    key_bootstrap, key_permutation = jax.random.split(jax.random.key(0))
    rows = np.asarray(jax.random.randint(key_bootstrap, (_RESAMPLES, *values.shape), 0, seeds))
    resampled = spearman(np.take_along_axis(values[None], rows, axis=2))
    low, high = (float(limit) for limit in np.quantile(resampled, (0.025, 0.975)))
    order = np.broadcast_to(np.arange(len(values))[:, None], (_RESAMPLES, *values.shape))
    order = np.asarray(jax.random.permutation(key_permutation, order, axis=1, independent=True))
    permuted = spearman(np.take_along_axis(values[None], order, axis=1))
    # 1e-9: equal correlations differ by rounding
    p_value = (1 + int(np.sum(np.abs(permuted) >= abs(value) - 1e-9))) / (1 + _RESAMPLES)
    decided = p_value < 0.05 and not low <= 0 <= high
    claim = "not decided" if not decided else "holds" if value * expected > 0 else "does not hold"
    return {"spearman": value, "interval": (low, high), "p_value": p_value, "claim": claim}


def spearman(values: np.ndarray) -> np.ndarray:
    """Spearman's correlation of values with their row's place, ties at mean ranks, averaged over the columns.

    A column that does not vary counts as 0. Taken within a column, no run meets itself when runs are drawn twice; over
    all runs at once, such ties would raise the correlation of every resample.

    Args:
        values: (..., settings, seeds).
    """
    settings = values.shape[-2]
    ranks = stats.rankdata(values, axis=-2) - (settings + 1) / 2
    places = np.arange(settings)[:, None] - (settings - 1) / 2
    size = np.sqrt((ranks**2).sum(axis=-2) * (places**2).sum())
    return (np.where(size > 0, (ranks * places).sum(axis=-2) / np.where(size > 0, size, 1.0), 0.0)).mean(axis=-1)
