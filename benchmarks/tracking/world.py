"""Targets that move at nearly constant velocity, and sensors that measure those within sight, by Stone Soup's models.

    x_{t+1} = F x_t + w_t,    z_{t,i} = (x, y)_t + v_{t,i}   where ‖(x, y)_t − c_i‖ ≤ sight

Which target a measurement is of is known, and no measurement is false: what is compared is how a team puts together
what its members see.
"""

import datetime
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from stonesoup.models.measurement.linear import LinearGaussian
from stonesoup.models.transition.linear import CombinedLinearGaussianTransitionModel, ConstantVelocity

START, STEP = datetime.datetime(2000, 1, 1), datetime.timedelta(seconds=1)
POSITION = 0, 2
"""Of (x, its speed, y, its speed) the places of x and y."""


@dataclass(frozen=True)
class World:
    """What is tracked, and by whom; metres and seconds.

    Attributes:
        sensors: where they stand.
        sight: how far they see.
        error: standard deviation of a measured coordinate.
        targets: how many.
        steps: of an episode, a second each.
        wander: spectral density of the noise that drives the speeds, m²/s³.
        centre: where targets start, give or take.
        spread: standard deviation of a coordinate at the start.
        speed: of a component of the speed then.
    """

    sensors: tuple[tuple[float, float], ...] = ((30, 30), (30, 70), (70, 30), (70, 70))
    sight: float = 35.0
    error: float = 5.0
    targets: int = 2
    steps: int = 30
    wander: float = 0.05
    centre: float = 50.0
    spread: float = 20.0
    speed: float = 1.0

    @property
    def transition(self) -> CombinedLinearGaussianTransitionModel:
        """The law of motion."""
        return CombinedLinearGaussianTransitionModel([ConstantVelocity(self.wander), ConstantVelocity(self.wander)])

    @property
    def measurement(self) -> LinearGaussian:
        """What a sensor measures of a target in sight."""
        return LinearGaussian(ndim_state=4, mapping=POSITION, noise_covar=self.error**2 * np.eye(2))

    @property
    def prior(self) -> tuple[Float[np.ndarray, "4"], Float[np.ndarray, "4 4"]]:
        """Mean and covariance of a target at an episode's first step."""
        mean = np.array([self.centre, 0.0, self.centre, 0.0])
        return mean, np.diag([self.spread**2, self.speed**2] * 2)


class Episodes(NamedTuple):
    """Simulated episodes.

    Attributes:
        states: x, its speed, y, its speed of each target.
        measured: x and y, also of targets out of sight; nobody may look at those.
        seen: which targets are in sight.
    """

    states: Float[np.ndarray, "episodes steps targets 4"]
    measured: Float[np.ndarray, "episodes steps sensors targets 2"]
    seen: Bool[np.ndarray, "episodes steps sensors targets"]


def simulate(world: World, num_episodes: int, seed: int) -> Episodes:
    """Draw episodes."""
    random, count = np.random.RandomState(seed), num_episodes * world.targets
    transition, measurement, (mean, covariance) = world.transition, world.measurement, world.prior
    matrix = np.asarray(transition.matrix(time_interval=STEP))
    states = [random.multivariate_normal(mean, covariance, count).T]
    for _ in range(world.steps - 1):
        noise = transition.rvs(count, random_state=random, time_interval=STEP)
        states.append(matrix @ states[-1] + np.asarray(noise, float))
    in_time = np.stack(states).reshape(world.steps, 4, num_episodes, world.targets).transpose(2, 0, 3, 1)
    places = in_time[:, :, None, :, POSITION]
    shape = num_episodes, world.steps, len(world.sensors), world.targets
    noise = np.asarray(measurement.rvs(int(np.prod(shape)), random_state=random), float).T.reshape(*shape, 2)
    away = np.linalg.norm(places - np.array(world.sensors)[:, None], axis=-1)
    return Episodes(in_time, places + noise, away <= world.sight)
