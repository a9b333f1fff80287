"""Folders of shards: written under another name and renamed when complete, so that a folder is always complete.

New shards are written into `<folder>.partial`, and each shard is renamed when it is complete. An overwrite moves the
old folder to `<folder>.previous.partial` for the moment between two renames.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.data.place import INSIDE, LOCK, SHARD_NAME, partial_of, place_of, previous_of
from composite_flow.data.shards import OPTIONAL, ShardHeader, read_header, shard_image, shard_name
from composite_flow.errors import FileError
from composite_flow.files.lock import locked


def read_headers(folder: Path, arrays: tuple[str, ...]) -> tuple[ShardHeader, ...]:
    """The headers of a folder's shards, in order, after checking that they belong together and that none is missing.

    Raises:
        FileError: the folder or a shard is missing, damaged, foreign, or belongs to another collection.
    """
    folder = folder.absolute()  # the process may go to another folder before arrays are read
    partial = partial_of(folder)
    if not folder.is_dir():
        hint = f"; {partial} was left unfinished, run the same command again" if partial.is_dir() else ""
        if previous_of(folder).is_dir():
            hint = f"; the data before an interrupted overwrite are in {previous_of(folder)}"
        raise FileError(f"{folder} is not a folder of episodes{hint}.")
    paths = sorted(path for path in folder.glob("episodes-*.h5") if SHARD_NAME.fullmatch(path.name))
    if not paths:
        raise FileError(f"{folder} holds no episodes.")
    headers = [read_header(path, arrays) for path in paths]
    first = headers[0]
    total = headers[-1].total
    for number, header in enumerate(headers):
        if header.collection != first.collection or header.total not in (None, total):
            raise FileError(f"{header.path} and {first.path} belong to different collections; keep one of them.")
        if header.number != number:
            raise FileError(_lacking(folder, number, total))
        if header.path.name != shard_name(number):
            raise FileError(f"{header.path} is shard {number}; it was renamed from {shard_name(number)}.")
        if _sizes(header) != _sizes(first):
            raise FileError(f"{header.path} and {first.path} hold arrays of different sizes.")
    if len(headers) != total:
        raise FileError(_lacking(folder, len(headers), total))
    return tuple(headers)


def _sizes(header: ShardHeader) -> dict[str, tuple[int, ...]]:
    """The shape of one step of each array."""
    return {name: shape[1:] for name, shape in header.shapes.items()}


class FolderWriter:
    """Writes a folder of shards under another name, and renames it when it is complete.

    Use it as a context: nobody else writes there until its end. Shards of the same collection that an interrupted
    writer left are kept; `finished` has their headers by number.

    Raises:
        FileError: the folder is in the way, or cannot be written.
    """

    def __init__(self, folder: Path, collection: str, arrays: tuple[str, ...], overwrite: bool = False):
        self.place, self.collection, self.arrays = place_of(folder), collection, arrays
        self.folder, self.partial = self.place.folder, self.place.partial
        self.finished: dict[int, ShardHeader] = {}
        self._held = ExitStack()
        self._held.enter_context(locked(self.place.lock, f"Another process is writing to {folder}; wait for its end."))
        try:
            self._begin(overwrite)
        except BaseException:
            self._held.close()
            raise

    def _begin(self, overwrite: bool) -> None:
        with naming_write_errors(self.folder):
            _recover(self.folder)
            _check_target(self.folder, overwrite)
            self.partial.mkdir(parents=True, exist_ok=True)
            _check_ours(self.partial)
            for path in self.partial.iterdir():
                self._keep_or_remove(path)

    def _keep_or_remove(self, path: Path) -> None:
        """Keep a complete shard of this collection; remove anything else that an interrupted writer left."""
        try:
            header = read_header(path, self.arrays)
        except FileError:
            path.unlink()
            return
        if (header.collection, path.name) == (self.collection, shard_name(header.number)):
            self.finished[header.number] = header
        else:
            path.unlink()

    def write(self, number: int, total: int | None, arrays: dict[str, np.ndarray], description: dict[str, Any]) -> None:
        """Write one shard completely or not at all.

        Args:
            number: the shard's place in the folder.
            total: the number of all shards; None where it is not known before the last shard.
            arrays: the shard's steps.
            description: from `shard_description`.
        """
        written = {name: arrays[name] for name in (*self.arrays, *OPTIONAL) if name in self.arrays or name in arrays}
        image = shard_image(self.collection, number, total, written, description)
        path = self.partial / shard_name(number)
        part = path.with_name(path.name + ".partial")
        try:
            with naming_write_errors(path):
                with open(part, "wb") as file:
                    file.write(image)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
        except FileError:
            part.unlink(missing_ok=True)
            raise

    def write_stream(
        self, parts: Iterable[dict[str, np.ndarray]], description: Callable[[bool], dict[str, Any]]
    ) -> None:
        """Write a shard for each part, one at least, whose number shows at their end.

        Args:
            parts: the steps of each shard.
            description: of a shard; called with whether it is the last one, which tells what all have shown.
        """
        held, number = None, 0
        for arrays in parts:
            if held is not None:
                self.write(number, None, held, description(False))
                number += 1
            held = arrays
        assert held is not None, "logs without steps are refused before"
        self.write(number, number + 1, held, description(True))

    def finish(self) -> None:
        """Rename the complete folder into place; only then is an old one removed."""
        with naming_write_errors(self.folder):
            if self.place.is_fixed:
                _move_within(self.partial, self.folder)
                return
            if self.folder.exists():
                self.folder.rename(previous_of(self.folder))
            self.partial.rename(self.folder)
            shutil.rmtree(previous_of(self.folder), ignore_errors=True)

    def clear(self) -> None:
        """Remove all shards that were written, and begin anew."""
        for path in self.partial.iterdir():
            path.unlink()

    def abandon(self) -> None:
        """Remove all shards that were written."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def __enter__(self) -> "FolderWriter":
        return self

    def __exit__(self, *_: object) -> None:
        """Let others write there; what is not finished stays for the same call again."""
        self._held.close()


