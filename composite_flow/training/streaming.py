"""Training on data that do not fit into memory: one random portion after another, while the next one is read.

The portion of a step depends on the key and the step's number alone, so an interrupted and resumed run uses the same.
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

_PROBE = 4096  # pairs that give the fingerprint of the data set


class DataStream:
    """The pairs in memory at each step: all pairs, or a portion that changes after a number of steps.

    A thread reads the next portion while training uses the present one, so two portions are in memory. Use it as a
    context, which waits for that thread at its end.
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
        """Prepare the stream; nothing is read before the first step.

        Args:
            pairs: all pairs.
            key: draws the portions.
            num_bytes: most memory of a portion.
            steps: number of steps that use the same portion.
            total_steps: number of steps of the run, after which no portion is read; None where it is not known.
            prepare: applied to each portion once, such as a copy to devices.
        """
        self.pairs, self.key, self.num_bytes, self.prepare = pairs, key, num_bytes, prepare
        self.steps, self.total_steps = steps, total_steps
        self.index: int | None = None
        self.current: Pairs | None = None
        self.coming: tuple[int, Future[Pairs]] | None = None
        self.is_whole = False
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="portions")

    def at(self, step: int) -> Pairs:
        """The prepared portion for this step."""
        index = step // self.steps
        if self.current is None or not (self.is_whole or index == self.index):
            self.current = None  # frees its memory before two other portions are held
            self.current, self.index = self._taken(index), index
            self._begin(index + 1)
        return self.current

    def _taken(self, index: int) -> Pairs:
        """The portion of this number, which the thread has read or which is read now."""
        coming, self.coming = self.coming, None
        if coming is not None and coming[0] == index:
            return coming[1].result()
        return self._read(index)

    def _begin(self, index: int) -> None:
        """Let the thread read the portion of this number, if the run will need it."""
        if not self.is_whole and (self.total_steps is None or index * self.steps < self.total_steps):
            self.coming = index, self.reader.submit(self._read, index)

    def _read(self, index: int) -> Pairs:
        portion = self.pairs.resident(jax.random.fold_in(self.key, index), self.num_bytes)
        self.is_whole = portion is self.pairs
        return self.prepare(portion)

    def __enter__(self) -> "DataStream":
        return self

    def __exit__(self, *_) -> None:
        self.reader.shutdown(wait=True, cancel_futures=True)


def probe_pairs(train: Pairs) -> tuple[Float[Array, "pairs history"], Float[Array, "pairs state"], str]:
    """Some pairs, always the same ones of a dataset, and their fingerprint.

    Raises:
        InputError: the dataset is empty, or the pairs hold values that are not finite.
    """
    if train.num_steps < 1:
        raise InputError("The training data are empty; collect some episodes first.")
    histories, states = sample_pairs(train, jax.random.key(0), _PROBE)
    if not bool(jnp.isfinite(histories).all() and jnp.isfinite(states).all()):
        raise InputError("The training data hold NaN or infinite values; remove those steps first.")
    checksum = zlib.crc32(np.asarray(states).tobytes(), zlib.crc32(np.asarray(histories).tobytes()))
    return histories, states, f"{train.num_steps} steps, {checksum:08x}"
