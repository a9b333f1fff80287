"""What the actor sees, besides its own observation: the one argument in which the variants of MAPPO differ.

    agent           nothing else
    observations    all agents' observations
    state           the true state, which only a simulator can give
    denoised        a state drawn from the agent's own inferred distribution p̂: no communication
    composite       a state by composite diffusion: one message per hop; each acts on what it sent on last
    composite-shared
                    the same, but all act on the last message
    belief          the mean of the state that the team carries over time, by a chain that filters: one message per
                    agent, and all act on the last
    own-belief      the mean that each agent carries by itself, by such a chain: no communication
    learned-messages
                    the mean of messages that all tell all, each made of an agent's own history, as the policy's own
                    gradient teaches
    safe            of K states drawn from p̂ the one with the smallest value V(s)
    mean, quantile, cvar
                    of Q(s, ·) over K states drawn from p̂: a number for each action

The critic sees the true state in every variant. Q(s, a) is the expected return after an agent's action a in s.

Each input is a class. One of your own is a subclass of `PolicyInput` and a name: `cf.register_policy_input`, an entry
point of the group `composite_flow.policy_inputs`, or MODULE:CLASS in the place of the name, which files keep.

Source: appendix C; `safe` and the last three are its examples (1) and (2).
"""

from typing import Any

import jax.numpy as jnp

from composite_flow.errors import InputError
from composite_flow.files.names import Names
from composite_flow.policy.input import Known, PolicyInput
from composite_flow.policy.value_inputs import CvarValues, MeanValues, QuantileValues, SafeState, worst_mean

__all__ = ["Known", "PolicyInput", "worst_mean"]

OWN_ALONE = "agent"
"""The input of a policy where none is named."""
ENTRY_POINTS = "composite_flow.policy_inputs"
"""Group of the entry points by which installed packages add inputs."""


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


class SharedCompositeState(CompositeState):
    """A state by composite diffusion, the last one sent, which all agents act on."""

    shared = True


class BeliefState(SharedCompositeState):
    """The mean of the state that the team carries over time."""

    carries = True


class OwnBeliefState(DenoisedState):
    """The mean of the state that the agent carries over time by itself."""

    carries = True


class LearnedMessages(PolicyInput):
    """The agent's history, which the actor turns into a message before all hear the mean of all messages."""

    talks = True

    def columns(self, problem):
        return self.talk.layout.size

    def shown(self, known):
        return self.talk.layout.encode(known.histories)


_INPUTS = Names(
    "policy input",
    ENTRY_POINTS,
    {
        OWN_ALONE: OwnObservation,
        "observations": AllObservations,
        "state": TrueState,
        "denoised": DenoisedState,
        "composite": CompositeState,
        "composite-shared": SharedCompositeState,
        "belief": BeliefState,
        "own-belief": OwnBeliefState,
        "learned-messages": LearnedMessages,
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


def policy_input(
    kind: str, own: bool = True, inference: Any = None, level: float = 0.25, talk: Any = None
) -> PolicyInput:
    """An input by its name; the arguments are the attributes of `PolicyInput`.

    Raises:
        InputError: as `input_class`.
    """
    return input_class(kind)(kind, own, inference, level, talk)


def _checked(name: str, found: Any) -> type[PolicyInput]:
    if not (isinstance(found, type) and issubclass(found, PolicyInput)):
        raise InputError(f"The input '{name}' must be a subclass of composite_flow.PolicyInput, not {found!r}.")
    return found
