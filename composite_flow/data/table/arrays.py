"""The arrays of a chunk of a table: what `Episodes` holds of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from composite_flow.data.features import Feature, all_names, columns_of, widened
from composite_flow.data.precision import as_32_bits, check_observations
from composite_flow.data.table.chunks import Chunk
from composite_flow.data.table.grid import Grid, grid_of
from composite_flow.data.table.meaning import Meaning
from composite_flow.errors import InputError


@dataclass
class Met:
    """What all chunks so far have shown.

    Attributes:
        observed: of each agent, in which columns of observations it has values.
        lacking: of each agent, a row without a value in each column; −1 where there is none.
        choices: of each component of an action, one more than the largest whole number; 0 once it is no whole number.
    """

    observed: Bool[np.ndarray, "agents columns"]
    lacking: np.ndarray
    choices: list[int | None] = field(default_factory=list)

    @classmethod
    def nothing(cls, meaning: Meaning) -> "Met":
        """Before the first chunk."""
        shape = len(meaning.agents), _columns_of_agent(meaning)
        components = len(meaning.acted) // (len(meaning.agents) if meaning.wide else 1)
        return cls(np.zeros(shape, bool), np.full(shape, -1), [None] * components)

    @property
    def components(self) -> tuple[int, ...]:
        """Options of each component of an action, 0 for a number."""
        return tuple(options or 0 for options in self.choices)


def arrays_of(chunk: Chunk, meaning: Meaning, met: Met) -> dict[str, np.ndarray]:
    """The arrays of a chunk, and what it shows added to `met`.

    Raises:
        InputError: rows are missing or there twice, or values cannot be used; the sentence names row and column.
    """
    if meaning.alive is not None:
        chunk = _of_the_living(chunk, meaning.alive)
    grid, order = grid_of(chunk, meaning)
    columns = chunk.columns if order is None else {name: column[order] for name, column in chunk.columns.items()}
    states, known = _states(columns, grid, meaning)
    read = _wide if meaning.wide is not None else _long
    seen, acted, alive = read(columns, grid, meaning, met)
    return {
        "observations": _checked_floats("observations", seen),
        "actions": _checked_actions(acted, met, meaning),
        "states": as_32_bits(states),
        "rewards": _rewards(columns, grid, meaning),
        "ends": grid.ends,
        "availability": np.ones((*alive.shape, 0), bool),
        "alive": alive,
        "known": known,
        "truncations": _truncations(columns, grid, meaning),
    }


def _of_the_living(chunk: Chunk, name: str) -> Chunk:
    """Without the rows that say that their agent is not alive."""
    living = chunk.columns[name]
    if not np.all((living == 0) | (living == 1)):
        row = chunk.row[np.argmax((living != 0) & (living != 1))]
        raise InputError(f"The column {name!r} must say true or false, 1 or 0, in row {row} as well.")
    if living.all():
        return chunk
    keep = living == 1
    columns = {column: values[keep] for column, values in chunk.columns.items()}
    if not keep.any():
        raise InputError(f"In the column {name!r} nobody is alive from row {chunk.row[0]} on.")
    return Chunk(chunk.row[keep], chunk.episode[keep], chunk.step[keep], chunk.agent[keep], columns)


def _table(columns: dict[str, np.ndarray], features: Sequence[Feature]) -> Float[np.ndarray, "rows features"]:
    """The features of all rows; one of k from the places of its levels, NaN where a value is missing."""
    parts = []
    for feature in features:
        values = columns[feature.name]
        if feature.is_choice:
            one_hot = (values[:, None] == np.arange(len(feature.levels))[None]).astype(np.float64)
            parts.append(np.where(values[:, None] < 0, np.nan, one_hot))
        else:
            parts.append(widened([feature], values[:, None]))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _states(
    columns, grid: Grid, meaning: Meaning
) -> tuple[Float[np.ndarray, "steps state"], Bool[np.ndarray, " steps"]]:
    """The state of each step, the same in all of its rows that tell it, and where it is known."""
    rows = _table(columns, meaning.state)
    names = columns_of(meaning.state)
    missing = np.isnan(rows)
    states = rows[grid.first]
    if missing.any():
        partly = missing.any(axis=1) & ~missing.all(axis=1)
        if partly.any():
            row = int(np.argmax(partly))
            column = names[int(np.argmax(missing[row]))]
            raise InputError(f"Row {grid.number[row]} lacks {column!r} of a state that it tells otherwise.")
        tells = np.flatnonzero(~missing[:, 0])
        states = np.full_like(states, np.nan)
        states[grid.step[tells[::-1]]] = rows[tells[::-1]]
    elif not np.all(np.isfinite(rows)):
        row, place = np.argwhere(~np.isfinite(rows))[0]
        raise InputError(f"Row {grid.number[row]} holds an infinite {names[place]!r}.")
    _check_same(rows, states[grid.step], missing, all_names(meaning.state), grid)
    known = ~np.isnan(states[:, 0])
    return np.where(known[:, None], states, 0.0), known


def _check_same(rows, told, missing, names, grid: Grid) -> None:
    differ = (rows != told) & ~missing
    if len(grid.first) < len(rows) and differ.any():
        row, place = np.argwhere(differ)[0]
        raise InputError(
            f"Row {grid.number[row]} says that {names[place]!r} is {rows[row, place]:g}, another row of the same step "
            f"{told[row, place]:g}; the state is one for all agents."
        )


def _long(columns, grid: Grid, meaning: Meaning, met: Met) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations, actions and who is there, of rows that name their agent."""
    rows, acts = _table(columns, meaning.seen), _actions(columns, meaning)
    agent = np.zeros(len(rows), int)
    there = np.argwhere(grid.row >= 0)
    agent[grid.row[grid.row >= 0]] = there[:, 1]
    rows = _without_missing(rows, agent, meaning, met, grid)
    check_observations(rows, all_names(meaning.seen))
    if grid.row.size == len(rows) and np.array_equal(grid.row.reshape(-1), np.arange(len(rows))):
        shape = grid.row.shape
        return rows.reshape(*shape, rows.shape[1]), acts.reshape(*shape, acts.shape[1]), grid.alive
    alive = grid.alive
    seen, acted = rows[grid.row], acts[grid.row]
    if isinstance(meaning.fill, int | float):
        seen = np.where(grid.filled[..., None], meaning.fill, seen)
    return np.where(alive[..., None], seen, 0.0), np.where(alive[..., None], acted, 0.0), alive


