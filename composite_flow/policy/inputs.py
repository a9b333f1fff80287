"""What the actor sees, besides its own observation: the one argument in which the variants of MAPPO differ.

    agent           nothing else
    observations    all agents' observations
    state           the true state, which only a simulator can give
    denoised        a state drawn from the agent's own inferred distribution p̂: no communication
    composite       a state by composite diffusion: one message per hop
    safe            of K states drawn from p̂ the one with the smallest value V(s)
    mean, quantile, cvar
                    of Q(s, ·) over K states drawn from p̂: a number for each action

The critic sees the true state in every variant. Q(s, a) is the expected return after an agent's action a in s.

Each input is a class. One of your own is a subclass of `PolicyInput` and a name: `cf.register_policy_input`, an entry
point of the group `composite_flow.policy_inputs`, or MODULE:CLASS in the place of the name, which files keep.

Source: appendix C; `safe` and the last three are its examples (1) and (2).
"""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.errors import InputError
from composite_flow.files.names import Names
from composite_flow.history import History
from composite_flow.problems.base import Problem

OWN_ALONE = "agent"
"""The input of a policy where none is named."""
ENTRY_POINTS = "composite_flow.policy_inputs"
"""Group of the entry points by which installed packages add inputs."""


class Known(eqx.Module):
    """What an input can be made of, in a step of the team.

    Attributes:
        observations: each agent's own.
        state: the true one; only where an input `reads_state` may it be used.
        samples: of the states that each agent infers, in the state's own units; None where nothing is inferred.
        histories: each agent's own, with agents along the leading axis; None where nothing is inferred.
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
        beside_own: of the class: whether an own observation can stand beside what is shown.
        infers: of the class, as are all below: agents infer states.
        together: they do so by composite diffusion, instead of each agent alone.
        weighs_samples: each agent draws several states.
        reads_state: the true state is shown, so that such a policy acts in simulators alone.
        needs_state_values: V(s) of single states is used, so that the critic has no memory.
        needs_action_values: Q(s, a) is learned.
    """

    kind: str = eqx.field(static=True)
    own: bool = eqx.field(static=True, default=True)
    inference: Any = None
    level: float = eqx.field(static=True, default=0.25)

    beside_own: ClassVar[bool] = True
    infers: ClassVar[bool] = False
    together: ClassVar[bool] = False
    weighs_samples: ClassVar[bool] = False
    reads_state: ClassVar[bool] = False
    needs_state_values: ClassVar[bool] = False
    needs_action_values: ClassVar[bool] = False

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


class OwnObservation(PolicyInput):
    """Nothing but the agent's own observation."""

    beside_own = False

    def columns(self, problem):
        return problem.observation_size

    def shown(self, known):
        return known.observations.astype(jnp.float32)


class AllObservations(PolicyInput):
    """All agents' observations."""

    beside_own = False

    def columns(self, problem):
        return problem.num_agents * problem.observation_size

    def shown(self, known):
        seen = known.observations.astype(jnp.float32)
        return jnp.broadcast_to(seen.reshape(1, -1), (len(seen), seen.size))


class TrueState(PolicyInput):
    """The true state."""

    reads_state = True

    def columns(self, problem):
        return problem.state_size

    def shown(self, known):
        return jnp.broadcast_to(known.state[None], (len(known.observations), len(known.state)))


class DenoisedState(PolicyInput):
    """A state drawn from the agent's own p̂."""

    infers = True

    def columns(self, problem):
        return problem.state_size

    def shown(self, known):
        return known.samples[:, 0]


class CompositeState(PolicyInput):
    """A state by composite diffusion, the one that the agent last sent on."""

    infers = together = True

    def columns(self, problem):
        return problem.state_size

    def shown(self, known):
        return known.samples[:, 0]


class SafeState(PolicyInput):
    """Of K states drawn from p̂ the one with the smallest V(s)."""

    infers = weighs_samples = needs_state_values = True

    def columns(self, problem):
        return problem.state_size

    def shown(self, known):
        return jax.vmap(known.networks.least_valued)(known.samples)


class MeanValues(PolicyInput):
    """Σ_k Q(s_k, a) / K for each action."""

    infers = weighs_samples = needs_action_values = True

    def columns(self, problem):
        return problem.num_actions

    def shown(self, known):
        return jax.vmap(lambda own: jnp.mean(own, axis=0))(known.action_values)


class QuantileValues(PolicyInput):
    """The `level`-quantile of Q(s_k, a) over k for each action, linear between the values."""

    infers = weighs_samples = needs_action_values = True

    def columns(self, problem):
        return problem.num_actions

    def shown(self, known):
        return jax.vmap(lambda own: jnp.quantile(own, self.level, axis=0))(known.action_values)


class CvarValues(PolicyInput):
    """Mean of the ⌈level · K⌉ smallest Q(s_k, a) for each action."""

    infers = weighs_samples = needs_action_values = True

    def columns(self, problem):
        return problem.num_actions

    def shown(self, known):
        return jax.vmap(lambda own: worst_mean(own, self.level))(known.action_values)


_INPUTS = Names(
    "policy input",
    ENTRY_POINTS,
    {
        OWN_ALONE: OwnObservation,
        "observations": AllObservations,
        "state": TrueState,
        "denoised": DenoisedState,
        "composite": CompositeState,
        "safe": SafeState,
        "mean": MeanValues,
        "quantile": QuantileValues,
        "cvar": CvarValues,
    },
)


def register_policy_input(name: str, input_class: type) -> None:
    """Add an input, so that `MappoConfig(inputs=name)` and `--inputs` can name it, for the rest of the process.

    Commands in other processes know it by an entry point of the group `composite_flow.policy_inputs`, or by
    MODULE:CLASS.

    Args:
        name: a letter followed by letters, digits, _ and -.
        input_class: a subclass of `PolicyInput`.

    Raises:
        InputError: the name is taken or no such name, or the class is no input.
    """
    _INPUTS.register(name, _checked(name, input_class))


def input_names() -> tuple[str, ...]:
    """All inputs that have a name."""
    return _INPUTS.known()


def input_class(name: str) -> type[PolicyInput]:
    """The class of an input.

    Raises:
        InputError: there is none of that name, or what stands behind it is broken or no input.
    """
    found = _INPUTS.find(name)
    if found is None:
        raise InputError(f"There is no input '{name}' of an actor: there are {', '.join(input_names())}.")
    return _checked(name, found)


def policy_input(kind: str, own: bool = True, inference: Any = None, level: float = 0.25) -> PolicyInput:
    """An input by its name; the arguments are the attributes of `PolicyInput`.

    Raises:
        InputError: as `input_class`.
    """
    return input_class(kind)(kind, own, inference, level)


def _checked(name: str, found: Any) -> type[PolicyInput]:
    if not (isinstance(found, type) and issubclass(found, PolicyInput)):
        raise InputError(f"The input '{name}' must be a subclass of composite_flow.PolicyInput, not {found!r}.")
    return found


def worst_mean(own_values: Float[Array, "samples actions"], level: float) -> Float[Array, " actions"]:
    """CVaR: the mean of the ⌈level · K⌉ smallest of K values, for each action."""
    worst = math.ceil(level * len(own_values) - 1e-9)  # less what the product is rounded by
    return jnp.mean(jnp.sort(own_values, axis=0)[:worst], axis=0)
