"""The worlds in which trust is measured: how their episodes come about, and a model of each.

sensors     5 × 5 sensors that overlook a target in 3 of 10 looks, two targets: states can be listed
battles     SMAX, five zerg against five, by Table 1's policy
simple_tag  JaxMARL's MPE: numbers alone

Training episodes teach, a tenth of them validates; fresh ones calibrate and are judged, and no network has seen them.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

import composite_flow as cf
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.files.plain_json import LATER
from composite_flow.fusion.trust.scores import Counted
from composite_flow.model import MODEL_FILE, Model
from composite_flow.problems.base import Policy, RandomPolicy, ReactivePolicy
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.smax import SMAX
from composite_flow.training.config import TrainingConfig
from composite_flow.training.fit import fit
from composite_flow_paper.shared.cells import Preparation, Progress, told_steps
from composite_flow_paper.table1.battles import Battle, EpisodeSettings, policy_of
from composite_flow_paper.table1.fusion import living
from composite_flow_paper.trust.tag import CHASING, collect_tag

BATTLE = Battle("zerg", 9)
WORLDS = ("sensors", "battles", "simple_tag")
_TRAINING, _FRESH, _OTHER = range(3)  # folded into the key of a world's episodes

_FUSION = TrainingConfig(
    learn="fusion",
    team_denoiser=False,
    width=128,
    batch=256,
    steps=8000,
    learning_rate=2e-3,
    record_every=1000,
    evaluate_every=1000,
    watch_steps=12_000,
)
_SENSORS = replace(_FUSION, steps=3000, learning_rate=4e-3, watch_steps=6000)


@dataclass(frozen=True)
class WorldSettings:
    """What is learned in a world, and from how many episodes.

    Attributes:
        training: of the answers, and of what histories go with.
        training_episodes: and validation, a tenth of them.
        length: H.
    """

    training: TrainingConfig
    training_episodes: int
    length: int


@dataclass(frozen=True)
class TrustSettings:
    """What the experiment depends on.

    Attributes:
        worlds: those that are computed.
        sensors, battles, simple_tag: what is learned in each world.
        battle_episodes: the battle's world and policy.
        side, miss: how many sensors stand in a row and in a column, and how often they overlook a target.
        draws: of calibration and test episodes, all of them fresh.
        calibration, test: episodes of each draw.
        checked: episodes whose sensors are broken, and as many others that tell what is usual.
        lost: share of answers lost, where some are.
    """

    worlds: tuple[str, ...] = WORLDS
    sensors: WorldSettings = field(
        default_factory=lambda: WorldSettings(
            replace(_FUSION, steps=3000, learning_rate=4e-3, watch_steps=6000), 4000, 1
        )
    )
    battles: WorldSettings = field(default_factory=lambda: WorldSettings(_FUSION, 5000, 5))
    simple_tag: WorldSettings = field(default_factory=lambda: WorldSettings(_FUSION, 4000, 3))
    battle_episodes: EpisodeSettings = field(default_factory=EpisodeSettings)
    side: int = field(default=5, metadata=LATER)
    miss: float = 0.3
    draws: int = 20
    calibration: int = 400
    test: int = 400
    checked: int = 400
    lost: float = 0.3

    def world(self, name: str) -> WorldSettings:
        """The settings of one world."""
        return getattr(self, name)

    @property
    def fresh(self) -> int:
        """Fresh episodes of a world: those that tell what is usual, the checked ones, and those of all draws."""
        return 2 * self.checked + self.draws * (self.calibration + self.test)

    def usual_ids(self) -> Int[np.ndarray, " episodes"]:
        """Fresh episodes that tell what is usual."""
        return np.arange(self.checked)

    def checked_ids(self) -> Int[np.ndarray, " episodes"]:
        """Fresh episodes that are judged, and whose sensors are broken."""
        return self.checked + np.arange(self.checked)

    def draw_ids(self, draw: int) -> tuple[Int[np.ndarray, " calibration"], Int[np.ndarray, " test"]]:
        """Fresh episodes of one draw, for calibration and test."""
        first = 2 * self.checked + draw * (self.calibration + self.test)
        return first + np.arange(self.calibration), first + self.calibration + np.arange(self.test)


def sensors(settings: TrustSettings, miss: float | None = None) -> SensorNetwork:
    """The network, or one that overlooks more."""
    return SensorNetwork.grid(settings.side, settings.side, num_targets=2, miss=settings.miss if miss is None else miss)


def battle(settings: TrustSettings, sight: float = BATTLE.sight) -> SMAX:
    """The battle, or one in which allies see less far."""
    return settings.battle_episodes.problem(replace(BATTLE, sight=sight))


def episodes_of(name: str, settings: TrustSettings, count: int, number: int, out: Path, progress: Progress) -> Episodes:
    """So many episodes of a world; those of different numbers have nothing in common."""
    key = jax.random.fold_in(jax.random.key(0), number)
    if name == "simple_tag":
        return collect_tag(count, key)
    if name == "sensors":
        return collect(sensors(settings), count, key=key)
    return collect(battle(settings), count, key=key, policy=battle_policy(settings, out, progress))


def other_policy(name: str, settings: TrustSettings, count: int) -> Episodes:
    """Episodes by another policy than that of training."""
    key = jax.random.fold_in(jax.random.key(0), _OTHER)
    if name == "simple_tag":
        return collect_tag(count, key, CHASING)
    problem = sensors(settings) if name == "sensors" else battle(settings)
    policy = FirstAction() if name == "sensors" else RandomPolicy()
    return collect(problem, count, key=key, policy=policy)


def reduced_sight(name: str, settings: TrustSettings, count: int, out: Path, progress: Progress) -> Episodes | None:
    """Episodes in which everybody sees less, by the same policy; None where sight has no limit."""
    key = jax.random.fold_in(jax.random.key(0), _OTHER)
    if name == "simple_tag":
        return None
    if name == "sensors":
        return collect(sensors(settings, miss=min(0.9, 2 * settings.miss)), count, key=key)
    return collect(battle(settings, sight=5.0), count, key=key, policy=battle_policy(settings, out, progress))


class FirstAction(ReactivePolicy):
    """Everybody takes the first action that is available."""

    def probabilities(self, agent, observation, available):
        """1 for that action."""
        return jax.nn.one_hot(jnp.argmax(available), len(available))


def battle_policy(settings: TrustSettings, out: Path, progress: Progress) -> Policy:
    """Table 1's policy, which stands in `policies`; trained where it does not."""
    key = jax.random.split(jax.random.key(0))[0]
    folder = out / "policies" / BATTLE.name
    return policy_of(settings.battle_episodes, battle(settings), BATTLE, folder, key, progress)[0]


