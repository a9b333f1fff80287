"""The contract of inputs: what the actor sees besides its own observation."""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.history import History
from composite_flow.problems.base import Problem


class Known(eqx.Module):
    """What an input can be made of, in a step of the team.

    Attributes:
        observations: each agent's own.
        state: the true one; only where an input `reads_state` may it be used.
        samples: of the states that each agent infers, in the state's own units; None where nothing is inferred.
        histories: each agent's own, with agents along the leading axis; None where nothing is inferred or told.
        networks: `Networks`, with V(s) and Q(s, a) for inputs that need them.
        denoiser: with which states are inferred.
    """

    observations: Float[Array, "agents observation"]
    state: Any = None
    samples: Any = None
    histories: History | None = None
    networks: Any = None
    denoiser: Any = None

    @property
    def action_values(self) -> Float[Array, "agents samples actions"]:
        """Q(s, a) of each agent's actions in each of its samples."""
        return jax.vmap(self.networks.action_values)(self.samples, jnp.eye(len(self.observations)))


class PolicyInput(eqx.Module):
    """What the actor sees: its own observation, what is shown beside it, and the agent's number.

    Attributes:
        kind: its name, in settings and files.
        own: whether the agent's own observation stands beside what is shown.
        inference: an `Inference`, how states are inferred; None where they are not.
        level: of a quantile, for inputs that have one.
        talk: a `Talk`, what agents tell each other, where the actor's own gradient teaches that; else None.
        beside_own: of the class: whether an own observation can stand beside what is shown.
        infers: of the class, as are all below: agents infer states.
        together: they do so by composite diffusion, instead of each agent alone.
        shared: all act on the team's last message, instead of each on what it sent on.
        carries: they infer by a chain that was learned over time, and may learn on.
        weighs_samples: each agent draws several states.
        reads_state: the true state is shown, so that such a policy acts in simulators alone.
        needs_state_values: V(s) of single states is used, so that the critic has no memory.
        needs_action_values: Q(s, a) is learned.
        talks: what is shown are histories, of which the actor makes messages to all.
    """

    kind: str = eqx.field(static=True)
    own: bool = eqx.field(static=True, default=True)
    inference: Any = None
    level: float = eqx.field(static=True, default=0.25)
    talk: Any = None

    beside_own: ClassVar[bool] = True
    infers: ClassVar[bool] = False
    together: ClassVar[bool] = False
    shared: ClassVar[bool] = False
    carries: ClassVar[bool] = False
    weighs_samples: ClassVar[bool] = False
    reads_state: ClassVar[bool] = False
    needs_state_values: ClassVar[bool] = False
    needs_action_values: ClassVar[bool] = False
    talks: ClassVar[bool] = False

    @abstractmethod
    def columns(self, problem: Problem) -> int:
        """How many numbers are shown to each agent."""

    @abstractmethod
    def shown(self, known: Known) -> Float[Array, "agents shown"]:
        """What is shown to each agent."""

    def size(self, problem: Problem) -> int:
        """Columns of the actor's input."""
        own = problem.observation_size if self.own and self.beside_own else 0
        return own + self.columns(problem) + problem.num_agents

    def rows(self, known: Known) -> Float[Array, "agents inputs"]:
        """The actor's input: its own observation, what is shown, and the agent's number one-hot, as one network serves
        all agents."""
        own = [known.observations.astype(jnp.float32)] if self.own and self.beside_own else []
        return jnp.concatenate([*own, self.shown(known), jnp.eye(len(known.observations))], axis=1)
