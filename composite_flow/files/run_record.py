"""The record of a run: its settings, written before it starts, so that a run that is resumed needs no other."""

from pathlib import Path
from typing import Any

from composite_flow.errors import FileError, MismatchError
from composite_flow.files.plain_json import read_json, write_json

FREE_SETTINGS = ("minutes", "checkpoint_seconds")  # settings that a resumed run may change


def start_record(path: Path, settings: dict[str, Any], product: str, *, resume: bool, overwrite: bool) -> None:
    """Write the record of a new run, unless one is in the way, or was to be resumed and is not there: a FileError.

    `product` is the file that a finished run leaves beside its record.
    """
    folder = path.parent
    if resume and folder.exists() and any(folder.iterdir()):
        raise FileError(f"{folder} holds no run to resume: {path.name} is missing; choose the folder of a run.")
    if not overwrite and (path.exists() or (folder / product).exists()):
        raise FileError(f"{folder} already holds a run; add --resume or --overwrite, or choose another --out.")
    write_json(path, settings)


def kept_settings(path: Path, given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """What the record of a run says, but with the limits in time that are given now.

    Raises:
        FileError: it is no such record.
        MismatchError: a setting was given, other than the default, that the run does not have.
    """
    kept = read_json(path)
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
