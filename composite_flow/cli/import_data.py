"""`import`: episodes from the logs and data sets of others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import progress_bar, say, show, table
from composite_flow.data.episodes import ARRAYS, Episodes
from composite_flow.data.feature_types import find_types
from composite_flow.data.in_parts import write_in_parts
from composite_flow.errors import InputError

Format = Literal["table", "minari", "bag", "vault", "hdf5"]
_SHOWN = 4096  # steps whose states tell the types of features


@dataclass(frozen=True)
class TableOptions:
    """Of import table and bag: what the columns are."""

    observation: tuple[str, ...] = ()
    """Columns of what the row's agent sees; or AGENT=COLUMN where a row holds the columns of all agents."""
    state: tuple[str, ...] = ()
    """Columns of the state, the same in all rows of a step."""
    action: tuple[str, ...] = ()
    """Columns of actions: choices where they are whole numbers from 0, else numbers; as for observations."""
    episode: str | None = None
    """Column that names the episode; all rows are one where not given."""
    step: str | None = None
    """Column that orders the steps, a number or a time; the order of rows where not given."""
    agent: str | None = None
    """Column that names the agent; one agent where not given."""
    reward: str | None = None
    """Column of rewards."""
    alive: str | None = None
    """Column that says whether the agent is alive."""
    truncated: str | None = None
    """Column that says whether the episode was cut off at its end."""
    types: tuple[str, ...] = ()
    """COLUMN=TYPE, with the types number, binary, 'one of k', angle and 'angle in degrees'."""
    units: tuple[str, ...] = ()
    """COLUMN=UNIT."""
    fill: str | None = None
    """For rows and values that are missing within an episode: previous, or a number. They are refused otherwise."""
    scaling: Literal["range", "quantiles"] = "range"
    """What scales states to [0, 1]; quantiles leave outliers outside."""


