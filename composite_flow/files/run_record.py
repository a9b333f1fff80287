"""Folders of runs: what an earlier run left there, and the record of a run.

The record holds the run's settings. It is written before the run starts, so that a run that is resumed needs no other.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from composite_flow.errors import FileError, MismatchError
from composite_flow.files.plain_json import read_json, write_json

LOCK_FILE = "run.lock"
"""In a run's folder while a process writes there."""
# What a resumed run may change; checkpoints see to it that what was learned stays, and goes on as it began.
_OF_TIME = ("over_time", "segment", "lost", "alone")
_LEARNED = ("learn", "fusion_steps", "team_denoiser", "chain", *_OF_TIME, "next_agent", "watch_steps")
FREE_SETTINGS = ("minutes", "checkpoint_seconds", *_LEARNED)
# What earlier records lack; they were written under the defaults.
LATER_SETTINGS = (*_LEARNED, "start_from", "samples_of", "pretrain", "pretrain_steps")


@runtime_checkable
class Settings(Protocol):
    """What a run depends on."""

    def flat(self) -> dict[str, Any]:
        """One level of names, as in the record; JSON-able."""
        ...

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> Any:
        """The inverse of `flat`."""
        ...


AnySettings = TypeVar("AnySettings", bound=Settings)


def remove_earlier_run(folder: Path, names: Iterable[str], overwrite: bool) -> None:
    """Remove the files of an earlier run, so that none of them is taken for the new run's own.

    Args:
        folder: of the run; it need not exist.
        names: of all files that such a run writes.
        overwrite: whether the files may be removed.

    Raises:
        FileError: one of the files is there and may not be removed; then all stay.
    """
    for path in filter(Path.exists, (folder / name for name in names)):
        if not overwrite:
            raise FileError(f"{path} exists already; resume that run, allow overwriting, or choose another folder.")
        path.unlink(missing_ok=True)  # of several hosts another one may have been first


def started_or_resumed(
    path: Path, settings: AnySettings, defaults: AnySettings, product: str, *, resume: bool, overwrite: bool
) -> AnySettings:
    """The settings of a run: those given, kept in its record, or those kept there by the run that is resumed.

    Args:
        path: of the record, in the run's folder.
        settings: as given now; of a run to resume, what differs from the defaults must agree with its own.
        defaults: settings where none are given.
        product: the file that a finished run leaves beside its record.
        resume: go on with the run in the folder, if there is one.
        overwrite: an earlier run in the folder may be replaced.

    Raises:
        FileError: a run is in the way, the folder holds none to resume, or the record is none of this version.
        MismatchError: a setting was given that the run to resume does not have.
    """
    if resume and path.exists():
        kept = _kept(path, settings.flat(), defaults.flat())
        resumed = type(settings).from_flat(kept)  # before the record changes, as it may be refused
        write_json(path, kept)  # with what it is to learn beside
        return resumed
    _start(path, settings.flat(), product, resume=resume, overwrite=overwrite)
    return settings


def _start(path: Path, settings: dict[str, Any], product: str, *, resume: bool, overwrite: bool) -> None:
    """Write the record of a new run, unless one is in the way, or was to be resumed and is not there."""
    folder = path.parent
    if resume and folder.exists() and any(path.name != LOCK_FILE for path in folder.iterdir()):
        raise FileError(f"{folder} holds no run to resume: {path.name} is missing; choose the folder of a run.")
    if not overwrite and (path.exists() or (folder / product).exists()):
        raise FileError(f"{folder} already holds a run; add --resume or --overwrite, or choose another --out.")
    write_json(path, settings)


def _kept(path: Path, given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """What the record of a run says, but with the limits in time that are given now."""
    kept = read_json(path)
    if isinstance(kept, dict) and kept:
        kept = {**{name: defaults[name] for name in LATER_SETTINGS if name in defaults}, **kept}
    if not isinstance(kept, dict) or set(kept) != set(given):
        raise FileError(f"{path} is not the record of a run of this version; start anew with --overwrite.")
    for name, value in given.items():
        if value in (defaults[name], kept[name]):
            continue
        if name not in FREE_SETTINGS:
            raise MismatchError(
                f"{path.parent} was started with {name} = {kept[name]}, not {value}; leave out "
                f"--{name.replace('_', '-')} to resume it, or start anew in another --out."
            )
        kept[name] = value
    return kept
