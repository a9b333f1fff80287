"""Ways in which an agent's sensors break, and what the team then logs.

zeros      every observation is 0
frozen     from a step in the first half of the episode on, the observation of that step
scaled     three times the observation
offset     half of each column's range added or taken away, the same through an episode
noise      as much Gaussian noise as a column has standard deviation
another    the history of another agent of the team
shifted    the observation of five steps before
nan        no number at all
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from composite_flow.data.episodes import Episodes

LAG = 5  # steps
SCALE = 3.0


@dataclass(frozen=True, eq=False)
class Sensors:
    """What one agent of each episode observed and did, with what faults need to know of the log.

    Attributes:
        observations: of that agent.
        another: of another agent of the same episode.
        starts, stops: first step of each episode, and one past its last.
        episode_of_step: the episode of each step.
        low, high, deviation: range and standard deviation of each column over the whole log.
        random: draws what is random.
    """

    observations: Float[np.ndarray, "steps columns"]
    another: Float[np.ndarray, "steps columns"]
    starts: Int[np.ndarray, " episodes"]
    stops: Int[np.ndarray, " episodes"]
    episode_of_step: Int[np.ndarray, " steps"]
    low: Float[np.ndarray, " columns"]
    high: Float[np.ndarray, " columns"]
    deviation: Float[np.ndarray, " columns"]
    random: np.random.Generator


def broken(episodes: Episodes, kind: str, agents: Int[np.ndarray, " episodes"], seed: int) -> Episodes:
    """The same episodes, where the sensors of one agent of each are broken throughout.

    Args:
        episodes: as they were.
        kind: one of `KINDS`.
        agents: which agent of each episode.
        seed: draws what is random.
    """
    of_step = episodes.episode_of_step
    steps, whose = np.arange(episodes.num_steps), agents[of_step]
    others = (whose + 1) % episodes.num_agents
    observations, actions = np.array(episodes.observations[:], np.float32), np.array(episodes.actions[:])
    columns = observations.reshape(-1, observations.shape[2])
    sensors = Sensors(
        observations=observations[steps, whose],
        another=observations[steps, others],
        starts=episodes.starts,
        stops=episodes.stops,
        episode_of_step=of_step,
        low=columns.min(axis=0),
        high=columns.max(axis=0),
        deviation=columns.std(axis=0),
        random=np.random.default_rng(seed),
    )
    observations[steps, whose] = KINDS[kind](sensors)
    if kind == "another":
        actions[steps, whose] = actions[steps, others]
    return replace(episodes, observations=observations, actions=actions)


def _frozen(sensors: Sensors) -> np.ndarray:
    lengths = sensors.stops - sensors.starts
    onset = sensors.starts + (sensors.random.random(len(lengths)) * lengths / 2).astype(int)
    return sensors.observations[np.minimum(np.arange(len(sensors.observations)), onset[sensors.episode_of_step])]


def _offset(sensors: Sensors) -> np.ndarray:
    signs = sensors.random.choice([-1.0, 1.0], (len(sensors.starts), len(sensors.low)))
    return sensors.observations + (0.5 * signs * (sensors.high - sensors.low))[sensors.episode_of_step]


def _noise(sensors: Sensors) -> np.ndarray:
    return sensors.observations + sensors.deviation * sensors.random.standard_normal(sensors.observations.shape)


def _shifted(sensors: Sensors) -> np.ndarray:
    first = sensors.starts[sensors.episode_of_step]
    return sensors.observations[np.maximum(np.arange(len(sensors.observations)) - LAG, first)]


KINDS: dict[str, Callable[[Sensors], np.ndarray]] = {
    "zeros": lambda sensors: np.zeros_like(sensors.observations),
    "frozen": _frozen,
    "scaled": lambda sensors: SCALE * sensors.observations,
    "offset": _offset,
    "noise": _noise,
    "another": lambda sensors: sensors.another,
    "shifted": _shifted,
    "nan": lambda sensors: np.full_like(sensors.observations, np.nan),
}
