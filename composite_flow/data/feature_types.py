"""The types of a state's features: numbers, binary features, one of k. The one place where they are found.

They decide in what terms agents answer, and in what terms errors are told. What is declared is stored with the data.
What is not is found in training states: a feature is binary where it is 0 or 1 in every one of them, and neighbouring
binary features of which exactly one is 1 in each are a group, one of k. All others are numbers. An angle is two
numbers, its sine and its cosine (`angles.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.errors import InputError

NUMBER, BINARY, GROUP = "number", "binary", "one of k"
"""What can be declared of a feature; of a group "one of k: NAME", the same for all of its features."""


class FeatureTypes(eqx.Module):
    """The type of each feature of the state.

    Attributes:
        binary: features that are 0 or 1 and stand in no group.
        groups: first and one past the last feature of each group, one of k.
        size: number of features of the state.
    """

    binary: tuple[int, ...] = eqx.field(static=True)
    groups: tuple[tuple[int, int], ...] = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __check_init__(self):
        named = [*self.binary, *(place for first, stop in self.groups for place in range(first, stop))]
        if len(set(named)) < len(named) or any(not 0 <= place < self.size for place in named):
            raise InputError(f"Each of the {self.size} features has one type; {named} names one twice or none of them.")

    @property
    def is_binary(self) -> Bool[np.ndarray, " state"]:
        """Which features are binary and stand in no group."""
        return np.isin(np.arange(self.size), self.binary)

    @property
    def in_group(self) -> Bool[np.ndarray, " state"]:
        """Which features stand in a group."""
        return np.isin(np.arange(self.size), [p for first, stop in self.groups for p in range(first, stop)])

    @property
    def is_number(self) -> Bool[np.ndarray, " state"]:
        """Which features are numbers."""
        return ~(self.is_binary | self.in_group)

    @property
    def values_sent(self) -> int:
        """Numbers in an answer: three for each number, one for each other feature."""
        return self.size + 2 * int(self.is_number.sum())

    def probabilities(self, logits: Float[Array, "*batch state"]) -> Float[Array, "*batch state"]:
        """Log-odds of binary features and log-probabilities of groups as probabilities; numbers are left as they are.

        The logistic function for a binary feature, the softmax over the features of a group.
        """
        found = jnp.where(jnp.asarray(self.is_binary), jax.nn.sigmoid(logits), logits)
        for first, stop in self.groups:
            found = found.at[..., first:stop].set(jax.nn.softmax(logits[..., first:stop], axis=-1))
        return found

    def in_words(self) -> str:
        """What was found, for people."""
        numbers = int(self.is_number.sum())
        parts = [f"{numbers} numbers" if numbers else "", f"{len(self.binary)} binary" if self.binary else ""]
        parts += [f"one of {stop - first}" for first, stop in self.groups]
        return ", ".join(part for part in parts if part)

    @property
    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs; JSON-able."""
        return {"size": self.size, "binary": list(self.binary), "groups": [list(group) for group in self.groups]}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "FeatureTypes":
        """The inverse of `settings`."""
        groups = tuple((int(first), int(stop)) for first, stop in settings["groups"])
        return cls(tuple(settings["binary"]), groups, settings["size"])


def find_types(states: Float[np.ndarray, "states state"], declared: Sequence[str] = ()) -> FeatureTypes:
    """The types of the features of these states, scaled to [0, 1].

    Args:
        states: of training.
        declared: of each feature "number", "binary", "one of k: NAME", or "" where it is to be found; or nothing.

    Raises:
        InputError: there are no states.
    """
    if not len(states):
        raise InputError("The types of features are found in training states; give at least one.")
    unknown = np.array([not type for type in declared] if len(declared) else np.ones(states.shape[1], bool))
    zero_or_one = np.all((states == 0) | (states == 1), axis=0) & unknown
    groups = tuple(sorted([*_groups(states, zero_or_one), *_declared_groups(declared)]))
    grouped = {place for first, stop in groups for place in range(first, stop)}
    is_binary = zero_or_one | (np.array(declared) == BINARY if len(declared) else False)
    binary = tuple(int(place) for place in np.flatnonzero(is_binary) if place not in grouped)
    return FeatureTypes(binary, groups, states.shape[1])


def _declared_groups(declared: Sequence[str]) -> list[tuple[int, int]]:
    """First and one past the last feature of each declared group."""
    names = [type for type in dict.fromkeys(declared) if type.startswith(GROUP)]
    return [(declared.index(name), declared.index(name) + declared.count(name)) for name in names]


def _groups(states: np.ndarray, zero_or_one: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Shortest runs of neighbouring binary features of which exactly one is 1 in every state, from the left."""
    found, first = [], 0
    while first < states.shape[1]:
        total = np.zeros(len(states))
        stop = first
        while stop < states.shape[1] and zero_or_one[stop]:
            total += states[:, stop]
            stop += 1
            if total.max() > 1:
                break
            if total.min() == 1 and stop - first > 1:
                found.append((first, stop))
                break
        first = stop if found and found[-1] == (first, stop) else first + 1
    return tuple(found)