def _wide(columns, grid: Grid, meaning: Meaning, met: Met) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations, actions and who is there, of rows that hold all agents."""
    rows = grid.row[:, 0]
    by_name = {feature.name: feature for feature in meaning.seen}
    size, acts = _columns_of_agent(meaning), _actions(columns, meaning)
    seen = np.zeros((len(rows), len(meaning.agents), size))
    alive = np.zeros(seen.shape[:2], bool)
    for agent, names in enumerate(meaning.wide or ()):
        features = [by_name[name] for name in names]
        part = _table(columns, features)[rows]
        alive[:, agent] = ~np.isnan(part).all(axis=1)
        kept, met.observed[agent, : part.shape[1]] = part[alive[:, agent]], True
        if np.isnan(kept).any():
            row, place = np.argwhere(np.isnan(kept))[0]
            row = grid.number[rows[np.flatnonzero(alive[:, agent])[row]]]
            raise InputError(f"Row {row} lacks {columns_of(features)[place]!r} of agent {meaning.agents[agent]!r}.")
        check_observations(kept, all_names(features))
        seen[:, agent, : part.shape[1]] = np.where(alive[:, agent, None], part, 0.0)
    acted = acts[rows].reshape(len(rows), len(meaning.agents), len(met.choices))
    return seen, np.where(alive[..., None], acted, 0.0), alive


def _without_missing(rows, agent, meaning: Meaning, met: Met, grid: Grid) -> np.ndarray:
    """Observations without gaps: 0 in columns that an agent never has, what `fill` says in all others."""
    missing, names = np.isnan(rows), columns_of(meaning.seen)
    if not missing.any():
        met.observed[np.unique(agent)] = True
        _check_lacking(met, meaning, names)
        return rows
    for place in range(len(meaning.agents)):
        own = np.flatnonzero(agent == place)
        met.observed[place] |= ~missing[own].all(axis=0) if len(own) else False
        lacks = missing[own].any(axis=0) if len(own) else np.zeros(rows.shape[1], bool)
        first = grid.number[own[np.argmax(missing[own], axis=0)]] if len(own) else -1
        met.lacking[place] = np.where((met.lacking[place] < 0) & lacks, first, met.lacking[place])
    _check_lacking(met, meaning, names)
    if meaning.fill == "previous":
        rows = _previous(rows, missing, agent, grid.episode)
        _check_filled(np.isnan(rows) & met.observed[agent], agent, meaning, grid, names)
    value = float(meaning.fill) if isinstance(meaning.fill, int | float) else 0.0
    return np.where(np.isnan(rows), np.where(met.observed[agent], value, 0.0), rows)


def _check_lacking(met: Met, meaning: Meaning, names: Sequence[str]) -> None:
    """Refuse a value that is missing where the same agent has others, unless `fill` says what to do."""
    both = met.observed & (met.lacking >= 0)
    if both.any() and meaning.fill is None:
        agent, column = np.argwhere(both)[0]
        whose = meaning.whose(int(agent))
        raise InputError(
            f"Row {met.lacking[agent, column]} lacks {names[column]!r}{whose}, which other rows have; give "
            'fill="previous" or a number.'
        )


def _previous(rows, missing, agent, episode) -> np.ndarray:
    """Each missing value as in the same agent's row before in the same episode; NaN where there is none."""
    found = rows.copy()
    for place in np.unique(agent):
        own = np.flatnonzero(agent == place)
        here = np.arange(len(own))
        begin = np.searchsorted(episode[own], episode[own])
        last = np.maximum.accumulate(np.where(missing[own], -1, here[:, None]), axis=0)
        values = np.take_along_axis(rows[own], np.maximum(last, 0), axis=0)
        found[own] = np.where(last >= begin[:, None], values, np.nan)
    return found


