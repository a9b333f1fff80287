"""Models and training states on disk: one safetensors file each, whole or not there at all.

The arrays of a pytree are stored under their tree paths. The file's metadata holds a JSON description (what the
file is, format version, library versions, whatever the caller adds) and a checksum over description and arrays, which
is compared before anything is parsed. A description that is too long for the metadata is stored as an array of bytes. A
file is written in a folder `*.partial`, flushed to the disk and renamed into place, so that a reader or a run that was
killed never finds half of one. The folder is there because safetensors writes to temporary files of its own beside the
file: what a killed run leaves of them is found and removed with it.
"""

import importlib.metadata
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from composite_flow.errors import FileError
from composite_flow.files.lock import locked

FORMAT_VERSION = 1
_LONGEST = 16 * 2**20  # characters of a description within the metadata, which must stay below 100 MB
_TEXT = "description as bytes"
_LIBRARIES = ("composite-flow", "jax", "equinox", "optax")


def save_checkpoint(
    path: str | os.PathLike, tree: Any, description: dict[str, Any] | None = None, overwrite: bool = False
) -> None:
    """Write the arrays of a pytree and a description into one file, in one step.

    Args:
        path: the file; its folder is made if there is none.
        tree: any pytree; leaves that are not arrays are left out, random keys are stored as their data.
        description: anything that JSON can hold; "format_version" and "versions" are added.
        overwrite: whether a file that is already there may be replaced.

    Raises:
        FileError: the file is in the way, or cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    text = json.dumps({**(description or {}), "format_version": FORMAT_VERSION, "versions": _versions()})
    arrays = {name: _to_numpy(leaf) for name, leaf in _named_arrays(tree).items()}
    metadata = {"composite_flow": text}
    if len(text) > _LONGEST:
        arrays[_TEXT], metadata["composite_flow"] = np.frombuffer(text.encode(), np.uint8), _TEXT
    metadata["checksum"] = _checksum(metadata["composite_flow"], arrays)
    with locked(path.with_name(path.name + ".lock")):  # of two who save, the second one waits
        if path.exists() and not overwrite:
            raise FileError(f"{path} exists already; choose another path or allow overwriting.")
        _write(path, arrays, metadata)


def _write(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """The file, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        _remove(partial)
        partial.mkdir(parents=True)
        written = partial / path.name
        save_file(arrays, written, metadata)
        written.chmod(partial.stat().st_mode & 0o666)  # as the umask has it; safetensors lets only the owner read
        _flush(written)
        os.replace(written, path)
        _remove(partial)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        _remove(partial)
        raise FileError(f"{path} could not be written: {error}.") from error


def load_description(path: str | os.PathLike) -> dict[str, Any]:
    """The description of a checkpoint, without its arrays.

    Raises:
        FileError: the file is missing, damaged, foreign or of a newer format.
    """
    return _read(path)[0]


def array_shapes(path: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """The shapes of a checkpoint's arrays by their tree paths, without reading them.

    Raises:
        FileError: the file is missing, damaged or foreign.
    """
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys() if name != _TEXT}


def load_checkpoint(path: str | os.PathLike, like: Any) -> Any:
    """Read a pytree back.

    Args:
        path: the file.
        like: a pytree of the same structure, shapes and types; its arrays may be `jax.ShapeDtypeStruct`s. All that
            is not an array is taken from it.

    Raises:
        FileError: the file is missing, damaged or foreign, or its arrays are not those of `like`.
    """
    expected, arrays = _named_arrays(like), _read(path)[1]
    if set(arrays) != set(expected):
        name = min(set(arrays) ^ set(expected))
        raise FileError(f"{path} {'lacks' if name in expected else 'has an unexpected'} array {name!r}.")
    leaves = {name: _from_numpy(path, name, arrays[name], leaf) for name, leaf in expected.items()}
    return jax.tree_util.tree_map_with_path(lambda place, leaf: leaves.get(_name(place), leaf), like)


def _versions() -> dict[str, str]:
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
            versions[library] = "unknown"
    return versions


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, np.ndarray | jax.ShapeDtypeStruct)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _name(place: tuple) -> str:
    return jax.tree_util.keystr(place, simple=True, separator="/")


def _named_arrays(tree: Any) -> dict[str, Any]:
    return {_name(place): leaf for place, leaf in jax.tree_util.tree_leaves_with_path(tree) if _is_array(leaf)}


def _to_numpy(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf, order="C")


def _from_numpy(path: str | os.PathLike, name: str, array: np.ndarray, leaf: Any) -> Any:
    if _is_key(leaf):
        implementation = jax.random.key_impl(leaf) if isinstance(leaf, jax.Array) else None
        return jax.random.wrap_key_data(jnp.asarray(array), impl=implementation)
    if array.shape != leaf.shape or array.dtype != leaf.dtype:
        found, wanted = f"{array.dtype}{list(array.shape)}", f"{leaf.dtype}{list(leaf.shape)}"
        raise FileError(f"{path} holds {found} as array {name!r} where {wanted} is needed.")
    return array if isinstance(leaf, np.ndarray) else jnp.asarray(array)


def _checksum(text: str, arrays: dict[str, np.ndarray]) -> str:
    checksum = zlib.crc32(text.encode())
    for name in sorted(arrays):
        checksum = zlib.crc32(arrays[name].reshape(-1).view(np.uint8).data, checksum)
    return f"{checksum:08x}"


def _read(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the arrays, once the checksum is known to be right."""
    with _opened(path) as file:
        metadata = file.metadata() or {}
        if "composite_flow" not in metadata:
            raise FileError(f"{path} is not a file of composite-flow.")
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    if metadata.get("checksum") != _checksum(metadata["composite_flow"], arrays):
        raise FileError(f"{path} is damaged: its checksum does not match its content.")
    text = metadata["composite_flow"]
    if text == _TEXT and _TEXT in arrays:
        text = arrays.pop(_TEXT).tobytes().decode()
    return _description(path, text), arrays


def _description(path: str | os.PathLike, text: str) -> dict[str, Any]:
    try:
        description = json.loads(text)
        version = description["format_version"]
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path} is not a file of composite-flow.") from error
    if version != FORMAT_VERSION:
        raise FileError(f"{path} has format version {version}; this library reads version {FORMAT_VERSION}.")
    return description


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Any]:
    if not Path(path).is_file():
        raise FileError(f"{path} does not exist.")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise FileError(f"{path} is damaged or not a safetensors file: {error}.") from error


def _flush(path: Path) -> None:
    """Have the operating system write a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(partial: Path) -> None:
    """Remove what a writer left, a folder or (before version 0.2) a file; what cannot be removed stays."""
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        return
    with suppress(OSError):
        partial.unlink(missing_ok=True)
