"""What the sensor-network experiments share: episodes, a split, a trained model and the exact beliefs beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from composite_flow.belief import BeliefModel
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.denoiser import Denoiser, IdealDenoiser
from composite_flow.metrics import exact_states, psnr
from composite_flow.model import Model
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow.training.loss import ideal_loss
from composite_flow_paper.shared.cells import Progress, told_steps


@dataclass(frozen=True)
class SensorSettings:
    """The data and the training of one sensor-network run.

    Attributes:
        num_episodes: episodes collected with random scans.
        withhold_states: share of the distinct states that training never sees.
        training: the denoiser and its training.
        num_joint: validation joint histories in each evaluation while training.
    """

    num_episodes: int = 2048
    withhold_states: float = 0.0
    training: TrainingConfig = field(default_factory=TrainingConfig)
    num_joint: int = 256


@dataclass(frozen=True)
class SensorData:
    """A problem with its episodes, split; and what an exact agent would know."""

    problem: SensorNetwork
    train: HistoryDataset
    validation: HistoryDataset
    test: HistoryDataset
    ideal: IdealDenoiser


def collect_sensors(problem: SensorNetwork, settings: SensorSettings, *, key: PRNGKeyArray) -> SensorData:
    """`collect_parts` with the ideal denoiser, of networks whose states can be listed."""
    parts = collect_parts(problem, settings, key=key)
    return SensorData(problem, *parts, IdealDenoiser(BeliefModel(problem, parts[0].layout)))


def collect_parts(
    problem: SensorNetwork, settings: SensorSettings, *, key: PRNGKeyArray
) -> tuple[HistoryDataset, HistoryDataset, HistoryDataset]:
    """Collect episodes with random scans, with histories of one step, and split them."""
    key_episodes, key_split = jax.random.split(key)
    dataset = HistoryDataset(collect(problem, settings.num_episodes, key=key_episodes), length=1)
    train, validation, test = dataset.split(key=key_split, withhold_states=settings.withhold_states)
    return train, validation, test


def train_sensors(
    data: SensorData,
    settings: SensorSettings,
    *,
    key: PRNGKeyArray,
    progress: Progress,
    until: Callable[[Mapping[str, float]], bool] | None = None,
) -> Model:
    """Train one network, with its excess over the ideal loss and its composite diffusion on validation episodes."""
    key_fit, key_choice, key_noise = jax.random.split(key, 3)
    steps = choose_steps(data.validation, settings.num_joint, key_choice)

    def evaluate(denoiser: Denoiser, step: int) -> dict[str, float]:
        return composite_quality(denoiser, data.validation, steps, key=key_noise)

    return fit(
        data.train,
        data.validation,
        settings.training,
        key=key_fit,
        evaluate=evaluate,
        until=until,
        progress=told_steps(progress),
        ideal_loss=ideal_loss(data.ideal, data.validation).value,
    )


def choose_steps(dataset: HistoryDataset, count: int, key: PRNGKeyArray) -> Int[Array, " steps"]:
    """Draw so many steps of a dataset, each at most once where it has that many."""
    return jax.random.choice(key, dataset.steps, (count,), replace=dataset.num_steps < count)


def composite_quality(
    denoiser: Denoiser,
    dataset: HistoryDataset,
    steps: Int[Array, " steps"],
    *,
    key: PRNGKeyArray,
    num_samples: int = 1,
    num_sweeps: int = 6,
    stir: float = 0.0,
) -> dict[str, float]:
    """Share of exact samples and PSNR of composite diffusion over the joint histories at these steps."""
    joint = dataset.joint(steps)
    options = {"num_samples": num_samples, "num_sweeps": num_sweeps, "stir": stir}
    samples = reconstruct_batch(denoiser, joint.histories, key=key, **options).samples
    return {
        "exact_rate_composite": float(jnp.mean(exact_states(samples, joint.states[:, None]))),
        "psnr_composite": float(psnr(samples, joint.states[:, None])),
    }