def _check_filled(left, agent, meaning: Meaning, grid: Grid, names: Sequence[str]) -> None:
    """Refuse values that are missing before an agent's first one in their episode."""
    if left.any():
        row, column = np.argwhere(left)[0]
        whose = meaning.whose(int(agent[row]))
        raise InputError(
            f"Row {grid.number[row]} lacks {names[column]!r}{whose}, and the episode has none before it that fill="
            '"previous" could repeat; leave the agent\'s rows out up to its first value, or give a number.'
        )


def _actions(columns, meaning: Meaning) -> Float[np.ndarray, "rows components"]:
    """The components of actions; of texts the places of their levels."""
    parts = [columns[feature.name].astype(np.float64)[:, None] for feature in meaning.acted]
    rows = len(next(iter(columns.values())))
    return np.concatenate(parts, axis=1) if parts else np.zeros((rows, 0))


def _checked_actions(acted: np.ndarray, met: Met, meaning: Meaning) -> np.ndarray:
    """Actions in 32 bits; whole numbers from 0 are choices, if all chunks hold nothing else."""
    actions = np.where(np.isnan(acted), 0.0, acted)
    for place, options in enumerate(met.choices):
        part = actions[..., place]
        whole = options != 0 and np.all((part == np.floor(part)) & (part >= 0) & (part < 2**16))
        met.choices[place] = max(options or 1, int(part.max(initial=0)) + 1) if whole else 0
    return _checked_floats("actions", actions)


def _checked_floats(name: str, values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if not np.isfinite(found).all():
        raise InputError(f"{name} hold values that are infinite in float32.")
    return found


def _rewards(columns, grid: Grid, meaning: Meaning) -> np.ndarray:
    """Of each agent where rows name theirs, else of the team; 0 where there are none."""
    if meaning.reward is None:
        return np.zeros(len(grid.first), np.float32)
    rewards = np.nan_to_num(columns[meaning.reward])
    per_agent = np.where(grid.alive, rewards[grid.row], 0.0) if meaning.agent is not None else rewards[grid.first]
    return _checked_floats("rewards", per_agent)


def _truncations(columns, grid: Grid, meaning: Meaning) -> Bool[np.ndarray, " steps"]:
    """Ends at which an episode was cut off."""
    if meaning.truncated is None:
        return np.zeros(len(grid.first), bool)
    return (np.nan_to_num(columns[meaning.truncated])[grid.first] != 0) & grid.ends


def _columns_of_agent(meaning: Meaning) -> int:
    """Features that an agent observes; of those who observe the most."""
    if meaning.wide is None:
        return len(all_names(meaning.seen))
    by_name = {feature.name: feature for feature in meaning.seen}
    return max(len(all_names([by_name[name] for name in names])) for names in meaning.wide)
