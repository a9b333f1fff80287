"""Shards: episodes on disk, a folder of HDF5 files of whole episodes, `episodes-00000.h5` and on.

Each shard describes itself: root attributes give the format, its version, the collection that the shard belongs to,
its number and how many there are (0 where only the last one knows); the text `description` is JSON with the names and
scaling of the state's features, the problem, the policy and the library versions; one checksummed data set per array.
"""

import io
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from composite_flow.errors import FileError, InputError
from composite_flow.files.hdf5 import reading_hdf5

FORMAT = "composite-flow episodes"
FORMAT_VERSION = 1
SHARD_BYTES = 64 * 2**20
"""Size that shards are cut to, before compression."""
CHUNK_BYTES = 2**18
"""Size of the pieces that HDF5 compresses and reads at once."""
MOST_RUNS = 32
"""More scattered rows than this are read as one range: a read costs more than the rows between."""


@dataclass(frozen=True)
class Header:
    """What a shard says of itself, but for its arrays; `total` is None where only the last shard knows it."""

    path: Path
    collection: str
    number: int
    total: int | None
    description: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype]

    @property
    def num_steps(self) -> int:
        """Rows of its arrays."""
        return next(iter(self.shapes.values()))[0]


@dataclass(frozen=True, eq=False)
class ShardedArray:
    """An array that is read from its shards when it is indexed: by a slice or by an array of rows of any shape.

    Attributes:
        name: of the array in each shard.
        headers: of the shards, in order.
    """

    name: str
    headers: tuple[Header, ...]

    @property
    def stops(self) -> Int[np.ndarray, " shards"]:
        """One past each shard's last row."""
        return np.cumsum([header.shapes[self.name][0] for header in self.headers])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""
        return (int(self.stops[-1]), *self.headers[0].shapes[self.name][1:])

    @property
    def dtype(self) -> np.dtype:
        """Of the whole array."""
        return self.headers[0].dtypes[self.name]

    @property
    def nbytes(self) -> int:
        """Memory that the whole array takes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            return self._read(np.arange(len(self))[rows])
        wanted, place = np.unique(rows, return_inverse=True)
        return self._read(wanted)[place.reshape(np.shape(rows))]

    def _read(self, rows: Int[np.ndarray, " rows"]) -> np.ndarray:
        """These rows, which ascend."""
        stops, parts = self.stops, [np.zeros((0, *self.shape[1:]), self.dtype)]
        for header, first, stop in zip(self.headers, np.concatenate([[0], stops[:-1]]), stops, strict=True):
            local = rows[np.searchsorted(rows, first) : np.searchsorted(rows, stop)] - first
            if len(local):
                parts.append(_read_rows(header, self.name, local))
        return np.concatenate(parts)


def _read_rows(header: Header, name: str, rows: Int[np.ndarray, " rows"]) -> np.ndarray:
    """Rows of one array of a shard: run by run, or as one range where they are scattered."""
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    with reading_hdf5(header.path) as file:
        if file.attrs["collection"] != header.collection:
            raise FileError(f"{header.path} was replaced by other episodes since it was opened; load the folder again.")
        data = _dataset(file, name)
        if len(runs) <= MOST_RUNS:
            return np.concatenate([data[run[0] : run[-1] + 1] for run in runs])
        return data[rows[0] : rows[-1] + 1][rows - rows[0]]


def read_header(path: Path, arrays: tuple[str, ...]) -> Header:
    """What a shard says of itself.

    Raises:
        FileError: it is damaged, or no shard of this format.
    """
    with reading_hdf5(path) as file:
        attributes: dict[str, Any] = dict(file.attrs)
        if attributes.get("format") != FORMAT:
            raise FileError(f"{path} is an HDF5 file, but not a shard of episodes.")
        if attributes["format_version"] != FORMAT_VERSION:
            raise FileError(
                f"{path} has format version {file.attrs['format_version']}, but this library reads {FORMAT_VERSION}; "
                f"use the library's version that wrote it."
            )
        sets = {name: _dataset(file, name) for name in arrays}
        if len({data.shape[0] for data in sets.values()}) != 1:
            raise FileError(f"{path} is damaged: its arrays have different numbers of steps.")
        return Header(
            path=path,
            collection=str(attributes["collection"]),
            number=int(attributes["shard"]),
            total=int(attributes["num_shards"]) or None,
            description=json.loads(_dataset(file, "description")[()]),
            shapes={name: data.shape for name, data in sets.items()},
            dtypes={name: data.dtype for name, data in sets.items()},
        )


def _dataset(file: Any, name: str) -> Any:
    """A data set (`h5py.Dataset`) of a shard (`h5py.File`); KeyError where there is none."""
    import h5py

    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise KeyError(name)
    return data


def shard_image(
    collection: str, number: int, total: int | None, arrays: dict[str, np.ndarray], description: dict[str, Any]
) -> memoryview:
    """A shard's bytes: built in memory, so that a full disk meets plain file writes and never HDF5."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION)
        file.attrs.update(collection=collection, shard=number, num_shards=total or 0)
        file["description"] = _json({**description, "versions": _versions()})
        for name, array in arrays.items():
            rows = max(1, CHUNK_BYTES * len(array) // max(1, array.nbytes))
            chunks = (min(len(array), rows), *array.shape[1:])
            file.create_dataset(name, data=array, chunks=chunks, shuffle=True, compression=1, fletcher32=True)
    return buffer.getbuffer()


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"episodes-{number:05d}.h5"


def _versions() -> dict[str, str]:
    """Of the libraries that the episodes depend on."""
    return {name: version(name) for name in ("jax", "numpy", "h5py")}


def _json(description: dict[str, Any]) -> str:
    """As text; raises where it cannot be."""
    try:
        return json.dumps(description)
    except (TypeError, ValueError) as error:
        raise InputError(f"The problem's description cannot be written as JSON: {error}.") from error
