"""Vaults: OG-MARL's data sets in Flashbax's format, opened part by part and read in pieces.

A vault is a folder with `metadata.json`, which lists its parts and their shapes, and a store with one Zarr array
(batch, time, …) for each part. The array `vault_index` says how many time steps are written. Flashbax's own reader
loads a vault whole into memory. Here each part is read in pieces, and the store's library (tensorstore) is enough.

OG-MARL has written two layouts, and both are read. Since February 2024 agents are an axis:

    observations           (batch, time, agents, …)     other than flat ones, such as images, are flattened
    actions                (batch, time, agents)        whole numbers
    rewards                (batch, time, agents)        optional
    terminals, truncations (batch, time, agents)        one of them is enough
    infos.state            (batch, time, state)
    infos.legals           (batch, time, agents, actions)   optional
    mask or infos.mask     (batch, time)                optional

In earlier vaults, and in those of its `ExperienceRecorder`, each of these but the state is a folder with one part for
each agent: `observations.agent_0` (batch, time, …), and so on. The agents' axis can also be missing where all agents
have the same value.
"""

import json
import math
import re
from ast import literal_eval
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.errors import FileError, InputError

METADATA_FILE = "metadata.json"
STORE_FILE = "manifest.ocdbt"
VAULT_FORMAT_VERSION = 1
"""The integer part of Flashbax's version number; versions 1.0 to 1.2 differ only in their compression."""


@dataclass(frozen=True, eq=False)
class VaultPart:
    """One part of a vault: one array, or one for each agent.

    Attributes:
        folder: the vault's folder.
        name: the part's name, such as `infos.state`.
        stores: the open arrays.
        shapes: the shape of one step of each array.
        agents: the agents' names, in order; None where the part is one array.
    """

    folder: Path
    name: str
    stores: tuple[Any, ...]
    shapes: tuple[tuple[int, ...], ...]
    agents: tuple[str, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one step, with the agents' axis where there is one; agents with fewer features are padded."""
        if self.agents is None:
            return self.shapes[0]
        widest = np.max(np.asarray(self.shapes, int).reshape(len(self.shapes), -1), axis=0)
        return (len(self.agents), *widest.tolist())

    def read(self, row: int, first: int, stop: int) -> np.ndarray:
        """Read steps of one row of the batch; agents with fewer features are padded with zeros."""
        with _reading(self.folder, self.name):
            arrays = [store[row, first:stop].read().result() for store in self.stores]
        if self.agents is None:
            return arrays[0]
        out = np.zeros((stop - first, *self.shape), arrays[0].dtype)
        for agent, array in enumerate(arrays):
            out[(slice(None), agent, *(slice(size) for size in array.shape[1:]))] = array
        return out


@dataclass(frozen=True, eq=False)
class Vault:
    """An open vault.

    Attributes:
        path: the vault's folder.
        name: the name of the set of vaults to which it belongs, such as `zerg_5_vs_5`.
        uid: the vault's own name in that set, such as `Good`.
        version: the version of the format.
        num_steps: length of the time axis, as far as it is written.
        shapes: the shapes of its arrays, by their dotted names.
        metadata: what the vault's writer has added.
    """

    path: Path
    name: str
    uid: str
    version: float
    num_steps: int
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, Any]

    @property
    def num_rows(self) -> int:
        """Length of the batch axis."""
        return next(iter(self.shapes.values()))[0]

    @property
    def listed(self) -> str:
        """The names of the vault's arrays, without the agents' numbers."""
        return ", ".join(dict.fromkeys(re.sub(r"\d+$", "*", name) for name in self.shapes))

    def find(self, name: str) -> VaultPart | None:
        """Open the part of this name, if there is one; agents are sorted by number, so agent_10 follows agent_9."""
        leaves = sorted((leaf for leaf in self.shapes if leaf == name or leaf.startswith(f"{name}.")), key=_numbers_in)
        if not leaves:
            return None
        agents = None if leaves == [name] else tuple(leaf.removeprefix(f"{name}.") for leaf in leaves)
        steps = tuple(self.shapes[leaf][2:] for leaf in leaves)
        if len({len(shape) for shape in steps}) > 1:
            raise FileError(f"{self.path}: the arrays of {name}, {', '.join(agents or ())}, differ in their axes.")
        if any(self.shapes[leaf][0] != self.num_rows for leaf in leaves):
            raise FileError(f"{self.path}: {name} differs from other parts in the length of its batch axis.")
        with _reading(self.path, name):
            return VaultPart(
                self.path, name, tuple(_open_store(self.path, f"{leaf}.") for leaf in leaves), steps, agents
            )

    def need(self, name: str) -> VaultPart:
        """Open the part of this name, which must exist."""
        part = self.find(name)
        if part is None:
            raise FileError(f"{self.path} lacks the part {name}, or names it differently; it holds {self.listed}.")
        return part


