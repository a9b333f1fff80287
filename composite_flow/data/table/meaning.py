"""What the columns of a table mean: which name episodes, steps and agents, and what becomes of all others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from composite_flow.data.columns import check_distinct
from composite_flow.data.features import Feature, check_are_columns, features_of
from composite_flow.errors import InputError

Fill = int | float | str | None
"""For values and steps that are missing within an episode: "previous", a number, or None to refuse them."""


@dataclass(frozen=True)
class Meaning:
    """The columns of a table.

    Attributes:
        episode, step, agent: columns that name them; None where there is one episode, the rows are steps in order, or
            each row holds all agents.
        seen: features of observations, those that agents share; of wide tables by agent.
        wide: of each agent, its columns of observations; None where rows name their agent.
        acted: columns of actions; of wide tables those of all agents, one agent after the other.
        state: features of the state.
        reward, alive, truncated: columns that hold them; None where there are none.
        fill: for what is missing.
        agents: names of agents, in order; grows as they are met.
    """

    episode: str | None
    step: str | None
    agent: str | None
    seen: tuple[Feature, ...]
    wide: tuple[tuple[str, ...], ...] | None
    acted: tuple[Feature, ...]
    state: tuple[Feature, ...]
    reward: str | None = None
    alive: str | None = None
    truncated: str | None = None
    fill: Fill = None
    agents: tuple[str, ...] = field(default=("",))

    def whose(self, agent: int) -> str:
        """A clause that names the agent of a row, where rows name one."""
        return f" of agent {self.agents[agent]!r}" if self.agent else ""

    @property
    def numbers(self) -> list[str]:
        """Columns that are read as numbers."""
        single = [name for name in (self.reward, self.alive, self.truncated) if name is not None]
        return [f.name for f in (*self.seen, *self.acted, *self.state) if not f.is_choice] + single

    @property
    def texts(self) -> list[str]:
        """Columns whose values are levels, and those of agents."""
        choices = [f.name for f in (*self.seen, *self.acted, *self.state) if f.is_choice]
        return choices + ([] if self.agent is None else [self.agent])

    @property
    def keys(self) -> list[str]:
        """Columns of episodes and steps."""
        return [name for name in (self.episode, self.step) if name is not None]

    @property
    def all_columns(self) -> list[str]:
        """All columns that are read."""
        return list(dict.fromkeys([*self.keys, *self.texts, *self.numbers]))

    def with_new(self, agents: Sequence[str], levels: Mapping[str, Sequence[str]]) -> "Meaning":
        """The same with agents and levels that were met later, in order."""

        def grown(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
            return tuple(
                replace(f, levels=_sorted({*f.levels, *levels[f.name]})) if f.name in levels else f for f in features
            )

        known = [name for name in self.agents if name] if self.agent is not None else list(self.agents)
        return replace(
            self,
            agents=_sorted({*known, *agents}) if self.agent is not None else self.agents,
            seen=grown(self.seen),
            acted=grown(self.acted),
            state=grown(self.state),
        )


def meaning_of(
    *,
    episode: str | None,
    step: str | None,
    agent: str | None,
    observation: Sequence[str] | Mapping[str, Sequence[str]],
    action: Sequence[str] | Mapping[str, Sequence[str]],
    state: Sequence[str],
    reward: str | None,
    alive: str | None,
    truncated: str | None,
    types: Mapping[str, str] | None,
    units: Mapping[str, str] | None,
    fill: Fill,
) -> Meaning:
    """The meaning of a table's columns.

    Raises:
        InputError: columns are missing, named twice for one purpose, or a type or `fill` cannot be used.
    """
    for name, columns in (("observation", observation), ("action", action), ("state", state)):
        if isinstance(columns, str):
            raise InputError(f"{name} must be a list of columns, not the text {columns!r}.")
    if not observation or not state:
        raise InputError("Name at least one column of observations and one of the state.")
    if isinstance(fill, str) and fill != "previous":
        raise InputError(f'fill must be "previous", a number or None, not {fill!r}.')
    wide = isinstance(observation, Mapping)
    if wide and agent is not None:
        raise InputError("Observations by agent are columns of one row; leave out agent=, or give a list of columns.")
    if not wide and isinstance(action, Mapping):
        raise InputError("Actions by agent need observations by agent; give both as lists, or both by agent.")
    seen = [name for part in observation.values() for name in part] if wide else list(observation)
    acted = _acted(observation, action)
    for what, names in (("observation", seen), ("action", acted), ("state", state)):
        check_distinct(what, list(names))
    for what, named in (("types", types), ("units", units)):
        check_are_columns(what, named, seen, acted, list(state))
    return Meaning(
        episode=episode,
        step=step,
        agent=agent,
        seen=tuple(features_of(seen, types)),
        wide=tuple(tuple(part) for part in observation.values()) if wide else None,
        acted=tuple(features_of(acted, types)),
        state=tuple(features_of(state, types)),
        reward=reward,
        alive=alive,
        truncated=truncated,
        fill=fill,
        agents=tuple(map(str, observation)) if wide else ("",) if agent is None else (),
    )


def _acted(observation, action) -> list[str]:
    """Columns of actions; of wide tables agent by agent, as many for each."""
    if not isinstance(action, Mapping):
        if isinstance(observation, Mapping) and action:
            raise InputError("Give actions by agent, as the observations.")
        return list(action)
    parts = [list(action.get(name, ())) for name in observation]
    if len({len(part) for part in parts}) > 1 or set(action) - set(observation):
        raise InputError("Actions by agent must name the same agents as the observations, with as many columns each.")
    return [name for part in parts for name in part]


def _sorted(names: set[str]) -> tuple[str, ...]:
    """In order of their numbers where all are numbers, else of the alphabet."""
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(sorted(names))
