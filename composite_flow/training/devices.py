"""Training on several devices and hosts: each device computes its part of a batch and holds a copy of all else.

All devices of all processes form one mesh with a single axis, "batch". The random numbers of a step do not depend on
the mesh. So the learning curve is that of one device, up to rounding in the sums over a batch.

With several processes, each one first calls `hosts.join_hosts`. Then all run the same program on the same data, with
one run folder that all can read. The first process measures the time for all of them, and writes the files.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from composite_flow.errors import InputError


def mesh_of_all(batch: int) -> Mesh | None:
    """The mesh of all devices of all processes, with the axis "batch"; None if there is only one device.

    Args:
        batch: number of pairs in a batch, which is split over the devices.

    Raises:
        InputError: the batch does not split evenly.
    """
    devices = jax.devices()
    if batch % len(devices):
        raise InputError(
            f"A batch of {batch} does not split evenly over {len(devices)} devices; choose a multiple, or let JAX see "
            "fewer devices (CUDA_VISIBLE_DEVICES)."
        )
    return None if len(devices) == 1 else Mesh(np.asarray(devices), ("batch",))


def on_all(tree: Any, mesh: Mesh | None) -> Any:
    """A copy of the pytree's arrays on every device. All processes must call it with the same values."""
    if mesh is None:
        return tree
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: _copied(leaf, whole) if eqx.is_array(leaf) else leaf, tree)


def on_one(tree: Any, mesh: Mesh | None) -> Any:
    """The inverse of `on_all`: the copy on the first device of this process."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if eqx.is_array(leaf) else leaf, tree)


def split(batch: Any, mesh: Mesh | None) -> Any:
    """Inside a compiled function: divide the first axis of each array among the devices."""
    return batch if mesh is None else _placed(batch, NamedSharding(mesh, PartitionSpec("batch")))


def whole(tree: Any, mesh: Mesh | None) -> Any:
    """Inside a compiled function: give each device all of each array."""
    return tree if mesh is None else _placed(tree, NamedSharding(mesh, PartitionSpec()))


def from_first_process(value: float) -> float:
    """The value that the first process gave, returned in every process; float32 if there are several."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float32(value)))


def in_any_process(flag: bool) -> bool:
    """Whether the flag is set in at least one process."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def is_first_process() -> bool:
    """Whether this process writes the files."""
    return jax.process_index() == 0


def texts_of_all(text: str) -> list[str]:
    """Every process's text, in the order of the processes."""
    if jax.process_count() == 1:
        return [text]
    own = np.frombuffer(text.encode(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.asarray(len(own))))
    padded = np.zeros(max(1, *sizes), np.uint8)
    padded[: len(own)] = own
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


def _copied(leaf: jax.Array, sharding: NamedSharding) -> jax.Array:
    """The array with this sharding. Unlike `jax.device_put`, it does not compare the values of all processes."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_copied(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    """Constrain the sharding of the pytree's arrays, inside a compiled function."""
    return jax.tree.map(
        lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding) if eqx.is_array(leaf) else leaf, tree
    )
