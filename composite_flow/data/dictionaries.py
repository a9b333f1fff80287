"""Episodes as dictionaries: what each agent saw and did, by agent, and the states; as flat arrays, padded.

Agents are in the order in which they are met. Who sees less than others has zeros in the columns that it lacks; who is
not there has zeros everywhere.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from composite_flow.errors import InputError

_PARTS = ("observations", "states", "actions", "rewards", "alive", "truncated")


def arrays_of_dictionaries(episodes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The arguments of `Episodes.from_arrays`; what episodes hold, and errors, as in `Episodes.from_episodes`."""
    found = [DictionaryEpisode(number, episode) for number, episode in enumerate(episodes)]
    if not found:
        raise InputError("There must be at least one episode.")
    arrays = arrays_side_by_side(found)
    return {**arrays, "alive": None if arrays["alive"].all() else arrays["alive"]}


def arrays_side_by_side(found: "list[DictionaryEpisode]") -> dict[str, Any]:
    """The arrays of these episodes, one after another."""
    agents = list(dict.fromkeys(name for episode in found for name in episode.seen))
    seen_names = _same([names for e in found for names in e.seen_names.values() if names], "observations")
    sizes = {a: _one_size(a, "observations", [e.seen[a].shape[1] for e in found if a in e.seen]) for a in agents}
    size = max(sizes.values())
    observed = np.arange(size)[None] < np.array([sizes[agent] for agent in agents])[:, None]
    arrays: dict[str, Any] = {
        "observations": np.concatenate([e.padded(e.seen, agents, (size,)) for e in found]),
        "states": np.concatenate([e.states for e in found]),
        "ends": np.concatenate([np.arange(e.length) == e.length - 1 for e in found]),
        "alive": np.concatenate([e.there(agents) for e in found]),
        "observed": None if observed.all() else observed,
        "agent_names": None if all(isinstance(agent, int) for agent in agents) else [str(agent) for agent in agents],
        "state_names": _same([e.state_names for e in found if e.state_names], "states"),
        "observation_names": seen_names if seen_names and len(seen_names) == size else None,
        "truncations": _truncations(found),
        "rewards": _rewards(found, agents),
    }
    return {**arrays, **_actions(found, agents)}


class DictionaryEpisode:
    """One episode's arrays, by agent."""

    def __init__(self, number: int, episode: Mapping[str, Any]):
        self.name = f"Episode {number}"
        if not isinstance(episode, Mapping) or not {"observations", "states"} <= set(episode):
            raise InputError(f'{self.name} must be a dictionary with "observations" and "states".')
        unknown = [name for name in episode if name not in _PARTS]
        if unknown:
            raise InputError(f"{self.name} has the part {unknown[0]!r}; known are {', '.join(_PARTS)}.")
        self.states, self.state_names = self._columns("states", episode["states"])
        self.length = len(self.states)
        if not self.length:
            raise InputError(f"{self.name} has no steps.")
        parts = {a: self._columns("observations", v) for a, v in self._by_agent("observations", episode).items()}
        self.seen = {agent: values for agent, (values, _) in parts.items()}
        self.seen_names = {agent: names for agent, (_, names) in parts.items()}
        self.acted = {
            a: self._array(f"actions of agent {a!r}", v) for a, v in self._by_agent("actions", episode).items()
        }
        self.alive = {agent: np.asarray(values) for agent, values in self._by_agent("alive", episode).items()}
        rewards = episode.get("rewards")
        self.team_rewards = None if rewards is None or isinstance(rewards, Mapping) else np.asarray(rewards)
        self.rewards = {a: np.asarray(v) for a, v in rewards.items()} if isinstance(rewards, Mapping) else {}
        self.truncated = episode.get("truncated")
        self._check()

    def _by_agent(self, name: str, episode: Mapping[str, Any]) -> dict[Any, Any]:
        values = episode.get(name)
        if values is None:
            return {}
        if isinstance(values, Mapping):
            return {agent: part for agent, part in values.items() if part is not None}
        array = self._array(name, values)
        if array.ndim < 2:
            raise InputError(f"{self.name}: {name} must be by agent, or an array with the axes (steps, agents, …).")
        return {agent: array[:, agent] for agent in range(array.shape[1])}

    def _columns(self, name: str, values: Any) -> tuple[np.ndarray, tuple[str, ...] | None]:
        """An array (steps, columns), and names of its columns where they are given."""
        if not isinstance(values, Mapping):
            array = self._array(name, values)
            if not array.ndim:
                raise InputError(f"{self.name}: {name} must have steps along their first axis.")
            return array.reshape(len(array), int(np.prod(array.shape[1:]))), None
        parts = {str(column): self._array(name, part) for column, part in values.items()}
        if not parts or len({part.shape[:1] for part in parts.values()}) != 1:
            raise InputError(f"{self.name}: columns of {name} must have the same number of steps.")
        names: list[str] = []
        for column, part in parts.items():
            width = int(np.prod(part.shape[1:]))
            names += [column] if part.ndim == 1 else [f"{column}[{place}]" for place in range(width)]
        flat = [part.reshape(len(part), int(np.prod(part.shape[1:]))) for part in parts.values()]
        return np.concatenate(flat, axis=1), tuple(names)

    def _array(self, name: str, values: Any) -> np.ndarray:
        try:
            array = values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
        except ValueError as error:
            raise InputError(f"{self.name}: {name} must be arrays, but rows differ in length.") from error
        if array.dtype.kind not in "fiub":
            raise InputError(f"{self.name}: {name} must hold numbers, not {array.dtype}.")
        return array if isinstance(array, np.ma.MaskedArray) is False else np.ma.filled(array.astype(float), np.nan)

    def _check(self) -> None:
        if not self.seen:
            raise InputError(f"{self.name} has no agents.")
        for name, parts in (("actions", self.acted), ("alive", self.alive), ("rewards", self.rewards)):
            for agent, values in parts.items():
                if agent not in self.seen:
                    raise InputError(f"{self.name} has {name} of agent {agent!r}, who observes nothing.")
                if values.shape[:1] != (len(self.seen[agent]),):
                    raise InputError(f"{self.name}: {name} of agent {agent!r} must be as long as its observations.")
        for agent, values in self.seen.items():
            if len(values) > self.length:
                raise InputError(f"{self.name}: agent {agent!r} observes {len(values)} steps of {self.length} states.")
        if self.team_rewards is not None and len(self.team_rewards) != self.length:
            raise InputError(f"{self.name} must have one reward for each of its {self.length} steps.")

    def there(self, agents: list) -> np.ndarray:
        """At which steps each agent is there: where it has an observation that is not NaN throughout."""
        found = np.zeros((self.length, len(agents)), bool)
        for place, agent in enumerate(agents):
            if agent in self.seen:
                seen = self.seen[agent]
                told = self.alive.get(agent, np.ones(len(seen), bool)).astype(bool)
                found[: len(seen), place] = told & ~np.isnan(seen.astype(float)).all(axis=1)
        return found

    def padded(self, parts: Mapping[Any, np.ndarray], agents: list, shape: tuple[int, ...]) -> np.ndarray:
        """Parts of all agents side by side, 0 where one has none or is not there."""
        found = np.zeros((self.length, len(agents), *shape), np.result_type(*(part.dtype for part in parts.values())))
        for place, agent in enumerate(agents):
            part = parts.get(agent)
            if part is not None:
                found[(slice(len(part)), place, *(slice(size) for size in part.shape[1:]))] = part
        there = self.there(agents)
        return np.where(there.reshape(*there.shape, *(1 for _ in shape)), found, np.zeros((), found.dtype))


