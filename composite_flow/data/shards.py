"""Shards: episodes on disk, in a folder of HDF5 files of whole episodes, `episodes-00000.h5` and so on.

Each shard describes itself. Its root attributes give the format, the format's version, the collection that the shard
belongs to, its number, and the number of all shards (0 where only the last shard knows it). The text `description` is
JSON with the names and scaling of the state's features, the problem, the policy, what the columns mean, and the library
versions. Each array is a checksummed data set. Format 2 adds arrays that only some episodes have (`OPTIONAL`), actions
with components, rewards of each agent, and states in 64 bits; format 1 is read as well.
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
from composite_flow.files.seal import BLOCK, seal

SHARD_FORMAT = "composite-flow episodes"
SHARD_FORMAT_VERSION = 2
READ_VERSIONS = (1, 2)
OPTIONAL = ("alive", "known", "truncations")
"""Arrays that only some episodes have."""
SHARD_BYTES = 64 * 2**20
"""Size of a shard before compression."""
CHUNK_BYTES = 2**18
"""Size of the pieces that HDF5 compresses and reads at once."""
MOST_RUNS = 32
"""Rows in more runs than this are read as one range: a read costs more than the unneeded rows in between."""


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says about itself, without its arrays.

    Attributes:
        path: the shard's file.
        collection: a digest by which shards of one collection recognise each other.
        number: the shard's place in the folder.
        total: the number of all shards; None where only the last shard knows it.
        description: from `episodes.shard_description`.
        shapes: the shape of each array.
        dtypes: the type of each array.
    """

    path: Path
    collection: str
    number: int
    total: int | None
    description: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, np.dtype]

    @property
    def num_steps(self) -> int:
        """Number of steps in the shard."""
        return next(iter(self.shapes.values()))[0]


@dataclass(frozen=True, eq=False)
class ShardedArray:
    """An array that is read from its shards when it is indexed, by a slice or by an array of rows of any shape.

    Attributes:
        name: the array's name in each shard.
        headers: the headers of the shards, in order.
    """

    name: str
    headers: tuple[ShardHeader, ...]

    @property
    def stops(self) -> Int[np.ndarray, " shards"]:
        """One past each shard's last row."""
        return np.cumsum([header.shapes[self.name][0] for header in self.headers])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return (int(self.stops[-1]), *self.headers[0].shapes[self.name][1:])

    @property
    def dtype(self) -> np.dtype:
        """Type of the array's elements."""
        return np.result_type(*(header.dtypes[self.name] for header in self.headers))

    @property
    def nbytes(self) -> int:
        """Memory of the whole array."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            return self._read(np.arange(len(self))[rows])
        wanted, place = np.unique(rows, return_inverse=True)
        return self._read(wanted)[place.reshape(np.shape(rows))]

    def _read(self, rows: Int[np.ndarray, " rows"]) -> np.ndarray:
        """Read these rows, whose numbers ascend."""
        stops, parts = self.stops, [np.zeros((0, *self.shape[1:]), self.dtype)]
        for header, first, stop in zip(self.headers, np.concatenate([[0], stops[:-1]]), stops, strict=True):
            local = rows[np.searchsorted(rows, first) : np.searchsorted(rows, stop)] - first
            if len(local):
                parts.append(_read_rows(header, self.name, local))
        return np.concatenate(parts)


def _read_rows(header: ShardHeader, name: str, rows: Int[np.ndarray, " rows"]) -> np.ndarray:
    """Read rows of one array of a shard: run by run, or as one range where they are scattered."""
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    with reading_hdf5(header.path) as file:
        if file.attrs["collection"] != header.collection:
            raise FileError(f"{header.path} was replaced by other episodes since it was opened; load the folder again.")
        data = _dataset(file, name)
        if len(runs) <= MOST_RUNS:
            return np.concatenate([data[run[0] : run[-1] + 1] for run in runs])
        return data[rows[0] : rows[-1] + 1][rows - rows[0]]


def read_header(path: Path, arrays: tuple[str, ...]) -> ShardHeader:
    """Read the header of a shard.

    Raises:
        FileError: the file is damaged, or is not a shard of this format.
    """
    with reading_hdf5(path) as file:
        attributes: dict[str, Any] = dict(file.attrs)
        if attributes.get("format") != SHARD_FORMAT:
            raise FileError(f"{path} is an HDF5 file, but not a shard of episodes.")
        if attributes["format_version"] not in READ_VERSIONS:
            raise FileError(
                f"{path} has format version {file.attrs['format_version']}, but this library reads "
                f"{' and '.join(map(str, READ_VERSIONS))}; use the library's version that wrote it."
            )
        sets = {name: _dataset(file, name) for name in (*arrays, *(name for name in OPTIONAL if name in file))}
        if len({data.shape[0] for data in sets.values()}) != 1:
            raise FileError(f"{path} is damaged: its arrays have different numbers of steps.")
        return ShardHeader(
            path=path,
            collection=str(attributes["collection"]),
            number=int(attributes["shard"]),
            total=int(attributes["num_shards"]) or None,
            description=json.loads(_dataset(file, "description")[()]),
            shapes={name: data.shape for name, data in sets.items()},
            dtypes={name: data.dtype for name, data in sets.items()},
        )


def _dataset(file: Any, name: str) -> Any:
    """The data set (`h5py.Dataset`) of this name in a shard (`h5py.File`); raises KeyError where there is none."""
    import h5py

    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise KeyError(name)
    return data


def shard_image(
    collection: str, number: int, total: int | None, arrays: dict[str, np.ndarray], description: dict[str, Any]
) -> bytes:
    """The bytes of a shard's file, built in memory, so that HDF5 never writes to a full disk itself."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110"), userblock_size=BLOCK) as file:
        file.attrs.update(format=SHARD_FORMAT, format_version=SHARD_FORMAT_VERSION)
        file.attrs.update(collection=collection, shard=number, num_shards=total or 0)
        file["description"] = _json({**description, "versions": _versions()})
        for name, array in arrays.items():
            rows = max(1, CHUNK_BYTES * len(array) // max(1, array.nbytes))
            chunks = (min(len(array), rows), *array.shape[1:])
            packed = {"chunks": chunks, "shuffle": True, "compression": 1, "fletcher32": True} if array.size else {}
            file.create_dataset(name, data=array, **packed)
    seal(buffer)
    return buffer.getvalue()  # no view of it: a buffer that is viewed complains when both are collected as garbage


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"episodes-{number:05d}.h5"


def _versions() -> dict[str, str]:
    """The versions of the libraries that the episodes depend on."""
    return {name: version(name) for name in ("jax", "numpy", "h5py")}


def _json(description: dict[str, Any]) -> str:
    """The description as JSON text."""
    try:
        return json.dumps(description)
    except (TypeError, ValueError) as error:
        raise InputError(f"The problem's description cannot be written as JSON: {error}.") from error
