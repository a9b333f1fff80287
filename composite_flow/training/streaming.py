"""Training data that do not fit into memory: one random share of them after another, the next read meanwhile.

The share of a step depends on the key and the step's number alone, however a run was cut.
"""

import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.training.loss import Pairs, sample_pairs

_PROBE = 4096  # pairs that fix the range of the histories and tell one data set from another


class DataStream:
    """The pairs in memory at each step: all there are, or a share that changes every so many steps.

    A thread reads the next share while the present one is trained on, so that two are in memory. Used as a context,
    which waits for that thread at its end.
    """

    def __init__(
        self,
        pairs: Pairs,
        key: PRNGKeyArray,
        num_bytes: int,
        steps: int,
        total_steps: int | None,
        prepare: Callable[[Pairs], Pairs],
    ):
        """Nothing is read before the first step.

        Args:
            pairs: all of them.
            key: draws the shares.
            num_bytes: most memory of a share.
            steps: how long a share is trained on.
            total_steps: none is read for later steps; None where the end is not known.
            prepare: what is done to a share once, such as its copy to devices.
        """
        self.pairs, self.key, self.num_bytes, self.prepare = pairs, key, num_bytes, prepare
        self.steps, self.total_steps = steps, total_steps
        self.index: int | None = None
        self.current: Pairs | None = None
        self.coming: tuple[int, Future[Pairs]] | None = None
        self.is_whole = False
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="shares")

    def at(self, step: int) -> Pairs:
        """The pairs to learn from at this step, prepared."""
        index = step // self.steps
        if self.current is None or not (self.is_whole or index == self.index):
            self.current = None  # its memory is free before there are two others
            self.current, self.index = self._taken(index), index
            self._begin(index + 1)
        return self.current

    def _taken(self, index: int) -> Pairs:
        """A share that was read meanwhile, or is read now."""
        coming, self.coming = self.coming, None
        if coming is not None and coming[0] == index:
            return coming[1].result()
        return self._read(index)

    def _begin(self, index: int) -> None:
        """Let the thread read a share that will be needed."""
        if not self.is_whole and (self.total_steps is None or index * self.steps < self.total_steps):
            self.coming = index, self.reader.submit(self._read, index)

    def _read(self, index: int) -> Pairs:
        share = self.pairs.resident(jax.random.fold_in(self.key, index), self.num_bytes)
        self.is_whole = share is self.pairs
        return self.prepare(share)

    def __enter__(self) -> "DataStream":
        return self

    def __exit__(self, *_) -> None:
        self.reader.shutdown(wait=True, cancel_futures=True)


def probe_pairs(train: Pairs) -> tuple[Float[Array, "pairs history"], Float[Array, "pairs state"], str]:
    """Some pairs, always the same of a dataset, and a fingerprint of them."""
    if train.num_steps < 1:
        raise InputError("The training data are empty; collect some episodes first.")
    histories, states = sample_pairs(train, jax.random.key(0), _PROBE)
    if not bool(jnp.isfinite(histories).all() and jnp.isfinite(states).all()):
        raise InputError("The training data hold NaN or infinite values; remove those steps first.")
    checksum = zlib.crc32(np.asarray(states).tobytes(), zlib.crc32(np.asarray(histories).tobytes()))
    return histories, states, f"{train.num_steps} steps, {checksum:08x}"