def counted(name: str, state_names: tuple[str, ...]) -> Counted | None:
    """Which features count: in battles those of living units."""
    if name != "battles":
        return None
    return lambda states: np.asarray(living(state_names, jnp.asarray(states)))


# --- what all cells of a world need


def fresh_episodes(name: str, settings: TrustSettings) -> Preparation:
    """Episodes for calibration and tests."""
    return Preparation(f"data/{name}", partial(_collect_fresh, name, settings))


def _collect_fresh(name: str, settings: TrustSettings, out: Path, progress: Progress) -> None:
    progress(f"{name}: {settings.fresh:,} fresh episodes")
    episodes_of(name, settings, settings.fresh, _FRESH, out, progress).save(out / "data" / name)


def model_of(name: str, settings: TrustSettings, withheld: bool = False) -> Preparation:
    """The model of a world; or one that never saw a tenth of the states."""
    place = f"models/{folder_of(name, withheld)}/{MODEL_FILE}"
    return Preparation(place, partial(_train, name, settings, withheld))


def folder_of(name: str, withheld: bool) -> str:
    """Where its model is."""
    return f"{name}-withheld" if withheld else name


def withheld_states(settings: TrustSettings) -> Float[np.ndarray, "withheld state"]:
    """A tenth of the states of the sensors' world."""
    states = np.asarray(sensors(settings).states())
    return states[np.random.default_rng(0).permutation(len(states))[: len(states) // 10]]


def _train(name: str, settings: TrustSettings, withheld: bool, out: Path, progress: Progress) -> None:
    world = settings.world(name)
    episodes = episodes_of(name, settings, world.training_episodes, _TRAINING, out, progress)
    dataset, ids = HistoryDataset(episodes, length=world.length), np.arange(episodes.num_episodes)
    hidden = {"withheld_states": withheld_states(settings), "remove_withheld": True} if withheld else {}
    train, validation = (dataset.part(ids[(ids % 10 == 0) == held_out], **hidden) for held_out in (False, True))
    folder = out / "models" / folder_of(name, withheld)
    options = {"folder": folder, "resume": True, "progress": told_steps(progress)}
    fit(train, validation, world.training, key=jax.random.key(1), state_names=episodes.state_names, **options)


def load_world(name: str, out: Path, withheld: bool = False) -> tuple[Model, Episodes]:
    """The model and the fresh episodes."""
    return cf.load(out / "models" / folder_of(name, withheld)), Episodes.load(out / "data" / name)
