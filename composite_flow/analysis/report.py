"""All that paper §4 says about a trained denoiser, measured on some data by one call.

For each distinct pair of a history and a state: its fixed point, deviation, Jacobian and rank. For a sample of them:
the surrogate regression over ε and how well its residual bounds the deviation; how well the linear model predicts the
shift of a fixed point. For whole episodes: conformal radii. For joint histories: Theorems 7 and 8.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.analysis.composite_error import composite_error
from composite_flow.analysis.conformal_radii import conformal_radii
from composite_flow.analysis.local_model import LocalModels, local_models
from composite_flow.analysis.shift import compare_shifts, errors_by_distance
from composite_flow.analysis.surrogate import surrogates_at_quantiles
from composite_flow.analysis.surrogate_bounds import compare_capacity, compare_surrogate_bounds, rank_correlation
from composite_flow.data.dataset import HistoryDataset, JointBatch
from composite_flow.data.pairs import DistinctPairs, distinct_pairs
from composite_flow.denoiser import Denoiser
from composite_flow.files.plain_json import LATER
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.evaluation import fused_errors
from composite_flow.numerics.rank import DEFAULT_THRESHOLD, THRESHOLDS, effective_rank_of_values, rank_of_values

StageProgress = Callable[[str], None]
"""Called with the name of each stage of the work as it begins."""


@dataclass(frozen=True)
class AnalysisSettings:
    """The sizes of an analysis: how many pairs, histories and episodes it uses.

    Attributes:
        max_pairs: distinct (history, state) pairs, spread evenly where there are more.
        num_anchors: pairs around which surrogate regressions are solved.
        quantiles: shares of the pairs that lie within ε.
        thresholds: thresholds of the numerical rank, relative to the largest singular value.
        num_shifts: pairs of histories for which the shift of the fixed point is predicted.
        levels: confidence levels of the conformal radii.
        conformal_episodes: whole episodes, at most, whose estimates are made for their conformal radius.
        num_joint: joint histories for Theorems 7 and 8.
        num_samples: noises for each joint history.
        num_sweeps: passes through the agents.
        num_drawn: pairs that the picture of ranks and deviations shows.
        batch_size: pairs at a time.
    """

    max_pairs: int = 20_000
    num_anchors: int = 500
    quantiles: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 0.6, 1.0)
    thresholds: tuple[float, ...] = THRESHOLDS
    num_shifts: int = 2_000
    levels: tuple[float, ...] = (0.9, 0.99)
    conformal_episodes: int = field(default=240, metadata=LATER)
    num_joint: int = 64
    num_samples: int = 4
    num_sweeps: int = 6
    num_drawn: int = 1_500
    batch_size: int = 64


def analyse(
    denoiser: Denoiser,
    dataset: HistoryDataset,
    calibration: HistoryDataset,
    evaluation: HistoryDataset,
    *,
    radius: float,
    key: PRNGKeyArray,
    settings: AnalysisSettings | None = None,
    progress: StageProgress = lambda sentence: None,
    answers: Answers | None = None,
) -> dict[str, Any]:
    """Measure deviations, ranks, surrogate bounds, conformal radii and composite errors of a trained denoiser.

    Args:
        denoiser: f, differentiable in the history.
        dataset: the data whose distinct pairs are analysed and give the surrogate regressions.
        calibration: episodes used for nothing else: one half gives the conformal radii, the other shows how many new
            episodes these cover.
        evaluation: episodes whose joint histories show the errors of composite diffusion.
        radius: D_φ, which the checks use.
        key: fixes every draw.
        settings: the sizes of the analysis.
        progress: called with the name of each stage as it begins.
        answers: of fusion, for its errors beside those of composite diffusion.

    Returns:
        A dictionary for JSON: "pairs", "ranks", "surrogate", "shifts", "conformal", "composite", "fusion", "drawn".

    Raises:
        InputError: the denoiser cannot read these histories, or there are too few data.
    """
    settings = settings or AnalysisSettings()
    key_anchor, key_rank, key_shift, key_conformal, key_joint, key_drawn = jax.random.split(key, 6)
    pairs = distinct_pairs(dataset, settings.max_pairs)
    progress(f"fixed points, Jacobians and ranks of {len(pairs.states)} pairs")
    histories, states = jnp.asarray(pairs.histories), jnp.asarray(pairs.states)
    local = local_models(denoiser, dataset.layout, histories, states, batch_size=settings.batch_size)
    result: dict[str, Any] = {"pairs": _pairs(pairs, local), "ranks": _ranks(pairs, local, settings, key_rank)}
    progress("surrogate regressions")
    result["surrogate"] = _surrogate(pairs, local, settings, key_anchor)
    progress("shifts of fixed points")
    result["shifts"] = _shifts(denoiser, pairs, local, settings, key_shift)
    progress("conformal radii")
    sampling = {"num_samples": settings.num_samples, "num_sweeps": settings.num_sweeps}
    options = {"levels": settings.levels, "max_episodes": settings.conformal_episodes, **sampling}
    result["conformal"] = conformal_radii(denoiser, calibration, radius=radius, key=key_conformal, **options)
    progress("errors of composite diffusion")
    key_steps, key_errors = jax.random.split(key_joint)
    joint = evaluation.joint(jax.random.permutation(key_steps, evaluation.steps)[: settings.num_joint])
    result["composite"] = _composite(denoiser, joint, pairs, radius, settings, key_errors)
    if answers is not None:
        result["fusion"] = fused_errors(answers, joint.histories, joint.states)
    result["drawn"] = _drawn(local, settings, key_drawn)
    return result


def _pairs(pairs: DistinctPairs, local: LocalModels) -> dict[str, Any]:
    norms, stable = np.asarray(local.deviation_norms, np.float64), np.asarray(local.stable)
    _, states_of_history = np.unique(pairs.histories, axis=0, return_counts=True)
    return {
        "pairs": len(norms),
        "histories": len(states_of_history),
        "certain_histories": int(np.sum(states_of_history == 1)),
        "most_states": int(states_of_history.max()),
        "stable": int(stable.sum()),
        "not_converged": int(np.sum(~np.asarray(local.converged))),
        "deviation": quantiles_of(norms),
        "deviation_of_stable": quantiles_of(norms[stable]),
        "mean_deviation": float(norms.mean()),
        "radii": quantiles_of(np.asarray(local.radii)),
        "worst": [_described(pairs, norms, int(row)) for row in np.argsort(-norms)[:5]],
    }


def _described(pairs: DistinctPairs, norms: np.ndarray, row: int) -> dict[str, Any]:
    return {"deviation": float(norms[row]), "occurrences": int(pairs.counts[row]), "state": pairs.states[row].tolist()}


def quantiles_of(values: Float[np.ndarray, " values"]) -> dict[str, float | None]:
    """Median, 90% and 99% quantile and maximum of the finite values; None where there is none."""
    finite = values[np.isfinite(values)]
    shares = {"median": 0.5, "q90": 0.9, "q99": 0.99, "max": 1.0}
    return {name: float(np.quantile(finite, share)) if finite.size else None for name, share in shares.items()}


def _ranks(pairs: DistinctPairs, local: LocalModels, settings: AnalysisSettings, key: PRNGKeyArray) -> dict[str, Any]:
    """Ranks over thresholds, of all columns and of those that vary, and their correlation with deviations."""
    assert local.values is not None and local.values_without_constant_columns is not None
    stable = np.asarray(local.stable)
    norms = np.asarray(local.deviation_norms)[stable]
    history = np.unique(pairs.histories, axis=0, return_inverse=True)[1].reshape(-1)[stable]
    found: dict[str, Any] = {}
    columns = {"all_columns": local.values, "varying_columns": local.values_without_constant_columns}
    for name, values in columns.items():
        values = values[stable]
        measures = {f"{threshold:g}": rank_of_values(values, threshold) for threshold in settings.thresholds}
        measures["effective"] = effective_rank_of_values(values)
        found[name] = {
            "largest_possible": values.shape[-1],
            "median_spectrum": np.median(np.asarray(values), axis=0).tolist(),
            "measures": {
                measure: {
                    **quantiles_of(np.asarray(ranks, np.float64)),
                    "correlation": asdict(rank_correlation(ranks, norms, key=key, groups=history)),
                }
                for measure, ranks in measures.items()
            },
        }
    return found


def _surrogate(pairs: DistinctPairs, local: LocalModels, settings: AnalysisSettings, key) -> dict[str, Any] | None:
    """Definition 5, Findings 3 and 4, Theorem 6; None where the state is too large for dense Jacobians."""
    if local.jacobians is None or local.values is None:
        return None
    stable = np.flatnonzero(np.asarray(local.stable))
    count = min(settings.num_anchors, len(stable))
    if count == 0:
        return None
    anchors = np.sort(np.asarray(jax.random.choice(key, jnp.asarray(stable), (count,), replace=False)))
    found = surrogates_at_quantiles(pairs.histories, pairs.states, local.jacobians, anchors, settings.quantiles)
    norms = np.asarray(local.deviation_norms)[anchors]
    ranks = rank_of_values(local.values[anchors], DEFAULT_THRESHOLD)
    rows = zip(
        settings.quantiles, compare_surrogate_bounds(found, norms), compare_capacity(found, ranks, norms), strict=True
    )
    return {
        "anchors": count,
        "epsilons": [
            {
                "quantile": quantile,
                **asdict(bounds),
                "neighbours": float(np.median(found.num_neighbours[:, k])),
                "independent_states": float(np.median(found.num_independent_states[:, k])),
                "capacity": asdict(capacity),
            }
            for k, (quantile, bounds, capacity) in enumerate(rows)
        ],
    }


def _shifts(denoiser, pairs: DistinctPairs, local: LocalModels, settings: AnalysisSettings, key) -> dict[str, Any]:
    """Finding 2: relative errors of predicted shifts, for random pairs of histories and as many with the same state."""
    key_random, key_near = jax.random.split(key)
    half = settings.num_shifts // 2
    random = np.asarray(jax.random.randint(key_random, (half, 2), 0, len(pairs.states)))
    compared = np.concatenate([random, _same_state(pairs.states, half, key_near)])
    found = compare_shifts(
        denoiser, jnp.asarray(pairs.histories), local.points, compared, batch_size=settings.batch_size
    )
    valid = np.asarray(found.valid)
    errors = np.asarray(found.relative_errors, np.float64)
    same = np.arange(len(compared)) >= half
    by_distance = errors_by_distance(found, found.jacobian_distances)
    return {
        "compared": len(compared),
        "valid": int(valid.sum()),
        "relative_error": quantiles_of(errors[valid]),
        "relative_error_same_state": quantiles_of(errors[valid & same]),
        "by_jacobian_distance": {
            "distances": by_distance.distances.tolist(),
            "medians": by_distance.medians.tolist(),
            "counts": by_distance.counts.tolist(),
        },
    }


def _same_state(
    states: Float[np.ndarray, "pairs state"], count: int, key: PRNGKeyArray
) -> Int[np.ndarray, "count two"]:
    """Random pairs of rows that hold the same state, such as two agents' views of it."""
    parent = np.unique(states, axis=0, return_inverse=True)[1]
    order = np.argsort(parent, kind="stable")
    alike = np.flatnonzero(parent[order][1:] == parent[order][:-1])
    if not alike.size:
        return np.zeros((0, 2), np.int64)
    chosen = np.asarray(jax.random.choice(key, jnp.asarray(alike), (count,)))
    return np.stack([order[chosen], order[chosen + 1]], axis=1)


def _composite(denoiser, joint: JointBatch, pairs: DistinctPairs, radius, settings, key) -> dict[str, Any]:
    """Theorems 7 and 8 on some joint histories."""
    distinct = jnp.asarray(np.unique(pairs.states, axis=0))
    options = {"num_samples": settings.num_samples, "num_sweeps": settings.num_sweeps, "distinct_states": distinct}
    return composite_error(denoiser, joint.histories, joint.states, radius=radius, key=key, **options).summary()


def _drawn(local: LocalModels, settings: AnalysisSettings, key: PRNGKeyArray) -> dict[str, Any]:
    """Ranks and deviations of some pairs, for the picture of one against the other."""
    assert local.values is not None
    stable = np.flatnonzero(np.asarray(local.stable))
    count = min(settings.num_drawn, len(stable))
    rows: Int[Array, " drawn"] = jax.random.choice(key, jnp.asarray(stable), (count,), replace=False)
    return {
        "ranks": np.asarray(rank_of_values(local.values[rows])).tolist(),
        "effective_ranks": np.round(np.asarray(effective_rank_of_values(local.values[rows])), 3).tolist(),
        "deviations": [float(f"{value:.4g}") for value in np.asarray(local.deviation_norms[rows])],
    }