def write_folder(
    folder: Path,
    arrays: dict[str, Any],
    required: tuple[str, ...],
    description: dict[str, Any],
    overwrite: bool,
    shard_bytes: int,
) -> None:
    """Write arrays of whole episodes as a folder of shards.

    Args:
        folder: new or empty, or with episodes that may be overwritten.
        arrays: of the same steps; "ends" among them.
        required: the names of those that all episodes have.
        description: of all shards.
        overwrite: replace the episodes there, once the new ones are complete.
        shard_bytes: size of a shard before compression.

    Raises:
        FileError: the folder is in the way, or cannot be written.
    """
    cuts = cuts_at_ends(np.flatnonzero(arrays["ends"]) + 1, sum(array.nbytes for array in arrays.values()), shard_bytes)
    with new_folder(folder, required, overwrite) as writer:
        for number, (first, stop) in enumerate(pairwise(cuts)):
            part = {name: array[first:stop] for name, array in arrays.items()}
            writer.write(number, len(cuts) - 1, part, description)


@contextmanager
def new_folder(folder: Path, required: tuple[str, ...], overwrite: bool) -> Iterator[FolderWriter]:
    """Yields the writer of a folder that is in place once all went well, and of which nothing is left otherwise.

    Raises:
        FileError: the folder is in the way, or cannot be written.
    """
    with FolderWriter(folder, uuid.uuid4().hex, required, overwrite) as writer:
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.abandon()
            raise


def cuts_at_ends(stops: np.ndarray, num_bytes: int, shard_bytes: int) -> list[int]:
    """The steps at which a shard starts, and the number of all steps; `stops` are one past each episode's last step."""
    num_steps, cuts, start = int(stops[-1]), [0], 0
    most = shard_bytes // max(1, num_bytes // num_steps)
    for stop in stops.tolist():
        if stop - cuts[-1] > most and start > cuts[-1]:
            cuts.append(start)
        start = stop
    return [*cuts, num_steps]


def _lacking(folder: Path, number: int, total: int | None) -> str:
    """The message about a missing shard."""
    among = "" if total is None else f" of {total}"
    return f"{folder} lacks shard {number}{among}, {shard_name(number)}."


def _move_within(partial: Path, folder: Path) -> None:
    """Put complete shards in the place of old ones; the first is removed first and the last comes last."""
    for path in sorted(path for path in folder.iterdir() if SHARD_NAME.fullmatch(path.name)):
        path.unlink()
    for path in sorted(partial.iterdir()):
        path.rename(folder / path.name)
    partial.rmdir()


def _recover(folder: Path) -> None:
    """Repair an overwrite that was killed between its two renames.

    The old data are put back, or removed where the new data are in place.
    """
    previous = previous_of(folder)
    if previous.is_dir():
        if folder.exists():
            shutil.rmtree(previous)
        else:
            previous.rename(folder)


def _check_target(folder: Path, overwrite: bool) -> None:
    """Refuse a target that exists, unless it holds nothing but episodes that may be overwritten."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileError(f"{folder} is a file; choose another folder.")
    _check_ours(folder)
    if any(SHARD_NAME.fullmatch(path.name) for path in folder.iterdir()) and not overwrite:
        raise FileError(f"{folder} already holds episodes; choose another folder, or ask to overwrite it.")


def _check_ours(folder: Path) -> None:
    """Refuse a folder that holds anything but shards: it must not be replaced."""
    for path in folder.iterdir():
        if not SHARD_NAME.fullmatch(path.name) and path.name not in (INSIDE, LOCK):
            raise FileError(f"{folder} holds something other than episodes, {path.name}; choose another folder.")


@contextmanager
def naming_write_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system, while `path` is written, into a `FileError` that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FileError(f"The disk is full: {path} could not be written; free some space and try again.") from error
        raise FileError(f"{path} could not be written: {error.strerror or error}.") from error
