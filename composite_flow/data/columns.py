"""What the columns of episodes mean: names of agents, observations and actions, kinds of actions, types of features."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from composite_flow.errors import InputError


@dataclass(frozen=True)
class Columns:
    """Names and kinds of columns; what is empty is not known, or as in a team of equal agents with one choice each.

    Attributes:
        agents: a name for each agent.
        observations: a name for each feature that agents observe.
        observed: of each agent, which of these it observes; the others are 0. Empty where all agents observe all.
        actions: a name for each component of an action.
        choices: of each component, how many options it has, 0 for a number; None where an action is one choice.
        types: what is declared of each feature of the state, as `find_types` reads it; empty where nothing is.
        units: of features, by their names.
    """

    agents: tuple[str, ...] = ()
    observations: tuple[str, ...] = ()
    observed: tuple[tuple[bool, ...], ...] = ()
    actions: tuple[str, ...] = ()
    choices: tuple[int, ...] | None = None
    types: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs, without what is empty; JSON-able."""
        return {name: value for name, value in asdict(self).items() if value is not None and value not in ((), {})} | (
            {"choices": []} if self.choices == () else {}
        )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Columns":
        """The inverse of `settings`."""
        return cls(**{name: _tuples(value) for name, value in settings.items()})

    @property
    def layout(self) -> dict[str, Any]:
        """What the layout of histories keeps of it, as keywords."""
        kept = {"choices": self.choices, "observed": self.observed or None}
        return {**kept, "observation_names": self.observations or None, "agent_names": self.agents or None}

    def check(self, num_agents: int, observation_size: int, state_size: int) -> None:
        """Refuse names and types that are not one for each column.

        Raises:
            InputError: which of them.
        """
        sizes = {"agents": num_agents, "observations": observation_size, "types": state_size, "observed": num_agents}
        for name, size in sizes.items():
            given = getattr(self, name)
            if given and len(given) != size:
                raise InputError(f"{name} must have one entry for each of {size}, not {len(given)}.")
        for name in ("agents", "observations"):
            check_distinct(name, getattr(self, name))


def check_distinct(what: str, names: Sequence[str]) -> None:
    """Refuse a name that is given twice."""
    values, counts = np.unique(np.asarray(names, dtype=str), return_counts=True)
    if np.any(counts > 1):
        raise InputError(f"{what} must have different names, but {str(values[counts > 1][0])!r} is given twice.")


def _tuples(value: Any) -> Any:
    """Lists of JSON as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
