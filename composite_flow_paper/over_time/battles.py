"""A cell of this experiment: what carrying the team's last estimate adds in battles, where no exact filter is known.

Each network hears all agents of the same new episodes: a chain that carries and reads histories of one step,
fusion of histories of one step, and fusion of as long histories as Table 1's.
"""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.analysis.filtered import filtered_at
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.files.plain_json import jsonable
from composite_flow.fusion.over_time import TeamFilter
from composite_flow.model import Model
from composite_flow.policy.config import MappoConfig
from composite_flow.training.config import TrainingConfig
from composite_flow.training.fit import fit
from composite_flow_paper.over_time.cell import TRAINING
from composite_flow_paper.shared.cells import Preparation, Progress, Workspace, told_steps
from composite_flow_paper.shared.fusion_runs import fused_means, joint_arrays
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
    return {
        "agents": problem.num_agents,
        "train_steps": episodes.num_steps,
        "test_steps": test.num_steps,
        "errors": _errors(carrying, longer, settings.history, test, key_orders).to_json(),
        "validation_psnr": carrying.curves[-1]["psnr_over_time"],
        "message_bytes": _message_bytes(carrying, longer),
        "filter_seconds": carrying.curves[-1]["seconds"],
        "seconds": time.process_time() - started,
    }


def _errors(carrying: Model, longer: Model, history: int, test: Episodes, key: PRNGKeyArray) -> EpisodeErrors:
    """Squared errors at each step of the test episodes: what is carried, and fusion of histories of either length."""
    steps, here = np.arange(test.num_steps), HistoryDataset(test)
    truth = carrying.scaling.scale(jnp.asarray(test.states[:]))

    def fused(model: Model, data: HistoryDataset) -> Float[Array, "steps state"]:
        assert model.answers is not None
        return fused_means(model.answers, joint_arrays(model.answers, data, jnp.asarray(steps))[0])

    means = {
        "carried": filtered_at(_filter_of(carrying), here, steps, key=key),
        "one_step": fused(carrying, here),
        "more_steps": fused(longer, HistoryDataset(test, history)),
    }
    errors = {name: np.asarray(jnp.mean((mean - truth) ** 2, axis=1)) for name, mean in means.items()}
    return EpisodeErrors.of_steps(errors, test.episode_of_step)


def _message_bytes(carrying: Model, longer: Model) -> dict[str, int]:
    assert carrying.answers is not None and longer.answers is not None
    sent = {"carried": _filter_of(carrying), "one_step": carrying.answers, "more_steps": longer.answers}
    return {name: 4 * each.values_sent for name, each in sent.items()}


def _filter_of(carrying: Model) -> TeamFilter:
    assert carrying.fusion is not None and carrying.fusion.over_time is not None
    return carrying.fusion.over_time
