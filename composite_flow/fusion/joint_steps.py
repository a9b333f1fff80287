"""What answers learn from: the histories of all agents at the same step, and the state there.

`JointSteps` gives the flat histories that every network reads. Their identity columns are a matrix of agents × agents
for each step, most of the data in large teams. `OwnSteps` leaves them out: an agent's place says who it is.
"""

import equinox as eqx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.scaling import Scaling
from composite_flow.history import HistoryLayout


class JointSteps(eqx.Module):
    """A dataset whose samples are whole joint histories; training reads it as it reads pairs."""

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
        """Number of steps; each gives one joint history."""
        return self.dataset.num_steps

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "JointSteps":
        """A random portion of this size that is in memory."""
        return JointSteps(self.dataset.resident(key, num_bytes))

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "batch agents history"], Float[Array, "batch state"]]:
        """Joint histories and scaled states, drawn uniformly over steps with replacement; traceable.

        Raises:
            InputError: the episodes are not in memory.
        """
        joint = self.dataset.windows.joint(self.dataset.drawn_steps(key, batch))
        return joint.histories, joint.states


class OwnSteps(eqx.Module):
    """`JointSteps` without the identity columns, for answers that know an agent by its place."""

    dataset: HistoryDataset

    @property
    def layout(self) -> HistoryLayout:
        """Sizes and columns of each agent's history; the columns of its identity are left out of the samples."""
        return self.dataset.layout

    @property
    def scaling(self) -> Scaling:
        """Maps the states to [0, 1]."""
        return self.dataset.scaling

    @property
    def num_steps(self) -> int:
        """Number of steps; each gives one joint history."""
        return self.dataset.num_steps

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "OwnSteps":
        """A random portion of this size that is in memory."""
        return OwnSteps(self.dataset.resident(key, num_bytes))

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "batch agents own"], Float[Array, "batch state"]]:
        """Joint histories without identities and scaled states, drawn uniformly over steps with replacement; traceable.

        Raises:
            InputError: the episodes are not in memory.
        """
        return self.at(self.dataset.drawn_steps(key, batch))

    def at(self, steps: Int[Array, " k"]) -> tuple[Float[Array, "k agents own"], Float[Array, "k state"]]:
        """Joint histories without identities and scaled states of these steps.

        Compiled with what reads them, the flat histories are never made.
        """
        joint = self.dataset.windows.joint(steps)
        return self.layout.encode_own(joint.structured), joint.states
