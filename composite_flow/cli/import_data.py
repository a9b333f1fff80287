"""`import`: episodes from other libraries' data sets."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from composite_flow.cli.options import Shared
from composite_flow.cli.reporting import progress_bar, say, show, table


def import_data(
    format: Annotated[Positional[Literal["vault"]], arg(metavar="{vault}")],
    path: Annotated[Positional[Path], arg(metavar="PATH")],
    /,
    out: Path,
    *,
    uid: str | None = None,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Import another library's data set as episodes.

    An interrupted import goes on when it is called again. Nothing is drawn at random.

    Args:
        format: vault is that of Flashbax, in which OG-MARL publishes replays.
        path: folder of the vault, or of several, such as zerg_5_vs_5.vlt.
        out: folder for the episodes, HDF5 files.
        uid: which of several vaults, such as Good; may be left out where there is only one.
    """
    from composite_flow.data.vault.importer import import_vault

    with progress_bar("steps", "reading") as advance:
        imported = import_vault(path, out, uid=uid, overwrite=shared.overwrite, progress=advance)
    if imported.states_repeat:
        say(
            "Warning: the state never changes within an episode. A recorder of OG-MARL's repeats each episode's first "
            "state; if this is such a vault, its true states are lost."
        )
    episodes = imported.episodes
    result = {
        "data": str(out),
        "vault": episodes.description["vault"],
        "uid": imported.uid,
        "episodes": episodes.num_episodes,
        "steps": episodes.num_steps,
        "agents": episodes.num_agents,
        "observation_features": episodes.observation_size,
        "actions": episodes.num_actions,
        "state_features": episodes.state_size,
        "steps_without_end_dropped": imported.dropped_steps,
        "padding_dropped": imported.padding_steps,
        "megabytes": round(episodes.num_bytes / 1e6, 3),
    }
    rows = [(name.replace("_", " "), value) for name, value in result.items()]
    show(result, [table(f"Imported {path}", ("", "value"), rows)], as_json=shared.json)
