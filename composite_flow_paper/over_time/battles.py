"""A cell of this experiment: what carrying the team's last estimate adds in battles, where no exact filter is known.

Each network hears all agents of the same new episodes: a chain that carries and reads histories of one step,
fusion of histories of one step, and fusion of as long histories as Table 1's.
"""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.files.plain_json import jsonable
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.over_time import TeamFilter, follow
from composite_flow.model import Model
from composite_flow.policy.config import MappoConfig
from composite_flow.training.config import TrainingConfig
from composite_flow.training.fit import fit
from composite_flow_paper.over_time.cell import TRAINING
from composite_flow_paper.shared.cells import Preparation, Progress, Workspace, told_steps
from composite_flow_paper.shared.paired_error import EpisodeErrors
from composite_flow_paper.table1.battles import Battle, EpisodeSettings, policy_of

BATTLE = Battle("zerg", 9)
GROUP = "battles"
_TEACHING, _POLICY = 2, 3  # folded into keys


@dataclass(frozen=True)
class BattleSettings:
    """What the cells of battles depend on.

    Attributes:
        episodes: of the world, and how the policy is trained by which allies act; the same for all seeds.
        kind: of the filter.
        training: of the filter, and of fusion.
        history: steps of the histories that fusion reads, where it reads more than one.
        num_episodes: collected to learn from and to judge training by, a tenth of them for that.
        num_test: new episodes.
        num_seeds: data and training are new in each.
    """

    episodes: EpisodeSettings = field(
        default_factory=lambda: EpisodeSettings(policy=MappoConfig(steps=2_000_000, memory="none"))
    )
    kind: str = "gated"
    training: TrainingConfig = field(default_factory=lambda: TRAINING)
    history: int = 5
    num_episodes: int = 3_000
    num_test: int = 400
    num_seeds: int = 3

    @property
    def policy(self) -> Preparation:
        """The policy, made once for all seeds."""
        return Preparation(f"policies/{BATTLE.name}", partial(make_policy, self.episodes))


def make_policy(settings: EpisodeSettings, out: Path, progress: Progress) -> None:
    """Train the policy, or go on training it."""
    policy_in(settings, out, progress)


def policy_in(settings: EpisodeSettings, out: Path, progress: Progress) -> Any:
    """The policy in an experiment's folder; trained where it is not there."""
    key = jax.random.fold_in(jax.random.key(0), _POLICY)
    return policy_of(settings, settings.problem(BATTLE), BATTLE, out / "policies" / BATTLE.name, key, progress)[0]


def compute_battles(settings: BattleSettings, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Collect, learn both, and compare them on new episodes."""
    started, problem = time.process_time(), settings.episodes.problem(BATTLE)
    policy = policy_in(settings.episodes, workspace.folder, workspace.progress)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), _TEACHING), 5)
    key_data, key_split, key_train, key_test, key_orders = keys
    workspace.progress("collecting episodes")
    episodes, test = (
        collect(problem, count, key=key, policy=policy)
        for count, key in ((settings.num_episodes, key_data), (settings.num_test, key_test))
    )

    def learned(length: int, config: TrainingConfig) -> Model:
        train, validation, _ = HistoryDataset(episodes, length).split(key=key_split, fractions=(0.89, 0.1, 0.01))
        told = told_steps(workspace.progress)
        about = {"problem": jsonable(problem.description)}
        return fit(train, validation, config, key=key_train, progress=told, description=about)

    carrying = learned(1, replace(settings.training, over_time=settings.kind))  # pyright: ignore[reportArgumentType]
    longer = learned(settings.history, settings.training)
    assert carrying.fusion is not None and carrying.fusion.over_time is not None and longer.fusion is not None
    here, longer_here = HistoryDataset(test), HistoryDataset(test, settings.history)
    answers = {"one_step": (carrying.fusion.answers, here), "more_steps": (longer.fusion.answers, longer_here)}
    found = {
        "carried": carried_means(carrying.fusion.over_time, here, key_orders),
        **{name: fused_means(each, data) for name, (each, data) in answers.items()},
    }
    truth = carrying.scaling.scale(jnp.asarray(test.states[:]))
    errors = {name: np.asarray(jnp.mean((mean - truth) ** 2, axis=1)) for name, mean in found.items()}
    kept = EpisodeErrors.of_steps(errors, test.episode_of_step)
    return {
        "agents": problem.num_agents,
        "train_steps": episodes.num_steps,
        "test_steps": test.num_steps,
        "errors": kept.to_json(),
        "validation_psnr": carrying.curves[-1]["psnr_over_time"],
        "message_bytes": {
            "carried": 4 * carrying.fusion.over_time.values_sent,
            **{name: 4 * each.values_sent for name, (each, _) in answers.items()},
        },
        "filter_seconds": carrying.curves[-1]["seconds"],
        "seconds": time.process_time() - started,
    }


def carried_means(team_filter: TeamFilter, data: HistoryDataset, key: PRNGKeyArray) -> Float[Array, "steps state"]:
    """What the filter says at each step of all episodes, which stand one behind the other; scaled."""
    joint = data.joint(np.asarray(data.steps))
    first = np.diff(np.asarray(data.windows.episode_of_step), prepend=-1) != 0
    return _followed(team_filter, joint.histories, jnp.asarray(first), key)


@eqx.filter_jit
def _followed(team_filter: TeamFilter, histories, first: Bool[Array, " steps"], key) -> Float[Array, "steps state"]:
    everybody = jnp.ones(histories.shape[:2], bool)
    return follow(team_filter, histories, everybody, first, team_filter.initial, key)[0].mean


def fused_means(answers: Answers, data: HistoryDataset) -> Float[Array, "steps state"]:
    """What fusion says at each step; scaled."""
    joint = data.joint(np.asarray(data.steps))
    return fuse_each(answers, joint.histories, jnp.ones(joint.histories.shape[:2], bool)).mean