def open_vault(path: Path, uid: str | None = None) -> Vault:
    """Open a vault for reading.

    Args:
        path: the vault's folder, or a folder of several vaults, of which `uid` names one.
        uid: needed where there are several; the newest of `Good` and `Poor` would be no sensible default.

    Raises:
        FileError: there is no vault, or it is damaged or of an unknown version.
        InputError: it is not clear which vault is meant, or tensorstore is missing.
    """
    folder = _choose(path, uid)
    metadata = _metadata(folder)
    shapes = dict(_leaves(folder, metadata["structure_shape"]))
    if not shapes:
        raise FileError(f"{folder / METADATA_FILE} tells of no parts; the vault is empty.")
    with _reading(folder, "vault_index"):
        num_steps = int(_open_store(folder, "vault_index").read().result()[0])
    known = ("version", "structure_shape", "structure_dtype")
    return Vault(
        path=folder,
        name=folder.parent.name.removesuffix(".vlt"),
        uid=folder.name,
        version=float(metadata["version"]),
        num_steps=num_steps,
        shapes=shapes,
        metadata={name: value for name, value in metadata.items() if name not in known},
    )


def _choose(path: Path, uid: str | None) -> Path:
    """The folder of the one vault that is meant."""
    if path.is_file():
        hint = "unpack it first" if path.suffix == ".zip" else "give the folder of the vault"
        raise FileError(f"{path} is a file, not a vault; {hint}.")
    if not path.is_dir():
        raise FileError(f"{path} does not exist.")
    if (path / METADATA_FILE).is_file():
        if uid not in (None, path.name):
            raise InputError(f"{path} is the vault '{path.name}' itself, not '{uid}'; leave out one of the two.")
        return path.resolve()
    uids = sorted(folder.name for folder in path.iterdir() if (folder / METADATA_FILE).is_file())
    if not uids:
        raise FileError(f"{path} is no vault: neither it nor a folder in it holds a {METADATA_FILE}.")
    if uid is None and len(uids) > 1:
        raise InputError(f"{path} holds several vaults, {', '.join(uids)}; choose one with --uid.")
    if uid is not None and uid not in uids:
        raise InputError(f"{path} holds no vault '{uid}': there are {', '.join(uids)}.")
    return (path / (uids[0] if uid is None else uid)).resolve()


def _metadata(folder: Path) -> dict[str, Any]:
    """Read a vault's metadata, and check that its version is known."""
    path = folder / METADATA_FILE
    try:
        metadata = json.loads(path.read_text())
        version, structure = float(metadata["version"]), metadata["structure_shape"]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path} is damaged or foreign: it is not the metadata of a vault ({error!r}).") from error
    if not isinstance(structure, dict):
        raise FileError(f"{path} tells of one array instead of named parts; OG-MARL's vaults hold named parts.")
    if math.floor(version) != VAULT_FORMAT_VERSION:
        raise FileError(
            f"{path} is of version {version} of the format, but versions {VAULT_FORMAT_VERSION}.x are read here."
        )
    if not (folder / STORE_FILE).is_file():
        raise FileError(f"{folder} is not whole: it lacks {STORE_FILE}, the index of its arrays.")
    return metadata


def _leaves(folder: Path, structure: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    """Dotted names and shapes of a vault's arrays."""
    for name, value in structure.items():
        if isinstance(value, dict):
            yield from _leaves(folder, value, f"{prefix}{name}.")
            continue
        try:
            shape = tuple(int(size) for size in literal_eval(value))
        except (ValueError, TypeError, SyntaxError) as error:
            raise FileError(f"{folder / METADATA_FILE} is damaged: {prefix}{name} has the shape {value!r}.") from error
        if len(shape) < 2:
            raise FileError(f"{folder / METADATA_FILE} is damaged: {prefix}{name} lacks the axes of batch and time.")
        yield f"{prefix}{name}", shape


def _numbers_in(name: str) -> list[tuple[int, str]]:
    """A key for sorting names so that numbers in them are compared by value."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", name)]


def _open_store(folder: Path, name: str) -> Any:
    """Open an array of a vault for reading."""
    try:
        import tensorstore  # pyright: ignore[reportMissingImports] (an extra)
    except ImportError as error:
        raise InputError(f"Vaults need tensorstore ({error}): install composite-flow[ogmarl].") from error
    place = {"driver": "ocdbt", "base": f"file://{folder}", "path": name}
    return tensorstore.open({"driver": "zarr", "kvstore": place}, open=True, read=True).result()


@contextmanager
def _reading(folder: Path, name: str) -> Iterator[None]:
    """Turn any error of the store into a `FileError` that names the vault and the part."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        reason = str(error).partition(" [")[0]  # a specification of several lines follows
        raise FileError(f"{folder}: the part {name} cannot be read; damaged, or out of reach ({reason}).") from error