def import_data(
    format: Annotated[Positional[Format], arg(metavar="{table,minari,bag,vault,hdf5}")],
    path: Annotated[Positional[str], arg(metavar="PATH")],
    /,
    out: Path,
    *,
    uid: str | None = None,
    rate: float | None = None,
    map: tuple[str, ...] = (),
    columns: OmitArgPrefixes[TableOptions] = TableOptions(),  # noqa: B008 (frozen)
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Import logs, or another library's data set, as episodes.

    An interrupted import of a vault goes on when it is called again. Nothing is drawn at random.

    Args:
        format: table is a CSV or Parquet file; minari a data set of Minari; bag one of ROS, such as MCAP; vault that
            of Flashbax, in which OG-MARL publishes replays; hdf5 a file of one's own.
        path: the file, the folder, or the name of the data set; of vaults also a folder of several.
        out: folder for the episodes, HDF5 files.
        uid: of import vault: which of several, such as Good; may be left out where there is only one.
        rate: of import bag: rows a second.
        map: of import bag: COLUMN=TOPIC:FIELD; of import hdf5: PART=DATASET, such as observations=log/obs.
    """
    _refuse_unread(format, {"uid": uid, "rate": rate, "map": map or None, "columns": _given(columns)})
    declared = {"types": _pairs("types", columns.types), "units": _pairs("units", columns.units)}
    options: dict[str, Any] = {**declared, "scaling": columns.scaling}
    result: dict[str, Any] = {}
    if format == "vault":
        result, episodes = _vault(Path(path), out, uid, shared.overwrite)
    elif format in ("table", "bag"):
        source = Path(path) if format == "table" else _bag(path, map, rate)
        episodes = _table(source, out, columns, options, shared.overwrite)
    else:
        with progress_bar(path, "reading"):
            episodes = _in_parts(format, path, map, out, shared.overwrite, options)
    if format != "vault":
        types = find_types(_scaled_states(episodes), episodes.columns.types)
        result = {"types_of_the_state": types.in_words(), "state": ", ".join(episodes.state_names)}
    result = {"data": str(out), **result, **_about(episodes)}
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    show(result, [table(f"Imported {path}", ("", "value"), rows)], as_json=shared.json)


_READ = {
    "table": ("columns",),
    "bag": ("columns", "rate", "map"),
    "vault": ("uid",),
    "hdf5": ("map", "types"),
    "minari": ("types",),
}


def _given(columns: TableOptions) -> str | None:
    """Which options of columns were given: all ("columns"), or only those that every format has ("types")."""
    alone = TableOptions(types=columns.types, units=columns.units, scaling=columns.scaling)
    return None if columns == TableOptions() else "types" if columns == alone else "columns"


def _refuse_unread(format: str, given: dict[str, Any]) -> None:
    """Refuse options that this format does not read."""
    named = [value if name == "columns" else name for name, value in given.items() if value is not None]
    unread = [
        name for name in named if name not in _READ[format] and not (name == "types" and "columns" in _READ[format])
    ]
    if unread:
        told = {"columns": "Options of columns", "types": "--types, --units and --scaling"}.get(
            unread[0], f"--{unread[0]}"
        )
        raise InputError(f"{told} say nothing to import {format}; leave them out.")


def _bag(path: str, map: tuple[str, ...], rate: float | None) -> Any:
    """The columns of a bag."""
    from composite_flow.data.foreign.bags import bag_table

    if rate is None:
        raise InputError("Say at which --rate the bag is read, in rows a second.")
    return bag_table(path, _pairs("map", map, first=True), rate)


def _in_parts(
    format: str, path: str, map: tuple[str, ...], out: Path, overwrite: bool, options: dict[str, Any]
) -> Episodes:
    """Episodes of a data set of Minari or of an HDF5 file."""
    if format == "minari":
        from composite_flow.data.foreign.minari import minari_episodes

        return Episodes.from_episodes(minari_episodes(path), folder=out, overwrite=overwrite, **options)
    from composite_flow.data.foreign.hdf5 import Hdf5Parts

    parts = Hdf5Parts(Path(path), _pairs("map", map, first=True))
    write_in_parts(parts, out, overwrite, ARRAYS, name=path, **options)
    return Episodes.load(out, in_memory=False)


def _by_agent(given: tuple[str, ...]) -> Any:
    """Columns; of AGENT=COLUMN texts by agent."""
    if not any("=" in text for text in given):
        return given
    found: dict[str, list[str]] = {}
    for agent, column in (text.split("=", 1) if "=" in text else ("", text) for text in given):
        found.setdefault(agent, []).append(column)
    if "" in found:
        raise InputError(f"Give all columns as AGENT=COLUMN, or none; {found[''][0]!r} names no agent.")
    return found


def _table(source: Any, out: Path, columns: TableOptions, options: dict[str, Any], overwrite: bool) -> Episodes:
    """Episodes of a table; a bag is one whose episodes and times are columns."""
    named = {name: getattr(columns, name) for name in ("episode", "step", "agent", "reward", "alive", "truncated")}
    if not isinstance(source, Path):
        named |= {"episode": columns.episode or "episode", "step": columns.step or "time"}
    named |= {"observation": _by_agent(columns.observation), "action": _by_agent(columns.action)}
    kept = {"folder": out, "overwrite": overwrite}
    with progress_bar("rows", "reading") as advance:
        return Episodes.from_table(
            source, **named, state=columns.state, fill=_fill(columns.fill), **kept, progress=advance, **options
        )


def _vault(path: Path, out: Path, uid: str | None, overwrite: bool) -> tuple[dict[str, Any], Episodes]:
    from composite_flow.data.vault.importer import import_vault

    with progress_bar("steps", "reading") as advance:
        imported = import_vault(path, out, uid=uid, overwrite=overwrite, progress=advance)
    if imported.states_repeat:
        say(
            "Warning: the state never changes within an episode. A recorder of OG-MARL's repeats each episode's first "
            "state; if this is such a vault, its true states are lost."
        )
    about = {"vault": imported.episodes.description["vault"], "uid": imported.uid}
    dropped = {"steps_without_end_dropped": imported.dropped_steps, "padding_dropped": imported.padding_steps}
    return {**about, **dropped}, imported.episodes


def _about(episodes: Episodes) -> dict[str, Any]:
    """Sizes of what was imported."""
    return {
        "episodes": episodes.num_episodes,
        "steps": episodes.num_steps,
        "agents": episodes.num_agents,
        "observation_features": episodes.observation_size,
        "actions": episodes.num_actions,
        "state_features": episodes.state_size,
        "megabytes": round(episodes.num_bytes / 1e6, 3),
    }


def _scaled_states(episodes: Episodes):
    """Some of the states, in [0, 1]."""
    steps = min(episodes.num_steps, _SHOWN)
    known = slice(None) if episodes.known is None else episodes.known[:steps]
    return np.asarray(episodes.scaling.scale(episodes.states[:steps][known]))


def _pairs(name: str, given: tuple[str, ...], first: bool = False) -> dict[str, str]:
    """NAME=VALUE texts as a dictionary, divided at the last equals sign, or at the first."""
    wrong = [text for text in given if "=" not in text]
    if wrong:
        raise InputError(f"--{name} takes NAME=VALUE, not {wrong[0]!r}.")
    parts = (text.partition("=") if first else text.rpartition("=") for text in given)
    return {column: value for column, _, value in parts}


def _fill(given: str | None) -> float | str | None:
    """A number where it is one."""
    try:
        return None if given is None else float(given)
    except ValueError:
        return given
