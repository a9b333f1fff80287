"""A cell of this experiment: a filter is learned in one world, and held against the exact one on new episodes.

At each share of lost answers the exact filter hears just what the learned one hears. Beside them is fusion of histories
of one step, which carries nothing.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.files.plain_json import jsonable
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.over_time import TeamFilter
from composite_flow.fusion.over_time.episode import filtered_means
from composite_flow.model import Model
from composite_flow.problems.base import EnumerableProblem
from composite_flow.problems.kinds import problem_from_text
from composite_flow.training.config import TrainingConfig
from composite_flow.training.fit import fit
from composite_flow_paper.over_time.exact import exact_means
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps

TRAINING = TrainingConfig(
    learn="fusion",
    team_denoiser=False,
    width=128,
    depth=3,
    segment=5,
    steps=8_000,
    learning_rate=2e-3,
    warmup=100,
    record_every=1_000,
    evaluate_every=4_000,
)
WORLDS = {"3x3": "sensor:3x3,targets=2,miss=0.5", "5x5": "sensor:5x5,targets=2,miss=0.5"}


@dataclass(frozen=True)
class Way:
    """A filter as it is trained.

    Attributes:
        kind: of the filter.
        lost: most of the answers that are lost in training.
        alone: share of the segments in which one agent is heard alone.
    """

    kind: str
    lost: float = 0.0
    alone: float = 0.0


WAYS = {
    "residual": Way("residual"),
    "gated": Way("gated"),
    "product": Way("product"),
    "residual_lost": Way("residual", 0.5),
    "product_lost": Way("product", 0.5),
    "gated_lost": Way("gated", 0.5),
    "gated_alone": Way("gated", alone=1.0),
}
COMPARED = ("residual", "gated", "product", "residual_lost", "product_lost")
"""Of them those that are held against the exact filter; policies act on the others as well."""


@dataclass(frozen=True)
class OverTimeSettings:
    """What the experiment depends on.

    Attributes:
        ways: of each world, which filters are learned, by their names in `WAYS`.
        training: of all of them.
        num_episodes: collected to learn from and to judge training by, a tenth of them for that.
        num_test: new episodes.
        lost: shares of the answers that are lost in the test.
        num_seeds: of each world; data and training are new in each.
    """

    ways: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"3x3": COMPARED, "5x5": ("residual",)})
    training: TrainingConfig = field(default_factory=lambda: TRAINING)
    num_episodes: int = 3_000
    num_test: int = 200
    lost: tuple[float, ...] = (0.0, 0.1, 0.5)
    num_seeds: int = 3


@dataclass(frozen=True)
class Learned:
    """A filter, its world, and keys of the test."""

    model: Model
    problem: EnumerableProblem
    key_test: PRNGKeyArray
    key_lost: PRNGKeyArray


def learn(settings: OverTimeSettings, world: str, name: str, seed: int, progress: Progress) -> Learned:
    """Collect episodes of a world, and learn the filter of this name from them."""
    way, problem = WAYS[name], problem_from_text(WORLDS[world])
    assert isinstance(problem, EnumerableProblem), "the exact filter lists all states"
    key_data, key_split, key_train, key_test, key_lost = jax.random.split(jax.random.key(seed), 5)
    dataset = HistoryDataset(collect(problem, settings.num_episodes, key=key_data))
    train, validation, _ = dataset.split(key=key_split, fractions=(0.89, 0.1, 0.01))
    config = replace(settings.training, over_time=way.kind, lost=way.lost, alone=way.alone)
    about = {"problem": jsonable(problem.description)}
    model = fit(train, validation, config, key=key_train, progress=told_steps(progress), description=about)
    return Learned(model, problem, key_test, key_lost)


def compute(settings: OverTimeSettings, world: str, name: str, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Collect, learn, and follow new episodes."""
    started = time.process_time()
    learned = learn(settings, world, name, seed, workspace.progress)
    trained = time.process_time() - started
    model, problem, key_test, key_lost = learned.model, learned.problem, learned.key_test, learned.key_lost
    assert model.fusion is not None and model.fusion.over_time is not None
    workspace.progress("following new episodes")
    test = HistoryDataset(collect(problem, settings.num_test, key=key_test))
    judged = [
        judge(problem, model.fusion.over_time, model.fusion.answers, test, lost, jax.random.fold_in(key_lost, place))
        for place, lost in enumerate(settings.lost)
    ]
    return {
        "agents": problem.num_agents,
        "states": problem.num_states,
        "messages": problem.num_agents,
        "message_bytes": 4 * model.fusion.over_time.values_sent,
        "losses": [{"lost": lost, **scores} for lost, scores in zip(settings.lost, judged, strict=True)],
        "validation_psnr": model.curves[-1]["psnr_over_time"],
        "train_seconds": trained,
        "filter_seconds": model.curves[-1]["seconds"],
        "seconds": time.process_time() - started,
    }


def judge(
    problem: EnumerableProblem,
    team_filter: TeamFilter,
    answers: Answers,
    test: HistoryDataset,
    lost: float,
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """Squared errors a feature, averaged over steps: of the truth, and of what the exact filter says.

    Returns:
        For the learned filter and for fusion of one step the error, and the `excess` over the exact filter's mean; the
        exact filter's own error; and of the filter's excess the standard error over episodes.
    """
    key_lost, key_orders = jax.random.split(key)
    joint = test.joint(np.asarray(test.steps))
    shape = len(test.episode_ids), -1
    histories, states = (part.reshape(*shape, *part.shape[1:]) for part in (joint.histories, joint.states))
    observations = joint.structured.observations[:, :, -1].reshape(*histories.shape[:3], -1)
    heard = jax.random.uniform(key_lost, histories.shape[:3]) >= lost
    exact = exact_means(problem, observations, heard)
    found = filtered_means(team_filter, histories, heard, key_orders)
    fused = fuse_each(answers, joint.histories, heard.reshape(-1, histories.shape[2])).mean.reshape(states.shape)
    excess = np.asarray(jnp.mean((found - exact) ** 2, axis=(1, 2)), np.float64)
    return {
        "error": float(jnp.mean((found - states) ** 2)),
        "excess": float(excess.mean()),
        "excess_standard_error": float(excess.std(ddof=1) / np.sqrt(len(excess))),
        "exact_error": float(jnp.mean((exact - states) ** 2)),
        "fusion_error": float(jnp.mean((fused - states) ** 2)),
        "fusion_excess": float(jnp.mean((fused - exact) ** 2)),
        "episodes": len(excess),
    }
