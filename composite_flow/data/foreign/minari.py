"""Data sets of Minari, whose spaces are dictionaries of agents and whose infos hold the state."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.errors import FileError, InputError


@dataclass(frozen=True)
class MinariEpisodes:
    """The episodes of a data set, for `Episodes.from_episodes`; they can be read more than once.

    Minari holds one observation more than actions: the actions of an episode's last step are zeros here.

    Attributes:
        dataset: its name in Minari's folder, or the path of its own folder.
        state: the part of `infos` that holds the state.

    Raises:
        InputError: Minari is not installed, or the data set's observations are not by agent or its states are missing.
        FileError: there is no such data set, or it is damaged.
    """

    dataset: str | Path
    state: str = "state"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, episode in enumerate(_opened(self.dataset).iterate_episodes()):
            observations = _by_agent(self.dataset, "observations", episode.observations)
            states = (episode.infos or {}).get(self.state)
            if states is None:
                said = f"has no infos[{self.state!r}], where the state is to be"
                raise InputError(f"{self.dataset}: episode {number} {said}.")
            actions = _by_agent(self.dataset, "actions", episode.actions)
            yield {
                "observations": observations,
                "actions": {agent: _and_none(values) for agent, values in actions.items()},
                "states": states,
                "rewards": _and_none(episode.rewards),
                "truncated": bool(np.any(episode.truncations)),
            }


def minari_episodes(dataset: str | Path, state: str = "state") -> MinariEpisodes:
    """The episodes of a data set, for `Episodes.from_episodes`; see `MinariEpisodes`."""
    return MinariEpisodes(dataset, state)


def _opened(dataset: str | Path) -> Any:
    try:
        import minari
    except ImportError as error:
        raise InputError(
            "Data sets of Minari are read by minari, which is not installed; run pip install 'composite-flow[minari]'."
        ) from error
    try:
        is_folder = Path(dataset).is_dir()
        return minari.MinariDataset(Path(dataset) / "data") if is_folder else minari.load_dataset(str(dataset))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{dataset} is no data set that Minari can read ({' '.join(str(error).split())}).") from error


def _by_agent(dataset: str | Path, name: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise InputError(f"{dataset}: {name} must be dictionaries of agents, as of a Dict space.")
    return values


def _and_none(values: Any) -> np.ndarray:
    """One more step, of zeros."""
    array = np.asarray(values)
    return np.concatenate([array, np.zeros((1, *array.shape[1:]), array.dtype)])
