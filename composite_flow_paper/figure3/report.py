"""What Figure 3's cells come to: the trend of each measure with each setting, its verdicts, and tables of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from scipy import stats

from composite_flow.files.plain_table import PlainTable
from composite_flow.history import HistoryLayout
from composite_flow.numerics.rank import DEFAULT_THRESHOLD
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.figure3.cell import PANELS, Figure3Settings, points_of
from composite_flow_paper.shared.cells import Results

MEASURES = (
    ("deviation", "mean"),
    ("deviation", "median"),
    ("rank", "mean"),
    ("rank", "median"),
    ("effective_rank", "mean"),
)
"""What is followed over the settings: a measure of a run's fixed points, and which of its numbers."""
RISES = {"deviation": {"width": -1, "states": 1, "samples": -1}, "rank": {"width": 1, "states": -1, "samples": 1}}
"""What the paper says: the sign of each measure's trend with each setting."""
TITLES = {"width": "network width", "states": "number of states", "samples": "training pairs"}
"""What each panel changes."""
NAMES = {"deviation": "deviation ‖D‖", "rank": "rank of J⁺", "effective_rank": "effective rank of J⁺"}
_RESAMPLES = 2000


def summarise(settings: Figure3Settings, results: Results) -> dict[str, Any]:
    """The trend of each measure in each panel of which all points are there, and what a rank means here."""
    problem = SensorNetwork.grid(settings.rows, settings.columns, settings.num_targets)
    layout = HistoryLayout(1, problem.observation_size, problem.num_actions, problem.num_agents)
    return {
        "rank_threshold": DEFAULT_THRESHOLD,
        "largest_possible_rank": min(problem.state_size, layout.size),
        **{panel: summarise_panel(panel, cells) for panel, cells in panels_of(settings, results).items()},
    }


def panels_of(settings: Figure3Settings, results: Results) -> dict[str, list[list[dict[str, Any]]]]:
    """The results of each panel, point by point, of the seeds that all its points have; panels that have one."""
    panels = {}
    for panel, points in points_of(settings).items():
        names = [point.name for point in points]
        seeds = [seed for seed in results.get(names[0], {}) if all(seed in results.get(name, {}) for name in names)]
        if seeds:
            panels[panel] = [[results[name][seed] for seed in seeds] for name in names]
    return panels


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


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """The trends of all panels; and for each panel the measures over its settings."""
    panels = {panel: summary[panel] for panel in PANELS if panel in summary}
    title = (
        "Figure 3: what makes fixed points deviate (deviations in units of the state, ranks at "
        f"{summary['rank_threshold']:g} of the largest singular value)\n"
        "Spearman's correlation within a seed, averaged over the seeds; in brackets: 95% bootstrap; p: permutations."
    )
    header = ["", "measure", "correlation", "p", "the paper says", "its claim"]
    rows = [row for panel, part in panels.items() for row in trend_rows(panel, part)]
    return [(title, header, rows), *(panel_table(panel, part) for panel, part in panels.items())]


def trend_rows(panel: str, part: Mapping[str, Any]) -> list[list[str | None]]:
    """A row for each measure of a panel."""
    rows = []
    for measure, name in MEASURES:
        found = part[f"{measure}_{name}_trend"]
        sign = RISES["deviation" if measure == "deviation" else "rank"][panel]
        p_value = None if found["p_value"] is None else f"{found['p_value']:.2g}"
        said = "rises" if sign > 0 else "falls"
        rows.append([TITLES[panel], f"{NAMES[measure]}, {name}", with_interval(found), p_value, said, found["claim"]])
    return rows


def with_interval(found: Mapping[str, Any]) -> str:
    """A trend, and its interval where there is one."""
    value = f"{found['spearman']:+.2f}"
    return (
        value if found["interval"] is None else f"{value} ({found['interval'][0]:+.2f} to {found['interval'][1]:+.2f})"
    )


def panel_table(panel: str, part: Mapping[str, Any]) -> PlainTable:
    """The measures of one panel, a column for each of its settings."""
    rows: list[list[str]] = [
        [f"{NAMES[measure]}, {name}", *(f"{np.mean(values):.4g}" for values in part[f"{measure}_{name}"])]
        for measure, name in MEASURES
    ]
    rows.append(["stable fixed points", *(f"{share:.1%}" for share in part["stable_share"])])
    rows.append(["loss at the end of training", *(f"{np.mean(values):.4g}" for values in part["final_loss"])])
    about = f"Figure 3, by {TITLES[panel]}: means over {len(part['final_loss'][0])} training seeds"
    return about, [TITLES[panel], *(f"{setting:,}" for setting in part["settings"])], rows
