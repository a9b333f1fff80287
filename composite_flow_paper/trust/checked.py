"""A world's model, calibrated on fresh episodes, and what it says of others."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import ARRAYS, Episodes
from composite_flow.model import Model
from composite_flow.numerics.batches import numbered_parts
from composite_flow.training.calibrate import calibrate
from composite_flow_paper.trust.worlds import TrustSettings, counted

CALIBRATION_EPISODES = 2000
_AT_ONCE = 1024  # joint histories


def calibrated(
    model: Model,
    episodes: Episodes,
    name: str,
    settings: TrustSettings,
    withheld: Float[np.ndarray, "withheld state"] | None = None,
) -> Model:
    """Calibrated on the calibration episodes of the first draws, 2,000 of them, without steps in withheld states."""
    ids = np.concatenate([settings.draw_ids(draw)[0] for draw in range(settings.draws)])[:CALIBRATION_EPISODES]
    dataset = HistoryDataset(episodes, settings.world(name).length)
    hidden = {"withheld_states": withheld, "remove_withheld": withheld is not None}
    parts = dataset.part(ids, **hidden), dataset.part(settings.usual_ids(), **hidden)
    return calibrate(model, *parts, counted=counted(name, episodes.state_names))


def chosen_episodes(episodes: Episodes, ids: Int[np.ndarray, " chosen"]) -> Episodes:
    """Some of the episodes, as episodes of their own."""
    rows = np.flatnonzero(np.isin(episodes.episode_of_step, ids))
    return replace(episodes, **{name: getattr(episodes, name)[:][rows] for name in ARRAYS})


def as_scaled(dataset: HistoryDataset, model: Model) -> HistoryDataset:
    """The dataset with states scaled as the model's are."""
    return dataset.with_scaling(model.scaling)


@dataclass(frozen=True, eq=False)
class Said:
    """What teams say at every step of some episodes.

    Attributes:
        error: ‖ŝ − s‖, scaled; NaN where an estimate is no number.
        accepted: the verdict.
        suspects: who is suspected.
        doubted: whether anybody is in doubt.
        uncertainty: the error that is expected.
    """

    error: Float[np.ndarray, " steps"]
    accepted: Bool[np.ndarray, " steps"]
    suspects: Bool[np.ndarray, "steps agents"]
    doubted: Bool[np.ndarray, " steps"]
    uncertainty: Float[np.ndarray, " steps"]


def said_of(
    model: Model,
    episodes: Episodes,
    length: int,
    participants: Bool[np.ndarray, "steps agents"] | None = None,
    *,
    robust: bool = False,
) -> Said:
    """Ask a calibrated model at every step; robust ones leave suspects out."""
    dataset = as_scaled(HistoryDataset(episodes, length), model)
    heard = np.ones((episodes.num_steps, episodes.num_agents), bool) if participants is None else participants
    parts = []
    for _, (rows, kept) in numbered_parts(episodes.num_steps, _AT_ONCE):
        joint = dataset.joint(rows)
        found = model.fuse_batch(joint.histories, heard[rows], check=True, robust=robust)
        error = jnp.linalg.norm(model.scaling.scale(found.mean) - joint.states, axis=1)
        assert found.doubts is not None
        doubts = found.doubts
        doubted = jnp.any(doubts.suspects | doubts.in_doubt, axis=1)
        told = error, found.accepted, doubts.suspects, doubted, found.uncertainty
        parts.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[:kept], told))
    return Said(*(np.concatenate(part) for part in zip(*parts, strict=True)))
