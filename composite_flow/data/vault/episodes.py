"""Where a vault's episodes start and end: a first pass over its flags and states, before anything is written.

An episode ends where every agent has terminated or was truncated, or where padding follows. (In a team that fights on,
the dead agents have terminated.) A step is padding if its mask is 0 or, without a mask, if its whole state is −∞.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Bool, Int

from composite_flow.data.vault.store import Vault, VaultPart
from composite_flow.errors import FileError

BLOCK_BYTES = 2**25
"""Memory of the states that are read at once."""


@dataclass(frozen=True, eq=False)
class VaultParts:
    """The parts of a vault that the import reads, after checking that they fit together."""

    observations: VaultPart
    actions: VaultPart
    states: VaultPart
    ends: tuple[VaultPart, ...]
    rewards: VaultPart | None
    availability: VaultPart | None
    mask: VaultPart | None

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return self.observations.shape[0]

    @property
    def observation_size(self) -> int:
        """Number of features that an agent observes, flattened."""
        return int(np.prod(self.observations.shape[1:]))

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.states.shape[0]


@dataclass(frozen=True, eq=False)
class VaultEpisodes:
    """A vault's complete episodes, and counts from the pass over the whole vault.

    Attributes:
        rows: the batch row of each episode.
        starts: the first step of each episode.
        stops: one past the last step of each episode.
        num_actions: number of actions that an agent chooses from.
        dropped_steps: number of steps of episodes that the vault cuts off.
        padding_steps: number of steps that are padding.
        states_repeat: whether every state equals the one before it in its episode.
    """

    rows: Int[np.ndarray, " episodes"]
    starts: Int[np.ndarray, " episodes"]
    stops: Int[np.ndarray, " episodes"]
    num_actions: int
    dropped_steps: int
    padding_steps: int
    states_repeat: bool

    @property
    def lengths(self) -> Int[np.ndarray, " episodes"]:
        """Number of steps of each episode."""
        return self.stops - self.starts

    def shards(self, most_steps: int) -> list[slice]:
        """Groups of consecutive episodes with at most `most_steps` steps together; a longer episode stands alone."""
        cuts, filled = [0], 0
        for number, length in enumerate(self.lengths.tolist()):
            if filled and filled + length > most_steps:
                cuts.append(number)
                filled = 0
            filled += length
        return [slice(first, stop) for first, stop in zip(cuts, [*cuts[1:], len(self.rows)], strict=True)]

    def stretches(self, episodes: slice) -> Iterator[tuple[int, int, int]]:
        """Row, first step and last step of each stretch of episodes that follow each other without a gap."""
        rows, starts, stops = self.rows[episodes], self.starts[episodes], self.stops[episodes]
        breaks = np.flatnonzero((rows[1:] != rows[:-1]) | (starts[1:] != stops[:-1])) + 1
        for first, stop in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            yield int(rows[first]), int(starts[first]), int(stops[stop - 1])


@dataclass
class _Counts:
    """Counts over all blocks of a vault."""

    padding: int = 0
    pairs: int = 0
    changes: int = 0
    num_actions: int = 0


def find_parts(vault: Vault) -> VaultParts:
    """Open the parts that the import reads, and check that all have the same agents.

    Raises:
        FileError: a part is missing or has the wrong axes; the sentence names it.
    """
    ends = tuple(part for part in map(vault.find, ("terminals", "truncations")) if part is not None)
    parts = VaultParts(
        observations=vault.need("observations"),
        actions=vault.need("actions"),
        states=vault.need("infos.state"),
        ends=ends or (vault.need("terminals"),),
        rewards=vault.find("rewards"),
        availability=vault.find("infos.legals"),
        mask=vault.find("mask") or vault.find("infos.mask"),
    )
    _check_shapes(vault, parts)
    return parts


def _check_shapes(vault: Vault, parts: VaultParts) -> None:
    """Refuse parts with wrong axes, or with other agents than the observations or another order of them."""
    where, state, actions = vault.path, parts.states, parts.actions
    if len(parts.observations.shape) < 2:
        raise FileError(f"{where}: observations must be (batch, time, agents, features).")
    if len(state.shape) != 1 or state.agents is not None:
        raise FileError(f"{where}: infos.state must be one state for all agents, but a step is of shape {state.shape}.")
    if len(actions.shape) != 1:
        raise FileError(f"{where}: actions are of shape {actions.shape} a step, so they are no numbers of actions.")
    if parts.availability is not None and len(parts.availability.shape) != 2:
        raise FileError(f"{where}: infos.legals must be (batch, time, agents, actions).")
    for part in (actions, parts.availability, parts.rewards, parts.mask, *parts.ends):
        if part is None or not part.shape:
            continue
        named = part.agents is not None and parts.observations.agents is not None
        if part.shape[0] != parts.num_agents or (named and part.agents != parts.observations.agents):
            raise FileError(f"{where}: {part.name} and observations are of different agents.")


def find_episodes(vault: Vault, parts: VaultParts) -> VaultEpisodes:
    """Find a vault's complete episodes from its flags and states, block by block.

    Raises:
        FileError: there is no complete episode, or a flag is neither 0 nor 1.
    """
    counts = _Counts()
    bounds = [_bounds(*_flags_of_row(vault, parts, row, counts)) for row in range(vault.num_rows)]
    starts, stops = (np.concatenate([pair[which] for pair in bounds]) for which in (0, 1))
    if not len(stops):
        names = " and ".join(part.name for part in parts.ends)
        raise FileError(
            f"{vault.path} holds no whole episode in {vault.num_rows} × {vault.num_steps} steps: "
            f"{names} nowhere say of all agents that it is over."
        )
    return VaultEpisodes(
        rows=np.repeat(np.arange(len(bounds)), [len(pair[0]) for pair in bounds]),
        starts=starts,
        stops=stops,
        num_actions=counts.num_actions if parts.availability is None else parts.availability.shape[1],
        dropped_steps=vault.num_rows * vault.num_steps - counts.padding - int((stops - starts).sum()),
        padding_steps=counts.padding,
        states_repeat=counts.pairs > 0 and counts.changes == 0,
    )


def _flags_of_row(
    vault: Vault, parts: VaultParts, row: int, counts: _Counts
) -> tuple[Bool[np.ndarray, " steps"], Bool[np.ndarray, " steps"]]:
    """Which steps of a row are not padding, and at which of them all agents are done."""
    real, done = np.zeros(vault.num_steps, bool), np.zeros(vault.num_steps, bool)
    at_once = max(1, BLOCK_BYTES // (4 * parts.state_size))
    for first in range(0, vault.num_steps, at_once):
        block = slice(first, min(first + at_once, vault.num_steps))
        states = parts.states.read(row, block.start, block.stop)
        if parts.mask is None:
            real[block] = ~np.all(states == -np.inf, axis=1)
        else:
            real[block] = _read_flags(vault, parts.mask, row, block, slice(None)).any(axis=1)
        flags = [_read_flags(vault, part, row, block, real[block]) for part in parts.ends]
        done[block] = real[block] & reduce(np.logical_or, flags).all(axis=1)
        pairs = real[block][1:] & real[block][:-1] & ~done[block][:-1]
        counts.padding += int(np.sum(~real[block]))
        counts.pairs += int(np.sum(pairs))
        counts.changes += int(np.sum(pairs & np.any(states[1:] != states[:-1], axis=1)))
        if parts.availability is None:
            taken = parts.actions.read(row, block.start, block.stop)[real[block]]
            counts.num_actions = max(counts.num_actions, 1 + int(taken.max(initial=-1)))
    return real, done


def _read_flags(vault: Vault, part: VaultPart, row: int, block: slice, real: Bool[np.ndarray, " steps"] | slice):
    """The flags of each agent, or one column that holds for all agents; values in padding are not checked."""
    values = part.read(row, block.start, block.stop)
    values = values[:, None] if values.ndim == 1 else values
    if not np.isin(values[real], (0, 1)).all():
        raise FileError(f"{vault.path}: {part.name} must hold zeros and ones.")
    return values == 1


def _bounds(
    real: Bool[np.ndarray, " steps"], done: Bool[np.ndarray, " steps"]
) -> tuple[Int[np.ndarray, " episodes"], Int[np.ndarray, " episodes"]]:
    """The first step of each episode of a row, and one past its last step; an episode without an end is left out."""
    padding_follows = np.append(~real[1:], False)
    ends = real & (done | padding_follows)
    begins = real & ~np.insert((real & ~ends)[:-1], 0, False)
    stops = np.flatnonzero(ends) + 1
    return np.flatnonzero(begins)[: len(stops)], stops
