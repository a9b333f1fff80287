"""Episodes as dictionaries, more of them than fit into memory: part by part."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from composite_flow.data.dictionaries import DictionaryEpisode, arrays_side_by_side
from composite_flow.data.shards import SHARD_BYTES
from composite_flow.errors import InputError

_BY_STEP = ("observations", "states", "ends", "alive", "truncations", "rewards", "actions")


@dataclass(frozen=True, eq=False)
class DictionaryParts:
    """Dictionaries of episodes as parts of a log, each the arguments of `Episodes.from_arrays`; for `write_in_parts`.

    The first step of each kind of episode stands before every part and is then cut off, so that all parts have the same
    agents, in the same order, and the same columns.

    Attributes:
        episodes: as in `Episodes.from_episodes`; read twice as often as the parts.
        part_bytes: size of a part.
    """

    episodes: Iterable[Mapping[str, Any]]
    part_bytes: int = SHARD_BYTES

    def __post_init__(self):
        if iter(self.episodes) is self.episodes:
            raise InputError("With a folder, episodes are read more than once: give a list, or the like, no generator.")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        kinds: dict[str, Mapping[str, Any]] = {}
        for episode in self.episodes:
            first = _first_step(episode)
            kinds.setdefault(_kind(first), first)
        held, size = [], 0
        for number, episode in enumerate(self.episodes):
            held.append((number, episode))
            size += _num_bytes(episode)
            if size >= self.part_bytes:
                yield _part(list(kinds.values()), held)
                held, size = [], 0
        if held:
            yield _part(list(kinds.values()), held)


def _part(kinds: list[Mapping[str, Any]], episodes: list[tuple[int, Mapping[str, Any]]]) -> dict[str, Any]:
    """The arrays of these episodes, beside what all kinds of episodes have."""
    arrays = arrays_side_by_side(
        [*(DictionaryEpisode(0, kind) for kind in kinds), *(DictionaryEpisode(*episode) for episode in episodes)]
    )
    return {
        name: array[len(kinds) :] if name in _BY_STEP and array is not None else array for name, array in arrays.items()
    }


def _first_step(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: _first_step(part) for name, part in values.items()}
    return values if values is None or np.ndim(values) == 0 else np.asarray(values)[:1]


def _kind(values: Any) -> str:
    """Agents, columns and types of what an episode holds."""
    if isinstance(values, Mapping):
        return str([(name, type(name).__name__, _kind(part)) for name, part in values.items()])
    array = np.asarray(values)
    return f"{array.shape} {array.dtype.kind}"


def _num_bytes(values: Any) -> int:
    parts = values.values() if isinstance(values, Mapping) else ()
    return sum(map(_num_bytes, parts)) if isinstance(values, Mapping) else np.asarray(values).nbytes
