"""The options of composite diffusion, declared and validated once.

Functions that reconstruct take them as one `Sampling`, by name, or both: `reconstruct(..., sampling=mine,
num_sweeps=12)` uses `mine` with twelve sweeps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np

from composite_flow.errors import InputError
from composite_flow.validation import check_counts, check_scales


class SamplingOptions(TypedDict, total=False):
    """The fields of `Sampling` as keywords of a function, `**options: Unpack[SamplingOptions]` (PEP 692)."""

    num_samples: int
    num_sweeps: int
    order: str | Sequence[int | str]
    participants: Sequence[int | str] | None
    sigma: float
    merge_radius: float
    max_candidates: int
    tolerance: float
    stir: float


@dataclass(frozen=True)
class Sampling:
    """How composite diffusion samples the states of one joint history.

    Attributes:
        num_samples: K, noises y^(k,0) ~ N(0, sigma² I).
        num_sweeps: S, passes through all participants.
        order: `"random"`, a fresh permutation per sweep, shared by the samples; `"fixed"`, the participants as listed;
            or the agents themselves in speaking order, each once, the same in every sweep.
        participants: the agents that take part (partial composite diffusion, §5.2); by default all of them.
        sigma: scale of the initial noise.
        merge_radius: end points closer than this count as one candidate, in units of the scaled state.
        max_candidates: rows that the result keeps for candidates.
        tolerance: stop after a sweep over which no sample moved this far; 0 makes every sweep.
        stir: ς, scale of the noise before each hop, falling to zero in the last sweep, so that flows do not rest
            between states; about a seventh of the smallest distance between states, with tens of sweeps. 0 is
            Definition 6.

    Raises:
        InputError: a number is out of range, agents are named twice or not at all, `order` and `participants` name
            different agents, or `tolerance` and `stir` are both given. Whether the team has these agents is checked
            where its size is known, by `make_plan`.
    """

    num_samples: int = 16
    num_sweeps: int = 6
    order: str | Sequence[int] = "random"
    participants: Sequence[int] | None = None
    sigma: float = 1.0
    merge_radius: float = 0.1
    max_candidates: int = 16
    tolerance: float = 0.0
    stir: float = 0.0

    def __post_init__(self):
        check_counts(num_samples=self.num_samples, num_sweeps=self.num_sweeps, max_candidates=self.max_candidates)
        scales = {name: getattr(self, name) for name in ("sigma", "merge_radius", "tolerance", "stir")}
        check_scales(**scales)
        if self.stir and self.tolerance:
            raise InputError("Flows that are stirred do not rest: leave out `tolerance`, or `stir`.")
        participants = None if self.participants is None else _agents(self.participants, "participants")
        # plain floats and tuples, so that a `Sampling` can be hashed whatever kinds of numbers it was given
        plain = {name: float(value) for name, value in scales.items()}
        plain |= {"order": _checked_order(self.order, participants), "participants": participants}
        for name, value in plain.items():
            object.__setattr__(self, name, value)


def sampling_from(
    sampling: Sampling | None, options: SamplingOptions, number: Callable[[int | str], int] | None = None
) -> Sampling:
    """`sampling`, by default `Sampling()`, with the fields that `options` names replaced.

    Args:
        number: of an agent that is named; where it is not given, agents are numbers.
    """
    given: dict[str, Any] = dict(options)
    for name in ("participants", "order"):
        agents = given.get(name)
        if number is not None and agents is not None and not isinstance(agents, str):
            given[name] = [number(agent) if isinstance(agent, str) else agent for agent in agents]
    return replace(sampling or Sampling(), **given)


def _checked_order(order: str | Sequence[int], participants: tuple[int, ...] | None) -> str | tuple[int, ...]:
    if isinstance(order, str):
        if order not in ("random", "fixed"):
            raise InputError(f'order must be "random", "fixed" or a sequence of agents, not "{order}".')
        return order
    speakers = _agents(order, "order")
    if participants is not None and set(speakers) != set(participants):
        raise InputError(f"order names the agents {sorted(speakers)} but participants are {sorted(participants)}.")
    return speakers


def _agents(agents: Sequence[int], name: str) -> tuple[int, ...]:
    if any(isinstance(agent, str) for agent in agents):
        raise InputError(f"{name} must be numbers of agents here; a model's `reconstruct` knows their names.")
    agents = tuple(int(agent) for agent in np.asarray(agents).reshape(-1))
    if not agents:
        raise InputError(f"{name} is empty; name at least one agent.")
    if len(set(agents)) < len(agents):
        raise InputError(f"{name} names an agent twice; each agent speaks once per sweep.")
    return agents
