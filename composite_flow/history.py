"""The local history of an agent: structured for exact beliefs, flat for networks.

A window of length H that ends at step t holds the observations o_{t−H+1:t} and the actions a_{t−H+1:t−1}
between them. Steps before the episode began are masked. The flat form is, in this order,

    observations (H · observation), actions one-hot ((H − 1) · actions), mask (H), agent one-hot (agents),

with zeros wherever the mask is off. The map is one-to-one, so the flat form can be decoded again.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from composite_flow.errors import InputError


class History(eqx.Module):
    """One agent's window τ_i; any leading axes are batch axes.

    Attributes:
        observations: the last H observations, oldest first.
        actions: the H − 1 actions between them.
        mask: which steps lie inside the episode; the last one always does.
        agent: the agent's index.
    """

    observations: Float[Array, "*batch length observation"]
    actions: Int[Array, "*batch length-1"]
    mask: Bool[Array, "*batch length"]
    agent: Int[Array, "*batch"]


class HistoryLayout(eqx.Module):
    """The sizes that fix where each part of a history stands in its flat form."""

    length: int
    observation_size: int
    num_actions: int
    num_agents: int

    def __check_init__(self):
        if self.length < 1 or self.num_agents < 1:
            raise InputError("A history needs at least one step and a team at least one agent.")

    @property
    def parts(self) -> dict[str, slice]:
        """Columns of the flat form by part: observations, actions, mask, agent."""
        sizes = {
            "observations": self.length * self.observation_size,
            "actions": (self.length - 1) * self.num_actions,
            "mask": self.length,
            "agent": self.num_agents,
        }
        columns, start = {}, 0
        for name, size in sizes.items():
            columns[name] = slice(start, start + size)
            start += size
        return columns

    @property
    def size(self) -> int:
        """Number of columns of the flat form."""
        return self.parts["agent"].stop

    def encode(self, history: History) -> Float[Array, "*batch history"]:
        """Flatten histories, with zeros where they are masked."""
        return jnp.concatenate([self.encode_own(history), jax.nn.one_hot(history.agent, self.num_agents)], axis=-1)

    def encode_own(self, history: History) -> Float[Array, "*batch own"]:
        """The flat form without the agent's identity, for arrays in which its place says who it is."""
        batch, mask = history.mask.shape[:-1], history.mask
        observations = jnp.where(mask[..., None], history.observations, 0.0)
        actions = jax.nn.one_hot(history.actions, self.num_actions) * mask[..., :-1, None].astype(jnp.float32)
        parts = (
            observations.reshape(*batch, -1),
            actions.reshape(*batch, (self.length - 1) * self.num_actions),
            mask.astype(observations.dtype),
        )
        return jnp.concatenate(parts, axis=-1)

    def decode(self, history: Float[Array, "*batch history"]) -> History:
        """The inverse of `encode`; masked actions come back as 0."""
        if history.shape[-1] != self.size:
            raise InputError(f"Histories of this layout have {self.size} columns, not {history.shape[-1]}.")
        batch, parts = history.shape[:-1], self.parts
        actions = history[..., parts["actions"]].reshape(*batch, self.length - 1, self.num_actions)
        return History(
            observations=history[..., parts["observations"]].reshape(*batch, self.length, self.observation_size),
            actions=jnp.argmax(actions, axis=-1),
            mask=history[..., parts["mask"]] > 0.5,
            agent=jnp.argmax(history[..., parts["agent"]], axis=-1),
        )
