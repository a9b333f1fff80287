"""How often intervals and regions hold in a world: many draws of calibration and test episodes, all of them fresh."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.levels import OVERS
from composite_flow.fusion.trust.coverage import Coverage, coverage_of
from composite_flow.fusion.trust.measure import calibration_of, scale_of
from composite_flow.fusion.trust.scores import TeamScores, scores_of_teams
from composite_flow_paper.shared.cells import Workspace, rounded
from composite_flow_paper.trust.checked import as_scaled
from composite_flow_paper.trust.worlds import TrustSettings, counted, load_world

LEVELS = (0.8, 0.9, 0.95)


def sizes_of(num_agents: int) -> tuple[int, ...]:
    """One agent, half of the team, and all of it."""
    return tuple(sorted({1, max(1, num_agents // 2), num_agents}))


def compute_coverage(settings: TrustSettings, name: str, lost: float, workspace: Workspace) -> dict[str, Any]:
    """Calibrate on each draw and count on its test episodes.

    Args:
        settings: of the experiment.
        name: of the world.
        lost: share of the answers that do not arrive, in calibration and test alike.
        workspace: where model and episodes are.
    """
    model, episodes = load_world(name, workspace.folder)
    dataset, answers = HistoryDataset(episodes, settings.world(name).length), model.answers
    assert answers is not None
    workspace.progress(f"{name}: scores of {episodes.num_episodes:,} episodes")
    sizes, where = sizes_of(episodes.num_agents), counted(name, episodes.state_names)
    data = as_scaled(dataset, model)
    scores = scores_of_teams(answers, data, sizes, key=jax.random.key(2), lost=lost, counted=where)
    is_number = np.asarray(answers.prior.types.is_number)
    scale, found = scale_of(scores.of(settings.usual_ids())), []
    for draw in range(settings.draws):
        workspace.progress(f"{name}: draw {draw + 1} of {settings.draws}")
        found.append(_of_draw(scores, settings, draw, sizes, scale, is_number, lost))
    return {
        "agents": episodes.num_agents,
        "sizes": list(sizes),
        "episodes": {"calibration": settings.calibration, "test": settings.test},
        "features": {"numbers": int(is_number.sum()), "others": int((~is_number).sum())},
        "lost": lost,
        "draws": found,
    }


def _of_draw(
    scores: TeamScores,
    settings: TrustSettings,
    draw: int,
    sizes: tuple[int, ...],
    scale: Float[Array, "sizes state"],
    is_number: Bool[np.ndarray, " state"],
    lost: float,
) -> dict[str, Any]:
    """Coverage and widths at each level, by size of team."""
    calibration_ids, test_ids = settings.draw_ids(draw)
    calibration = calibration_of(scores.of(calibration_ids), sizes, scale, lost)
    test = scores.of(test_ids)
    return {
        over: {
            f"{level:g}": told_by_kind(coverage_of(test, calibration, is_number, level, over), is_number)
            for level in LEVELS
        }
        for over in OVERS
    }


def told_by_kind(found: Coverage, is_number: Bool[np.ndarray, " state"]) -> dict[str, list[float | None]]:
    """Means over features of each kind, by size of team; None where a world has none of a kind."""
    kinds = {"numbers": is_number, "others": ~is_number}
    told = {kind: _means(found.intervals[:, which]) for kind, which in kinds.items()}
    widths = {f"{kind}_width": _means(found.widths[:, which]) for kind, which in kinds.items()}
    regions = {f"{kind}_region_width": _means(found.region_widths[:, which]) for kind, which in kinds.items()}
    return {**told, "regions": rounded(found.regions, 4).tolist(), **widths, **regions}


def _means(values: Float[np.ndarray, "sizes features"]) -> list[float | None]:
    """Over the features that ever count."""
    kept = values[:, np.isfinite(values).all(axis=0)]
    return rounded(kept.mean(axis=1), 4).tolist() if kept.size else [None] * len(values)