def _actions(episodes: list[DictionaryEpisode], agents: list) -> dict[str, Any]:
    """Actions, and how many or of which components."""
    if not any(episode.acted for episode in episodes):
        return {"actions": None}
    lacking = [(e.name, agent) for e in episodes for agent in e.seen if agent not in e.acted]
    if lacking:
        raise InputError(f"{lacking[0][0]} has no actions of agent {lacking[0][1]!r}, but of others.")
    axes = {values.ndim for e in episodes for values in e.acted.values()}
    whole = {values.dtype.kind in "iub" for e in episodes for values in e.acted.values()}
    if len(axes) > 1 or len(whole) > 1 or not axes <= {1, 2}:
        raise InputError("Actions of all agents must be of one kind: whole numbers or not, with components or without.")
    if axes == {1} and whole == {True}:
        return {"actions": np.concatenate([e.padded(e.acted, agents, ()) for e in episodes])}
    acted = [{a: v.reshape(len(v), -1) for a, v in e.acted.items()} for e in episodes]
    width = max(values.shape[1] for parts in acted for values in parts.values())
    return {"actions": np.concatenate([e.padded(p, agents, (width,)) for e, p in zip(episodes, acted, strict=True)])}


def _rewards(episodes: list[DictionaryEpisode], agents: list) -> np.ndarray | None:
    """Of the team, or of each agent; 0 where an episode has none."""
    if any(e.rewards for e in episodes):
        zeros = {a: np.zeros(0) for a in agents}
        return np.concatenate([e.padded({**zeros, **e.rewards}, agents, ()) for e in episodes])
    if all(e.team_rewards is None for e in episodes):
        return None
    return np.concatenate([np.zeros(e.length) if e.team_rewards is None else e.team_rewards for e in episodes])


def _truncations(episodes: list[DictionaryEpisode]) -> np.ndarray | None:
    if all(e.truncated is None for e in episodes):
        return None
    return np.concatenate([(np.arange(e.length) == e.length - 1) & bool(e.truncated) for e in episodes])


def _one_size(agent: Any, name: str, sizes: list[int]) -> int:
    if len(set(sizes)) > 1:
        raise InputError(f"{name} of agent {agent!r} have {sizes[0]} columns in one episode, {sizes[-1]} in another.")
    return sizes[0]


def _same(names: list[tuple[str, ...]], what: str) -> tuple[str, ...] | None:
    """The names that all share; of agents that observe less than others, those of the one that observes most."""
    if not names:
        return None
    longest = max(names, key=len)
    if what == "states" and any(some != longest for some in names):
        raise InputError("The columns of states differ from episode to episode.")
    return longest if all(some == longest[: len(some)] for some in names) else None
