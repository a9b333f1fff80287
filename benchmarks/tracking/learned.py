"""This package's filter over time, in its product form, learned from simulated episodes alone.

A sensor answers from what it sees in a step: of each target whether it is in sight, and the measured x and y, or zeros.
The state is of all targets together. Neither the law of motion nor the sensors' places and errors are told.
"""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

import composite_flow as cf
from benchmarks.tracking.estimates import Estimates
from benchmarks.tracking.world import Episodes

AXES = "x", "x speed", "y", "y speed"


@dataclass(frozen=True)
class Learning:
    """What is learned, on how much.

    Attributes:
        episodes: simulated to learn from.
        width, depth: of the network's hidden layers.
        segment: steps that are learned from together.
        steps: of the optimiser, for answers and for the filter each.
    """

    episodes: int = 3_000
    width: int = 128
    depth: int = 3
    segment: int = 30
    steps: int = 8_000


def learn(settings: Learning, episodes: Episodes, seed: int) -> cf.Model:
    """A model with a filter over time."""
    config = cf.TrainingConfig(
        learn="fusion",
        team_denoiser=False,
        over_time="product",
        width=settings.width,
        depth=settings.depth,
        segment=settings.segment,
        steps=settings.steps,
        learning_rate=2e-3,
        warmup=min(100, settings.steps),
    )
    return cf.fit(dataset_of(episodes), None, config, key=jax.random.key(seed), progress=False)


def followed(model: cf.Model, episodes: Episodes) -> Estimates:
    """What the filter says of episodes; it claims a variance of each number, and no covariances."""
    dataset, shape = dataset_of(episodes), episodes.states.shape
    steps = np.arange(shape[0] * shape[1]).reshape(shape[:2])
    found = [model.filter(dataset.joint(each).histories) for each in steps]
    mean = np.array([each.mean for each in found], float).reshape(shape)
    variance = np.array([each.variance for each in found], float).reshape(shape)
    return Estimates(mean, variance[..., None] * np.eye(4))


def dataset_of(episodes: Episodes) -> cf.HistoryDataset:
    """Histories of one step."""
    count, steps, sensors, targets = episodes.seen.shape
    names = [f"{axis} of target {target}" for target in range(targets) for axis in AXES]
    logged = cf.Episodes.from_arrays(
        observations=observations_of(episodes).reshape(count * steps, sensors, -1),
        actions=np.zeros((count * steps, sensors), int),
        states=episodes.states.reshape(count * steps, -1),
        ends=np.arange(1, count * steps + 1) % steps == 0,
        state_names=names,
    )
    return cf.HistoryDataset(logged, length=1)


def observations_of(episodes: Episodes) -> Float[np.ndarray, "episodes steps sensors targets 3"]:
    """Of each target whether it is in sight, and where it was measured."""
    seen = episodes.seen[..., None]
    return np.concatenate([seen, np.where(seen, episodes.measured, 0.0)], axis=-1)
