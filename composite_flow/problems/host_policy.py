"""Policies that are plain Python, for worlds on the host: a function of one's own, a network of PyTorch."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from composite_flow.errors import InputError
from composite_flow.files.names import Names, in_short
from composite_flow.problems.base import Policy


class _Function:
    """A callable that is known by its name, so that the same one in another process counts as the same."""

    def __init__(self, call: Callable[..., Any]):
        self.call = call
        self.name = f"{call.__module__}:{getattr(call, '__qualname__', type(call).__qualname__)}"

    def __repr__(self) -> str:
        return self.name


class HostPolicy(Policy):
    """Any Python callable as a policy: `function(observations, available) -> actions`, NumPy arrays.

    observations are (agents, observation), available (agents, actions), both its own to change; it returns an action
    for each agent, as anything of which NumPy makes an array of whole numbers: a list, a tensor on the CPU. If it has a
    method `reset`, this is called before each episode. What it draws at random it draws on its own, so that a key fixes
    the world alone.

    Attributes:
        function: the callable.
    """

    function: _Function = eqx.field(static=True)

    def __init__(self, function: Any):
        if not callable(function):
            raise InputError(
                f"A policy must be a Policy, or a function of observations and available: not {function!r}."
            )
        self.function = _Function(function)

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "callable", "name": self.function.name}

    def start(self, num_agents: int) -> tuple[()]:
        """Tell it that an episode begins."""
        reset = getattr(self.function.call, "reset", None)
        if callable(reset):
            reset()
        return ()

    def act(self, key, memory, observations, available):
        """Not for compiled worlds.

        Raises:
            InputError: always.
        """
        raise InputError("A Python function acts in worlds on the host alone; derive from `cf.Policy` for this one.")

    def choose(
        self, observations: Float[np.ndarray, "agents observation"], available: Bool[np.ndarray, "agents actions"]
    ) -> Int[np.ndarray, " agents"]:
        """What the callable chooses.

        Raises:
            InputError: it raises, or returns other than one available action for each agent.
        """
        try:
            # copies, as it may change what it is given, in place
            chosen = np.asarray(self.function.call(observations.copy(), available.copy()))
        except Exception as error:  # whatever somebody's function raises
            raise InputError(f"The policy {self.function.name} raised {in_short(error)}.") from error
        agents = np.arange(len(available))
        whole = chosen.shape == agents.shape and np.issubdtype(chosen.dtype, np.integer)
        inside = whole and bool(np.all((chosen >= 0) & (chosen < available.shape[1])))
        if not inside or not available[agents, chosen].all():
            raise InputError(
                f"The policy {self.function.name} must choose one available action for each of the {len(agents)} "
                f"agents, whole numbers, not {in_words(chosen)}."
            )
        return chosen.astype(np.int32)


def in_words(array: np.ndarray) -> str:
    """An array in a few words."""
    return f"{array.tolist()}" if array.size <= 16 else f"{array.dtype}{array.shape}"


def policy_from_text(text: str) -> HostPolicy:
    """The policy MODULE:FUNCTION, from an installed module or one in the working folder.

    Raises:
        InputError: there is none, or it cannot be called.
    """
    found = _POLICIES.find(text)
    if found is None:
        raise InputError(f"'{text}' names no policy; write MODULE:FUNCTION.")
    return HostPolicy(found() if isinstance(found, type) else found)


_POLICIES = Names("policy", "composite_flow.policies", {})
