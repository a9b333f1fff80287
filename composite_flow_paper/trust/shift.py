"""What becomes of coverage and verdicts where new episodes are not like those that calibrated.

clean       episodes like those of calibration
policy      by another policy: at random in battles, chasing pursuers, sensors that always take their first action
sight       everybody sees less: sensors overlook twice as much, allies in battles see 5 and not 9
lost        3 of 10 answers do not arrive, and the calibration does not know
withheld    states that neither training nor calibration has seen (sensors; a model of its own)
"""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.fusion.calibration import Calibration
from composite_flow.fusion.levels import OVERS
from composite_flow.fusion.trust.coverage import coverage_of
from composite_flow.fusion.trust.scores import scores_of_teams
from composite_flow.model import Model
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.trust.broken import interval_of
from composite_flow_paper.trust.checked import as_scaled, calibrated, chosen_episodes, said_of
from composite_flow_paper.trust.coverage import told_by_kind
from composite_flow_paper.trust.worlds import (
    TrustSettings,
    counted,
    load_world,
    other_policy,
    reduced_sight,
    withheld_states,
)

LEVEL = 0.9


def compute_shift(settings: TrustSettings, name: str, workspace: Workspace) -> dict[str, Any]:
    """Coverage at 90% and verdicts of the whole team, under each shift that the world knows."""
    model, fresh = load_world(name, workspace.folder)
    model = calibrated(model, fresh, name, settings)
    clean = chosen_episodes(fresh, settings.checked_ids())
    logs = {"clean": clean, "policy": other_policy(name, settings, settings.checked)}
    sight = reduced_sight(name, settings, settings.checked, workspace.folder, workspace.progress)
    logs |= {} if sight is None else {"sight": sight}
    found = {}
    for shift, log in logs.items():
        workspace.progress(f"{name}: {shift}")
        found[shift] = of_log(model, log, name, settings)
    workspace.progress(f"{name}: lost")
    found["lost"] = of_log(model, clean, name, settings, lost=settings.lost)
    if name == "sensors":
        workspace.progress(f"{name}: withheld states")
        states, (model, _) = withheld_states(settings), load_world(name, workspace.folder, withheld=True)
        model = calibrated(model, fresh, name, settings, states)
        found["withheld"] = of_log(model, clean, name, settings, withheld=states)
    return found


def of_log(
    model: Model,
    log: Episodes,
    name: str,
    settings: TrustSettings,
    *,
    lost: float = 0.0,
    withheld: Float[np.ndarray, "withheld state"] | None = None,
) -> dict[str, Any]:
    """Coverage, and what is made of the estimates; in withheld states alone where there are some."""
    assert model.fusion is not None and model.fusion.calibration is not None
    answers, data = model.fusion.answers, as_scaled(HistoryDataset(log, settings.world(name).length), model)
    heard = np.random.default_rng(0).random((log.num_steps, log.num_agents)) >= lost
    heard[~heard.any(axis=1), 0] = True
    said = said_of(model, log, settings.world(name).length, heard)
    part = data if withheld is None else data.part(data.episode_ids, withheld_states=withheld).unseen
    assert part is not None, "withheld states occur"
    rows = np.isin(np.arange(log.num_steps), np.asarray(part.steps))
    where, team = counted(name, log.state_names), (log.num_agents,)
    scores = scores_of_teams(answers, part, team, key=jax.random.key(3), lost=lost, counted=where)
    is_number, whole = np.asarray(answers.prior.types.is_number), of_whole_teams(model.fusion.calibration)
    covered = {over: coverage_of(scores, whole, is_number, LEVEL, over) for over in OVERS}
    answered = rows & said.accepted
    return {
        "coverage": {over: told_by_kind(one, is_number) for over, one in covered.items()},
        "accepted": interval_of(said.accepted[rows], log, rows),
        "error": float(said.error[rows].mean()),
        "error_accepted": float(said.error[answered].mean()) if answered.any() else None,
        "expected_error": float(said.uncertainty[rows].mean()),
    }


def of_whole_teams(calibration: Calibration) -> Calibration:
    """The part of a calibration that is of the largest team."""
    tables = ("scale", "step", "episode", "step_region", "episode_region", "width")
    last = {name: getattr(calibration, name)[-1:] for name in tables}
    return replace(calibration, sizes=calibration.sizes[-1:], sets=None, **last)
