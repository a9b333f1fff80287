"""What answers learn from: the histories of all agents at the same step, and the state there.

`JointSteps` gives the flat histories that every network reads. Their identity columns are a matrix of agents × agents
for each step, most of the data in large teams. `OwnSteps` leaves them out: an agent's place says who it is.
"""

from dataclasses import replace
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.scaling import Scaling
from composite_flow.fusion.answers import Prior, prior_of
from composite_flow.fusion.features import find_types
from composite_flow.history import HistoryLayout

_STATES, _HISTORY_BYTES = 65_536, 64e6  # what the prior and the mean histories are computed from, at most


AnySteps = TypeVar("AnySteps", bound="TeamSteps")


class TeamSteps(eqx.Module):
    """A dataset whose samples are of the whole team; training reads it as it reads pairs, by a `sample` of its own.

    Attributes:
        dataset: of the steps.
    """

    dataset: HistoryDataset

    @property
    def layout(self) -> HistoryLayout:
        """Sizes and columns of each agent's history."""
        return self.dataset.layout

    @property
    def scaling(self) -> Scaling:
        """Maps the states to [0, 1]."""
        return self.dataset.scaling

    @property
    def num_steps(self) -> int:
        """Number of steps, at each of which a sample can be drawn."""
        return self.dataset.num_steps

    def resident(self: AnySteps, key: PRNGKeyArray, num_bytes: int) -> AnySteps:
        """A random portion of this size that is in memory; itself where all are."""
        portion = self.dataset.resident(key, num_bytes)
        return self if portion is self.dataset else replace(self, dataset=portion)


class JointSteps(TeamSteps):
    """Samples are whole joint histories."""

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "batch *history"], Float[Array, "batch state"]]:
        """Joint histories and scaled states, drawn uniformly over steps with replacement; traceable.

        Raises:
            InputError: the episodes are not in memory.
        """
        return self.at(self.dataset.drawn_steps(key, batch))

    def at(self, steps: Int[Array, " k"]) -> tuple[Float[Array, "k agents columns"], Float[Array, "k state"]]:
        """Joint histories and scaled states of these steps."""
        joint = self.dataset.windows.joint(steps)
        return joint.histories, joint.states


class OwnSteps(JointSteps):
    """`JointSteps` without the identity columns, for answers that know an agent by its place."""

    def at(self, steps: Int[Array, " k"]) -> tuple[Float[Array, "k agents own"], Float[Array, "k state"]]:
        """Joint histories without identities and scaled states of these steps.

        Compiled with what reads them, the flat histories are never made.
        """
        joint = self.dataset.windows.joint(steps)
        return self.layout.encode_own(joint.structured), joint.states


def joint_statistics(steps: JointSteps, num_bytes: int) -> tuple[Float[Array, "agents history"], Prior]:
    """The mean history of each agent, and the prior of the states with the types of their features.

    From steps drawn at random, always the same ones of a dataset: up to 65,536 states, and 64 MB of histories.

    Args:
        steps: of the training data.
        num_bytes: most memory of the portion that is read.
    """
    portion = steps.resident(jax.random.key(0), num_bytes)
    num_histories = int(_HISTORY_BYTES / (4 * steps.layout.num_agents * steps.layout.size))
    mean = _mean_histories(eqx.filter(portion, eqx.is_array), max(64, min(num_histories, _STATES)))
    chosen = np.asarray(portion.dataset.steps)
    if len(chosen) > _STATES:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, _STATES, replace=False))
    states = np.concatenate(list(portion.dataset.windows.states_of(chosen)))
    scaled = np.asarray(portion.dataset.windows.scaled_states(jnp.asarray(states)))
    return mean, prior_of(scaled, find_types(scaled, portion.dataset.windows.declared_types))


@eqx.filter_jit
def _mean_histories(portion: JointSteps, count: int) -> Float[Array, "agents history"]:
    return jnp.mean(portion.sample(jax.random.key(0), count)[0], axis=0)
