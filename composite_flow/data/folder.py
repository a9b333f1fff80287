"""Folders of shards: written under another name and renamed when complete, so that a folder is always complete.

New shards are written into `<folder>.partial`, and each shard is renamed when it is complete. An overwrite moves the
old folder to `<folder>.previous.partial` for the moment between two renames.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.data.shards import ShardHeader, read_header, shard_image, shard_name
from composite_flow.errors import FileError

_NAME = re.compile(r"episodes-\d{5}\.h5(\.partial)?")


def read_headers(folder: Path, arrays: tuple[str, ...]) -> tuple[ShardHeader, ...]:
    """The headers of a folder's shards, in order, after checking that they belong together and that none is missing.

    Raises:
        FileError: the folder or a shard is missing, damaged, foreign, or belongs to another collection.
    """
    partial = _partial(folder)
    if not folder.is_dir():
        hint = f"; {partial} was left unfinished, run the same command again" if partial.is_dir() else ""
        hint = (
            f"; the data before an interrupted overwrite are in {_previous(folder)}"
            if _previous(folder).is_dir()
            else hint
        )
        raise FileError(f"{folder} is not a folder of episodes{hint}.")
    paths = sorted(path for path in folder.glob("episodes-*.h5") if _NAME.fullmatch(path.name))
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
        if any(header.shapes[name][1:] != first.shapes[name][1:] for name in arrays):
            raise FileError(f"{header.path} and {first.path} hold arrays of different sizes.")
    if len(headers) != total:
        raise FileError(_lacking(folder, len(headers), total))
    return tuple(headers)


class FolderWriter:
    """Writes a folder of shards under another name, and renames it when it is complete.

    Shards of the same collection that an interrupted writer left are kept; `finished` has their headers by number.

    Raises:
        FileError: the folder is in the way, or cannot be written.
    """

    def __init__(self, folder: Path, collection: str, arrays: tuple[str, ...], overwrite: bool = False):
        self.folder, self.collection, self.arrays = folder, collection, arrays
        self.partial = _partial(folder)
        self.finished: dict[int, ShardHeader] = {}
        with naming_write_errors(folder):
            _recover(folder)
            _check_target(folder, overwrite)
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
        image = shard_image(self.collection, number, total, {name: arrays[name] for name in self.arrays}, description)
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

    def finish(self) -> None:
        """Rename the complete folder into place; only then is an old one removed."""
        with naming_write_errors(self.folder):
            if self.folder.exists():
                self.folder.rename(_previous(self.folder))
            self.partial.rename(self.folder)
            shutil.rmtree(_previous(self.folder), ignore_errors=True)

    def abandon(self) -> None:
        """Remove all shards that were written."""
        shutil.rmtree(self.partial, ignore_errors=True)


def _lacking(folder: Path, number: int, total: int | None) -> str:
    """The message about a missing shard."""
    among = "" if total is None else f" of {total}"
    return f"{folder} lacks shard {number}{among}, {shard_name(number)}."


def _partial(folder: Path) -> Path:
    return folder.with_name(folder.name + ".partial")


def _previous(folder: Path) -> Path:
    return folder.with_name(folder.name + ".previous.partial")


def _recover(folder: Path) -> None:
    """Repair an overwrite that was killed between its two renames.

    The old data are put back, or removed where the new data are in place.
    """
    if _previous(folder).is_dir():
        if folder.exists():
            shutil.rmtree(_previous(folder))
        else:
            _previous(folder).rename(folder)


def _check_target(folder: Path, overwrite: bool) -> None:
    """Refuse a target that exists, unless it holds nothing but episodes that may be overwritten."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileError(f"{folder} is a file; choose another folder.")
    _check_ours(folder)
    if any(folder.iterdir()) and not overwrite:
        raise FileError(f"{folder} already holds episodes; choose another folder, or ask to overwrite it.")


def _check_ours(folder: Path) -> None:
    """Refuse a folder that holds anything but shards: it must not be replaced."""
    for path in folder.iterdir():
        if not _NAME.fullmatch(path.name):
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
