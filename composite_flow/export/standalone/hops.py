"""An exported agent's hops: composite diffusion, the gated chain, or the chain that its team carries over time."""

from typing import Any

import numpy as np

from composite_flow.errors import InputError
from composite_flow.export.standalone.exported import Exported
from composite_flow.runtime.carrying import UNKNOWN
from composite_flow.runtime.chained import Chained


class Hops:
    """One agent's hops in a step."""

    def __init__(self, exported: Exported, by: str, carried: Any):
        """By the denoiser or the gated chain; but where a chain is carried over time, by that."""
        self._exported, self._by = exported, by
        self._chained = carried if isinstance(carried, Chained) else None
        self.forget()

    def forget(self) -> None:
        """As at the start of a step."""
        self._context: np.ndarray | None = None

    def begin(self) -> np.ndarray:
        """The states that a chain's message holds where the agent is the step's first speaker, (1, state)."""
        if self._chained is not None:
            if self._chained.known is None:
                raise InputError(UNKNOWN)
            return self._chained.known[None]
        if self._by == "denoiser":
            raise InputError("Composite diffusion begins with noise, the same for all members: hand it to `hop`.")
        return np.asarray([self._exported.about["chain"]["start"]], np.float32)

    def hop(self, history: np.ndarray, y: np.ndarray, first: bool) -> np.ndarray:
        """What is made of each row of y."""
        many = np.repeat(history[None], len(y), axis=0)
        if self._chained is not None:
            return self._exported.call("filter_hop", history=many, y=y, first=np.full((len(y), 1), first))[0]
        if self._by == "chain":
            return self._exported.call("chain_hop", history=many, y=y)[0]
        if self._context is None:
            (self._context,) = self._exported.call("condition", history=history[None])
        return self._exported.call("denoise", context=np.repeat(self._context, len(y), axis=0), y=y)[0]

    def end(self, y: np.ndarray, participants: Any, step: int, num_agents: int) -> bool:
        """Carry a message on from where it ended."""
        if self._chained is None:
            raise InputError("Only a chain's message over time is carried on from where it ended.")
        agents = np.arange(num_agents)
        return self._chained.take(step, y[0], np.isin(agents, agents if participants is None else list(participants)))
