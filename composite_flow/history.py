"""The local history of an agent: structured for exact beliefs, flat for networks.

A window of length H that ends at step t holds the observations o_{t−H+1:t} and the actions a_{t−H+1:t−1}
between them. Steps before the episode began are masked, and those at which the agent is not there. The flat form is, in
this order,

    observations (H · observation), actions one-hot ((H − 1) · actions), mask (H), agent one-hot (agents),

with zeros wherever the mask is off. The map is one-to-one, so the flat form can be decoded again. An action is one
choice; or several components, each of them a choice, one-hot, or a number. Agents that observe less than others have
zeros in the columns that they lack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from composite_flow.errors import InputError, MismatchError


class History(eqx.Module):
    """One agent's window τ_i; any leading axes are batch axes.

    Attributes:
        observations: the last H observations, oldest first.
        actions: the H − 1 actions between them; where they have components, these along a last axis.
        mask: at which steps the agent was there, inside the episode.
        agent: the agent's index.
    """

    observations: Float[Array, "*batch length observation"]
    actions: Int[Array, "*batch length-1"] | Float[Array, "*batch length-1 components"]
    mask: Bool[Array, "*batch length"]
    agent: Int[Array, "*batch"]


@jax.tree_util.register_static
@dataclass(frozen=True)
class HistoryLayout:
    """The sizes that fix where each part of a history stands in its flat form, and names of its columns.

    No module of Equinox, where binding these methods would take a third of the time of an estimate.

    Attributes:
        length: H.
        observation_size: features that an agent observes; of those who observe the most.
        num_actions: columns of an action: choices, or the columns of all components.
        num_agents: agents of the team.
        choices: of each component of an action, its options, 0 for a number; None where an action is one choice.
        observed: of each agent, which features it observes; None where all observe all.
        observation_names, agent_names: None where they have none.
    """

    length: int
    observation_size: int
    num_actions: int
    num_agents: int
    choices: tuple[int, ...] | None = None
    observed: tuple[tuple[bool, ...], ...] | None = None
    observation_names: tuple[str, ...] | None = None
    agent_names: tuple[str, ...] | None = None

    def __post_init__(self):
        if self.length < 1 or self.num_agents < 1:
            raise InputError("A history needs at least one step and a team at least one agent.")
        if self.choices is not None and sum(max(1, options) for options in self.choices) != self.num_actions:
            raise InputError(f"Components of {self.choices} options do not have {self.num_actions} columns.")

    @property
    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs, without what is not there; JSON-able."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "HistoryLayout":
        """The inverse of `settings`."""

        def tuples(value: Any) -> Any:
            return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value

        return cls(**{name: tuples(value) for name, value in settings.items()})

    def agent(self, agent: int | str) -> int:
        """The index of an agent that is given by its name or its index.

        Raises:
            InputError: there is no such agent.
        """
        names = self.agent_names or ()
        if isinstance(agent, str) and agent in names:
            return names.index(agent)
        if isinstance(agent, str) or not 0 <= int(agent) < self.num_agents:
            known = f", named {', '.join(names[:4])}{' …' if len(names) > 4 else ''}" if names else ""
            raise InputError(f"There is no agent {agent!r}; the agents are 0 to {self.num_agents - 1}{known}.")
        return int(agent)

    def check_joint(self, histories: Any, many: bool | None = None) -> None:
        """Refuse what are no joint histories of this layout, (agents, columns) or, of many, (joint, agents, columns).

        Raises:
            MismatchError: they have other columns.
            InputError: they are the history of one agent alone, many in the place of one, or one in that of many.
        """
        if not hasattr(histories, "shape"):
            raise InputError(f"Histories are to be an array, not a {type(histories).__name__}.")
        shape = tuple(histories.shape)
        if shape[-1:] != (self.size,):
            columns = f"{self.size} columns, not {shape[-1] if shape else 'none'}"
            raise MismatchError(f"This model reads histories with {columns}; encode them with the model's layout.")
        if len(shape) < 2:
            raise InputError("This is the history of one agent; a joint history has the axes (agents, columns).")
        if many is not None and len(shape) != (3 if many else 2):
            axes = "Many joint histories have the axes (joint, agents, columns)"
            axes = axes if many else "One joint history has the axes (agents, columns)"
            raise InputError(f"{axes}, not the shape {shape}; `fuse_batch` and `reconstruct_batch` take many.")

    def agents_there(self, history: Any, named: Sequence[int | str] | None = None) -> tuple[int, ...] | None:
        """Who takes part in one joint history: those who are named, else those who are there; None for all.

        Raises:
            InputError: an agent is unknown.
        """
        if named is not None:
            return tuple(self.agent(agent) if isinstance(agent, str) else agent for agent in named)
        there = None if isinstance(history, Tracer) else np.asarray(history)[..., self.parts["mask"].stop - 1] != 0
        return None if there is None or there.all() else tuple(np.flatnonzero(there).tolist())

    @property
    def column_names(self) -> tuple[str, ...]:
        """A name for each column of the flat form."""
        seen = self.observation_names or [f"observation {place}" for place in range(self.observation_size)]
        agents = self.agent_names or range(self.num_agents)
        ago = [f"{self.length - 1 - step} steps ago" for step in range(self.length - 1)] + ["now"]
        return (
            *(f"{name}, {when}" for when in ago for name in seen),
            *(f"action {place}, {when}" for when in ago[:-1] for place in range(self.num_actions)),
            *(f"there, {when}" for when in ago),
            *(f"is agent {agent}" for agent in agents),
        )

    def in_place_of_absent(self, histories: Any) -> Float[Array, "*batch agents history"]:
        """Joint histories in which the first agent that is there stands in for those that are not.

        So composite diffusion goes on among those who are there: one of them speaks more than once in a sweep.
        """
        histories = jnp.asarray(histories)
        there = histories[..., self.parts["mask"].stop - 1] != 0
        if not isinstance(there, Tracer) and bool(there.all()):
            return histories
        first = jnp.argmax(there, axis=-1)[..., None, None]
        return jnp.where(there[..., None], histories, jnp.take_along_axis(histories, first, axis=-2))

    @cached_property
    def parts(self) -> Mapping[str, slice]:
        """Columns of the flat form by part: observations, actions, mask, agent; counted once, as every call asks."""
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
        return jnp.concatenate(
            [self.encode_own(history), jax.nn.one_hot(history.agent, self.num_agents, dtype=jnp.float32)], axis=-1
        )

    def encode_own(self, history: History) -> Float[Array, "*batch own"]:
        """The flat form without the agent's identity, for arrays in which its place says who it is."""
        batch, mask = history.mask.shape[:-1], history.mask
        observations = jnp.where(mask[..., None], history.observations, 0.0)
        actions = self._encoded(history.actions) * mask[..., :-1, None].astype(jnp.float32)
        parts = (
            observations.reshape(*batch, -1),
            actions.reshape(*batch, (self.length - 1) * self.num_actions),
            mask.astype(observations.dtype),
        )
        return jnp.concatenate(parts, axis=-1)

    def _encoded(self, actions: Array) -> Float[Array, "*batch steps columns"]:
        """The columns of actions: of a choice one-hot, of a number itself."""
        if self.choices is None:
            return jax.nn.one_hot(actions, self.num_actions, dtype=jnp.float32)
        columns = [jnp.zeros((*actions.shape[:-1], 0), jnp.float32)]
        for place, options in enumerate(self.choices):
            part = actions[..., place]
            columns.append(
                jax.nn.one_hot(part.astype(jnp.int32), options, dtype=jnp.float32) if options else part[..., None]
            )
        return jnp.concatenate(columns, axis=-1)

    def _decoded(self, columns: Float[Array, "*batch steps columns"]) -> Array:
        """The inverse of `_encoded`."""
        if self.choices is None:
            return jnp.argmax(columns, axis=-1)
        parts, first = [jnp.zeros((*columns.shape[:-1], 0), jnp.float32)], 0
        for options in self.choices:
            part = columns[..., first : first + max(1, options)]
            parts.append(jnp.argmax(part, axis=-1, keepdims=True).astype(jnp.float32) if options else part)
            first += max(1, options)
        return jnp.concatenate(parts, axis=-1)

    def decode(self, history: Float[Array, "*batch history"]) -> History:
        """The inverse of `encode`; masked actions come back as 0."""
        if history.shape[-1] != self.size:
            raise InputError(f"Histories of this layout have {self.size} columns, not {history.shape[-1]}.")
        batch, parts = history.shape[:-1], self.parts
        actions = history[..., parts["actions"]].reshape(*batch, self.length - 1, self.num_actions)
        return History(
            observations=history[..., parts["observations"]].reshape(*batch, self.length, self.observation_size),
            actions=self._decoded(actions),
            mask=history[..., parts["mask"]] > 0.5,
            agent=jnp.argmax(history[..., parts["agent"]], axis=-1),
        )
